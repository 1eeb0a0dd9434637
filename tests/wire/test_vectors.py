"""Each version of the protocol, byte for byte: `vectors/v*/*.hex`, which are written by hand and never rewritten.

Version 1 is whole; version 2, which nodes speak to each other, has what differs from version 1.

A failure here is no reason to touch a vector. It says that nodes and clients in use would not understand this code; a
change of the bytes is a new version of the protocol, with vectors of its own beside these.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId, ReadId, Term
from raftd.kv import commands
from raftd.kv.changes import Change
from raftd.kv.changes import encode_change as encode_key_change
from raftd.kv.commands import Revision, SessionId, Stamp
from raftd.kv.types import LeaseId
from raftd.wire import backup, client, handshake, watch
from raftd.wire.administration import ChangeKind, encode_change, encode_transfer
from raftd.wire.backup import BackupOutcome
from raftd.wire.client import BODY_OFFSET, Consistency, QueryOpcode, Refusal, RefusalCode, RequestKind, ResponseKind
from raftd.wire.entries import decode_entries, encode_entries
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import ConnectionRole, HandshakeRefusal, HandshakeRefusalCode, Hello, Welcome
from raftd.wire.peer import MessageType, decode_message, encode_message
from raftd.wire.watch import ChangesHead, WatchEndReason, WatchFlag, WatchRequest

VECTORS = Path(__file__).parent / "vectors"
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1
NODE_MAX = (1 << 63) - 1
CLUSTER = bytes(range(0x10, 0x20))
SENDER = NodeId(2)
ADDRESS_4 = "client=n4:7400,peer=n4:7401,http=n4:7402"


def read_vectors(file: str, version: int = 1) -> dict[str, bytes]:
    """The named bytes of a file; `#` begins a comment."""
    vectors = {}
    text = (VECTORS / f"v{version}" / f"{file}.hex").read_text(encoding="utf-8")
    for paragraph in text.split("\n\n")[1:]:
        name, *fields = paragraph.splitlines()
        vectors[name] = bytes.fromhex("".join(field.partition("#")[0] for field in fields))
    return vectors


HELLOS = {
    "hello-client": Hello(ConnectionRole.CLIENT),
    "hello-client-that-knows-whom-it-wants": Hello(ConnectionRole.CLIENT, CLUSTER, receiver_node_id=NodeId(2)),
    "hello-peer": Hello(ConnectionRole.PEER, CLUSTER, NodeId(1), NodeId(3)),
    "hello-largest": Hello(
        ConnectionRole.PEER, b"\xff" * 16, NodeId(NODE_MAX), NodeId(NODE_MAX - 1), version_min=65535, version_max=65535
    ),
}
HANDSHAKE_REPLIES: dict[str, Welcome | HandshakeRefusal] = {
    "welcome-client": Welcome(1, CLUSTER, NodeId(2), 2_097_161, 1024),
    "welcome-peer": Welcome(1, CLUSTER, NodeId(3), 4_194_304, 0),
    "welcome-largest": Welcome(65535, b"\xff" * 16, NodeId(NODE_MAX), U32_MAX, U32_MAX),
    "refused-no-common-version": HandshakeRefusal(HandshakeRefusalCode.NO_COMMON_VERSION, "no"),
    "refused-wrong-cluster": HandshakeRefusal(HandshakeRefusalCode.WRONG_CLUSTER, "no"),
    "refused-wrong-node": HandshakeRefusal(HandshakeRefusalCode.WRONG_NODE, "no"),
    "refused-wrong-role": HandshakeRefusal(HandshakeRefusalCode.WRONG_ROLE, "no"),
    "refused-not-allowed": HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, "no, näh"),
    "refused-too-many-connections": HandshakeRefusal(HandshakeRefusalCode.TOO_MANY_CONNECTIONS, "no"),
    "refused-stopping": HandshakeRefusal(HandshakeRefusalCode.STOPPING, ""),
}
MESSAGES: dict[str, Message] = {
    "request-pre-vote": RequestPreVote(Term(8), SENDER, LogIndex(300), Term(7)),
    "request-pre-vote-empty-log": RequestPreVote(Term(1), SENDER, LogIndex(0), Term(0), unproven=True),
    "request-pre-vote-reply-granted": RequestPreVoteReply(Term(8), vote_granted=True),
    "request-pre-vote-reply-refused": RequestPreVoteReply(Term(0), vote_granted=False),
    "request-vote": RequestVote(Term(8), SENDER, LogIndex(300), Term(7), leadership_transfer=False),
    "request-vote-transfer-largest": RequestVote(
        Term(U64_MAX), SENDER, LogIndex(U64_MAX), Term(U64_MAX), leadership_transfer=True, unproven=True
    ),
    "request-vote-reply-granted": RequestVoteReply(Term(8), vote_granted=True),
    "request-vote-reply-refused": RequestVoteReply(Term(9), vote_granted=False),
    "append-entries-empty": AppendEntries(Term(8), SENDER, LogIndex(0), Term(0), LogIndex(0), ()),
    "append-entries": AppendEntries(
        Term(8),
        SENDER,
        LogIndex(300),
        Term(7),
        LogIndex(299),
        (
            (LogIndex(301), Term(7), EntryKind.COMMAND, b"command"),
            (LogIndex(302), Term(8), EntryKind.NOOP, b""),
            (LogIndex(303), Term(8), EntryKind.MEMBERSHIP, b"members"),
        ),
    ),
    "append-entries-largest": AppendEntries(
        Term(U64_MAX),
        SENDER,
        LogIndex(U64_MAX - 1),
        Term(U64_MAX),
        LogIndex(U64_MAX),
        ((LogIndex(U64_MAX), Term(U64_MAX), EntryKind.COMMAND, b"\xff"),),
    ),
    "append-entries-reply-success": AppendEntriesReply(
        Term(8), success=True, match_index=LogIndex(303), conflict_index=LogIndex(0), conflict_term=Term(0)
    ),
    "append-entries-reply-refused": AppendEntriesReply(
        Term(8), success=False, match_index=LogIndex(300), conflict_index=LogIndex(250), conflict_term=Term(6)
    ),
    "heartbeat": Heartbeat(Term(8), SENDER, LogIndex(303), 77),
    "heartbeat-largest": Heartbeat(Term(U64_MAX), SENDER, LogIndex(U64_MAX), U64_MAX),
    "heartbeat-reply": HeartbeatReply(Term(8), 77),
    "read-index": ReadIndex(Term(8), ReadId(5)),
    "read-index-reply-confirmed": ReadIndexReply(Term(8), ReadId(5), LogIndex(303)),
    "read-index-reply-refused": ReadIndexReply(Term(8), ReadId(5), None),
    "timeout-now": TimeoutNow(Term(8), SENDER),
    "install-snapshot": InstallSnapshot(Term(8), SENDER, LogIndex(300), Term(7), 1 << 20, b"data", done=True),
    "install-snapshot-empty-last-chunk": InstallSnapshot(
        Term(8), SENDER, LogIndex(300), Term(7), (1 << 20) + 4, b"", done=True
    ),
    "install-snapshot-reply-where-to-go-on": InstallSnapshotReply(Term(8), LogIndex(300), 1 << 20, installed=False),
    "install-snapshot-reply-installed": InstallSnapshotReply(Term(8), LogIndex(300), 0, installed=True),
}
NEWER_HELLOS = {
    "hello-peer": Hello(
        ConnectionRole.PEER,
        CLUSTER,
        NodeId(1),
        NodeId(3),
        version_min=handshake.PEER_VERSION_MIN,
        version_max=handshake.PEER_VERSION_MAX,
    )
}
NEWER_WELCOMES = {"welcome-peer": Welcome(2, CLUSTER, NodeId(3), 4_194_304, 0)}
NEWER_MESSAGES: dict[str, tuple[Message, int]] = {
    "request-pre-vote": (MESSAGES["request-pre-vote"], 0),
    "request-pre-vote-empty-log": (
        RequestPreVote(Term(1), SENDER, LogIndex(0), Term(0), unproven=True, unanimous=True),
        0,
    ),
    "request-vote": (MESSAGES["request-vote"], 0),
    "request-vote-transfer-largest": (
        RequestVote(
            Term(U64_MAX),
            SENDER,
            LogIndex(U64_MAX),
            Term(U64_MAX),
            leadership_transfer=True,
            unproven=True,
            unanimous=True,
        ),
        0,
    ),
    "heartbeat": (MESSAGES["heartbeat"], 1_700_000_000_123),
    "heartbeat-largest": (MESSAGES["heartbeat-largest"], U64_MAX),
    "heartbeat-reply": (MESSAGES["heartbeat-reply"], 1_700_000_000_456),
}
"""Those of version 2 that differ from version 1, with the time of day at their sending."""
BATCHES: dict[str, list[Entry]] = {
    "noop": [(LogIndex(1), Term(1), EntryKind.NOOP, b"")],
    "command": [(LogIndex(1), Term(7), EntryKind.COMMAND, b"command")],
    "membership": [(LogIndex(1), Term(8), EntryKind.MEMBERSHIP, b"members")],
    "advance-clock": [
        (LogIndex(1), Term(7), EntryKind.COMMAND, Stamp("").at(0) + commands.advance_clock(1000)),
    ],
    "expire-leases": [
        (
            LogIndex(1),
            Term(7),
            EntryKind.COMMAND,
            Stamp("").at(0) + commands.expire_leases([LeaseId(14), LeaseId(U64_MAX)]),
        ),
    ],
    "three-entries": [
        (LogIndex(1), Term(7), EntryKind.COMMAND, b"command"),
        (LogIndex(2), Term(8), EntryKind.NOOP, b""),
        (LogIndex(3), Term(U64_MAX), EntryKind.COMMAND, b"\0"),
    ],
}
S = SessionId(12)
REQUESTS = {
    "write-open-session": (RequestKind.WRITE, 1, commands.open_session(60_000)),
    "write-close-session": (RequestKind.WRITE, 9, commands.close_session(S)),
    "write-keep-alive": (RequestKind.WRITE, 8, commands.keep_alive(S, 5)),
    "write-put": (RequestKind.WRITE, 2, commands.put(S, 1, 1, b"color", b"blue")),
    "write-put-if-absent": (
        RequestKind.WRITE,
        3,
        commands.put(S, 2, 2, b"color", b"blue", expected_revision=Revision(0)),
    ),
    "write-put-empty-value": (
        RequestKind.WRITE,
        U64_MAX,
        commands.put(SessionId(U64_MAX), U64_MAX, U64_MAX, b"\0", b""),
    ),
    "write-delete": (RequestKind.WRITE, 5, commands.delete(S, 3, 2, b"color")),
    "write-delete-if-unchanged": (
        RequestKind.WRITE,
        6,
        commands.delete(S, 4, 2, b"color", expected_revision=Revision(1)),
    ),
    "read-get": (RequestKind.READ, 4, client.encode_read_body(Consistency.LINEARIZABLE, QueryOpcode.GET, b"color")),
    "read-get-stale": (RequestKind.READ, 7, client.encode_read_body(Consistency.STALE, QueryOpcode.GET, b"\xff\0")),
    "status": (RequestKind.STATUS, 10, b""),
    "log": (RequestKind.LOG, 11, client.encode_log_body(10)),
    "log-largest": (RequestKind.LOG, U64_MAX, client.encode_log_body(U32_MAX)),
    "ping": (RequestKind.PING, 0, b""),
    "diagnostics": (RequestKind.DIAGNOSTICS, 28, b""),
    "traced-write-put": (RequestKind.TRACED_WRITE, 29, commands.put(S, 1, 1, b"color", b"blue")),
    "trace-own": (RequestKind.TRACE, 30, client.encode_trace_body(0)),
    "trace-largest": (RequestKind.TRACE, U64_MAX, client.encode_trace_body(U64_MAX)),
    "membership-add-voter": (
        RequestKind.MEMBERSHIP_CHANGE,
        12,
        encode_change(ChangeKind.ADD_VOTER, 4, address=ADDRESS_4),
    ),
    "membership-add-learner": (
        RequestKind.MEMBERSHIP_CHANGE,
        13,
        encode_change(
            ChangeKind.ADD_LEARNER,
            5,
            address="client=[2001:db8::5]:7400,peer=[2001:db8::5]:7401,http=[2001:db8::5]:7402",
        ),
    ),
    "membership-promote": (RequestKind.MEMBERSHIP_CHANGE, 14, encode_change(ChangeKind.PROMOTE, 5)),
    "membership-remove-largest": (RequestKind.MEMBERSHIP_CHANGE, U64_MAX, encode_change(ChangeKind.REMOVE, NODE_MAX)),
    "membership-replace": (
        RequestKind.MEMBERSHIP_CHANGE,
        15,
        encode_change(ChangeKind.REPLACE, 4, old_node_id=2, address=ADDRESS_4),
    ),
    "membership-update-address": (
        RequestKind.MEMBERSHIP_CHANGE,
        16,
        encode_change(
            ChangeKind.UPDATE_ADDRESS, 3, address="client=192.0.2.3:7400,peer=192.0.2.3:7401,http=192.0.2.3:7402"
        ),
    ),
    "transfer-leadership": (RequestKind.TRANSFER_LEADERSHIP, 17, encode_transfer(None)),
    "transfer-leadership-to-node": (RequestKind.TRANSFER_LEADERSHIP, 18, encode_transfer(NodeId(3))),
    "reload": (RequestKind.RELOAD, 19, b""),
}
REQUESTS |= {
    "watch": (RequestKind.WATCH, 20, watch.encode_watch_body(WatchRequest(WatchFlag.PREVIOUS, 7, b"a/", b"a0"))),
    "watch-everything": (
        RequestKind.WATCH,
        U64_MAX,
        watch.encode_watch_body(WatchRequest(WatchFlag(0), 0, b"", b"")),
    ),
    "watch-deletes-from-the-last-revision": (
        RequestKind.WATCH,
        0,
        watch.encode_watch_body(
            WatchRequest(
                WatchFlag.PREVIOUS | WatchFlag.NO_PUTS | WatchFlag.PROGRESS | WatchFlag.KEYS_ONLY,
                U64_MAX,
                b"\0",
                b"\xff",
            )
        ),
    ),
    "watch-puts": (
        RequestKind.WATCH,
        23,
        watch.encode_watch_body(WatchRequest(WatchFlag.NO_DELETES, 1, b"k", b"k\0")),
    ),
    "unwatch": (RequestKind.UNWATCH, 21, watch.encode_unwatch_body(20)),
    "lease-keep-alive": (RequestKind.LEASE_KEEP_ALIVE, 22, watch.encode_keep_alive_body([12, 13])),
}
REQUESTS |= {
    "backup": (RequestKind.BACKUP, 24, backup.encode_backup_body(Consistency.LINEARIZABLE)),
    "backup-stale": (RequestKind.BACKUP, U64_MAX, backup.encode_backup_body(Consistency.STALE)),
    "backup-piece": (RequestKind.BACKUP_PIECE, 25, backup.encode_backup_piece_body(5, 1 << 18)),
    "backup-piece-largest": (RequestKind.BACKUP_PIECE, 0, backup.encode_backup_piece_body(U64_MAX, U64_MAX)),
    "backup-report": (
        RequestKind.BACKUP_REPORT,
        26,
        backup.encode_backup_report_body(BackupOutcome.VERIFIED, 1_700_000_000_000),
    ),
    "backup-report-failed": (RequestKind.BACKUP_REPORT, 27, backup.encode_backup_report_body(BackupOutcome.FAILED)),
}
PIECES = {"piece": (25, b"data"), "piece-empty": (U64_MAX, b"")}
_RECORD = (Revision(7), Revision(7), 1, LeaseId(0), b"alice", b"blue")
_PUT = Change(Revision(7), b"a/b", None, _RECORD, False, 1_700_000_000_000, b"alice", b"")
_DELETE = Change(Revision(9), b"a/b", _RECORD, None, True, 1_700_000_000_000, b"alice", b"")
CHANGES = {
    "changes": (
        20,
        ChangesHead(8, is_partial=False, change_count=1),
        [encode_key_change(_PUT, values=True, previous=True)],
    ),
    "changes-partial": (
        20,
        ChangesHead(9, is_partial=True, change_count=1),
        [encode_key_change(_DELETE, values=True, previous=True)],
    ),
    "changes-progress": (U64_MAX, ChangesHead(U64_MAX, is_partial=False, change_count=0), []),
}
ENDS = {f"watch-ended-{reason.name.lower().replace('_', '-')}": watch.WatchEnd(reason, 9) for reason in WatchEndReason}
DOCUMENTS = {"document": (10, '{"role": "leader"}'), "document-empty": (U64_MAX, "")}
REFUSALS = {
    "refused-not-leader-known": (
        2,
        Refusal(RefusalCode.NOT_LEADER, "node 3 leads", leader_id=NodeId(3), leader_address="192.0.2.3:7400"),
    ),
    "refused-not-leader": (1, Refusal(RefusalCode.NOT_LEADER, "no")),
    "refused-no-leader": (2, Refusal(RefusalCode.NO_LEADER, "no")),
    "refused-overloaded": (3, Refusal(RefusalCode.OVERLOADED, "é")),
    "refused-stopping": (4, Refusal(RefusalCode.STOPPING, "")),
    "refused-outcome-unknown": (5, Refusal(RefusalCode.OUTCOME_UNKNOWN, "no")),
    "refused-denied": (6, Refusal(RefusalCode.DENIED, "no")),
    "refused-bad-request": (7, Refusal(RefusalCode.BAD_REQUEST, "no")),
    "refused-too-large": (8, Refusal(RefusalCode.TOO_LARGE, "no")),
    "refused-unavailable": (9, Refusal(RefusalCode.UNAVAILABLE, "no")),
    "refused-not-possible": (12, Refusal(RefusalCode.NOT_POSSIBLE, "no")),
    "refused-full": (13, Refusal(RefusalCode.FULL, "no")),
}

HANDSHAKE_VECTORS = read_vectors("handshake")
PEER_VECTORS = read_vectors("peer")
ENTRIES_VECTORS = read_vectors("entries")
CLIENT_VECTORS = read_vectors("client")
NEWER_PEER_VECTORS = read_vectors("peer", 2)
NEWER_HANDSHAKE_VECTORS = read_vectors("handshake", 2)


@pytest.mark.parametrize("name", HELLOS)
def test_hellos(name: str) -> None:
    """A Hello is these bytes, and these bytes are that Hello."""
    vector = HANDSHAKE_VECTORS[name]
    assert encode_frame(handshake.encode_hello(HELLOS[name])) == vector
    assert handshake.decode_hello(vector[4:]) == HELLOS[name]


@pytest.mark.parametrize("name", HANDSHAKE_REPLIES)
def test_handshake_replies(name: str) -> None:
    """An answer to a Hello is these bytes, and these bytes are that answer."""
    vector = HANDSHAKE_VECTORS[name]
    assert encode_frame(handshake.encode_reply(HANDSHAKE_REPLIES[name])) == vector
    assert handshake.decode_reply(vector[4:]) == HANDSHAKE_REPLIES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    """A message between nodes is these bytes, and these bytes are that message."""
    vector = PEER_VECTORS[name]
    assert b"".join(encode_message(MESSAGES[name], version=1)) == vector
    assert decode_message(vector[4:], SENDER, 1)[0] == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_of_version_2(name: str) -> None:
    """The same, with vectors of its own for what version 2 has changed."""
    message, now_ms = NEWER_MESSAGES.get(name, (MESSAGES[name], 0))
    vector = NEWER_PEER_VECTORS.get(name) or PEER_VECTORS[name]
    assert b"".join(encode_message(message, version=2, wall_clock_ms=now_ms)) == vector
    assert decode_message(vector[4:], SENDER, 2)[0] == message


def test_handshakes_of_version_2() -> None:
    """Nodes offer what they speak by now, and agree on the newest."""
    hello, welcome = NEWER_HANDSHAKE_VECTORS["hello-peer"], NEWER_HANDSHAKE_VECTORS["welcome-peer"]
    assert encode_frame(handshake.encode_hello(NEWER_HELLOS["hello-peer"])) == hello
    assert handshake.decode_hello(hello[4:]) == NEWER_HELLOS["hello-peer"]
    assert encode_frame(handshake.encode_reply(NEWER_WELCOMES["welcome-peer"])) == welcome
    assert handshake.decode_reply(welcome[4:]) == NEWER_WELCOMES["welcome-peer"]


@pytest.mark.parametrize("name", BATCHES)
def test_batches(name: str) -> None:
    """A batch of entries is these bytes, and these bytes are that batch."""
    vector = ENTRIES_VECTORS[name]
    assert encode_entries(BATCHES[name]) == vector
    assert decode_entries(vector, LogIndex(1)) == BATCHES[name]


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str) -> None:
    """A request is these bytes, and these bytes are that request."""
    vector = CLIENT_VECTORS[name]
    kind, request_id, body = REQUESTS[name]
    assert client.encode_request(kind, request_id, body) == vector
    assert client.parse_request(vector[4:]) == (kind, request_id)
    assert vector[4 + BODY_OFFSET :] == body


@pytest.mark.parametrize("name", [name for name in CLIENT_VECTORS if name.startswith("answer-")])
def test_answers(name: str) -> None:
    """An answer's frame is these bytes; what is in it is the state machine's."""
    vector = CLIENT_VECTORS[name]
    kind, request_id = client.parse_response(vector[4:])
    assert kind is ResponseKind.ANSWER
    assert client.encode_answer(request_id, vector[4 + BODY_OFFSET :]) == vector


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name: str) -> None:
    """A document is these bytes, and these bytes are that document."""
    vector = CLIENT_VECTORS[name]
    request_id, text = DOCUMENTS[name]
    assert client.encode_document(request_id, text) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.DOCUMENT, request_id)
    assert client.decode_document(vector[4:]) == text


@pytest.mark.parametrize("name", PIECES)
def test_pieces(name: str) -> None:
    """A piece of a backup is these bytes, and these bytes are that piece."""
    vector = CLIENT_VECTORS[name]
    request_id, data = PIECES[name]
    assert backup.encode_piece(request_id, data) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.PIECE, request_id)
    assert vector[4 + BODY_OFFSET :] == data


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    """A refusal is these bytes, and these bytes are that refusal."""
    vector = CLIENT_VECTORS[name]
    request_id, refusal = REFUSALS[name]
    assert client.encode_refusal(request_id, refusal) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.REFUSED, request_id)
    assert client.decode_refusal(vector[4:]) == refusal


def test_pong() -> None:
    """A pong is these bytes, and these bytes are that pong."""
    vector = CLIENT_VECTORS["pong"]
    assert client.encode_pong(0) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.PONG, 0)


def test_watching() -> None:
    """A watch's beginning and the answer to its UNWATCH are these bytes, and these bytes are they."""
    vector = CLIENT_VECTORS["watching"]
    assert watch.encode_watching(20, 6) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.WATCHING, 20)
    assert watch.decode_watching(vector[4:]) == 6
    vector = CLIENT_VECTORS["unwatched"]
    assert watch.encode_unwatched(21) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.UNWATCHED, 21)


@pytest.mark.parametrize("name", CHANGES)
def test_changes(name: str) -> None:
    """What a watch is told is these bytes, and these bytes are that."""
    vector = CLIENT_VECTORS[name]
    request_id, head, changes = CHANGES[name]
    body = watch.changes_body(head.revision, changes, is_partial=head.is_partial)
    assert watch.changes_head(request_id, len(body)) + body == vector
    if not changes:
        assert watch.encode_progress(request_id, head.revision) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.CHANGES, request_id)
    assert watch.decode_changes_head(vector[4:]) == head
    assert vector[4 + watch.CHANGES_OFFSET :] == b"".join(changes)


@pytest.mark.parametrize("name", ENDS)
def test_ends_of_watches(name: str) -> None:
    """The end of a watch is these bytes, and these bytes are that end."""
    vector = CLIENT_VECTORS[name]
    assert watch.encode_watch_ended(20, *ENDS[name]) == vector
    assert client.parse_response(vector[4:]) == (ResponseKind.WATCH_ENDED, 20)
    assert watch.decode_watch_ended(vector[4:]) == ENDS[name]


def test_the_answer_to_a_keep_alive() -> None:
    """Its body is these bytes, and these bytes are that body."""
    body = CLIENT_VECTORS["answer-lease-keep-alive"][4 + BODY_OFFSET + 17 :]
    assert watch.keep_alive_answer_body([60_000, 0]) == body
    assert watch.decode_keep_alive_answer(body) == (60_000, 0)


@pytest.mark.parametrize(
    ("vectors", "covered"),
    [
        pytest.param(HANDSHAKE_VECTORS, [*HELLOS, *HANDSHAKE_REPLIES], id="handshake"),
        pytest.param(PEER_VECTORS, MESSAGES, id="peer"),
        pytest.param(NEWER_PEER_VECTORS, NEWER_MESSAGES, id="peer 2"),
        pytest.param(NEWER_HANDSHAKE_VECTORS, [*NEWER_HELLOS, *NEWER_WELCOMES], id="handshake 2"),
        pytest.param(ENTRIES_VECTORS, BATCHES, id="entries"),
        pytest.param(
            CLIENT_VECTORS,
            [
                *(*REQUESTS, *DOCUMENTS, *PIECES, *REFUSALS, *CHANGES, *ENDS, "pong", "watching", "unwatched"),
                *(n for n in CLIENT_VECTORS if n.startswith("answer-")),
            ],
            id="client",
        ),
    ],
)
def test_each_vector_is_checked(vectors: dict[str, bytes], covered: list[str]) -> None:
    """No vector lies about unread, and none has the bytes of another."""
    assert set(vectors) == set(covered)
    assert len(set(vectors.values())) == len(vectors)


@pytest.mark.parametrize(
    ("vectors", "number", "everything"),
    [
        pytest.param(PEER_VECTORS, lambda vector: vector[4], set(MessageType), id="message types"),
        pytest.param(ENTRIES_VECTORS, lambda vector: vector[8], set(EntryKind), id="entry kinds"),
        pytest.param(HANDSHAKE_VECTORS, lambda vector: vector[12], {0, 1, *HandshakeRefusalCode}, id="handshake codes"),
        pytest.param(
            {n: CLIENT_VECTORS[n] for n in REQUESTS}, lambda vector: vector[4], set(RequestKind), id="requests"
        ),
        pytest.param(
            {n: v for n, v in CLIENT_VECTORS.items() if n not in REQUESTS},
            lambda vector: vector[4],
            set(ResponseKind),
            id="responses",
        ),
        pytest.param(
            {n: v for n, v in CLIENT_VECTORS.items() if n.startswith("membership-")},
            lambda vector: vector[13],
            set(ChangeKind),
            id="membership changes",
        ),
        pytest.param(
            {n: CLIENT_VECTORS[n] for n in REFUSALS}, lambda vector: vector[13], set(RefusalCode), id="refusal codes"
        ),
        pytest.param(
            {n: CLIENT_VECTORS[n] for n in ENDS}, lambda vector: vector[13], set(WatchEndReason), id="ends of watches"
        ),
    ],
)
def test_everything_has_a_vector(
    vectors: dict[str, bytes], number: Callable[[bytes], int], everything: set[int]
) -> None:
    """Each type, kind and code that has a number on the wire has a vector."""
    assert {number(vector) for vector in vectors.values()} >= everything
