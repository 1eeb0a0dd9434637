"""Who may do what: each kind of request, and each user, at the one place that decides."""

from typing import Any

import pytest

from raftd.kv import commands
from raftd.kv.commands import Opcode, SessionId
from raftd.kv.operations import (
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Put,
    Range,
    Transaction,
    Write,
    WriteOperation,
)
from raftd.kv.queries import HistoryQuery, LeaseQuery, LeasesQuery, Query, RangeQuery, encode_query
from raftd.kv.types import LeaseId, Revision
from raftd.wire.administration import ChangeKind, encode_change, encode_transfer
from raftd.wire.backup import (
    BackupOutcome,
    encode_backup_body,
    encode_backup_piece_body,
    encode_backup_report_body,
)
from raftd.wire.client import (
    Consistency,
    QueryOpcode,
    RefusalCode,
    RequestKind,
    ResponseKind,
    encode_log_body,
    encode_read_body,
    encode_trace_body,
)
from raftd.wire.watch import (
    WatchFlag,
    WatchRequest,
    encode_keep_alive_body,
    encode_unwatch_body,
    encode_watch_body,
)
from tests.node.parts import Server

SESSION = SessionId(1)
OPEN = (b"open/", b"open0")


def leader(**options: Any) -> Server:
    """A one-node cluster that has applied its no-op."""
    server = Server(size=1, **options)
    server.become_leader()
    return server


def read(consistency: Consistency, key: bytes) -> tuple[RequestKind, bytes]:
    return RequestKind.READ, encode_read_body(consistency, QueryOpcode.GET, key)


def write(command: bytes) -> tuple[RequestKind, bytes]:
    return RequestKind.WRITE, command


def ask(query: Query, consistency: Consistency = Consistency.LINEARIZABLE) -> tuple[RequestKind, bytes]:
    return RequestKind.READ, encode_read_body(consistency, *encode_query(query))


def watch(low: bytes, high: bytes) -> tuple[RequestKind, bytes]:
    return RequestKind.WATCH, encode_watch_body(WatchRequest(WatchFlag.PREVIOUS, 0, low, high))


def do(operation: WriteOperation, fence: Fence | None = None) -> tuple[RequestKind, bytes]:
    return write(commands.write(SESSION, 1, 1, Write(operation, fence)))


REQUESTS = {
    "put open": write(commands.put(SESSION, 1, 1, b"open/key", b"value")),
    "put": write(commands.put(SESSION, 1, 1, b"key", b"value")),
    "delete": write(commands.delete(SESSION, 1, 1, b"key")),
    "open session": write(commands.open_session()),
    "close session": write(commands.close_session(SESSION)),
    "keep alive": write(commands.keep_alive(SESSION)),
    "get open": read(Consistency.LINEARIZABLE, b"open/key"),
    "get": read(Consistency.LINEARIZABLE, b"key"),
    "get the prefix's own beginning": read(Consistency.LINEARIZABLE, b"open"),
    "stale get open": read(Consistency.STALE, b"open/key"),
    "stale get": read(Consistency.STALE, b"key"),
    "status": (RequestKind.STATUS, b""),
    "log": (RequestKind.LOG, encode_log_body(10)),
    "ping": (RequestKind.PING, b""),
    "diagnostics": (RequestKind.DIAGNOSTICS, b""),
    "reload": (RequestKind.RELOAD, b""),
    "put open, traced": (RequestKind.TRACED_WRITE, commands.put(SESSION, 1, 1, b"open/key", b"value")),
    "put, traced": (RequestKind.TRACED_WRITE, commands.put(SESSION, 1, 1, b"key", b"value")),
    "trace of one's own write": (RequestKind.TRACE, encode_trace_body(0)),
    "trace of any entry": (RequestKind.TRACE, encode_trace_body(1)),
    "change the membership": (RequestKind.MEMBERSHIP_CHANGE, encode_change(ChangeKind.REMOVE, 1)),
    "transfer the lead": (RequestKind.TRANSFER_LEADERSHIP, encode_transfer(None)),
    "put open with what was there": do(Put(b"open/key", b"value", previous=True)),
    "put open if it is as expected": do(Put(b"open/key", b"value", expected_value=b"")),
    "put open while a key is held": do(Put(b"open/key", b"value"), Fence(b"key", Revision(0))),
    "increment open": do(Increment(b"open/key", 1)),
    "delete open": do(DeleteRange(*OPEN)),
    "delete more than open": do(DeleteRange(b"open", b"open0")),
    "transaction in open": do(Transaction((), (Put(b"open/key", b"value"), Delete(b"open/key")))),
    "transaction that reads open": do(Transaction((), (Put(b"open/key", b"value"), Get(b"open/key")))),
    "transaction that also writes elsewhere": do(Transaction((), (), (Transaction((), (Put(b"key", b""),)),))),
    "grant a lease": write(commands.lease_grant(SESSION, 1, 1)),
    "revoke a lease": write(commands.lease_revoke(SESSION, 1, 1, LeaseId(1))),
    "range open": ask(RangeQuery(Range(*OPEN))),
    "range a part of open": ask(RangeQuery(Range(b"open/a", b"open/b"))),
    "stale range open": ask(RangeQuery(Range(*OPEN)), Consistency.STALE),
    "count more than open": ask(RangeQuery(Range(b"open/", b"open1", count_only=True))),
    "stale range of all": ask(RangeQuery(Range(b"", b"")), Consistency.STALE),
    "history open": ask(HistoryQuery(b"open/key")),
    "history": ask(HistoryQuery(b"key")),
    "stale history": ask(HistoryQuery(b"key"), Consistency.STALE),
    "lease": ask(LeaseQuery(LeaseId(1))),
    "leases": ask(LeasesQuery()),
    "keep a lease alive": (RequestKind.LEASE_KEEP_ALIVE, encode_keep_alive_body([1])),
    "watch open": watch(*OPEN),
    "watch a key of open": watch(b"open/key", b"open/key\0"),
    "watch from open on": watch(b"open/", b""),
    "watch all": watch(b"", b""),
    "watch a key": watch(b"key", b"key\0"),
    "take a backup": (RequestKind.BACKUP, encode_backup_body(Consistency.LINEARIZABLE)),
    "take a stale backup": (RequestKind.BACKUP, encode_backup_body(Consistency.STALE)),
    "read a backup": (RequestKind.BACKUP_PIECE, encode_backup_piece_body(1, 0)),
    "report a backup": (RequestKind.BACKUP_REPORT, encode_backup_report_body(BackupOutcome.FAILED)),
    "unwatch": (RequestKind.UNWATCH, encode_unwatch_body(77)),
}
FREE = {"ping", "unwatch", "trace of one's own write"}
SESSIONS = {"open session", "close session", "keep alive"}
LEASES = {"grant a lease", "revoke a lease", "lease", "leases", "keep a lease alive"}
ALLOWED = {
    "alice": set(REQUESTS),  # All keys, and an administrator.
    "bob": FREE  # Reads below open/.
    | {"get open", "stale get open", "range open", "range a part of open", "stale range open", "history open"}
    | {"watch open", "watch a key of open"},
    "carol": FREE  # Writes below open/, and may not see what is there.
    | SESSIONS
    | LEASES
    | {"put open", "put open, traced", "delete open", "transaction in open"},
    "dave": FREE  # An administrator, who sees no key.
    | {
        "status",
        "log",
        "diagnostics",
        "reload",
        "trace of any entry",
        "change the membership",
        "transfer the lead",
        "lease",
        "leases",
    },
    "stranger": FREE,  # A certificate, and nothing else.
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("user", ALLOWED)
def test_who_may_do_what(user: str, request_name: str) -> None:
    """The one place that decides; everything that is not granted is denied, and nothing of it is proposed."""
    server = leader()
    last_index = server.raft.last_index
    client = server.client(user)
    (request_id,) = client.send(REQUESTS[request_name])
    server.scheduler.run()
    server.store()
    response = client.responses.get(request_id)
    is_denied = response is not None and response[0] is ResponseKind.REFUSED
    is_denied = is_denied and client.refusal(request_id).code is RefusalCode.DENIED
    assert is_denied == (request_name not in ALLOWED[user])
    if is_denied:
        assert server.raft.last_index == last_index
        assert server.watches.count == 0
    elif REQUESTS[request_name][0] is RequestKind.WATCH:
        assert client.told(request_id).began == 0


def test_every_kind_is_decided() -> None:
    """The table above leaves out nothing that one can ask."""
    assert {kind for kind, _ in REQUESTS.values()} == set(RequestKind)
    asked = {QueryOpcode(body[1]) for kind, body in REQUESTS.values() if kind is RequestKind.READ}
    assert asked == set(QueryOpcode)
    written = {Opcode(body[0]) for kind, body in REQUESTS.values() if kind is RequestKind.WRITE}
    assert written == {opcode for opcode in Opcode if opcode < Opcode.ADVANCE_CLOCK}
