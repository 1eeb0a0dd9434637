"""What Figure 2 of the Raft paper says of each call's arguments and results (its rules are in test_paper)."""

from raftd.consensus import AppendEntries, Heartbeat, LogIndex, Message, RequestPreVote, RequestVote, Role
from tests.consensus.words import (
    accepted,
    append,
    complete,
    entries_of,
    make_leader,
    make_raft,
    pre_vote,
    refused,
    request_vote,
    say,
    vote,
)


def test_append_entries_arguments_of_the_leader() -> None:
    """Term: leader's term. LeaderId: so follower can redirect clients."""
    raft = make_raft()
    say(raft, 3, append(4, leader=3))
    assert (raft.current_term, raft.leader_id) == (4, 3)


def test_append_entries_arguments_of_the_log() -> None:
    """PrevLogIndex: index of log entry immediately preceding new ones. PrevLogTerm: term of prevLogIndex entry."""
    raft = make_leader(1, 2, 2)
    say(raft, 2, refused(3, 3, 2, 1))
    message = said_to(2, complete(raft))
    assert isinstance(message, AppendEntries)
    assert (message.prev_log_index, message.prev_log_term) == (1, 1)
    assert message.entries == raft.entries(LogIndex(2), LogIndex(5))


def test_append_entries_argument_entries() -> None:
    """Entries[]: log entries to store (empty for heartbeat; may send more than one for efficiency)."""
    raft = make_raft(1)
    say(raft, 2, append(2, 1, 1))
    assert not raft.ready().entries
    say(raft, 2, append(2, 1, 1, 2, 2, 2))
    assert raft.ready().entries == entries_of(2, 2, 2, first=2)


def test_append_entries_argument_leader_commit() -> None:
    """LeaderCommit: leader's commitIndex."""
    raft = make_leader()
    say(raft, 2, accepted(1, 1))
    complete(raft)
    raft.propose([b"command"])
    message = said_to(2, complete(raft))
    assert isinstance(message, AppendEntries)
    assert message.leader_commit == raft.commit_index == 1


def test_append_entries_results() -> None:
    """Term: currentTerm, for leader to update itself. Success: true if follower contained entry matching (...)."""
    follower = make_raft(1, 1, current_term=6)
    say(follower, 2, append(3, 2, 1), append(6, 2, 1), append(6, 2, 2))
    assert complete(follower) == [(2, refused(6, 2)), (2, refused(6, 2, 1, 1)), (2, accepted(6, 2))]
    leader = make_leader(current_term=2)
    say(leader, 2, refused(6, 2))
    assert (leader.current_term, leader.role) == (6, Role.FOLLOWER)


def test_request_vote_arguments() -> None:
    """Term: candidate's term. CandidateId: candidate requesting vote. LastLogIndex, lastLogTerm: of its last entry."""
    raft = make_raft(1, 1, 4, current_term=6)
    raft.campaign()
    say(raft, 3, pre_vote(7))
    message = said_to(2, complete(raft))
    assert isinstance(message, RequestVote)
    assert (message.term, message.candidate_id) == (raft.current_term, raft.node_id) == (7, 1)
    assert (message.last_log_index, message.last_log_term) == (3, 4)


def test_request_vote_results() -> None:
    """Term: currentTerm, for candidate to update itself. VoteGranted: true means candidate received vote."""
    voter = make_raft(current_term=3)
    say(voter, 2, request_vote(3))
    say(voter, 3, request_vote(3, candidate=3))
    assert complete(voter) == [(3, vote(3, granted=False)), (2, vote(3))]
    candidates = [make_raft(current_term=2) for _ in range(3)]
    for candidate in candidates:
        candidate.campaign()
        say(candidate, 2, pre_vote(3))
        complete(candidate)
    for candidate, answer in zip(candidates, (vote(5, granted=False), vote(3, granted=False), vote(3)), strict=True):
        say(candidate, 2, answer)
    outcomes = [(candidate.current_term, candidate.role) for candidate in candidates]
    assert outcomes == [(5, Role.FOLLOWER), (3, Role.CANDIDATE), (3, Role.LEADER)]


def said_to(node: int, said: list[tuple[int, Message]]) -> Message:
    """The last message to `node` that is no heartbeat and asks for no pre-vote."""
    return [each for to, each in said if to == node and not isinstance(each, Heartbeat | RequestPreVote)][-1]
