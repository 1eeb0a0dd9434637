"""The watchdogs bark: each broken promise is noticed."""

from collections.abc import Callable
from typing import Any

import pytest

from raftd.consensus import LogIndex, NodeId, Observation, Raft, Role, Term, check_basic, check_delta, observe
from raftd.errors import InvariantViolation
from tests.consensus.words import accepted, make_leader, make_raft, say


def test_a_healthy_node_passes() -> None:
    """A follower and a leader with progress keep every promise."""
    check_basic(make_raft(1, 1))
    raft = make_leader(1)
    say(raft, 2, accepted(2, 2))
    check_basic(raft)
    check_delta(observe(raft), observe(raft))


def forget_the_vote(raft: Raft) -> None:
    raft._node.voted_for = None


def commit_beyond_the_log(raft: Raft) -> None:
    raft._node.commit_index = LogIndex(9)


def apply_what_is_not_committed(raft: Raft) -> None:
    raft._node.last_applied = LogIndex(2)


def store_beyond_the_log(raft: Raft) -> None:
    raft._node.storing.stored_index = LogIndex(9)


def forget_the_leader(raft: Raft) -> None:
    raft._node.leader_id = None


def go_back_in_time(raft: Raft) -> None:
    raft._node.current_term = Term(1)


def match_what_is_next(raft: Raft) -> None:
    raft.progress[NodeId(2)].match_index = raft.progress[NodeId(2)].next_index


def skip_ahead(raft: Raft) -> None:
    raft.progress[NodeId(2)].next_index = LogIndex(9)


def lose_count(raft: Raft) -> None:
    raft.progress[NodeId(2)].in_flight_bytes += 1


def forget_a_peer(raft: Raft) -> None:
    raft._replication.progress.pop(NodeId(2))


def follow_with_progress(raft: Raft) -> None:
    raft._node.role = Role.FOLLOWER
    raft._node.leader_id = None


def campaign_with_a_leader(raft: Raft) -> None:
    raft._replication.stop()
    raft._node.role = Role.PRE_CANDIDATE
    raft._node.leader_id = NodeId(2)


@pytest.mark.parametrize(
    "damage",
    [
        forget_the_vote,
        commit_beyond_the_log,
        apply_what_is_not_committed,
        store_beyond_the_log,
        forget_the_leader,
        go_back_in_time,
        match_what_is_next,
        skip_ahead,
        lose_count,
        forget_a_peer,
        follow_with_progress,
        campaign_with_a_leader,
    ],
)
def test_check_basic_notices(damage: Callable[[Raft], None]) -> None:
    """Any state that no node can be in is noticed."""
    raft = make_leader(1)
    check_basic(raft)
    damage(raft)
    with pytest.raises(InvariantViolation):
        check_basic(raft)


BEFORE = Observation(
    current_term=Term(5),
    voted_for=NodeId(1),
    role=Role.LEADER,
    leader_id=NodeId(1),
    commit_index=LogIndex(3),
    commit_term=Term(5),
    last_applied=LogIndex(2),
    last_index=LogIndex(7),
    match_indexes={NodeId(2): LogIndex(4)},
)


@pytest.mark.parametrize(
    "change",
    [
        {"current_term": 4},
        {"commit_index": 2},
        {"last_applied": 1},
        {"voted_for": None},
        {"voted_for": 2},
        {"leader_id": 2},
        {"role": Role.CANDIDATE},
        {"last_index": 6},
        {"match_indexes": {2: 3}},
    ],
    ids=str,
)
def test_check_delta_notices(change: dict[str, Any]) -> None:
    """Any step that no node can make within one term is noticed."""
    check_delta(BEFORE, BEFORE)
    with pytest.raises(InvariantViolation):
        check_delta(BEFORE, BEFORE._replace(**change))


def test_check_delta_notices_a_leader_that_was_not_elected() -> None:
    """From follower to leader there is no way within a term."""
    follower = BEFORE._replace(role=Role.FOLLOWER, leader_id=None, match_indexes={})
    with pytest.raises(InvariantViolation):
        check_delta(follower, BEFORE)


def test_check_delta_lets_terms_pass() -> None:
    """A new term has a new vote, and a log that may have been truncated."""
    check_delta(
        BEFORE,
        BEFORE._replace(
            current_term=Term(6), voted_for=None, role=Role.FOLLOWER, leader_id=None, last_index=LogIndex(4)
        ),
    )
