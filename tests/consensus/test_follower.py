"""Logs that meet: late, repeated and conflicting entries (Figure 2's sentences themselves are in test_paper)."""

import pytest

from raftd.consensus import AppendEntriesReply, HardState, LogIndex, NodeId, Term
from raftd.consensus.follower import Follower
from raftd.consensus.limits import Limits
from raftd.consensus.log import RaftLog
from raftd.consensus.memberships import Memberships
from raftd.consensus.node import Node
from raftd.consensus.storing import Storing
from raftd.errors import InvariantViolation
from tests.consensus.words import (
    accepted,
    append,
    complete,
    entries_of,
    heartbeat,
    make_raft,
    members,
    refused,
    say,
    terms_of,
)


def node_behind_a_snapshot() -> Node:
    """A node whose log is (5, 2) by snapshot and entries 6 and 7 of term 3."""
    log = RaftLog(entries_of(3, 3, first=6), base_index=LogIndex(5), base_term=Term(2))
    hard_state = HardState(Term(3), None)
    memberships = Memberships(NodeId(1), LogIndex(5), members(1, 2, 3))
    return Node(
        NodeId(1), Limits(), memberships, log, Storing(hard_state, log.last_index), Term(3), None,
        leader_id=NodeId(2), commit_index=LogIndex(5), handed_index=LogIndex(5), last_applied=LogIndex(5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "terms", "said", "last_index"),
    [
        (4, 2, (2,), accepted(3, 5), 7),
        (4, 2, (2, 3, 3, 3), accepted(3, 8), 8),
        (0, 0, (1, 1), accepted(3, 2), 7),
        (5, 2, (3, 3, 3), accepted(3, 8), 8),
        (6, 3, (3,), accepted(3, 7), 7),
        (6, 2, (3,), refused(3, 6, 6, 3), 7),
        (8, 3, (3,), refused(3, 8, 8, 0), 7),
    ],
)
def test_entries_around_a_snapshot(
    prev_index: int, prev_term: int, terms: tuple[int, ...], said: AppendEntriesReply, last_index: int
) -> None:
    """A delayed AppendEntries before, at and behind the snapshot's last entry neither fails nor takes anything away."""
    node = node_behind_a_snapshot()
    Follower(node).on_append_entries(NodeId(2), append(3, prev_index, prev_term, *terms))
    assert [message for _, message in node.messages + node.messages_after_stored] == [said]
    assert node.log.last_index == last_index


def test_a_leader_that_contradicts_the_base_is_no_leader() -> None:
    """What was compacted is committed: a leader that has another term there shows that Raft's promises are broken."""
    with pytest.raises(InvariantViolation, match="term 3 at 5, which is compacted"):
        Follower(node_behind_a_snapshot()).on_append_entries(NodeId(2), append(3, 5, 3))


def test_a_late_append_takes_nothing_back() -> None:
    """Entries that came by a later message of the same leader stay when an earlier one comes again."""
    raft = make_raft()
    say(raft, 2, append(1, 0, 0, 1, 1, 1), append(1, 0, 0, 1), append(1, 1, 1, 1), append(1, 0, 0))
    assert terms_of(raft) == [1, 1, 1]
    assert complete(raft) == [(2, accepted(1, match)) for match in (3, 1, 2, 0)]


def test_a_success_speaks_of_the_leaders_entries_only() -> None:
    """What lies behind the leader's entries is not acknowledged: it may conflict with what the leader sends next."""
    raft = make_raft(1, 1, 2, 2)
    say(raft, 2, append(3, 1, 1, 1))
    assert complete(raft) == [(2, accepted(3, 2))]


def test_a_committed_entry_is_never_replaced() -> None:
    """A leader that wants to replace what is committed shows that Raft's promises are broken: stop."""
    raft = make_raft(1, 1)
    say(raft, 2, append(1, 2, 1, commit=2))
    with pytest.raises(InvariantViolation, match="2 is committed"):
        raft.step(NodeId(3), append(2, 1, 1, 2, leader=3))
    assert terms_of(raft) == [1, 1]


def test_entries_replaced_while_on_their_way_to_the_disk() -> None:
    """Old entries are stored, replaced ones are under way: only what is on disk and in the log counts as stored."""
    raft = make_raft(1)
    say(raft, 2, append(2, 1, 1, 2, 2))
    first = raft.ready()
    say(raft, 3, append(3, 1, 1, 3, leader=3))
    second = raft.ready()
    assert second.entries == entries_of(3, first=2)
    raft.stored(first.stored_term, first.stored_index)
    assert raft.stored_index == 1
    assert second.messages_after_stored == ((3, accepted(3, 2)),)
    raft.stored(second.stored_term, second.stored_index)
    assert raft.stored_index == 2


def test_a_heartbeat_commits_and_never_truncates() -> None:
    """A heartbeat, however late, only tells of commits."""
    raft = make_raft(1, 1, 1)
    say(raft, 2, heartbeat(1, 1, commit=2), heartbeat(1, 1, commit=1), heartbeat(1, 1))
    assert raft.commit_index == 2
    assert raft.last_index == 3
