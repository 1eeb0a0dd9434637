"""Why a leadership ended is remembered, whatever ended it."""

from random import Random

import pytest

from raftd.consensus import Raft
from raftd.consensus.abdication import Abdication, AbdicationReason
from raftd.consensus.types import NodeId, Role, Term
from tests.consensus.words import heartbeat, heartbeat_reply, make_leader, make_raft, say

PATIENCE = 10


def abdication_of(raft: Raft) -> Abdication:
    assert raft.role is not Role.LEADER
    assert raft.abdication is not None
    return raft.abdication


def test_a_leader_that_hears_nobody() -> None:
    """It knows how long each of the others has been silent."""
    raft = make_leader(1)
    assert raft.abdication is None
    term = raft.current_term
    raft.tick()
    say(raft, 2, heartbeat_reply(term, 1))
    while raft.role is Role.LEADER:
        raft.tick()
    ended = abdication_of(raft)
    assert (ended.term, ended.reason) == (term, AbdicationReason.NO_QUORUM)
    assert ended.silent_ticks[NodeId(3)] == ended.silent_ticks[NodeId(2)] + 1


def test_a_newer_term() -> None:
    """Another node has begun one; unless this leader asked for it, that is news."""
    raft = make_leader(1)
    term = raft.current_term
    say(raft, 2, heartbeat(term + 1))
    assert abdication_of(raft).term == term
    assert abdication_of(raft).reason is AbdicationReason.NEWER_TERM


def test_a_transfer() -> None:
    """A leader that handed over was not deposed."""
    raft = make_leader(1)
    say(raft, 2, heartbeat_reply(raft.current_term, 1))
    raft.transfer_leadership(NodeId(2))
    say(raft, 2, heartbeat(raft.current_term + 1))
    assert abdication_of(raft).reason is AbdicationReason.TRANSFER


def test_a_transfer_that_somebody_else_did_not_end() -> None:
    """A leader that hears nobody any more steps down for that, whatever it was about to do."""
    raft = make_leader(1)
    for _ in range(PATIENCE - 1):
        raft.tick()
    raft.transfer_leadership(NodeId(2))
    raft.tick()
    assert abdication_of(raft).reason is AbdicationReason.NO_QUORUM


def test_a_disk_that_stores_nothing() -> None:
    """After two election timeouts, if nobody took over."""
    raft = make_leader(1)
    raft.disk_stalled(1000)
    assert abdication_of(raft).reason is AbdicationReason.DISK


@pytest.mark.parametrize("seed", range(8))
def test_a_follower_knows_how_long_it_waited(seed: int) -> None:
    """What it gave its leader up for, and not how long it has campaigned since; the least time at least."""
    raft = make_raft(1, random=Random(seed))
    say(raft, 2, heartbeat(raft.current_term + 1))
    assert raft.leader_id == 2
    waited = 0
    while raft.leader_id is not None:
        raft.tick()
        waited += 1
    for _ in range(30):
        raft.tick()
    assert raft.leader_silent_ticks == waited >= raft.election_timeout_ticks_min
    assert Term(0) < raft.current_term
