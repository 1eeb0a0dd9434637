"""Short ways to write messages and to work a single node, with plain integers; node 1 is the one under test."""

from random import Random

from raftd.consensus import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Limits,
    LogIndex,
    Membership,
    Message,
    NodeId,
    Raft,
    ReadId,
    ReadIndex,
    ReadIndexReply,
    Ready,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    Role,
    Term,
    TimeoutNow,
    check_basic,
    check_delta,
    observe,
)


def members(*voters: int, outgoing: tuple[int, ...] = (), learners: tuple[int, ...] = ()) -> Membership:
    return Membership(
        frozenset(NodeId(node) for node in voters),
        frozenset(NodeId(node) for node in outgoing),
        frozenset(NodeId(node) for node in learners),
    )


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    return LogIndex(index), Term(term), EntryKind.COMMAND, data


def entries_of(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Entries of these terms from index `first` on."""
    return tuple(entry(index, term) for index, term in enumerate(terms, first))


def make_raft(
    *terms: int,
    current_term: int | None = None,
    voted_for: int | None = None,
    size: int = 3,
    limits: Limits | None = None,
    membership: Membership | None = None,
    random: Random | None = None,
    node_id: int = 1,
) -> Raft:
    """One node of `size`, with a log that has `terms` at indexes 1, 2, ...; in their last one, or in `current_term`."""
    return Raft(
        node_id=NodeId(node_id),
        membership=membership if membership is not None else members(*range(1, size + 1)),
        hard_state=HardState(
            Term(max(terms, default=0) if current_term is None else current_term),
            None if voted_for is None else NodeId(voted_for),
        ),
        entries=entries_of(*terms),
        random=random if random is not None else Random(1),
        limits=limits,
    )


def make_leader(*terms: int, size: int = 3, limits: Limits | None = None, current_term: int | None = None) -> Raft:
    """`make_raft`, elected in the next term by everybody; what it said so far is taken away."""
    raft = make_raft(*terms, size=size, limits=limits, current_term=current_term)
    raft.campaign()
    for node in range(2, size + 1):
        say(raft, node, pre_vote(raft.current_term + 1))
    complete(raft)
    for node in range(2, size + 1):
        say(raft, node, vote(raft.current_term))
    assert raft.role is Role.LEADER
    complete(raft)
    return raft


def say(raft: Raft, sender: int, *messages: Message) -> None:
    """Let the node hear `messages`, and check it after each."""
    for message in messages:
        before = observe(raft)
        raft.step(NodeId(sender), message)
        check_basic(raft)
        check_delta(before, observe(raft))


def complete(raft: Raft) -> list[tuple[int, Message]]:
    """Do all that the node wants done, on a disk without delay; what it says, in order."""
    said: list[tuple[int, Message]] = []
    while raft.has_ready:
        ready = raft.ready()
        said.extend(ready.messages)
        acknowledge(raft, ready)
        said.extend(ready.messages_after_stored)
        if ready.committed:
            raft.applied(ready.committed[-1][0])
        check_basic(raft)
    return said


def acknowledge(raft: Raft, ready: Ready) -> None:
    """The disk has finished `ready`."""
    if ready.must_store:
        raft.stored(ready.stored_term, ready.stored_index)


def role_of(raft: Raft) -> Role:
    """The node's role; by a call, so that a type checker does not take an earlier look for the last word."""
    return raft.role


def terms_of(raft: Raft) -> list[int]:
    """The terms of the node's log, from index 1 on."""
    return [entry[1] for entry in raft.entries(LogIndex(1), LogIndex(raft.last_index + 1))]


def append(
    term: int, prev_index: int = 0, prev_term: int = 0, *terms: int, commit: int = 0, leader: int = 2
) -> AppendEntries:
    """Entries of `terms` behind (prev_index, prev_term)."""
    return AppendEntries(
        Term(term),
        NodeId(leader),
        LogIndex(prev_index),
        Term(prev_term),
        LogIndex(commit),
        entries_of(*terms, first=prev_index + 1),
    )


def accepted(term: int, match_index: int) -> AppendEntriesReply:
    return AppendEntriesReply(Term(term), True, LogIndex(match_index), LogIndex(0), Term(0))


def refused(term: int, prev_index: int, conflict_index: int = 0, conflict_term: int = 0) -> AppendEntriesReply:
    return AppendEntriesReply(Term(term), False, LogIndex(prev_index), LogIndex(conflict_index), Term(conflict_term))


def heartbeat(term: int, number: int = 1, commit: int = 0, leader: int = 2) -> Heartbeat:
    return Heartbeat(Term(term), NodeId(leader), LogIndex(commit), number)


def heartbeat_reply(term: int, number: int) -> HeartbeatReply:
    return HeartbeatReply(Term(term), number)


def request_vote(
    term: int, last_index: int = 0, last_term: int = 0, *, candidate: int = 2, transfer: bool = False
) -> RequestVote:
    return RequestVote(Term(term), NodeId(candidate), LogIndex(last_index), Term(last_term), transfer)


def request_pre_vote(term: int, last_index: int = 0, last_term: int = 0, *, candidate: int = 2) -> RequestPreVote:
    return RequestPreVote(Term(term), NodeId(candidate), LogIndex(last_index), Term(last_term))


def vote(term: int, *, granted: bool = True) -> RequestVoteReply:
    return RequestVoteReply(Term(term), granted)


def pre_vote(term: int, *, granted: bool = True) -> RequestPreVoteReply:
    return RequestPreVoteReply(Term(term), granted)


def read_index(term: int, read_id: int) -> ReadIndex:
    return ReadIndex(Term(term), ReadId(read_id))


def read_index_reply(term: int, read_id: int, index: int | None) -> ReadIndexReply:
    return ReadIndexReply(Term(term), ReadId(read_id), None if index is None else LogIndex(index))


def timeout_now(term: int, leader: int = 2) -> TimeoutNow:
    return TimeoutNow(Term(term), NodeId(leader))
