"""Backups on their way to clients: a snapshot of this node's state, read from the disk piece by piece.

A backup is a snapshot file of this node (`raftd.node.snapshots`), with a header in front of it that says whose state
it is and of when (`raftd.storage.backup_format`). So it takes nothing of the loop but what any snapshot does, and a
client that reads slowly holds a file open, and no part of the state in memory. It begins with a ReadIndex, unless the
client can do without: then it has all that was answered to anyone before the client asked.

The client asks for one piece after the other, so nothing piles up here if it does not; and all backups together are
read no faster than a bound. Each belongs to the connection that it was asked for on, and ends with it, with its last
piece, or when nobody has asked for a piece for a while.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

from raftd import events
from raftd.consensus.types import NodeId, Term
from raftd.errors import DecodeError, StorageError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import Head, decode_head
from raftd.node.background import Background
from raftd.node.connection import ClientConnection
from raftd.node.requests import UNREAD, Requests
from raftd.node.snapshots import Scheduler, SnapshotMaker
from raftd.storage.backup_format import BackupHeader, encode_backup_header
from raftd.storage.backup_note import BackupNote
from raftd.storage.snapshots import SnapshotSource, SnapshotStore
from raftd.wire.backup import BackupOutcome, encode_piece
from raftd.wire.client import Refusal, RefusalCode, encode_document, encode_refusal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackupLimits:
    """How many backups there may be, and how fast they are."""

    backups_max: int = 4
    """At a time, on this node."""
    piece_bytes: int = 256 << 10
    """Of the file in one response."""
    bytes_per_second_max: int = 32 << 20
    """To all clients together: each piece is encrypted on the event loop, which has other things to do."""
    idle_seconds_max: float = 60.0
    """After so long without a request for a piece a backup is given up."""


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """Whose backups they are."""

    cluster_name: str
    cluster_id: bytes
    node_id: NodeId


class _Backup:
    """One backup of one connection, from the request on."""

    __slots__ = ("backup_id", "connection", "header", "is_reading", "request_id", "size", "source", "used_at")

    def __init__(self, backup_id: int, connection: ClientConnection, request_id: int, used_at: float) -> None:
        self.backup_id = backup_id
        self.connection = connection
        self.request_id = request_id
        """Of the BACKUP."""
        self.used_at = used_at
        self.header = b""
        self.source: SnapshotSource | None = None
        """None: the snapshot is not on the disk yet."""
        self.size = 0
        """Bytes of header and source together."""
        self.is_reading = False
        """Whether a piece is on its way."""


class Backups:
    """The backups of one node."""

    def __init__(
        self,
        *,
        facts: BackupFacts,
        machine: StateMachine,
        maker: SnapshotMaker,
        store: SnapshotStore,
        note: BackupNote,
        requests: Requests,
        background: Background,
        scheduler: Scheduler,
        wake: Callable[[], None],
        limits: BackupLimits | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`wake` makes the driver take its next turn: answers leave at its end, and snapshots begin there."""
        self._facts = facts
        self._machine = machine
        self._maker = maker
        self._store = store
        self._note = note
        self._requests = requests
        self._background = background
        self._scheduler = scheduler
        self._wake = wake
        self._limits = limits or BackupLimits()
        self._wall_clock_ns = wall_clock_ns
        self._backups: dict[int, _Backup] = {}
        self._ids = count(1)
        self._is_noting = False
        """Whether a report is on its way to the disk."""
        self._next_at = 0.0
        """Not before then is the next piece read."""
        self.sent_bytes_total = 0

    @property
    def backup_count(self) -> int:
        """How many there are at this moment."""
        return len(self._backups)

    @property
    def success_ms(self) -> int:
        """The wall clock of the newest backup that was verified, as its header has it; 0 if none is known."""
        return self._note.success_ms

    @property
    def failure_ms(self) -> int:
        """When a backup failed last, by the wall clock; 0 if none did."""
        return self._note.failure_ms

    def admit(self) -> Refusal | None:
        """Why there may be no further backup."""
        if len(self._backups) >= self._limits.backups_max:
            return Refusal(RefusalCode.OVERLOADED, f"{len(self._backups)} backups of this node are under way already")
        return None

    def begin(self, connection: ClientConnection, request_id: int) -> None:
        """Take the state as it is now, or soon; the answer follows when it is on the disk."""
        if (refusal := self.admit()) is not None:
            self._answer(connection, encode_refusal(request_id, refusal))
            return
        backup = _Backup(next(self._ids), connection, request_id, self._scheduler.time())
        self._backups[backup.backup_id] = backup
        wall_clock_ms = self._now_ms()
        self._maker.need(
            self._machine.last_applied,
            lambda: self._open(backup, wall_clock_ms),
            lambda reason: self._failed(backup, backup.request_id, StorageError(reason)),
        )
        self._wake()

    def read(self, connection: ClientConnection, request_id: int, backup_id: int, offset: int) -> Refusal | None:
        """Answer with a piece, when the rate allows; returns why not."""
        backup = self._backups.get(backup_id)
        if backup is None or backup.connection is not connection or backup.source is None:
            return Refusal(RefusalCode.NOT_POSSIBLE, f"there is no backup {backup_id} on this connection (any more)")
        if offset > backup.size:
            return Refusal(RefusalCode.BAD_REQUEST, f"the backup has {backup.size} bytes, and {offset} is after them")
        if backup.is_reading:
            return Refusal(RefusalCode.OVERLOADED, "another piece of this backup is on its way already")
        if connection.is_behind:
            return UNREAD
        backup.is_reading = True
        now = self._scheduler.time()
        at = max(now, self._next_at)
        self._next_at = at + self._limits.piece_bytes / self._limits.bytes_per_second_max
        if at > now:
            self._scheduler.call_at(at, lambda: self._read(backup, request_id, offset))
        else:
            self._read(backup, request_id, offset)
        return None

    def report(
        self, connection: ClientConnection, request_id: int, outcome: BackupOutcome, wall_clock_ms: int
    ) -> Refusal | None:
        """Remember what became of a backup of that time; answered when it is on the disk. Returns why not."""
        if self._is_noting:
            # Each is a write and a sync, in the thread that serves snapshots and backups too.
            return Refusal(RefusalCode.OVERLOADED, "another report is being stored already")
        self._is_noting = True
        connection.in_flight += 1
        user = connection.user.decode()
        now_ms = self._now_ms()

        def work() -> None:
            if outcome is BackupOutcome.VERIFIED:
                self._note.succeeded(wall_clock_ms, now_ms)
            else:
                self._note.failed(now_ms)

        def noted(_: None) -> None:
            if outcome is BackupOutcome.VERIFIED:
                taken_at = datetime.fromtimestamp(min(wall_clock_ms, now_ms) // 1000, UTC)
                events.BACKUP_VERIFIED.log(logger, user=user, taken_at=taken_at.isoformat())
            else:
                events.BACKUP_FAILED.log(logger, reason=f"{user} says so")
            done()
            self._document(connection, request_id, success_ms=self.success_ms, failure_ms=self.failure_ms)

        def failed(error: Exception) -> None:
            done()
            if not isinstance(error, StorageError):
                raise error
            refusal = Refusal(RefusalCode.UNAVAILABLE, f"the node cannot remember it: {error}")
            self._answer(connection, encode_refusal(request_id, refusal))

        def done() -> None:
            self._is_noting = False
            connection.in_flight -= 1

        self._background.run(work, noted, failed)
        return None

    def closed(self, connection: ClientConnection) -> None:
        """A client is gone, and its backups with it."""
        for backup in [each for each in self._backups.values() if each.connection is connection]:
            self._end(backup)

    def stop(self) -> None:
        """The node is going down: who waits for a backup to begin is told so, and all others at their next piece."""
        self._maker.forget_needs("this node is going down")
        for backup in list(self._backups.values()):
            self._end(backup)

    # From the request to the first answer.

    def _open(self, backup: _Backup, wall_clock_ms: int) -> None:
        """The snapshot is on the disk: take the newest there is."""
        if backup.backup_id not in self._backups:
            return
        self._background.run(
            lambda: _open_newest(self._store),
            lambda opened: self._opened(backup, wall_clock_ms, *opened),
            lambda error: self._failed(backup, backup.request_id, error),
        )

    def _opened(self, backup: _Backup, wall_clock_ms: int, source: SnapshotSource, head: Head) -> None:
        backup.source = source
        if backup.backup_id not in self._backups:
            self._close(backup)
            return
        index, term = source.metadata.last_included
        facts = self._facts
        header = BackupHeader(
            facts.cluster_name,
            facts.cluster_id,
            facts.node_id,
            index,
            term,
            head.revision,
            head.state_hash,
            wall_clock_ms,
            source.size,
        )
        backup.header = encode_backup_header(header)
        backup.size = header.file_length
        user = backup.connection.user.decode()
        events.BACKUP_STARTED.log(logger, user=user, index=index, bytes=backup.size)
        self._used(backup)
        self._expire(backup)
        self._document(backup.connection, backup.request_id, backup=backup.backup_id, size=backup.size)

    # From piece to piece.

    def _read(self, backup: _Backup, request_id: int, offset: int) -> None:
        source, header = backup.source, backup.header
        if source is None:  # It has ended while it waited for its turn.
            return

        def work() -> bytes:
            head = header[offset : offset + self._limits.piece_bytes]
            room = self._limits.piece_bytes - len(head)
            return head + source.read(max(0, offset - len(header)), room) if room else head

        self._background.run(
            work,
            lambda data: self._read_done(backup, request_id, offset, data),
            lambda error: self._failed(backup, request_id, error),
        )

    def _read_done(self, backup: _Backup, request_id: int, offset: int, data: bytes) -> None:
        backup.is_reading = False
        if backup.backup_id not in self._backups:
            return
        self._used(backup)
        self.sent_bytes_total += len(data)
        self._answer(backup.connection, encode_piece(request_id, data))
        if offset + len(data) >= backup.size:
            self._end(backup)

    def _used(self, backup: _Backup) -> None:
        backup.used_at = self._scheduler.time()

    def _expire(self, backup: _Backup) -> None:
        """End it if nobody has used it for long, else look again when that may be so."""
        if backup.backup_id not in self._backups:
            return
        ends_at = backup.used_at + self._limits.idle_seconds_max
        if self._scheduler.time() >= ends_at:
            self._end(backup)
        else:
            self._scheduler.call_at(ends_at, lambda: self._expire(backup))

    # Ends.

    def _failed(self, backup: _Backup, request_id: int, error: Exception) -> None:
        if not isinstance(error, StorageError | DecodeError):
            raise error
        events.BACKUP_FAILED.log(logger, reason=error)
        now_ms = self._now_ms()
        # If not even that can be written, the time of the newest good backup does not move either.
        self._background.run(lambda: self._note.failed(now_ms), _ignore, _ignore)
        self._refuse(backup, request_id, str(error))

    def _refuse(self, backup: _Backup, request_id: int, reason: str) -> None:
        if backup.backup_id in self._backups:
            self._answer(backup.connection, encode_refusal(request_id, Refusal(RefusalCode.UNAVAILABLE, reason)))
            self._end(backup)

    def _end(self, backup: _Backup) -> None:
        del self._backups[backup.backup_id]
        if backup.source is not None:
            self._close(backup)

    def _close(self, backup: _Backup) -> None:
        """Close the file, once what is being read of it is."""
        source, backup.source = backup.source, None
        if source is not None:
            self._background.run(source.close, _ignore, _raise)

    def _now_ms(self) -> int:
        return self._wall_clock_ns() // 1_000_000

    def _document(self, connection: ClientConnection, request_id: int, **members: int) -> None:
        self._answer(connection, encode_document(request_id, json.dumps(members, separators=(",", ":"))))

    def _answer(self, connection: ClientConnection, frame: bytes) -> None:
        if not connection.channel.is_closed:
            self._requests.owe(connection, frame)
            self._wake()


class BackupQuestion:
    """A backup that waits for its read index, to begin then (`raftd.node.question_queue.Question`)."""

    __slots__ = ("_backups", "_connection", "_request_id")

    is_urgent = False

    def __init__(self, backups: Backups, connection: ClientConnection, request_id: int) -> None:
        self._backups = backups
        self._connection = connection
        self._request_id = request_id

    def answer(self, _: Term, /) -> None:
        """See `Question`."""
        self._backups.begin(self._connection, self._request_id)

    def refused(self) -> bool:
        """See `Question`."""
        return True


def _open_newest(store: SnapshotStore) -> tuple[SnapshotSource, Head]:
    """Open the newest snapshot, and read what it says first.

    Raises:
        StorageError: There is none, or the disk failed.
        DecodeError: It is of another version.
    """
    metadata = store.latest()
    if metadata is None:
        raise StorageError("there is no snapshot on the disk")
    source = store.open(metadata)
    begin = b""
    try:
        for piece in source.payload():
            begin += piece
            if (head := decode_head(begin)) is not None:
                return source, head
    except BaseException:
        source.close()
        raise
    source.close()
    raise DecodeError("the snapshot ends before its head does")


def _ignore(_: object) -> None:
    """What came of it makes no difference."""


def _raise(error: Exception) -> None:
    """A file that cannot be closed is a bug."""
    raise error
