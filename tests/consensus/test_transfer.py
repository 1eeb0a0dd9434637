"""Handing leadership over: who, when, and what if it fails (thesis §3.10)."""

import pytest

from raftd.consensus import Limits, NodeId, ProposalRefused, Raft, RefusalReason, Role
from tests.consensus.words import (
    accepted,
    complete,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    request_vote,
    role_of,
    say,
    timeout_now,
)

LIMITS = Limits(election_timeout_ticks=4, heartbeat_ticks=1)


def leader(*, caught_up: tuple[int, ...] = (2, 3)) -> Raft:
    """Leads term 1 with one entry, which `caught_up` have."""
    raft = make_leader(limits=LIMITS)
    for peer in caught_up:
        say(raft, peer, accepted(1, 1))
    complete(raft)
    return raft


def test_a_target_that_has_everything_is_told_at_once() -> None:
    """The prior leader sends a TimeoutNow request to the target server."""
    raft = leader()
    raft.transfer_leadership(NodeId(2))
    assert complete(raft) == [(2, timeout_now(1, leader=1))]
    assert not raft.has_ready


def test_a_target_that_lags_is_told_once_it_has_everything() -> None:
    """The prior leader fully updates the target server's log to match its own log."""
    raft = leader(caught_up=(2,))
    raft.transfer_leadership(NodeId(3))
    assert (3, timeout_now(1, leader=1)) not in complete(raft)
    say(raft, 3, accepted(1, 1))
    assert (3, timeout_now(1, leader=1)) in complete(raft)


def test_no_proposals_meanwhile() -> None:
    """The prior leader stops accepting new client requests."""
    raft = leader()
    raft.transfer_leadership(NodeId(2))
    with pytest.raises(ProposalRefused) as refused:
        raft.propose([b"a"])
    assert refused.value.reason is RefusalReason.TRANSFERRING
    assert raft.last_index == 1


def test_given_up_after_an_election_timeout() -> None:
    """If the target server fails, the prior leader resumes; no later than an election timeout."""
    raft = leader()
    raft.transfer_leadership(NodeId(2))
    for tick in range(LIMITS.election_timeout_ticks):
        assert raft.transfer_target == 2, tick
        raft.tick()
        say(raft, 3, heartbeat_reply(1, 1))
    assert raft.transfer_target is None
    raft.propose([b"a"])


def test_each_hand_over_has_its_own_time() -> None:
    """One that failed takes nothing from the next one's election timeout."""
    raft = leader()
    for target in (NodeId(2), NodeId(3)):
        raft.transfer_leadership(target)
        for tick in range(LIMITS.election_timeout_ticks):
            assert raft.transfer_target == target, tick
            raft.tick()
            say(raft, 2, heartbeat_reply(1, 1))
            say(raft, 3, heartbeat_reply(1, 1))
        assert raft.transfer_target is None


def test_over_when_the_target_campaigns() -> None:
    """Whatever ends the leadership ends the hand-over, and a later term begins without one."""
    raft = leader()
    raft.transfer_leadership(NodeId(2))
    complete(raft)
    say(raft, 2, request_vote(2, 1, 1, transfer=True))
    assert (role_of(raft), raft.transfer_target) == (Role.FOLLOWER, None)


def test_the_best_prepared_voter_is_chosen() -> None:
    """Without a target: who answers and has most of the log, of equals the lowest."""
    raft = leader(caught_up=(3,))
    raft.transfer_leadership()
    assert raft.transfer_target == 3
    raft = leader()
    raft.transfer_leadership()
    assert raft.transfer_target == 2


def test_another_target_takes_the_place_of_the_first() -> None:
    """An operator may change their mind; the same target again changes nothing."""
    raft = leader()
    raft.transfer_leadership(NodeId(2))
    complete(raft)
    raft.transfer_leadership(NodeId(2))
    assert not raft.has_ready
    raft.transfer_leadership(NodeId(3))
    assert complete(raft) == [(3, timeout_now(1, leader=1))]


@pytest.mark.parametrize(("target", "reason"), [(9, "UNKNOWN_NODE"), (None, "UNREACHABLE"), (2, "UNREACHABLE")])
def test_refusals(target: int | None, reason: str) -> None:
    """Who is not known, and who does not answer, is not handed over to."""
    raft = leader()
    for progress in raft.progress.values():
        progress.silent_ticks = LIMITS.election_timeout_ticks
    with pytest.raises(ProposalRefused) as refused:
        raft.transfer_leadership(None if target is None else NodeId(target))
    assert refused.value.reason.name == reason
    assert raft.transfer_target is None


def test_only_a_leader_hands_over() -> None:
    """Others say who leads."""
    raft = make_raft()
    say(raft, 2, heartbeat(1))
    with pytest.raises(ProposalRefused, match="node 2 leads"):
        raft.transfer_leadership(NodeId(3))


def test_who_never_leads_does_not_take_over() -> None:
    """`no_lead`: it votes, but neither its timer nor a leader's wish makes it campaign."""
    raft = make_raft(limits=Limits(no_lead=True))
    say(raft, 2, heartbeat(1), timeout_now(1))
    for _ in range(40):
        raft.tick()
    raft.campaign()
    assert (role_of(raft), raft.current_term) == (Role.FOLLOWER, 1)
    complete(raft)
    say(raft, 3, request_vote(2, candidate=3))
    assert raft.voted_for == 3


def test_a_stalled_disk_ends_leadership_one_way_or_the_other() -> None:
    """After an election timeout without progress it is handed over, after two it is given up."""
    raft = leader()
    raft.disk_stalled(LIMITS.election_timeout_ticks - 1)
    assert raft.transfer_target is None
    raft.disk_stalled(LIMITS.election_timeout_ticks)
    assert raft.transfer_target == 2
    raft.disk_stalled(LIMITS.election_timeout_ticks + 1)
    assert role_of(raft) is Role.LEADER
    raft.disk_stalled(2 * LIMITS.election_timeout_ticks)
    assert role_of(raft) is Role.FOLLOWER


def test_a_stalled_disk_and_nobody_to_hand_over_to() -> None:
    """Then it is given up at once: a leader that cannot store is of no use."""
    raft = leader()
    for progress in raft.progress.values():
        progress.silent_ticks = LIMITS.election_timeout_ticks
    raft.disk_stalled(LIMITS.election_timeout_ticks)
    assert role_of(raft) is Role.FOLLOWER
