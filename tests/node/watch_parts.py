"""A state machine that has nothing but changes, and clients that read when they are told to."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from raftd.kv.changes import Change, ShownChange, decode_changes
from raftd.kv.types import LeaseId, Record, Revision
from raftd.node.connection import ClientConnection
from raftd.node.watches import Watches, WatchLimits
from raftd.wire.client import ResponseKind, parse_response
from raftd.wire.frames import FrameReader
from raftd.wire.limits import RESPONSE_BYTES_MAX
from raftd.wire.watch import (
    CHANGES_OFFSET,
    WatchEnd,
    WatchFlag,
    WatchRequest,
    decode_changes_head,
    decode_watch_ended,
    decode_watching,
)

NO_REVISION = Revision(0)
NO_FLAGS = WatchFlag(0)
USER, ADDRESS = b"alice", b"192.0.2.1:5000"


@dataclass
class FakeHistory:
    """As `raftd.kv.history`, as far as watches use it."""

    changes: list[Change] = field(default_factory=list)
    compacted_revision: Revision = NO_REVISION

    def changes_after(self, revision: Revision, limit: int, skipped: int, /) -> Sequence[Change]:
        assert revision >= self.compacted_revision, "what is asked for is not held"
        start = bisect_right(self.changes, revision, key=lambda change: change.revision) + skipped
        return self.changes[start : start + limit]

    def changes_of(self, key: bytes, before_revision: Revision, /) -> Iterator[Change]:
        changes = [change for change in self.changes if change.key == key and change.revision < before_revision]
        return reversed(changes)


class FakeMachine:
    """Keys and their changes. `log` has all that ever happened."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        self.history = FakeHistory()
        self.log: list[Change] = []
        self.records: dict[bytes, Record] = {}

    def change(self, *changes: tuple[bytes, bytes | None]) -> None:
        """One revision: (key, value), None to delete."""
        self.revision = Revision(self.revision + 1)
        for key, value in changes:
            previous = self.records.pop(key, None)
            record: Record | None = None
            if value is not None:
                created, version = (previous[0], previous[2] + 1) if previous else (self.revision, 1)
                record = self.records[key] = (created, self.revision, version, LeaseId(0), USER, value)
            elif previous is None:
                previous = (self.revision, self.revision, 1, LeaseId(0), USER, b"")
            change = Change(self.revision, key, previous, record, False, 0, USER, ADDRESS)
            self.log.append(change)
            self.history.changes.append(change)

    def compact(self, revision: int) -> None:
        """Hold changes after `revision` only."""
        history = self.history
        del history.changes[: bisect_right(history.changes, revision, key=lambda change: change.revision)]
        history.compacted_revision = Revision(max(history.compacted_revision, revision))

    def restore(self) -> None:
        """Be what a snapshot has made of it: the same, and no object of before."""
        history = self.history
        self.history = FakeHistory(list(history.changes), history.compacted_revision)


@dataclass(eq=False)
class FakeConnection:
    """A client's connection: what it was sent, and how much of it waits."""

    user: bytes = USER
    waiting_bytes: int = 0
    unread_bytes_max: int = 8 << 20
    sent: list[bytes] = field(default_factory=list)

    def take(self) -> list[tuple[int, ResponseKind, Any]]:
        """What was sent since the last call, decoded: (request id, kind, what it says)."""
        sent, self.sent = self.sent, []
        return [_decoded(payload) for payload in FrameReader(RESPONSE_BYTES_MAX).feed(b"".join(sent))]


def _decoded(payload: bytes) -> tuple[int, ResponseKind, Any]:
    kind, request_id = parse_response(payload)
    if kind is ResponseKind.WATCHING:
        return request_id, kind, decode_watching(payload)
    if kind is ResponseKind.WATCH_ENDED:
        return request_id, kind, decode_watch_ended(payload)
    assert kind is ResponseKind.CHANGES
    head = decode_changes_head(payload)
    changes, end = decode_changes(payload, CHANGES_OFFSET, head.change_count)
    assert end == len(payload)
    return request_id, kind, (head, changes)


class FakeAnswers:
    """Sends at once."""

    def owe(self, connection: Any, frame: bytes) -> None:
        connection.sent.append(frame)

    def owe_parts(self, connection: Any, head: bytes, body: bytes) -> None:
        connection.sent += (head, body)


@dataclass
class Follower:
    """What a watch's client makes of what it is told, with the promises that it was given checked as they come."""

    request: WatchRequest
    revision: int = -1
    """Told up to here; -1: nothing yet."""
    is_partial: bool = False
    changes: list[ShownChange] = field(default_factory=list)
    end: WatchEnd | None = None

    def hear(self, kind: ResponseKind, said: Any) -> None:
        assert self.end is None, "a watch that has ended goes on"
        if kind is ResponseKind.WATCHING:
            assert self.revision == -1, "a watch begins twice"
            self.revision = said
        elif kind is ResponseKind.WATCH_ENDED:
            self.end = said
        else:
            head, changes = said
            assert self.revision >= 0, "a watch tells something before it begins"
            assert head.revision >= self.revision
            low = self.revision if self.is_partial else self.revision + 1
            assert all(low <= change.revision <= head.revision for change in changes)
            self.revision, self.is_partial = head.revision, head.is_partial
            self.changes += changes


class Node:
    """Watches over a fake machine."""

    def __init__(self, **limits: Any) -> None:
        self.machine = FakeMachine()
        self.now = 0.0
        self.watches = Watches(self.machine, FakeAnswers(), lambda: self.now, WatchLimits(**limits))
        self.followers: dict[tuple[int, int], Follower] = {}
        self.connections: dict[int, FakeConnection] = {}
        self._next_id = 0

    def connect(self, user: bytes = USER) -> FakeConnection:
        connection = FakeConnection(user)
        self.connections[id(connection)] = connection
        return connection

    def watch(
        self,
        connection: FakeConnection,
        low: bytes = b"",
        high: bytes = b"",
        *,
        start: int = 0,
        flags: WatchFlag = NO_FLAGS,
    ) -> Follower:
        """A watch, confirmed at once."""
        self._next_id += 1
        request = WatchRequest(flags, start, low, high)
        follower = self.followers[id(connection), self._next_id] = Follower(request)
        watch = self.watches.admit(as_connection(connection), self._next_id, request)
        if watch is not None:
            self.watches.register(watch)
        return follower

    def turn(self) -> bool:
        more = self.watches.turn()
        self.hear()
        return more

    def settle(self, turns_max: int = 10_000) -> int:
        """Take turns until there is nothing to do; returns how many."""
        for turns in range(turns_max):
            if not self.turn():
                return turns + 1
        raise AssertionError("the watches do not come to rest")

    def tick(self, seconds: float = 0.05, *, is_led: bool = True) -> None:
        self.now += seconds
        self.watches.tick(is_led=is_led)
        self.hear()

    def hear(self) -> None:
        for name, connection in self.connections.items():
            for request_id, kind, said in connection.take():
                self.followers[name, request_id].hear(kind, said)

    def expected(self, request: WatchRequest, after: int, upto: int) -> list[tuple[int, bytes, bool]]:
        """(revision, key, whether it is a delete) of what a watch must be told, by the log itself."""
        return [
            (change.revision, change.key, change.record is None)
            for change in self.machine.log
            if after < change.revision <= upto
            and request.low <= change.key
            and (not request.high or change.key < request.high)
            and (WatchFlag.NO_DELETES if change.record is None else WatchFlag.NO_PUTS) not in request.flags
        ]


def told(follower: Follower) -> list[tuple[int, bytes, bool]]:
    return [(change.revision, change.key, change.is_delete) for change in follower.changes]


def as_connection(connection: FakeConnection) -> ClientConnection:
    return connection  # type: ignore[return-value]  # all that watches ask of a connection is there
