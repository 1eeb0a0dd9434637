"""Leases end before anybody else can be elected, whatever the clocks do within their bound (thesis §6.4.1)."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus import Heartbeat, Limits, Message, NodeId, Raft, Role
from tests.consensus.words import (
    accepted,
    complete,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    pre_vote,
    read_index_reply,
    request_pre_vote,
    request_vote,
    role_of,
    say,
    vote,
)


def leasing(timeout: int = 10, drift: float = 0.1) -> Limits:
    return Limits(election_timeout_ticks=timeout, heartbeat_ticks=timeout - 1, lease_reads=True, clock_drift=drift)


def leader(limits: Limits) -> Raft:
    """Leads term 1, has committed in it, and a quorum answered a round that began just now."""
    raft = make_leader(limits=limits)
    say(raft, 2, accepted(1, 1), heartbeat_reply(1, 1))
    complete(raft)
    return raft


def reads_at_once(raft: Raft, overdue_ticks: int = 0) -> bool:
    """Whether a read is answered without asking anybody."""
    read_id = raft.request_read(overdue_ticks)
    ready = raft.ready()
    return (read_id, raft.commit_index) in ready.confirmed_reads and not ready.messages


@pytest.mark.parametrize(("timeout", "drift", "ticks"), [(10, 0.1, 7), (10, 0.0, 8), (20, 0.1, 16), (10, 1.0, 4)])
def test_how_long_a_lease_is(timeout: int, drift: float, ticks: int) -> None:
    """(timeout - 2) / (1 + drift), less the tick that may be about to come."""
    raft = leader(leasing(timeout, drift))
    held = 0
    while held < timeout and reads_at_once(raft, held):
        held += 1
    assert held == ticks


def test_a_read_by_quorum_rests_on_no_clock() -> None:
    """With a lease or without: a round is begun for it, and those who ask for no such thing are answered meanwhile."""
    raft = leader(leasing())
    read_id = raft.request_read(by_quorum=True)
    assert reads_at_once(leader(leasing()))
    ready = raft.ready()
    assert read_id not in dict(ready.confirmed_reads)
    assert ready.messages
    say(raft, 2, heartbeat_reply(1, 2))
    assert read_id in dict(raft.ready().confirmed_reads)


@settings(deadline=None, max_examples=300)
@given(
    timeout=st.integers(3, 20),
    drift=st.fractions(0, 1, max_denominator=20),
    faster=st.fractions(0, 1, max_denominator=20),
    phases=st.tuples(st.fractions(0, 1, max_denominator=8), st.fractions(0, 1, max_denominator=8)),
)
def test_no_lease_outlives_a_voters_word(
    timeout: int, drift: Fraction, faster: Fraction, phases: tuple[Fraction, Fraction]
) -> None:
    """The leader's last instant with a lease is before the first at which a voter, faster by the bound, may vote."""
    raft = leader(leasing(timeout, float(drift)))
    leader_tick, voter_tick = Fraction(1), 1 / (1 + drift * faster)
    ticks = 0
    while reads_at_once(raft) and ticks <= timeout:
        raft.tick()
        ticks += 1
        complete(raft)
    # The round began just before the leader's first tick at the worst, and the lease lasts until right before the last.
    lease_ends = phases[0] * leader_tick + (ticks - 1) * leader_tick
    # The voter heard it at that instant, and then its first tick, a late one; the next comes some part of one later.
    vote_begins = phases[1] * voter_tick + (timeout - 2) * voter_tick
    assert lease_ends <= vote_begins


def test_only_with_the_setting() -> None:
    """Without lease reads a quorum is asked each time."""
    assert not reads_at_once(leader(Limits()))


def test_not_before_the_first_commit_of_the_term() -> None:
    """Until then the leader does not know what is committed (§8)."""
    raft = make_leader(limits=leasing())
    say(raft, 2, heartbeat_reply(1, 1))
    assert not reads_at_once(raft)


def test_not_before_a_round_was_answered() -> None:
    """That entries were stored says nothing of when: only an answered round does."""
    raft = make_leader(limits=leasing())
    say(raft, 2, accepted(1, 1))
    complete(raft)
    assert not reads_at_once(raft)


def test_a_lease_read_sees_all_that_is_committed() -> None:
    """Applied here or not: what an earlier leader has answered must be there."""
    raft = make_leader(limits=leasing())
    say(raft, 2, accepted(1, 1), heartbeat_reply(1, 1))
    assert (raft.commit_index, raft.last_applied) == (1, 0)
    read_id = raft.request_read()
    assert raft.ready().confirmed_reads == ((read_id, 1),)


def test_counted_from_the_sending_of_the_round() -> None:
    """An answer that was long under way confirms what was so when its round began, and no more."""
    raft = make_leader(limits=leasing())
    say(raft, 2, accepted(1, 1))
    complete(raft)
    for _ in range(8):
        raft.tick()
    say(raft, 2, heartbeat_reply(1, 1))
    assert not reads_at_once(raft)


def test_rounds_of_an_earlier_term_of_office_do_not_count() -> None:
    """Who leads again has a lease as soon as its first round is answered, whatever had that number before."""
    raft = leader(leasing())
    for _ in range(7):
        raft.tick()
    raft.request_read(by_quorum=True)
    complete(raft)
    say(raft, 3, read_index_reply(2, 1, None))
    while role_of(raft) is Role.FOLLOWER:
        raft.tick()
    say(raft, 2, pre_vote(3))
    complete(raft)
    say(raft, 2, vote(3))
    complete(raft)
    say(raft, 2, accepted(3, 2), heartbeat_reply(3, 1))
    complete(raft)
    assert reads_at_once(raft)


@pytest.mark.parametrize("overdue_ticks", [8, 100])
def test_a_pause_counts(overdue_ticks: int) -> None:
    """Ticks that were due while the process stood still are not made up for, but they use the lease up."""
    raft = leader(leasing())
    raft.tick(overdue_ticks=overdue_ticks)
    assert not reads_at_once(raft)


def test_a_lease_is_as_long_after_a_long_time_of_office() -> None:
    """What counts is when the last answered round began, and not how many there were before it."""
    raft = leader(leasing())
    for _ in range(5):
        for _ in range(leasing().heartbeat_ticks):
            raft.tick()
        number = next(message.round for _, message in complete(raft) if isinstance(message, Heartbeat))
        say(raft, 2, heartbeat_reply(1, number))
    for _ in range(7):
        assert reads_at_once(raft)
        raft.tick()
    assert not reads_at_once(raft)


def test_none_in_a_term_in_which_somebody_was_told_to_campaign() -> None:
    """The target heeds no lease, and the order may arrive at any time, also after it was given up."""
    raft = leader(leasing())
    say(raft, 3, accepted(1, 1), heartbeat_reply(1, 1))
    raft.transfer_leadership(NodeId(3))
    assert not reads_at_once(raft)
    complete(raft)
    for _ in range(10):
        raft.tick()
        complete(raft)
        say(raft, 2, heartbeat_reply(1, 2))
    assert raft.transfer_target is None
    assert not reads_at_once(raft)


@pytest.mark.parametrize("current_term", [1, 3])
def test_a_voter_keeps_its_word_over_terms_and_restarts(current_term: int) -> None:
    """A node that has just started may have told a leader so; only time frees it, or the leader's own wish."""
    raft = make_raft(current_term=current_term, limits=leasing())
    asked: list[Message] = [
        request_pre_vote(current_term + 1),
        request_vote(current_term + 1),
        request_vote(current_term),
    ]
    for message in asked:
        say(raft, 2, message)
    raft.campaign()
    assert (complete(raft), role_of(raft), raft.current_term) == ([], Role.FOLLOWER, current_term)
    say(raft, 3, request_vote(current_term + 1, candidate=3, transfer=True))
    assert raft.voted_for == 3
    raft = make_raft(current_term=current_term, limits=leasing())
    for _ in range(10):
        raft.tick()
    say(raft, 2, request_vote(current_term + 1))
    assert raft.voted_for == 2


def test_a_later_term_without_a_leader_frees_nobody() -> None:
    """The word was given to the leader of the old term, which may not know of the new one."""
    raft = make_raft(limits=leasing())
    say(raft, 2, heartbeat(1))
    say(raft, 3, read_index_reply(2, 1, None))
    assert raft.current_term == 2
    complete(raft)
    say(raft, 3, request_vote(2, candidate=3))
    assert raft.voted_for is None


def test_each_heartbeat_renews_a_voters_word() -> None:
    """It runs from the last time that the voter heard the leader, however long it has been up."""
    raft = make_raft(limits=leasing())
    for _ in range(3):
        say(raft, 2, heartbeat(1))
        for _ in range(7):
            raft.tick()
    say(raft, 3, read_index_reply(2, 1, None))
    complete(raft)
    say(raft, 3, request_vote(2, candidate=3))
    assert raft.voted_for is None
    for _ in range(3):
        raft.tick()
    say(raft, 3, request_vote(2, candidate=3))
    assert raft.voted_for == 3


def test_who_votes_alone_waits_for_nobody() -> None:
    """A cluster of one has told no other leader anything."""
    raft = make_raft(1, size=1, limits=leasing())
    raft.campaign()
    complete(raft)
    assert role_of(raft) is Role.LEADER
    assert reads_at_once(raft)
    assert raft.commit_index == 2
