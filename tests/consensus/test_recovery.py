"""A node as its disk remembers it, after every crash between a snapshot and its log."""

import pytest

from raftd.consensus import (
    Entry,
    EntryKind,
    HardState,
    Limits,
    LogIndex,
    NodeId,
    SnapshotMetadata,
    Term,
    encode_membership,
)
from raftd.consensus.node import Node
from raftd.consensus.recovery import recover
from raftd.errors import InvariantViolation
from tests.consensus.words import entries_of, members

SNAPSHOT = SnapshotMetadata(LogIndex(5), Term(2), members(1, 2, 3, 4))


def recovered(entries: tuple[Entry, ...], term: int = 3, snapshot: SnapshotMetadata | None = SNAPSHOT) -> Node:
    return recover(
        node_id=NodeId(1),
        limits=Limits(),
        bootstrap=members(1),
        snapshot=snapshot,
        hard_state=HardState(Term(term), NodeId(2)),
        entries=entries,
    )


@pytest.mark.parametrize("first", [1, 3, 5, 6])
def test_a_log_may_begin_anywhere_up_to_the_snapshot(first: int) -> None:
    """What the snapshot covers is dropped, what follows it is kept, and nothing is to be stored again."""
    node = recovered(entries_of(*[1, 1, 2, 2, 2, 3, 3][first - 1 :], first=first))
    assert (node.log.base_index, node.log.base_term, node.log.last_index) == (5, 2, 7)
    assert node.commit_index == node.handed_index == node.last_applied == 5
    assert node.storing.stored_index == 7
    assert not node.storing.is_due(Term(3), NodeId(2), LogIndex(7))


@pytest.mark.parametrize(
    "entries",
    [entries_of(1, 1, 2, 2), entries_of(1, 1, 1, 1, 1, 1), entries_of(3, 3, first=5), ()],
    ids=["ends before the snapshot", "other term at its end", "only conflicting", "empty"],
)
def test_a_log_that_does_not_go_on_behind_the_snapshot_is_reset(entries: tuple[Entry, ...]) -> None:
    """A crash came between the snapshot and the reset of the log: the first Ready makes up for it."""
    node = recovered(entries)
    assert (node.log.base_index, node.log.last_index, node.storing.stored_index) == (5, 5, 5)
    assert node.storing.hand_out(HardState(Term(3), NodeId(2)), node.log) == (None, (5, 2), ())


def test_a_snapshot_of_a_later_term_than_the_hard_state() -> None:
    """Nothing was promised in between: the node goes on in the snapshot's term, with its vote free, and stores that."""
    node = recovered((), term=1)
    assert (node.current_term, node.voted_for) == (2, None)
    hard_state, _, _ = node.storing.hand_out(node.hard_state(), node.log)
    assert hard_state == HardState(Term(2), None)


def test_the_snapshots_membership_is_in_force_and_then_the_logs() -> None:
    """The bootstrap's counts only where there is no snapshot; a membership in the log behind it is newer."""
    assert recovered((), snapshot=None).membership == members(1)
    assert recovered(()).membership == members(1, 2, 3, 4)
    newer = (LogIndex(6), Term(3), EntryKind.MEMBERSHIP, encode_membership(members(1, 2)))
    older = (LogIndex(5), Term(2), EntryKind.MEMBERSHIP, encode_membership(members(9)))
    assert recovered((older, newer)).membership == members(1, 2)
    assert recovered((older,)).membership == members(1, 2, 3, 4)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [(entries_of(3, first=7), "begins at index 7"), (entries_of(4, first=6), "after term 3")],
)
def test_what_no_crash_can_leave(entries: tuple[Entry, ...], complaint: str) -> None:
    """A gap, or entries of a term that was never stored, are not this node's."""
    with pytest.raises(InvariantViolation, match=complaint):
        recovered(entries)
