"""What a driver tells others: of members, proofs, ticks, hashes of states and the log."""

import pytest

from raftd.consensus import AddLearner
from raftd.consensus.messages import AppendEntries
from raftd.consensus.types import NO_INDEX, EntryKind, LogIndex, NodeId, Term
from raftd.kv.audit import AUDIT_ENTRIES
from raftd.node.driver import DriverObservers
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.state_hashes import STATE_HASHES_VERSION, is_state_hashes
from tests.node.leading import leader
from tests.node.parts import TICK_SECONDS, Server


def test_changes_of_members_are_told_and_taken_back() -> None:
    """Each once: when it is in the log, and when another leader's entries have taken its place."""
    server = leader()
    before = server.raft.membership
    server.raft.propose_membership(AddLearner(NodeId(4)))
    server.driver.wake()
    server.scheduler.advance(2 * TICK_SECONDS)
    assert server.memberships == [server.raft.membership]
    assert NodeId(4) in server.raft.membership.members
    last_index = server.raft.last_index
    noop = ((last_index, Term(9), EntryKind.NOOP, b""),)
    server.hear(
        2,
        AppendEntries(Term(9), NodeId(2), LogIndex(last_index - 1), server.raft.current_term, NO_INDEX, noop),
    )
    server.scheduler.advance(2 * TICK_SECONDS)
    assert server.memberships[1:] == [before]


def test_that_a_new_disk_has_caught_up_is_told_once() -> None:
    """When it has, and not before."""
    server = Server(size=1, unproven=True)
    server.scheduler.run()
    assert (server.raft.is_proven, server.proofs) == (False, 0)
    server.become_leader()
    server.scheduler.advance(3 * TICK_SECONDS)
    assert (server.raft.is_proven, server.proofs) == (True, 1)
    old = leader(1)
    old.scheduler.advance(3 * TICK_SECONDS)
    assert old.proofs == 0


def test_nobody_needs_to_hear_of_members_or_proofs() -> None:
    """A driver may be started without."""
    server = Server(size=1, unproven=True)
    server.driver.start(server.gateway, lambda *_: None)
    server.become_leader()
    server.raft.propose_membership(AddLearner(NodeId(4)))
    server.driver.wake()
    server.scheduler.run()
    assert server.raft.is_proven
    assert (server.proofs, server.memberships) == (0, [])


def test_how_late_each_tick_is_is_told() -> None:
    """Beyond the time at which it was due."""
    delays: list[float] = []
    server = Server(observers=DriverObservers(tick_delay=delays.append))
    server.scheduler.advance(1.5 * TICK_SECONDS)
    server.scheduler.now += 60.0
    server.scheduler.run()
    assert delays == [pytest.approx(0.0), pytest.approx(59.95)]


def told_hashes(server: Server) -> list[int]:
    """Whom the server tells, with its next tick, what it has audited."""
    server.take_sent()
    server.driver.comparison.audited(LogIndex(AUDIT_ENTRIES), 7, 1)
    server.scheduler.advance(1.1 * TICK_SECONDS)
    return [peer for peer, frame in server.frames if is_state_hashes(frame[LENGTH_BYTES:], STATE_HASHES_VERSION)]


def test_a_leader_tells_all_of_its_state_and_a_follower_its_leader() -> None:
    """And nobody where nobody leads, or over a link whose version does not know of it."""
    assert told_hashes(leader()) == [2, 3]
    follower = Server()
    assert told_hashes(follower) == []
    follower.follow(2, 1, b"one")
    assert told_hashes(follower) == [2]
    assert told_hashes(leader(version=STATE_HASHES_VERSION - 1)) == []


def test_the_log_is_counted() -> None:
    """The bytes of entries that were handed to the log writer: by these a snapshot is due."""
    server = leader(1)
    before = server.driver.log_bytes_total
    server.client().put(b"one", b"two")
    server.scheduler.run()
    assert server.driver.log_bytes_total - before == len(server.disk.submissions[0].payload) > 0
    assert (server.driver.elections_total, server.driver.leader_changes_total) == (1, 1)
