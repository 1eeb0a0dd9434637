"""What a node tells of its peers' clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.consensus import Heartbeat, HeartbeatReply, NodeId, Term
from raftd.consensus.types import NO_INDEX
from raftd.node.clocks import PeerClocks
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.peer import MessageType, decode_message, encode_message, wall_clock_ms
from tests.node.parts import Server

PEER = NodeId(2)


@given(offset_ms=st.integers(-(10**9), 10**9), delays_ms=st.lists(st.integers(0, 10_000), min_size=1, max_size=40))
def test_a_delay_only_adds(offset_ms: int, delays_ms: list[int]) -> None:
    """The difference is what it is and the least of the latest delays."""
    now_ms = 1_700_000_000_000
    clocks = PeerClocks(lambda: now_ms)
    for delay_ms in delays_ms:
        clocks.heard(PEER, now_ms - offset_ms - delay_ms)
    assert clocks.difference_seconds(PEER) == (offset_ms + min(delays_ms[-16:])) / 1000


def test_nothing_is_told_of_whom_nothing_was_heard() -> None:
    """Neither before the first message, nor of a peer that does not say its time, nor after a change of the leader."""
    clocks = PeerClocks(lambda: 1000)
    clocks.heard(PEER, None)
    assert clocks.difference_seconds(PEER) is None
    clocks.heard(PEER, 900)
    assert clocks.difference_seconds(PEER) == 0.1
    clocks.forget()
    assert clocks.difference_seconds(PEER) is None


def test_by_itself_it_takes_the_time_of_day() -> None:
    """Milliseconds since 1970."""
    assert PeerClocks().now_ms() > 1_700_000_000_000


@pytest.mark.parametrize(("version", "difference"), [(1, None), (2, 0.25)])
def test_a_follower_learns_how_far_its_clock_is_from_the_leaders(version: int, difference: float | None) -> None:
    """From version 2 on; and it answers in the version that its link to the leader speaks, with its own time."""
    server = Server(size=3, clocks=PeerClocks(lambda: 1_000_250), version=version)
    heartbeat = Heartbeat(Term(1), NodeId(2), NO_INDEX, 7)
    frame = b"".join(encode_message(heartbeat, version=version, wall_clock_ms=1_000_000))
    for _ in range(2):
        server.driver.peer_payloads(NodeId(2), [frame[LENGTH_BYTES:]], version)
        server.scheduler.run()
    assert server.driver.clocks.difference_seconds(NodeId(2)) == difference
    server.store()
    payloads = [frame[LENGTH_BYTES:] for _, frame in server.frames]
    answer = next(payload for payload in payloads if payload[0] == MessageType.HEARTBEAT_REPLY)
    assert decode_message(answer, NodeId(1), version)[0] == HeartbeatReply(Term(1), 7)
    assert wall_clock_ms(answer, version) == (None if version == 1 else 1_000_250)
    server.hear(3, Heartbeat(Term(2), NodeId(3), NO_INDEX, 1))
    server.scheduler.run()
    assert server.driver.clocks.difference_seconds(NodeId(2)) is None
