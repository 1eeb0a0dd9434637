"""What no correct peer can say is refused, and changes nothing; what one could have said at some time is not."""

from copy import deepcopy

import pytest

from raftd.consensus import (
    AppendEntries,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    InstallSnapshotReply,
    LogIndex,
    Message,
    NodeId,
    Raft,
    RequestVote,
    Term,
    observe,
)
from raftd.consensus.messages import AppendEntriesReply
from raftd.consensus.types import NO_INDEX, NO_TERM
from raftd.errors import RemoteProtocolError
from tests.consensus.words import (
    accepted,
    append,
    complete,
    entries_of,
    entry,
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


def with_entries(term: int, prev_index: int, prev_term: int, *entries: tuple[int, int]) -> AppendEntries:
    made = tuple((LogIndex(index), Term(term), EntryKind.COMMAND, b"") for index, term in entries)
    return AppendEntries(Term(term), NodeId(2), LogIndex(prev_index), Term(prev_term), LogIndex(0), made)


def with_membership(data: bytes) -> AppendEntries:
    entries = ((LogIndex(3), Term(3), EntryKind.MEMBERSHIP, data),)
    return AppendEntries(Term(3), NodeId(2), LogIndex(2), Term(2), LogIndex(0), entries)


def chunk(term: int, index: int = 5, last_term: int = 2, leader: int = 2, data: bytes = b"x") -> InstallSnapshot:
    return InstallSnapshot(Term(term), NodeId(leader), LogIndex(index), Term(last_term), 0, data, done=False)


def follower() -> Raft:
    raft = make_raft(1, 2, current_term=3)
    say(raft, 2, heartbeat(3))
    complete(raft)
    return raft


@pytest.mark.parametrize(
    ("sender", "message", "complaint"),
    [
        (1, heartbeat(3, leader=1), "this node itself"),
        (2, heartbeat(0), "term 0"),
        (2, heartbeat(4, leader=3), "another leader than its sender"),
        (2, append(4, leader=3), "another leader than its sender"),
        (2, timeout_now(4, leader=3), "another leader than its sender"),
        (3, heartbeat(3, leader=3), "which node 2 leads"),
        (3, append(3, leader=3), "which node 2 leads"),
        (2, heartbeat(3, commit=3), "never acknowledged"),
        (2, append(3, 1, 0), "without index or term"),
        (2, append(3, 0, 1), "without index or term"),
        (2, with_entries(3, 2, 2, (4, 3)), "index 3"),
        (2, with_entries(3, 2, 2, (2, 3)), "index 3"),
        (2, with_entries(3, 2, 2, (3, 3), (5, 3)), "index 4"),
        (2, with_entries(3, 2, 2, (3, 1)), "term >= 2"),
        (2, with_entries(3, 2, 2, (3, 3), (4, 2)), "term >= 3"),
        (2, with_entries(3, 2, 2, (3, 4)), "newer than its leader's term"),
        (2, append(3, 2, 4), "newer than its leader's term"),
        (2, request_vote(4, candidate=3), "another candidate"),
        (2, request_pre_vote(4, candidate=3), "another candidate"),
        (2, request_vote(4, 5, 4), "already has"),
        (2, request_pre_vote(4, 5, 5), "already has"),
        (2, request_vote(4, 0, 3), "nowhere"),
        (2, request_vote(4, 3, 0), "nowhere"),
        (2, chunk(4, leader=3), "another leader than its sender"),
        (3, chunk(3, leader=3), "which node 2 leads"),
        (2, chunk(3, index=0), "a snapshot of nothing"),
        (2, chunk(3, last_term=4), "newer than its leader's term"),
        (2, chunk(3, last_term=0), "newer than its leader's term"),
        (2, chunk(3, data=b""), "an empty chunk"),
        (2, with_membership(b"?"), "a membership cannot be read"),
    ],
)
def test_a_follower_refuses(sender: int, message: Message, complaint: str) -> None:
    """What no correct peer can say to a follower is refused by name, and leaves it as it was."""
    raft = follower()
    before = observe(raft)
    with pytest.raises(RemoteProtocolError, match=complaint):
        raft.step(NodeId(sender), message)
    assert observe(raft) == before
    assert not raft.has_ready


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (accepted(2, 3), "does not have"),
        (refused(2, 3, 1), "does not have"),
        (refused(2, 1, 2), "where to go on"),
        (refused(2, 2, 1, 3), "newer than its own term"),
        (heartbeat_reply(2, 2), "not begun"),
        (heartbeat(2), "which node 1 leads"),
        (append(2), "which node 1 leads"),
        (InstallSnapshotReply(Term(2), LogIndex(3), 0, installed=True), "does not have"),
    ],
)
def test_a_leader_refuses(message: Message, complaint: str) -> None:
    """Answers to what was never asked, and a second leader of its term, are refused and leave the leader as it was."""
    raft = make_leader(1)
    before = observe(raft)
    progress = deepcopy(dict(raft.progress))
    with pytest.raises(RemoteProtocolError, match=complaint):
        raft.step(NodeId(2), message)
    assert observe(raft) == before
    assert raft.progress == progress
    assert not raft.has_ready


@pytest.mark.parametrize(
    "message",
    [
        append(1, 9, 1),
        append(3, 9, 3, commit=99),
        with_entries(3, 0, 0, (1, 1), (2, 2)),
        accepted(3, 99),
        accepted(1, 99),
        refused(3, 0),
        heartbeat(2, commit=99, leader=2),
        heartbeat_reply(3, 99),
        heartbeat_reply(9, 99),
        vote(3),
        vote(9, granted=False),
        pre_vote(9),
        pre_vote(1, granted=False),
        read_index(1, 0),
        read_index_reply(3, 0, 99),
        timeout_now(1),
        request_vote(1),
        InstallSnapshotReply(Term(3), LogIndex(99), 0, installed=True),
    ],
)
def test_what_may_be_late_is_not_refused(message: Message) -> None:
    """Messages from earlier terms or lives, about things this node no longer knows of, are no one's fault."""
    say(follower(), 2, message)


def test_an_answer_to_an_earlier_term_may_speak_of_entries_that_are_gone() -> None:
    """What this node appended when it led before may have been replaced before it led again."""
    raft = make_leader(1)
    progress = deepcopy(dict(raft.progress))
    raft.step(NodeId(2), AppendEntriesReply(raft.current_term, False, LogIndex(99), NO_INDEX, NO_TERM))
    for peer, before in progress.items():
        now = raft.progress[peer]
        assert (now.match_index, now.next_index) == (before.match_index, before.next_index)


def test_the_last_chunk_of_a_snapshot_may_be_empty() -> None:
    """It says that there is no more, where the chunk before it could not know."""
    raft = follower()
    last = InstallSnapshot(Term(3), NodeId(2), LogIndex(5), Term(2), 0, b"", done=True)
    say(raft, 2, last)
    assert raft.ready().snapshot_data == ((2, last),)


def test_entries_are_compared_as_the_codec_makes_them() -> None:
    """A well-formed message passes, whichever tuple type the entries have."""
    raft = follower()
    message = AppendEntries(
        Term(3), NodeId(2), LogIndex(2), Term(2), LogIndex(0), (*entries_of(3, first=3), entry(4, 3))
    )
    say(raft, 2, message)
    assert raft.last_index == 4


def test_the_sender_of_a_higher_term_may_be_a_new_leader() -> None:
    """Another leader in a later term is what elections are for."""
    raft = follower()
    say(raft, 3, Heartbeat(Term(4), NodeId(3), LogIndex(2), 1))
    assert raft.leader_id == 3
    say(raft, 2, RequestVote(Term(4), NodeId(2), LogIndex(2), Term(2), leadership_transfer=True))
    assert raft.leader_id == 3


def test_a_sender_need_not_be_a_member() -> None:
    """Servers accept AppendEntries and votes without consulting their configuration (thesis §4.1)."""
    raft = follower()
    say(raft, 9, request_vote(4, 2, 2, candidate=9, transfer=True))
    assert raft.voted_for == 9
    say(raft, 9, heartbeat(4, leader=9))
    assert raft.leader_id == 9
