"""Terms: what old messages get for an answer, and that answers are counted in their own term only."""

import pytest

from raftd.consensus import Message, NodeId, Role
from tests.consensus.words import (
    accepted,
    append,
    complete,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    pre_vote,
    read_index,
    read_index_reply,
    refused,
    request_pre_vote,
    request_vote,
    say,
    timeout_now,
    vote,
)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (append(2, 1, 1, 2), refused(5, 1)),
        (heartbeat(2, 9), heartbeat_reply(5, 0)),
        (request_vote(2), vote(5, granted=False)),
        (request_pre_vote(2), pre_vote(5, granted=False)),
        (read_index(2, 7), read_index_reply(5, 7, None)),
    ],
)
def test_who_asks_in_an_old_term_learns_of_the_new_one(asked: Message, answer: Message) -> None:
    """A request of an older term changes nothing, and its answer carries the newer term (§5.1)."""
    raft = make_raft(current_term=5)
    say(raft, 2, asked)
    assert complete(raft) == [(2, answer)]
    assert (raft.current_term, raft.leader_id, raft.last_index) == (5, None, 0)


@pytest.mark.parametrize(
    "message",
    [
        accepted(1, 9),
        refused(1, 9, 1),
        heartbeat_reply(1, 99),
        vote(1),
        pre_vote(1),
        read_index_reply(1, 1, 9),
        timeout_now(1),
    ],
)
@pytest.mark.parametrize("leads", [True, False])
def test_answers_of_an_old_term_are_ignored(leads: bool, message: Message) -> None:
    """An answer or an order of an older term is about something that is over."""
    raft = make_leader(current_term=4) if leads else make_raft(current_term=5)
    say(raft, 2, message)
    assert not raft.has_ready
    assert raft.role is (Role.LEADER if leads else Role.FOLLOWER)


@pytest.mark.parametrize("message", [accepted(5, 1), refused(5, 1, 1), heartbeat_reply(5, 1), vote(5), pre_vote(6)])
def test_answers_to_who_gave_up_are_ignored(message: Message) -> None:
    """Answers in the present term to a role that this node no longer has change nothing."""
    raft = make_raft(current_term=5)
    say(raft, 2, message)
    assert not raft.has_ready
    assert raft.role is Role.FOLLOWER


def test_who_lost_an_election_gets_an_answer_though_a_leader_lives() -> None:
    """Loyalty is against later terms; in this one there is a vote, and it is given."""
    raft = make_raft(current_term=5, voted_for=2)
    say(raft, 2, heartbeat(5))
    complete(raft)
    say(raft, 3, request_vote(5, candidate=3))
    assert complete(raft) == [(3, vote(5, granted=False))]


def test_an_answer_to_an_old_term_answers_nothing_of_the_new_one() -> None:
    """What refuses an old term's heartbeat or append confirms no round and moves no index of the term it names.

    Whoever sent them may lead that term when the refusals arrive.
    """
    replier = make_raft(current_term=5)
    say(replier, 2, heartbeat(2, 9))
    say(replier, 2, append(2, 1, 1, 2))
    refusals = [message for _, message in complete(replier)]
    leader = make_leader(1, 2, 3, 4)
    assert leader.current_term == 5
    progress = leader.progress[NodeId(2)]
    before = (progress.confirmed_round, progress.match_index, progress.next_index, progress.state)
    for refusal in refusals:
        say(leader, 2, refusal)
    assert (progress.confirmed_round, progress.match_index, progress.next_index, progress.state) == before
