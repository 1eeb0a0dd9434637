"""What a node tells of its peers' clocks."""

from hypothesis import given
from hypothesis import strategies as st

from raftd.consensus import NodeId
from raftd.node.clocks import PeerClocks

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
