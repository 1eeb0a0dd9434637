"""One test for each sentence of Figure 2 of "In Search of an Understandable Consensus Algorithm (Extended Version)".

What it says of each call's arguments and results is in test_paper_arguments. Where raftd does something otherwise than
the figure (heartbeats are a message of their own, elections begin by a pre-vote, several entries go by at once), the
test shows that the sentence holds all the same.
"""

import pytest

from raftd.consensus import (
    AppendEntries,
    EntryKind,
    HardState,
    Heartbeat,
    LogIndex,
    NodeId,
    Raft,
    RequestVote,
    Role,
    Term,
)
from tests.consensus.cluster import Cluster
from tests.consensus.words import (
    accepted,
    acknowledge,
    append,
    complete,
    entries_of,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    pre_vote,
    read_index,
    refused,
    request_pre_vote,
    request_vote,
    role_of,
    say,
    terms_of,
    timeout_now,
    vote,
)

# Persistent state on all servers


def test_persistent_state_before_responding_to_a_vote() -> None:
    """Updated on stable storage before responding to RPCs."""
    raft = make_raft(1)
    say(raft, 2, request_vote(2, 1, 1))
    ready = raft.ready()
    assert ready.hard_state == HardState(Term(2), NodeId(2))
    assert not ready.messages
    assert ready.messages_after_stored == ((2, vote(2)),)


def test_persistent_state_before_responding_to_entries() -> None:
    """Updated on stable storage before responding to RPCs."""
    raft = make_raft(1)
    say(raft, 2, append(2, 1, 1, 2))
    ready = raft.ready()
    assert ready.hard_state == HardState(Term(2), None)
    assert ready.entries == entries_of(2, first=2)
    assert not ready.messages
    assert ready.messages_after_stored == ((2, accepted(2, 2)),)


def test_current_term() -> None:
    """Latest term server has seen (initialized to 0 on first boot, increases monotonically)."""
    raft = make_raft()
    assert raft.current_term == 0
    for term, seen in ((3, 3), (2, 3), (5, 5), (1, 5)):
        raft.step(NodeId(2), heartbeat(term))
        assert raft.current_term == seen


def test_voted_for() -> None:
    """CandidateId that received vote in current term (or null if none)."""
    raft = make_raft()
    assert raft.voted_for is None
    say(raft, 2, request_vote(1))
    assert raft.voted_for == 2
    say(raft, 3, heartbeat(2, leader=3))
    assert raft.voted_for is None


def test_voted_for_outlives_a_restart() -> None:
    """CandidateId that received vote in current term: a restart does not set it free (§5.2)."""
    raft = make_raft(current_term=1, voted_for=2)
    say(raft, 3, request_vote(1, candidate=3))
    assert complete(raft) == [(3, vote(1, granted=False))]
    say(raft, 2, request_vote(1, candidate=2))
    assert complete(raft) == [(2, vote(1))]


def test_log() -> None:
    """Log entries; each contains command for state machine, and term when received by leader (first index is 1)."""
    raft = make_leader(current_term=4)
    raft.propose([b"command"])
    assert raft.entries(LogIndex(1), LogIndex(3)) == (
        (1, 5, EntryKind.NOOP, b""),
        (2, 5, EntryKind.COMMAND, b"command"),
    )


# Volatile state on all servers


def test_commit_index() -> None:
    """Index of highest log entry known to be committed (initialized to 0, increases monotonically)."""
    raft = make_raft(1, 1, 1)
    assert raft.commit_index == 0
    for commit, known in ((2, 2), (1, 2), (3, 3), (0, 3)):
        say(raft, 2, append(1, 3, 1, commit=commit))
        assert raft.commit_index == known


def test_last_applied() -> None:
    """Index of highest log entry applied to state machine (initialized to 0, increases monotonically)."""
    raft = make_raft(1, 1, 1)
    assert raft.last_applied == 0
    say(raft, 2, append(1, 3, 1, commit=2))
    assert raft.last_applied == 0
    complete(raft)
    assert raft.last_applied == 2


# Volatile state on leaders


def test_next_index() -> None:
    """For each server, index of the next log entry to send (initialized to leader last log index + 1)."""
    raft = make_raft(1, 1)
    win(raft, term=2)
    assert {peer: progress.next_index for peer, progress in raft.progress.items()} == {2: 3, 3: 3}


def test_match_index() -> None:
    """For each server, highest log entry known to be replicated (initialized to 0, increases monotonically)."""
    raft = make_raft(1, 1)
    win(raft, term=2)
    progress = raft.progress[NodeId(2)]
    assert progress.match_index == 0
    complete(raft)
    for match, known in ((2, 2), (1, 2), (3, 3), (2, 3)):
        say(raft, 2, accepted(2, match))
        assert progress.match_index == known


def test_leader_state_is_reinitialized_after_election() -> None:
    """Volatile state on leaders: (Reinitialized after election)."""
    raft = make_leader(1)
    say(raft, 2, accepted(2, 2))
    say(raft, 3, heartbeat(3, leader=3))
    assert not raft.progress
    win(raft, term=4)
    assert {progress.match_index for progress in raft.progress.values()} == {0}


# AppendEntries RPC


def test_append_entries_replicates_log_entries() -> None:
    """Invoked by leader to replicate log entries (§5.3); also used as heartbeat (§5.2)."""
    raft = make_leader()
    say(raft, 2, accepted(1, 1))
    say(raft, 3, accepted(1, 1))
    raft.propose([b"a", b"b"])
    new = raft.entries(LogIndex(2), LogIndex(4))
    said = complete(raft)
    message = AppendEntries(Term(1), NodeId(1), LogIndex(1), Term(1), LogIndex(1), new)
    assert said == [(2, message), (3, message)]


def test_an_append_entries_without_entries_is_a_heartbeat() -> None:
    """Also used as heartbeat (§5.2): an empty one, too, holds off the election."""
    raft = make_raft()
    for _ in range(100):
        raft.tick()
        say(raft, 2, append(1))
    assert raft.role is Role.FOLLOWER


def test_append_entries_rule_1() -> None:
    """1. Reply false if term < currentTerm (§5.1)."""
    raft = make_raft(1, current_term=3)
    say(raft, 2, append(2, 1, 1, 2))
    assert complete(raft) == [(2, refused(3, 1))]
    assert terms_of(raft) == [1]
    assert raft.leader_id is None


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "conflict_index", "conflict_term"),
    [(4, 3, 4, 0), (9, 3, 4, 0), (3, 3, 2, 2), (2, 1, 2, 2), (1, 2, 1, 1)],
)
def test_append_entries_rule_2(prev_index: int, prev_term: int, conflict_index: int, conflict_term: int) -> None:
    """2. Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm (§5.3)."""
    raft = make_raft(1, 2, 2)
    say(raft, 2, append(3, prev_index, prev_term, 3))
    assert complete(raft) == [(2, refused(3, prev_index, conflict_index, conflict_term))]
    assert terms_of(raft) == [1, 2, 2]


def test_append_entries_rule_3() -> None:
    """3. If an existing entry conflicts with a new one, delete the existing entry and all that follow it (§5.3)."""
    raft = make_raft(1, 2, 2, 2)
    say(raft, 2, append(3, 1, 1, 2, 3))
    assert terms_of(raft) == [1, 2, 3]
    ready = raft.ready()
    assert ready.entries == entries_of(3, first=3)


def test_append_entries_rule_3_does_not_delete_without_a_conflict() -> None:
    """3. If an existing entry conflicts: what only is not mentioned stays; the message may be a late one."""
    raft = make_raft(1, 1, 1, 1)
    say(raft, 2, append(1, 1, 1, 1), append(1, 0, 0, 1), append(1, 2, 1))
    assert terms_of(raft) == [1, 1, 1, 1]


def test_append_entries_rule_4() -> None:
    """4. Append any new entries not already in the log."""
    raft = make_raft(1, 2)
    say(raft, 2, append(3, 1, 1, 2, 3, 3))
    assert terms_of(raft) == [1, 2, 3, 3]
    assert raft.ready().entries == entries_of(3, 3, first=3)


@pytest.mark.parametrize(("leader_commit", "commit_index"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (9, 3)])
def test_append_entries_rule_5(leader_commit: int, commit_index: int) -> None:
    """5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)."""
    raft = make_raft(1, 1, 1, 1)  # The fourth entry may conflict with the leader's: nobody said it does not.
    say(raft, 2, append(2, 1, 1, commit=1))
    say(raft, 2, append(2, 1, 1, 1, 1, commit=leader_commit))
    assert raft.commit_index == commit_index


# RequestVote RPC


def test_request_vote_is_invoked_by_candidates() -> None:
    """Invoked by candidates to gather votes (§5.2)."""
    raft = make_raft(1, 2)
    raft.campaign()
    say(raft, 2, pre_vote(3))
    request = RequestVote(Term(3), NodeId(1), LogIndex(2), Term(2), leadership_transfer=False)
    assert [said for said in complete(raft) if isinstance(said[1], RequestVote)] == [(2, request), (3, request)]


def test_request_vote_rule_1() -> None:
    """1. Reply false if term < currentTerm (§5.1)."""
    raft = make_raft(current_term=3)
    say(raft, 2, request_vote(2))
    assert complete(raft) == [(2, vote(3, granted=False))]
    assert raft.voted_for is None


@pytest.mark.parametrize(
    ("voted_for", "last_index", "last_term", "granted"),
    [
        (None, 3, 2, True),
        (2, 3, 2, True),
        (3, 3, 2, False),
        (1, 3, 2, False),
        (None, 4, 2, True),
        (None, 1, 3, True),
        (None, 2, 2, False),
        (None, 9, 1, False),
        (None, 0, 0, False),
    ],
)
def test_request_vote_rule_2(voted_for: int | None, last_index: int, last_term: int, granted: bool) -> None:
    """2. If votedFor is null or candidateId, and candidate's log is at least as up-to-date as mine, grant vote."""
    raft = make_raft(1, 2, 2, current_term=5, voted_for=voted_for)
    say(raft, 2, request_vote(5, last_index, last_term))
    assert complete(raft) == [(2, vote(5, granted=granted))]
    assert raft.voted_for == (2 if granted else voted_for)


# Rules for all servers


def test_all_servers_apply() -> None:
    """If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied] to state machine (§5.3)."""
    raft = make_raft(1, 1, 1)
    say(raft, 2, append(1, 3, 1, commit=2))
    assert raft.ready().committed == entries_of(1, 1)
    raft.applied(LogIndex(2))
    say(raft, 2, append(1, 3, 1, commit=3))
    assert raft.ready().committed == entries_of(1, first=3)
    assert not raft.has_ready


@pytest.mark.parametrize(
    "message",
    [
        append(9),
        refused(9, 0),
        heartbeat(9),
        heartbeat_reply(9, 1),
        request_vote(9),
        vote(9, granted=False),
        pre_vote(9, granted=False),
        read_index(9, 1),
    ],
    ids=lambda message: type(message).__name__,
)
@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE])
def test_all_servers_follow_a_higher_term(role: Role, message: AppendEntries) -> None:
    """If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower (§5.1)."""
    raft = make_raft(current_term=3)
    if role is not Role.FOLLOWER:
        raft.campaign()
    if role is Role.CANDIDATE:
        say(raft, 3, pre_vote(4))
    assert raft.role is role
    say(raft, 2, message)
    assert raft.role is Role.FOLLOWER
    assert raft.current_term == 9


@pytest.mark.parametrize("message", [append(9), refused(9, 0), heartbeat(9), heartbeat_reply(9, 1)])
def test_a_leader_follows_a_higher_term(message: AppendEntries) -> None:
    """If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower (§5.1)."""
    raft = make_leader()
    say(raft, 2, message)
    assert raft.role is Role.FOLLOWER
    assert raft.current_term == 9


@pytest.mark.parametrize("message", [request_pre_vote(9), pre_vote(9)])
def test_a_pre_vote_is_for_a_term_that_nobody_has_started(message: AppendEntries) -> None:
    """If RPC contains term T > currentTerm: a pre-vote's has none, it asks "what if" (thesis §9.6)."""
    raft = make_raft(current_term=3)
    say(raft, 2, message)
    assert raft.current_term == 3


# Rules for followers


def test_followers_respond() -> None:
    """Respond to RPCs from candidates and leaders."""
    raft = make_raft()
    say(raft, 3, request_pre_vote(1, candidate=3), request_vote(1, candidate=3))
    say(raft, 2, append(2), heartbeat(2, 7))
    assert complete(raft) == [(3, pre_vote(1)), (2, heartbeat_reply(2, 7)), (3, vote(1)), (2, accepted(2, 0))]


def test_followers_convert_after_the_election_timeout() -> None:
    """If election timeout elapses without receiving AppendEntries or granting vote: convert to candidate."""
    raft = make_raft()
    timeout = raft.election_timeout_ticks
    for _ in range(timeout - 1):
        raft.tick()
    assert role_of(raft) is Role.FOLLOWER
    raft.tick()
    assert role_of(raft) is Role.PRE_CANDIDATE
    say(raft, 2, pre_vote(1))
    assert role_of(raft) is Role.CANDIDATE


@pytest.mark.parametrize("message", [append(1), heartbeat(1), request_vote(1)])
def test_followers_wait_for_a_leader_or_their_candidate(message: AppendEntries) -> None:
    """... without receiving AppendEntries RPC from current leader or granting vote to candidate."""
    raft = make_raft()
    for _ in range(raft.election_timeout_ticks - 1):
        raft.tick()
    say(raft, 2, message)
    assert raft.election_elapsed_ticks == 0


def test_followers_do_not_wait_for_a_refused_candidate() -> None:
    """... or granting vote: one that was refused does not hold off the election of a better one."""
    raft = make_raft(1)
    for _ in range(5):
        raft.tick()
    say(raft, 2, request_vote(2, 0, 0))
    assert raft.election_elapsed_ticks == 5


# Rules for candidates


def test_candidates_start_an_election() -> None:
    """Increment currentTerm; vote for self; reset election timer; send RequestVote RPCs to all other servers."""
    raft = make_raft(current_term=3, size=5)
    for _ in range(raft.election_timeout_ticks):
        raft.tick()
    raft.tick()
    say(raft, 2, pre_vote(4))
    say(raft, 3, pre_vote(4))
    assert raft.role is Role.CANDIDATE
    assert raft.current_term == 4
    assert raft.voted_for == 1
    assert raft.election_elapsed_ticks == 0
    assert [to for to, message in complete(raft) if isinstance(message, RequestVote)] == [2, 3, 4, 5]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_candidates_become_leader(size: int) -> None:
    """If votes received from majority of servers: become leader."""
    raft = make_raft(size=size)
    raft.campaign()
    for node in range(2, size + 1):
        say(raft, node, pre_vote(1))
    ready = raft.ready()
    acknowledge(raft, ready)
    needed = size // 2 + 1
    for votes, node in enumerate(range(2, size + 1), 1):
        assert (raft.role is Role.LEADER) == (votes >= needed)
        say(raft, node, vote(1))
    assert raft.role is Role.LEADER


@pytest.mark.parametrize("message", [append(4), heartbeat(4), append(5)])
def test_candidates_follow_a_new_leader(message: AppendEntries) -> None:
    """If AppendEntries RPC received from new leader: convert to follower."""
    raft = make_raft(current_term=3)
    raft.campaign()
    say(raft, 3, pre_vote(4))
    assert role_of(raft) is Role.CANDIDATE
    say(raft, 2, message)
    assert role_of(raft) is Role.FOLLOWER
    assert raft.leader_id == 2


def test_candidates_start_again() -> None:
    """If election timeout elapses: start new election."""
    raft = make_raft()
    raft.campaign()
    say(raft, 2, pre_vote(1))
    for _ in range(raft.election_timeout_ticks):
        assert raft.role is Role.CANDIDATE
        raft.tick()
    assert raft.role is Role.PRE_CANDIDATE
    say(raft, 2, pre_vote(2))
    assert raft.current_term == 2


# Rules for leaders


def test_leaders_send_heartbeats_upon_election() -> None:
    """Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server."""
    raft = make_raft()
    win(raft, term=1)
    beats = [(to, message) for to, message in complete(raft) if isinstance(message, Heartbeat)]
    assert [to for to, _ in beats] == [2, 3]


def test_leaders_repeat_heartbeats() -> None:
    """Repeat during idle periods to prevent election timeouts (§5.2)."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.run(200)
    assert cluster.leaders == {1: 1}


def test_leaders_respond_after_the_entry_is_applied() -> None:
    """If command received from client: append entry to log, respond after entry applied to state machine (§5.3)."""
    raft = make_leader()
    index = raft.propose([b"command"])
    assert raft.last_index == index == 2
    ready = raft.ready()
    acknowledge(raft, ready)
    assert not ready.committed
    say(raft, 2, accepted(1, 2))
    assert raft.ready().committed[-1] == (2, 1, EntryKind.COMMAND, b"command")


def test_leaders_send_from_next_index() -> None:
    """If last log index >= nextIndex for a follower: send AppendEntries RPC with log entries starting at nextIndex."""
    raft = make_leader(1, 1)
    say(raft, 2, accepted(2, 3))
    raft.propose([b"a"])
    raft.propose([b"b"])
    [message] = [message for to, message in complete(raft) if to == 2]
    assert isinstance(message, AppendEntries)
    assert message.prev_log_index == 3
    assert [entry[0] for entry in message.entries] == [4, 5]


def test_leaders_update_on_success() -> None:
    """If successful: update nextIndex and matchIndex for follower (§5.3)."""
    raft = make_leader(1, 1)
    say(raft, 2, accepted(2, 3))
    progress = raft.progress[NodeId(2)]
    assert (progress.match_index, progress.next_index) == (3, 4)


def test_leaders_go_back_on_failure() -> None:
    """If AppendEntries fails because of log inconsistency: decrement nextIndex and retry (§5.3)."""
    raft = make_leader(1, 1, 2, 2)
    say(raft, 2, refused(3, 4, 3, 0))
    [message] = [message for to, message in complete(raft) if to == 2]
    assert isinstance(message, AppendEntries)
    assert (message.prev_log_index, message.prev_log_term) == (2, 1)
    assert [entry[0] for entry in message.entries] == [3, 4, 5]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_leaders_commit(size: int) -> None:
    """If N > commitIndex, a majority of matchIndex >= N, and log[N].term == currentTerm: set commitIndex = N."""
    raft = make_leader(size=size)
    raft.propose([b"command"])
    ready = raft.ready()
    needed = size // 2 + 1
    for node in range(2, needed + 1):
        say(raft, node, accepted(1, 2))
        assert raft.commit_index < 2
    acknowledge(raft, ready)
    assert raft.commit_index == 2


def test_leaders_do_not_commit_old_terms_by_counting() -> None:
    """... and log[N].term == currentTerm (§5.4, Figure 8): an old entry on a majority may still be replaced."""
    raft = make_leader(1, 1)
    say(raft, 2, accepted(2, 2))
    say(raft, 3, accepted(2, 2))
    assert raft.commit_index == 0
    say(raft, 2, accepted(2, 3))
    assert raft.commit_index == 3


def test_a_leader_asked_to_start_an_election_does_not_lead_two_terms() -> None:
    """A transfer that names a candidate starts one more term, in which it asks for votes (thesis §3.10)."""
    raft = make_raft(current_term=1)
    say(raft, 2, timeout_now(1))
    assert (raft.role, raft.current_term) == (Role.CANDIDATE, 2)


def win(raft: Raft, *, term: int) -> None:
    """Elect node 1 of three; what it says as a leader is still to be taken."""
    raft.campaign()
    say(raft, 2, pre_vote(term))
    acknowledge(raft, raft.ready())
    say(raft, 2, vote(term))
    assert raft.role is Role.LEADER
