"""When and how a node snapshots its state machine, and lets go of the log that the snapshot stands for.

A snapshot is due when the log has grown by so many bytes since the last one. It is made in slices: each encodes a piece
of the state as it was at the beginning (`raftd.kv.snapshot`), hands it to the background for writing, and lets the loop
do other things for a multiple of the time that it took. So however large the state is, no request waits for longer
than a slice, and the share of the loop that a snapshot takes is bounded.

When the file is durable the log may be compacted, in memory and on disk, but not all the way: a bounded tail stays, so
that a follower that was away for a moment is sent entries and not the whole state.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from raftd import events
from raftd.consensus import Raft
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.membership_codec import encode_membership
from raftd.consensus.types import LogIndex
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import SnapshotReader
from raftd.node.background import Background
from raftd.storage.snapshot_format import SnapshotMetadata as StoredMetadata
from raftd.storage.snapshot_writing import SnapshotWriter
from raftd.storage.snapshots import SnapshotStore

logger = logging.getLogger(__name__)


class Scheduler(Protocol):
    """The part of an event loop that is used here."""

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> object:
        """Run `callback` at `when`, by `time`."""
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
    """Entries that stay in the log behind a snapshot, for followers that are a little behind."""
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
    ) -> None:
        """`log_bytes` is how long the log is already, behind the last snapshot."""
        self._raft = raft
        self._machine = machine
        self._store = store
        self._compactor = compactor
        self._background = background
        self._scheduler = scheduler
        self._limits = limits
        self._reader: SnapshotReader | None = None
        self._writer: SnapshotWriter | None = None
        self._metadata: SnapshotMetadata | None = None
        self._started_at = 0.0
        self._queued_pieces = 0
        self._slice_due = False
        self._log_bytes_at_last = -log_bytes
        self._not_before = 0.0
        self.made_total = 0
        self.failed_total = 0
        self.last_seconds = 0.0
        """How long the latest snapshot took, from its beginning to being durable."""

    @property
    def is_running(self) -> bool:
        """Whether a snapshot is being made."""
        return self._metadata is not None

    def consider(self, log_bytes_total: int) -> None:
        """Begin a snapshot if one is due; `log_bytes_total` is what went to the log since the start."""
        if (
            log_bytes_total - self._log_bytes_at_last >= self._limits.log_bytes
            and self._metadata is None
            and self._machine.last_applied > self._raft.base_index
            and self._scheduler.time() >= self._not_before
        ):
            self._log_bytes_at_last = log_bytes_total
            self.begin()

    def begin(self) -> None:
        """Begin a snapshot of the state as it is now."""
        self._started_at = self._scheduler.time()
        metadata = self._metadata = self._raft.snapshot_metadata(self._machine.last_applied)
        self._reader = self._machine.begin_snapshot()
        events.SNAPSHOT_STARTED.log(logger, index=metadata.last_included_index)
        self._background.run(lambda: self._store.begin(stored_metadata(metadata)), self._begun, self._fail)

    def abandon(self) -> None:
        """Give up the snapshot under way, if any: the state it is of has been replaced."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        writer, self._writer = self._writer, None
        self._metadata = None
        self._queued_pieces = 0
        if writer is not None:
            self._background.run(writer.abort, _ignore, _ignore)

    def _begun(self, writer: SnapshotWriter) -> None:
        if self._metadata is None:
            self._background.run(writer.abort, _ignore, _ignore)
            return
        self._writer = writer
        self._slice()

    def _slice(self) -> None:
        """Encode the next piece, and hand it over."""
        self._slice_due = False
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            return
        began = self._scheduler.time()
        piece = reader.read(self._limits.slice_bytes)
        if piece is None:
            self._reader = None
            self._background.run(writer.commit, lambda _: self._made(writer), self._fail)
            return
        self._queued_pieces += 1
        self._background.run(lambda: writer.write(piece), lambda _: self._written(writer), self._fail)
        if self._queued_pieces < self._limits.queued_pieces_max:
            self._schedule_slice(self._scheduler.time() - began)

    def _schedule_slice(self, took_seconds: float) -> None:
        self._slice_due = True
        self._scheduler.call_at(self._scheduler.time() + took_seconds * self._limits.idle_ratio, self._slice)

    def _written(self, writer: SnapshotWriter) -> None:
        if writer is not self._writer:
            return
        self._queued_pieces -= 1
        if not self._slice_due and self._reader is not None:
            self._schedule_slice(0.0)

    def _made(self, writer: SnapshotWriter) -> None:
        """The file is durable: what it stands for need not be kept in the log."""
        metadata = self._metadata
        if metadata is None or writer is not self._writer:
            return
        self._metadata = self._writer = None
        self.made_total += 1
        self.last_seconds = self._scheduler.time() - self._started_at
        events.SNAPSHOT_MADE.log(logger, index=metadata.last_included_index, seconds=round(self.last_seconds, 3))
        self.available(metadata)

    def available(self, metadata: SnapshotMetadata) -> None:
        """A snapshot is on this node's disk: tell consensus, and let go of the log behind it."""
        raft = self._raft
        raft.snapshot_available(metadata)
        tail = LogIndex(max(raft.base_index, metadata.last_included_index - self._limits.tail_entries))
        if tail > raft.base_index:
            raft.compact(tail)
            self._compactor.compact(tail)
        self._background.run(lambda: self._store.prune(self._limits.kept), _ignore, _ignore)

    def _fail(self, error: Exception) -> None:
        """A snapshot that cannot be written costs nothing but disk space: the log is as it was."""
        if self._metadata is None:
            return
        events.SNAPSHOT_FAILED.log(logger, reason=error)
        self.failed_total += 1
        self._not_before = self._scheduler.time() + self._limits.retry_seconds
        self.abandon()


def _ignore(_: object) -> None:
    """What came of it makes no difference."""
