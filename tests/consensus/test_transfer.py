"""Handing leadership over: who, when, and what if it fails (thesis §3.10)."""

from dataclasses import replace

import pytest

from raftd.consensus import Heartbeat, Limits, NodeId, ProposalRefused, Raft, RefusalReason, Role
from raftd.consensus.limits import RELUCTANT_TIMEOUTS
from tests.consensus.cluster import Cluster
from tests.consensus.words import (
    accepted,
    complete,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    members,
    pre_vote,
    request_pre_vote,
    request_vote,
    role_of,
    say,
    timeout_now,
    vote,
)

LIMITS = Limits(election_timeout_ticks=4, heartbeat_ticks=1)


def leader(*, caught_up: tuple[int, ...] = (2, 3), limits: Limits = LIMITS) -> Raft:
    """Leads term 1 with one entry, which `caught_up` have."""
    raft = make_leader(limits=limits)
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


def test_nobody_hands_over_to_a_node_that_may_have_begun_anew() -> None:
    """Though it has as much, and the lower id: the others would not vote for it, and it has not shown its log."""
    raft = leader()
    raft.unreachable(NodeId(2))
    raft.transfer_leadership()
    assert raft.transfer_target == 3
    raft = leader()
    raft.unreachable(NodeId(2))
    with pytest.raises(ProposalRefused):
        raft.transfer_leadership(NodeId(2))


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


NOT_TO_LEAD = Limits(no_lead=frozenset({NodeId(1)}))
PATIENCE = RELUCTANT_TIMEOUTS * NOT_TO_LEAD.election_timeout_ticks


def test_who_is_not_to_lead_leaves_it_to_others_for_a_while() -> None:
    """It votes, and campaigns only where nobody has come to lead for several timeouts: it may have what they lack."""
    raft = make_raft(limits=NOT_TO_LEAD)
    say(raft, 2, heartbeat(1))
    for _ in range(PATIENCE - 1):
        raft.tick()
    raft.campaign()
    assert (role_of(raft), raft.current_term) == (Role.FOLLOWER, 1)
    complete(raft)
    say(raft, 3, request_vote(2, candidate=3))
    assert raft.voted_for == 3
    for _ in range(NOT_TO_LEAD.election_timeout_ticks * 2):
        raft.tick()
    assert role_of(raft) is Role.PRE_CANDIDATE


def test_who_is_not_to_lead_does_so_when_told_to() -> None:
    """By somebody who has nobody else to hand over to, or an operator."""
    raft = make_raft(limits=NOT_TO_LEAD)
    say(raft, 2, heartbeat(1), timeout_now(1))
    assert role_of(raft) is Role.CANDIDATE


def lead_against_its_will(*others: int) -> Cluster:
    """Node 1 leads, which is not to, like these; so many ticks later."""
    cluster = Cluster(3, limits=replace(NOT_TO_LEAD, no_lead=frozenset(map(NodeId, (1, *others)))))
    say(cluster[1], 2, heartbeat(1), timeout_now(1))
    cluster.settle()
    assert cluster[1].role is Role.LEADER
    cluster.run(PATIENCE + 1)
    return cluster


def test_who_leads_and_is_not_to_hands_over() -> None:
    """To one that is to lead, if there is one that answers; else it goes on, and takes proposals all the time."""
    cluster = lead_against_its_will(2)
    assert cluster[3].role is Role.LEADER
    cluster = lead_against_its_will(2, 3)
    assert (cluster[1].role, cluster[1].transfer_target) == (Role.LEADER, None)


def learner_that_leads(no_lead: frozenset[NodeId] = frozenset()) -> Raft:
    """Node 2 lacked what it has, and gave it its vote; node 3 does not answer."""
    limits = replace(LIMITS, no_lead=no_lead)
    raft = make_raft(1, membership=members(2, 3, 4, learners=(1,)), limits=limits)
    for _ in range(RELUCTANT_TIMEOUTS * LIMITS.election_timeout_ticks):
        raft.tick()
    say(raft, 2, request_pre_vote(2))
    raft.campaign()
    complete(raft)
    for peer in (2, 4):
        say(raft, peer, pre_vote(2))
    complete(raft)
    for peer in (2, 4):
        say(raft, peer, vote(2))
    complete(raft)
    assert raft.role is Role.LEADER
    return raft


def ticks_with(raft: Raft, *peers: int, ticks: int) -> int:
    """Let time pass in which these answer; returns for how many ticks a hand-over was under way."""
    count = 0
    for _ in range(ticks):
        raft.tick()
        count += raft.transfer_target is not None
        for peer, message in complete(raft):
            if isinstance(message, Heartbeat) and peer in peers:
                say(raft, peer, heartbeat_reply(2, message.round))
    return count


def test_a_learner_that_leads_hands_over_once_others_have_what_it_has() -> None:
    """Not before; and where that fails it takes proposals for a while before it tries again."""
    raft = learner_that_leads()
    assert ticks_with(raft, 2, 4, ticks=5 * LIMITS.election_timeout_ticks) == 0
    for peer in (2, 4):
        say(raft, peer, accepted(2, raft.last_index))
    complete(raft)
    assert raft.commit_index == raft.last_index
    assert 0 < ticks_with(raft, 2, 4, ticks=40 * LIMITS.election_timeout_ticks) <= 15 * LIMITS.election_timeout_ticks


def test_a_learner_that_leads_hands_over_to_whoever_votes() -> None:
    """Though neither is to lead: that it leads itself is worse."""
    raft = learner_that_leads(no_lead=frozenset(map(NodeId, (1, 2, 3, 4))))
    for peer in (2, 4):
        say(raft, peer, accepted(2, raft.last_index))
    complete(raft)
    assert ticks_with(raft, 2, 4, ticks=5 * LIMITS.election_timeout_ticks) > 0


def test_the_best_target_is_to_lead() -> None:
    """Though another one has as much, and the lower id; where nobody else answers, that one is told."""
    raft = leader(limits=replace(LIMITS, no_lead=frozenset({NodeId(2)})))
    raft.transfer_leadership()
    assert raft.transfer_target == 3


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
