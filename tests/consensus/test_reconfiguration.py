"""Membership changes on a leader: what may begin, and what goes on by itself. Whole stories are in `scenarios/`."""

import pytest

from raftd.consensus import (
    AddLearner,
    AddVoter,
    EntryKind,
    Heartbeat,
    Limits,
    LogIndex,
    MembershipChange,
    NodeId,
    Promote,
    ProposalRefused,
    Raft,
    Remove,
    Role,
    UpdateAddress,
    decode_membership,
)
from tests.consensus.words import (
    accepted,
    complete,
    heartbeat_reply,
    make_leader,
    make_raft,
    members,
    pre_vote,
    refused,
    request_pre_vote,
    role_of,
    say,
    vote,
)

LIMITS = Limits(election_timeout_ticks=4, heartbeat_ticks=1, promotion_lag_entries_max=2, members_max=4)


def leader(size: int = 3) -> Raft:
    """Leads term 1, and everybody has its first entry."""
    raft = make_leader(size=size, limits=LIMITS)
    answer(raft, *range(2, size + 1))
    return raft


def answer(raft: Raft, *peers: int) -> None:
    """These have stored all there is; the leader does what follows from that."""
    complete(raft)
    for peer in peers:
        say(raft, peer, accepted(1, raft.last_index))
    complete(raft)


def catch_up(raft: Raft, peer: int) -> None:
    """It has stored all there is for the first time, and the others what ends the doubt that it is known of old."""
    answer(raft, peer)
    answer(raft, 2, 3, peer)


def refusal(raft: Raft, change: MembershipChange) -> str:
    before = raft.last_index
    with pytest.raises(ProposalRefused) as refused:
        raft.propose_membership(change)
    assert raft.last_index == before
    return refused.value.reason.name


def test_in_force_as_soon_as_it_is_in_the_log() -> None:
    """A server always uses the latest configuration in its log, regardless of whether the entry is committed (§4.1)."""
    raft = leader()
    assert raft.propose_membership(AddLearner(NodeId(4))) == 2
    assert raft.membership == members(1, 2, 3, learners=(4,))
    assert raft.membership_index == 2
    assert raft.progress[NodeId(4)].next_index == 3, "the first guess is that it lacks nothing"
    (entry,) = raft.entries(LogIndex(2), LogIndex(3))
    assert (entry[2], decode_membership(entry[3])) == (EntryKind.MEMBERSHIP, raft.membership)


def test_a_joint_membership_is_left_when_it_is_committed() -> None:
    """Committed by both groups; then the leader appends the new one by itself."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    assert raft.membership == members(1, 2, outgoing=(1, 2, 3))
    answer(raft, 2)
    assert raft.membership == members(1, 2)
    assert (raft.commit_index, raft.last_index) == (2, 3)


def test_one_at_a_time() -> None:
    """Not while one is uncommitted, and not while one is joint; asked again, it is the same one."""
    raft = leader()
    index = raft.propose_membership(Remove(NodeId(3)))
    assert refusal(raft, Remove(NodeId(2))) == "CHANGE_RUNS"
    assert refusal(raft, Remove(NodeId(3))) == "UNKNOWN_NODE"
    assert raft.propose_membership(Promote(NodeId(2))) == index


def test_not_between_the_commit_of_a_joint_membership_and_the_leaving_of_it() -> None:
    """The leader leaves it with its next Ready, and nobody may come between."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    complete(raft)
    say(raft, 2, accepted(1, 2))
    assert (raft.commit_index, raft.membership_index) == (2, 2)
    assert refusal(raft, AddLearner(NodeId(4))) == "CHANGE_RUNS"
    answer(raft, 2)
    assert raft.membership == members(1, 2)
    raft.propose_membership(AddLearner(NodeId(4)))


def test_not_before_a_commit_in_the_term() -> None:
    """Else two leaders in turn could each begin a change that the other does not know of (Ongaro, 2015)."""
    raft = make_leader(limits=LIMITS)
    assert refusal(raft, AddLearner(NodeId(4))) == "TERM_NOT_COMMITTED"
    answer(raft, 2)
    raft.propose_membership(AddLearner(NodeId(4)))


def test_not_during_a_hand_over() -> None:
    """The entry would keep the target from ever catching up."""
    raft = leader()
    raft.transfer_leadership(NodeId(2))
    assert refusal(raft, AddLearner(NodeId(4))) == "TRANSFERRING"


def test_not_more_members_than_the_limit() -> None:
    """Each of them costs the leader's time."""
    raft = leader()
    raft.propose_membership(AddLearner(NodeId(4)))
    answer(raft, 2, 3)
    assert refusal(raft, AddLearner(NodeId(5))) == "TOO_MANY_MEMBERS"


@pytest.mark.parametrize("reason", ["silent", "behind"])
def test_not_if_who_is_left_could_not_commit(reason: str) -> None:
    """A voter that does not answer, or lacks too much, is not counted among those who stay."""
    raft = leader()
    if reason == "silent":
        raft.progress[NodeId(3)].silent_ticks = LIMITS.election_timeout_ticks
    else:
        raft.propose([b"a", b"b", b"c"])
        answer(raft, 2)
    assert refusal(raft, Remove(NodeId(2))) == "NO_QUORUM"
    raft.propose_membership(Remove(NodeId(3)))


def test_a_learner_that_lags_is_not_promoted() -> None:
    """It would count at once, and could not help to commit."""
    raft = leader()
    raft.propose([b"a", b"b", b"c"])
    raft.propose_membership(AddLearner(NodeId(4)))
    answer(raft, 2, 3)
    assert refusal(raft, Promote(NodeId(4))) == "NOT_CAUGHT_UP"
    catch_up(raft, 4)
    raft.propose_membership(Promote(NodeId(4)))
    assert raft.membership == members(1, 2, 3, 4, outgoing=(1, 2, 3))


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_learner_that_has_shown_nothing_is_not_promoted(*, is_alive: bool) -> None:
    """It lacks no more than a young cluster's whole log, and has not been silent for long."""
    raft = make_leader(size=3)
    answer(raft, 2, 3)
    raft.propose_membership(AddLearner(NodeId(4)))
    answer(raft, 2, 3)
    if is_alive:
        say(raft, 4, heartbeat_reply(1, 1))
    assert refusal(raft, Promote(NodeId(4))) == "NOT_CAUGHT_UP"


def test_a_learner_that_leads_does_not_promote_itself() -> None:
    """Its successor will: it is told so by a reason that passes. And once it is removed it does not campaign again."""
    raft = make_raft(1, membership=members(2, 3, learners=(1,)))
    say(raft, 2, request_pre_vote(2))
    raft.campaign()
    for message in (pre_vote(2), vote(2)):
        complete(raft)
        for peer in (2, 3):
            say(raft, peer, message)
    complete(raft)
    for peer in (2, 3):
        say(raft, peer, accepted(2, raft.last_index))
    complete(raft)
    assert refusal(raft, Promote(NodeId(1))) == "TRANSFERRING"
    raft.propose_membership(Remove(NodeId(1)))
    complete(raft)
    for peer in (2, 3):
        say(raft, peer, accepted(2, raft.last_index))
    complete(raft)
    assert raft.is_removed
    raft.campaign()
    assert role_of(raft) is Role.FOLLOWER


def test_who_has_shown_a_new_leader_nothing_is_not_counted_on() -> None:
    """Of three the last leader is dead, and another one is to be removed: nothing would be committed any more."""
    raft = make_leader(size=3)
    answer(raft, 2)
    assert refusal(raft, Remove(NodeId(2))) == "NO_QUORUM"
    answer(raft, 3)
    raft.propose_membership(Remove(NodeId(2)))


def test_who_joins_votes_once_a_round_was_short_enough() -> None:
    """A round lasts until all that the log held at its beginning is there; one that takes too long is void."""
    raft = leader()
    raft.propose_membership(AddVoter(NodeId(4)))
    answer(raft, 2, 3)

    def tick(ticks: int, *, is_there: bool) -> None:
        for _ in range(ticks):
            raft.tick()
            complete(raft)
            for peer in (2, 3):
                say(raft, peer, heartbeat_reply(1, 1))
            if is_there:
                say(raft, 4, accepted(1, raft.last_index))

    tick(LIMITS.election_timeout_ticks + 2, is_there=False)
    catch_up(raft, 4)
    raft.tick()
    assert NodeId(4) in raft.membership.joining, "the first round took too long"
    tick(1, is_there=True)
    assert raft.membership == members(1, 2, 3, 4, outgoing=(1, 2, 3))


@pytest.mark.parametrize(
    ("ticks", "is_short"), [(LIMITS.election_timeout_ticks - 1, True), (LIMITS.election_timeout_ticks, False)]
)
def test_a_round_is_short_enough_if_an_election_timeout_is_not_over(ticks: int, is_short: bool) -> None:
    """Then what is still lacking takes no longer than that to send (thesis §4.2.1)."""
    raft = leader()
    raft.propose_membership(AddVoter(NodeId(4)))
    answer(raft, 2, 3)
    raft.tick()
    for _ in range(ticks - 1):
        raft.tick()
        for peer in (2, 3):
            say(raft, peer, heartbeat_reply(1, 1))
    catch_up(raft, 4)
    raft.tick()
    assert (NodeId(4) not in raft.membership.joining) == is_short


def test_who_has_caught_up_waits_until_a_joint_membership_is_left() -> None:
    """A tick may come between the joint one's commit and the turn that leaves it: it is no ground to build on."""
    raft = leader()
    raft.propose_membership(UpdateAddress(NodeId(3), "three"))
    answer(raft, 2, 3)
    raft.propose_membership(AddVoter(NodeId(4)))
    answer(raft, 2, 3)
    raft.tick()
    answer(raft, 2, 3)
    raft.propose_membership(Remove(NodeId(3)))
    complete(raft)
    for peer in (2, 3, 4):
        say(raft, peer, accepted(1, raft.last_index))
    assert raft.membership.voters == members(1, 2).voters
    assert raft.membership.is_joint
    assert raft.membership_index <= raft.commit_index
    before = raft.membership
    raft.tick()
    assert raft.membership == before
    complete(raft)
    assert raft.membership.voters == members(1, 2).voters
    assert not raft.membership.is_joint


@pytest.mark.parametrize("is_reached_at_once", [False, True])
def test_who_begins_anew_is_no_voter_before_others_have_confirmed_the_leader(*, is_reached_at_once: bool) -> None:
    """With one of three down nothing could confirm that once it counts: a joint membership would never be committed."""
    raft = leader()
    raft.propose_membership(AddVoter(NodeId(4)))
    answer(raft, 2)
    if not is_reached_at_once:
        raft.unreachable(NodeId(4))
    say(raft, 4, refused(1, 1, 1))
    say(raft, 4, accepted(1, raft.last_index))
    for _ in range(3 * LIMITS.election_timeout_ticks):
        raft.tick()
        complete(raft)
        say(raft, 2, heartbeat_reply(1, 1))
        say(raft, 4, accepted(1, raft.last_index))
    assert NodeId(4) in raft.membership.joining
    assert refusal(raft, Promote(NodeId(4))) == "NOT_CAUGHT_UP"
    say(raft, 2, accepted(1, raft.progress[NodeId(4)].doubted_index))
    for _ in range(2):
        raft.tick()
        say(raft, 4, accepted(1, raft.last_index))
    assert raft.membership == members(1, 2, 3, 4, outgoing=(1, 2, 3))


def test_who_joins_and_has_fallen_silent_does_not_vote_yet() -> None:
    """It has all that the round asked for, but a vote that nobody answers for would only make a quorum larger."""
    raft = leader()
    raft.propose_membership(AddVoter(NodeId(4)))
    answer(raft, 2, 3)
    catch_up(raft, 4)
    raft.tick()
    raft.progress[NodeId(4)].silent_ticks = LIMITS.election_timeout_ticks - 1
    raft.tick()
    assert NodeId(4) in raft.membership.joining, "that was the last tick of its patience"
    say(raft, 4, heartbeat_reply(1, 1))
    raft.tick()
    assert raft.membership == members(1, 2, 3, 4, outgoing=(1, 2, 3))


def test_a_leader_that_is_removed_hands_over_first() -> None:
    """Once the joint membership is committed, to a voter of the new one."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(1)))
    answer(raft, 2, 3)
    assert raft.transfer_target == 2
    assert raft.membership == members(2, 3, outgoing=(1, 2, 3))


def test_a_removed_leader_counts_others_only_and_then_steps_down() -> None:
    """It manages a cluster that does not include itself; it replicates but does not count itself (§4.2.2)."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(1)))
    answer(raft, 2, 3)
    for _ in range(LIMITS.election_timeout_ticks):
        raft.tick()
        for peer in (2, 3):
            say(raft, peer, heartbeat_reply(1, 1))
    complete(raft)
    assert raft.membership == members(2, 3)
    say(raft, 2, accepted(1, 3))
    complete(raft)
    assert (raft.commit_index, role_of(raft)) == (2, Role.LEADER)
    say(raft, 3, accepted(1, 3))
    complete(raft)
    assert (raft.commit_index, role_of(raft)) == (3, Role.FOLLOWER)
    assert raft.is_removed


def see_farewell(raft: Raft) -> None:
    """Node 3 is looked after for two election timeouts from now, and then given up."""
    for _ in range(2 * LIMITS.election_timeout_ticks):
        assert NodeId(3) in raft.progress
        raft.tick()
        complete(raft)
        say(raft, 2, heartbeat_reply(1, 1))
    assert NodeId(3) not in raft.progress


def answer_rounds(raft: Raft, count: int) -> None:
    """So many heartbeat rounds go by, and all who are sent heartbeats answer."""
    for _ in range(count):
        raft.tick()
        for peer, message in complete(raft):
            if isinstance(message, Heartbeat):
                say(raft, peer, heartbeat_reply(1, message.round))


def test_who_is_removed_while_out_of_reach_is_told_once_it_is_heard() -> None:
    """A heartbeat tells it of no commit before it has shown its log, so its answer does not mean that it knows."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    complete(raft)
    say(raft, 3, accepted(1, raft.last_index))
    answer(raft, 2)
    raft.unreachable(NodeId(3))
    answer(raft, 2)
    assert raft.membership == members(1, 2)
    answer_rounds(raft, 2)
    assert NodeId(3) in raft.progress
    say(raft, 3, accepted(1, raft.last_index))
    answer_rounds(raft, 2)
    assert NodeId(3) not in raft.progress


def test_a_farewell_is_bounded() -> None:
    """A removed peer that does not answer is given up after a while; one that learned of it, at once."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    answer(raft, 2)
    say(raft, 2, accepted(1, 3))
    see_farewell(raft)


def test_a_farewell_lasts_until_there_is_something_to_tell() -> None:
    """Slow disks may take longer to commit a removal than a removed peer is looked after; it must hear of it then."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    answer(raft, 2)
    for _ in range(3 * LIMITS.election_timeout_ticks):
        raft.tick()
        complete(raft)
        say(raft, 2, heartbeat_reply(1, 1))
    assert (raft.membership, raft.commit_index) == (members(1, 2), 2)
    assert NodeId(3) in raft.progress
    say(raft, 2, accepted(1, 3))
    assert raft.commit_index == 3
    see_farewell(raft)


def test_only_who_holds_the_removal_can_have_heard_that_it_is_committed() -> None:
    """A removed peer that answers all rounds is looked after until one told it so, and no longer."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    answer(raft, 2)
    answer_rounds(raft, 2)
    assert NodeId(3) in raft.progress, "the removal is not committed"
    say(raft, 2, accepted(1, 3))
    answer_rounds(raft, 2)
    assert NodeId(3) in raft.progress, "it is, and node 3 does not have it"
    say(raft, 3, accepted(1, 3))
    answer_rounds(raft, 2)
    assert NodeId(3) not in raft.progress


def test_a_later_change_begins_no_farewell_anew() -> None:
    """Who has heard of its removal is done with, whatever comes behind that in the log."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    answer(raft, 2)
    say(raft, 2, accepted(1, 3))
    raft.propose_membership(AddLearner(NodeId(4)))
    say(raft, 3, accepted(1, 3))
    assert raft.commit_index == 3 < raft.membership_index
    answer_rounds(raft, 2)
    assert set(raft.progress) == {2, 4}


def test_a_farewell_ends_with_the_term_of_office() -> None:
    """Who leads again looks after its members only: whom it was telling of a removal is another leader's by then."""
    raft = leader()
    raft.propose_membership(Remove(NodeId(3)))
    answer(raft, 2)
    say(raft, 2, accepted(1, 3))
    complete(raft)
    assert NodeId(3) in raft.progress
    say(raft, 2, heartbeat_reply(2, 1))
    raft.campaign()
    say(raft, 2, pre_vote(3))
    complete(raft)
    say(raft, 2, vote(3))
    for _ in range(LIMITS.heartbeat_ticks):
        raft.tick()
    complete(raft)
    assert role_of(raft) is Role.LEADER
    assert set(raft.progress) == {2}


def test_a_voter_that_needs_a_snapshot_is_not_close() -> None:
    """However few entries it lacks: the leader does not have them any more."""
    raft = leader()
    raft.propose([b"a", b"b"])
    answer(raft, 2)
    assert raft.progress[NodeId(3)].match_index + LIMITS.promotion_lag_entries_max == raft.last_index
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(2)))
    raft.compact(LogIndex(2))
    assert refusal(raft, Remove(NodeId(2))) == "NO_QUORUM"
