"""When and how a node snapshots its state machine, and lets go of the log that the snapshot stands for.

A snapshot is due when the log has grown by so many bytes since the last one. It is made in slices: each encodes a piece
of the state as it was at the beginning (`raftd.kv.snapshot`), hands it to the background for writing, and lets the loop
do other things for a multiple of the time that it took. So however large the state is, no request waits for longer
than a slice, and the share of the loop that a snapshot takes is bounded.

When the file is durable the log may be compacted, in memory and on disk, but not all the way: a bounded tail stays, so
that a follower that was away for a moment is sent entries and not the whole state.

What the background reports may come late: the snapshot that it is about may have been given up, and another one begun,
since. So each report is of one `_Making`, and counts only while that is the one under way. The file is the background's
alone, which does one thing after the other: what gives up a file comes behind what makes it and before the next one.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from raftd import events
from raftd.consensus import Raft
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.membership_codec import encode_membership
from raftd.consensus.types import NO_INDEX, LogIndex
from raftd.errors import LocalProtocolError, StorageError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import SnapshotReader
from raftd.node.background import Background
from raftd.storage.reserve import is_no_space
from raftd.storage.snapshot_format import SnapshotMetadata as StoredMetadata
from raftd.storage.snapshot_writing import SnapshotWriter
from raftd.storage.snapshots import SnapshotStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Scheduler(Protocol):
    """The part of an event loop that is used here."""

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> object:
        """Run `callback` at `when`, by `time`."""
        ...

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Run `callback` in the next pass of the loop."""
        ...


class Compactor(Protocol):
    """Who owns the log on disk."""

    def compact(self, index: LogIndex) -> None:
        """Let go of entries up to `index`, soon."""
        ...


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """When to snapshot, how fast, and what to keep."""

    log_bytes: int = 64 << 20
    """A snapshot is due when the log has grown by this much."""
    tail_entries: int = 10_000
    """Entries before a snapshot that stay in the log, for followers that are a little behind; fewer where these have
    more than `log_bytes`."""
    compacted_entries: int = 10_000
    """Dropped from the log in memory in one go: to free many takes time."""
    slice_bytes: int = 64 << 10
    """Encoded on the event loop in one go."""
    idle_ratio: float = 4.0
    """After a slice, the loop is left alone for this many times as long as the slice took."""
    queued_pieces_max: int = 16
    """Pieces that wait to be written; while there are as many, no further one is made."""
    retry_seconds: float = 60.0
    """After a snapshot that failed."""
    kept: int = 2
    """Snapshot files that are kept."""


def stored_metadata(metadata: SnapshotMetadata) -> StoredMetadata:
    """A snapshot's metadata as its file has it."""
    return StoredMetadata(
        metadata.last_included_index, metadata.last_included_term, encode_membership(metadata.membership)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Need:
    """Somebody waits for a snapshot."""

    index: LogIndex
    ready: Callable[[], None]
    failed: Callable[[str], None]


class _Making:
    """One snapshot in the making."""

    __slots__ = (
        "is_read",
        "log_bytes",
        "metadata",
        "next_slice_at",
        "payload_bytes",
        "queued_pieces",
        "reader",
        "slice_due",
        "started_at",
        "writer",
    )

    def __init__(self, metadata: SnapshotMetadata, reader: SnapshotReader, started_at: float, log_bytes: int) -> None:
        self.metadata = metadata
        self.reader = reader
        self.started_at = started_at
        self.log_bytes = log_bytes
        """What had gone to the log when this began."""
        self.is_read = False
        """Whether the reader has come to its end."""
        self.payload_bytes = 0
        self.queued_pieces = 0
        self.slice_due = False
        """Whether a slice is scheduled."""
        self.next_slice_at = started_at
        self.writer: SnapshotWriter | None = None
        """The background's; so are the methods below."""

    def open(self, store: SnapshotStore) -> bool:
        """Begin the file; False if a leader has sent a newer snapshot meanwhile, so that this one is of no use."""
        latest = store.latest()
        if latest is not None and latest.last_included_index >= self.metadata.last_included_index:
            return False
        self.writer = store.begin(stored_metadata(self.metadata))
        return True

    def write(self, piece: bytes) -> None:
        """Write the next piece."""
        self._opened().write(piece)

    def commit(self) -> None:
        """Make the file durable."""
        self._opened().commit()

    def abort(self) -> None:
        """Remove the file, if it was begun and not finished."""
        if self.writer is not None:
            self.writer.abort()

    def _opened(self) -> SnapshotWriter:
        if self.writer is None:
            raise LocalProtocolError("a snapshot is written before it was begun")
        return self.writer


class SnapshotMaker:
    """Makes this node's snapshots, one at a time."""

    def __init__(
        self,
        *,
        raft: Raft,
        machine: StateMachine,
        store: SnapshotStore,
        compactor: Compactor,
        background: Background,
        scheduler: Scheduler,
        limits: SnapshotLimits,
        log_bytes: int = 0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`log_bytes` is how long the log is already, after the last snapshot; `wall_clock` serves people alone."""
        self._wall_clock = wall_clock
        self._raft = raft
        self._machine = machine
        self._store = store
        self._compactor = compactor
        self._background = background
        self._scheduler = scheduler
        self._limits = limits
        self._making: _Making | None = None
        self._log_bytes = 0
        """As `consider` was told last."""
        self._log_bytes_at_last = -log_bytes
        """When the state was that of the newest snapshot."""
        self._not_before = 0.0
        self._needs: list[_Need] = []
        self.made_total = 0
        self.failed_total = 0
        self.last_bytes = 0
        """How much the latest snapshot is of, as the state machine gave it."""
        self.succeeded_seconds: float | None = None
        """When the last one was made, or came from a leader, since 1970; None: not since the start."""
        self.last_seconds = 0.0
        """How long the latest snapshot took, from its beginning to being durable."""

    @property
    def is_running(self) -> bool:
        """Whether a snapshot is being made."""
        return self._making is not None

    def consider(self, log_bytes_total: int) -> None:
        """Begin a snapshot if one is due; `log_bytes_total` is what went to the log since the start."""
        self._log_bytes = log_bytes_total
        is_due = log_bytes_total - self._log_bytes_at_last >= self._limits.log_bytes
        if (
            (is_due or self._needs)
            and self._making is None
            and self._can_begin()
            and (self._needs or self._scheduler.time() >= self._not_before)
        ):
            self.begin()

    def need(self, index: LogIndex, ready: Callable[[], None], failed: Callable[[str], None]) -> None:
        """See to it that there is a snapshot of entry `index`, which is applied, or of a later one; begins no turn.

        Args:
            index: What the snapshot has to include.
            ready: Is called, perhaps at once, when there is one on the disk.
            failed: Is called instead, with the reason, if there will be none.
        """
        need = _Need(index, ready, failed)
        if self._newest_index() >= index:
            ready()
        elif not self._raft.membership_at(index).voters:
            failed("this node does not know yet who belongs to the cluster")
        else:
            # One that was begun before may be of use, too; if it is not, the next one is.
            self._needs.append(need)

    def forget_needs(self, reason: str) -> None:
        """Tell all who wait that they wait in vain."""
        needs, self._needs = self._needs, []
        for need in needs:
            need.failed(reason)

    def _can_begin(self) -> bool:
        """Whether there is something that the newest snapshot does not have, and this node knows whose it is.

        A node that is being added reads the log from its beginning, and what the cluster began with is not in there.
        """
        index = self._machine.last_applied
        return index > self._newest_index() and bool(self._raft.membership_at(index).voters)

    def _newest_index(self) -> LogIndex:
        """Of the newest snapshot on the disk."""
        snapshot = self._raft.snapshot
        return NO_INDEX if snapshot is None else snapshot.last_included_index

    def begin(self) -> None:
        """Begin a snapshot of the state as it is now."""
        metadata = self._raft.snapshot_metadata(self._machine.last_applied)
        making = _Making(metadata, self._machine.begin_snapshot(), self._scheduler.time(), self._log_bytes)
        self._making = making
        events.SNAPSHOT_STARTED.log(logger, index=metadata.last_included_index)
        self._run(making, lambda: making.open(self._store), self._begun)

    def abandon(self) -> None:
        """Give up the snapshot under way, if any: the state it is of has been replaced."""
        making, self._making = self._making, None
        if making is not None:
            making.reader.close()
            self._background.run(making.abort, _ignore, _raise)

    def available(self, metadata: SnapshotMetadata) -> None:
        """A snapshot that a leader has sent is on this node's disk: let go of the log that it covers."""
        self._log_bytes_at_last = self._log_bytes
        self.succeeded_seconds = self._wall_clock()
        self._let_go(metadata)

    def _run(self, making: _Making, work: Callable[[], T], done: Callable[[_Making, T], None]) -> None:
        """Do a part of the work in the background; what comes of it counts only while this snapshot is under way."""

        def succeeded(result: T) -> None:
            if making is self._making:
                done(making, result)

        def failed(error: Exception) -> None:
            if making is self._making:
                self._fail(error)
            elif not isinstance(error, StorageError | LocalProtocolError):
                # What was queued behind a failure finds the file given up, and may say so.
                raise error

        self._background.run(work, succeeded, failed)

    def _begun(self, making: _Making, is_of_use: bool) -> None:
        if is_of_use:
            self._slice(making)
        else:
            self.abandon()

    def _slice(self, making: _Making) -> None:
        """Encode the next piece, and hand it over."""
        making.slice_due = False
        if making is not self._making:
            return
        began = self._scheduler.time()
        piece = making.reader.read(self._limits.slice_bytes)
        if piece is None:
            making.is_read = True
            self._run(making, making.commit, self._made)
            return
        now = self._scheduler.time()
        making.next_slice_at = now + (now - began) * self._limits.idle_ratio
        making.queued_pieces += 1
        making.payload_bytes += len(piece)
        self._run(making, lambda: making.write(piece), self._written)
        self._schedule_slice(making)

    def _schedule_slice(self, making: _Making) -> None:
        """Have the next piece made, when the loop has had its time and the disk keeps up."""
        if not making.slice_due and not making.is_read and making.queued_pieces < self._limits.queued_pieces_max:
            making.slice_due = True
            self._scheduler.call_at(making.next_slice_at, lambda: self._slice(making))

    def _written(self, making: _Making, _: None) -> None:
        making.queued_pieces -= 1
        self._schedule_slice(making)

    def _made(self, making: _Making, _: None) -> None:
        """The file is durable: what it stands for need not be kept in the log."""
        self._making = None
        self._log_bytes_at_last = making.log_bytes
        self.made_total += 1
        self.last_seconds = self._scheduler.time() - making.started_at
        self.last_bytes = making.payload_bytes
        self.succeeded_seconds = self._wall_clock()
        index = making.metadata.last_included_index
        events.SNAPSHOT_MADE.log(logger, index=index, seconds=round(self.last_seconds, 3))
        self._let_go(making.metadata)

    def _let_go(self, metadata: SnapshotMetadata) -> None:
        """Tell consensus of a snapshot on the disk; drop what it stands for, but for the tail, and older snapshots."""
        raft = self._raft
        raft.snapshot_available(metadata)
        # A leader's snapshot that the log has overtaken may be ahead of what is applied by now.
        index = min(metadata.last_included_index, raft.last_applied)
        if index > raft.base_index:
            tail = self._begin_of_tail(index)
            self._compactor.compact(tail)
            self._compact(tail)
        needs, self._needs = self._needs, []
        for need in needs:
            self.need(need.index, need.ready, need.failed)
        if self._needs:
            self.consider(self._log_bytes)
        # Behind what those do who have waited: they open the newest.
        self._background.run(lambda: self._store.prune(self._limits.kept), _ignore, _report)

    def _begin_of_tail(self, index: LogIndex) -> LogIndex:
        """The index behind which entries up to `index` are few and short enough to stay in the log."""
        raft, limits = self._raft, self._limits
        lowest = max(raft.base_index, index - limits.tail_entries)
        return LogIndex(
            lowest
            + bisect_left(
                range(lowest, index),
                x=True,
                key=lambda low: raft.size_bytes(LogIndex(low + 1), LogIndex(index + 1)) <= limits.log_bytes,
            )
        )

    def _compact(self, index: LogIndex) -> None:
        """Drop the log in memory up to `index`, so many entries at a time."""
        raft = self._raft
        began = self._scheduler.time()
        step = LogIndex(min(index, raft.base_index + self._limits.compacted_entries))
        if step > raft.base_index:
            raft.compact(step)
        if step < index:
            now = self._scheduler.time()
            self._scheduler.call_at(now + (now - began) * self._limits.idle_ratio, lambda: self._compact(index))

    def _fail(self, error: Exception) -> None:
        """A snapshot that cannot be written costs nothing but disk space: the log is as it was."""
        if not isinstance(error, StorageError):
            raise error
        _report(error)
        self.failed_total += 1
        self._not_before = self._scheduler.time() + self._limits.retry_seconds
        self.abandon()
        if not is_no_space(error):
            self.forget_needs(str(error))
            return

        def pruned(removed: int) -> None:
            if removed and self._making is None and self._can_begin():
                self.begin()
            elif self._making is None:
                self.forget_needs(str(error))

        def not_pruned(failure: Exception) -> None:
            _report(failure)
            self.forget_needs(str(error))

        # Without a snapshot no part of the log is let go of, so an older snapshot must not take the room of the next
        # one. With none but the newest left, it is not tried again before its time.
        self._background.run(lambda: self._store.prune(1), pruned, not_pruned)


def _ignore(_: object) -> None:
    """What came of it makes no difference."""


def _report(error: Exception) -> None:
    """Tell of a disk that failed: of snapshots there are others, and there is the log."""
    if not isinstance(error, StorageError):
        raise error
    events.SNAPSHOT_FAILED.log(logger, reason=error)


def _raise(error: Exception) -> None:
    """Nothing that may fail was done."""
    raise error
