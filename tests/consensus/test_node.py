"""The shared state's own guards."""

import pytest

from raftd.consensus import (
    EntryKind,
    HardState,
    Limits,
    LogIndex,
    NodeId,
    Role,
    SnapshotMetadata,
    Term,
    encode_membership,
)
from raftd.consensus.log import RaftLog
from raftd.consensus.memberships import Memberships
from raftd.consensus.node import Node
from raftd.consensus.storing import Storing
from raftd.errors import InvariantViolation
from tests.consensus.words import entries_of, heartbeat, members, vote


def make_node(limits: Limits | None = None) -> Node:
    log = RaftLog(entries_of(1, 1, 1, 1, 1))
    storing = Storing(HardState(Term(1), None), log.last_index)
    memberships = Memberships(NodeId(1), LogIndex(0), members(1, 2, 3))
    return Node(NodeId(1), limits or Limits(), memberships, log, storing, Term(1), None)


def test_the_commit_index_only_rises() -> None:
    """An older commit index is old news; one beyond the log is a bug."""
    node = make_node()
    node.commit_to(LogIndex(3))
    node.commit_to(LogIndex(2))
    assert node.commit_index == 3
    with pytest.raises(InvariantViolation):
        node.commit_to(LogIndex(6))


def test_committed_entries_come_in_order_once_and_in_bounded_portions() -> None:
    """Each committed entry is handed out exactly once, no more at a time than the bounds allow."""
    node = make_node(Limits(committed_entries_max=2))
    node.commit_to(LogIndex(5))
    portions = [node.take_committed() for _ in range(4)]
    assert [[entry[0] for entry in portion] for portion in portions] == [[1, 2], [3, 4], [5], []]


def test_committed_entries_are_bounded_in_bytes() -> None:
    """At least one entry comes, though it alone exceeds the bound."""
    node = make_node(Limits(committed_bytes_max=1))
    node.commit_to(LogIndex(2))
    assert [len(node.take_committed()) for _ in range(3)] == [1, 1, 0]


def test_a_suffix_below_the_commit_index_is_never_replaced() -> None:
    """Truncation takes back what was stored, and stops at the commit index."""
    node = make_node()
    node.commit_to(LogIndex(3))
    node.replace_suffix(LogIndex(4))
    assert node.log.last_index == node.storing.stored_index == 3
    with pytest.raises(InvariantViolation):
        node.replace_suffix(LogIndex(3))


def test_compaction_gives_up_log_and_memberships() -> None:
    """What was in force at a base is known; what was before it is asked for by nobody."""
    node = make_node()
    node.append([(LogIndex(6), Term(1), EntryKind.MEMBERSHIP, encode_membership(members(1, 2)))])
    node.snapshot = SnapshotMetadata(LogIndex(6), Term(1), members(1, 2))
    node.last_applied = LogIndex(6)
    node.compact(LogIndex(6))
    assert (node.log.base_index, node.memberships.at(LogIndex(0))) == (6, members(1, 2))


def test_messages_are_taken_once() -> None:
    """What was taken is not said again."""
    node = make_node()
    node.send(NodeId(2), heartbeat(1))
    node.send_after_stored(NodeId(3), vote(1))
    assert node.take_messages() == (((2, heartbeat(1)),), ((3, vote(1)),))
    assert node.take_messages() == ((), ())


def test_a_node_begins_as_a_follower() -> None:
    """Nothing is known of a leader, and nothing is committed, until somebody says so."""
    node = make_node()
    assert (node.role, node.leader_id, node.commit_index) == (Role.FOLLOWER, None, 0)
    assert node.is_voter
    assert not node.has_committed_in_term
