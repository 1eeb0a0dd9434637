"""Raft's promises as code: what must hold of a node at any time, and between any two moments of its life.

Cheap enough to run after every step of a test or of a simulation. They check what one node can know; what holds
between nodes (election safety, log matching, leader completeness, state-machine safety) is for who sees them all.
"""

from typing import NamedTuple

from raftd.consensus.progress import ProgressState
from raftd.consensus.raft import Raft
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Role, Term
from raftd.errors import InvariantViolation


class Observation(NamedTuple):
    """What `check_delta` compares of a node."""

    current_term: Term
    voted_for: NodeId | None
    role: Role
    leader_id: NodeId | None
    commit_index: LogIndex
    commit_term: Term | None
    last_applied: LogIndex
    last_index: LogIndex
    match_indexes: dict[NodeId, LogIndex]


def observe(raft: Raft) -> Observation:
    """The moment to compare later ones with."""
    return Observation(
        raft.current_term,
        raft.voted_for,
        raft.role,
        raft.leader_id,
        raft.commit_index,
        raft.term_at(raft.commit_index),
        raft.last_applied,
        raft.last_index,
        {peer: progress.match_index for peer, progress in raft.progress.items()},
    )


def check_basic(raft: Raft) -> None:
    """Check what holds at any time.

    Raises:
        InvariantViolation: it does not.
    """
    last_index, base_index, term, role = raft.last_index, raft.base_index, raft.current_term, raft.role
    last_term = raft.term_at(last_index) or NO_TERM
    _require(0 <= raft.last_applied <= raft.commit_index <= last_index, raft, "applied <= committed <= last")
    _require(base_index <= raft.last_applied, raft, "only what is applied is compacted")
    reached = NO_INDEX if raft.snapshot is None else raft.snapshot.last_included_index
    _require(base_index <= reached, raft, "only what is in a snapshot is compacted")
    _require(raft.membership_index <= last_index, raft, "the membership stands in the log")
    _require(raft.stored_index <= last_index, raft, "only what the log holds is stored")
    _require(last_term <= term, raft, "no entry is newer than the term")
    _require((role is Role.LEADER) == (raft.leader_id == raft.node_id), raft, "who leads knows it, and only they")
    if role in (Role.LEADER, Role.CANDIDATE):
        _require(raft.voted_for == raft.node_id, raft, "a candidate and a leader have their own vote")
    if role in (Role.CANDIDATE, Role.PRE_CANDIDATE):
        _require(raft.leader_id is None, raft, "who campaigns knows no leader")
    if role is not Role.LEADER:
        _require(raft.transfer_target is None, raft, "only a leader hands over")
        _require(not raft.progress, raft, "only a leader keeps progress")
        _require(not raft.waiting_reads, raft, "reads wait only where somebody leads")
        return
    _require(last_term == term, raft, "a leader's log ends in its own term")
    _require(raft.progress.keys() >= raft.membership.members - {raft.node_id}, raft, "progress of each member")
    _require(raft.node_id not in raft.progress, raft, "no progress of oneself")
    for progress in raft.progress.values():
        _require(0 <= progress.match_index < progress.next_index, raft, "match < next")
        _require(progress.match_index <= last_index, raft, "match <= last")
        _require(progress.next_index <= last_index + 1, raft, "next <= last + 1")
        _require(progress.in_flight_bytes == sum(size for _, size in progress.in_flight), raft, "bytes in flight")
        if progress.state is not ProgressState.REPLICATE:
            _require(not progress.in_flight, raft, "a probe and a snapshot go alone")
        else:
            _require(not progress.is_paused, raft, "only probing pauses")


def check_delta(before: Observation, after: Observation) -> None:
    """Check what holds between two moments of one life of a process.

    Raises:
        InvariantViolation: it does not.
    """
    _compare(before.current_term <= after.current_term, before, after, "the term never goes down")
    _compare(before.commit_index <= after.commit_index, before, after, "the commit index never goes down")
    _compare(before.last_applied <= after.last_applied, before, after, "last_applied never goes down")
    if before.current_term != after.current_term:
        return
    if before.voted_for is not None:
        _compare(before.voted_for == after.voted_for, before, after, "one vote in a term")
    if before.leader_id is not None and after.leader_id is not None:
        _compare(before.leader_id == after.leader_id, before, after, "one leader in a term")
    if before.role is Role.LEADER:
        _compare(
            after.role in (Role.LEADER, Role.FOLLOWER, Role.PRE_CANDIDATE), before, after, "a leader only steps down"
        )
    elif before.role is not Role.CANDIDATE:
        _compare(after.role is not Role.LEADER, before, after, "who does not campaign does not lead")
    if before.role is after.role is Role.LEADER:
        _compare(before.last_index <= after.last_index, before, after, "a leader only appends")
        for peer, match_index in before.match_indexes.items():
            now = after.match_indexes.get(peer, match_index)
            # To nothing it may: a peer whose disk was lost (`Progress.has_no_log`, `Progress.refused`).
            _compare(match_index <= now or now == NO_INDEX, before, after, "match never goes down")


def _require(condition: bool, raft: Raft, promise: str) -> None:
    if not condition:
        raise InvariantViolation(f"not so on node {raft.node_id}: {promise}; {observe(raft)}")


def _compare(condition: bool, before: Observation, after: Observation, promise: str) -> None:
    if not condition:
        raise InvariantViolation(f"not so: {promise}; {before} then {after}")
