"""The thread that writes the log: group commit.

The event loop submits; the thread takes everything that was submitted meanwhile, joins it into one batch, writes that
with one write and one fdatasync, and tells of all of it at once. So while one sync runs, the next batch gathers, and
the number of syncs a second does not depend on the number of writes.

First in, first out: a submission is reported when it and everything submitted before it is durable. One that has
nothing to store waits for those before it, and for nothing else.

Segments that a reset or a snapshot made needless are removed one at a time, large ones in pieces, when there is nothing
to write or else between two batches: no batch waits longer than for one piece.

A failure of the disk is final. The thread reports it once and ends; nothing is reported as stored any more, not even
what was written before it and might be durable, and nothing is tried again (PostgreSQL's "fsyncgate", 2018).
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from raftd.consensus.types import NO_INDEX, HardState, LogIndex
from raftd.errors import InvariantViolation, LocalProtocolError
from raftd.storage.log import Log

QUEUE_BYTES_MAX: Final = 256 << 20
"""What may wait to be written; a single submission may exceed it if nothing else waits."""
BATCH_BYTES_MAX: Final = 16 << 20
"""Submissions are joined up to this size; a single one may exceed it."""
RESERVE_RETRY_SECONDS: Final = 1.0
"""How often a writer that is idle looks whether a full disk has space again."""

Token = TypeVar("Token")


class Submission(NamedTuple, Generic[Token]):
    """What is to be stored together, or not at all."""

    token: Token
    """Handed back when this is stored."""
    hard_state: HardState | None = None
    """The new one; None if it is as it was."""
    first_index: LogIndex | None = None
    """Of the entries; None if there are none."""
    entry_count: int = 0
    payload: bytes = b""
    """The entries, as `raftd.wire.entries` encodes them."""
    log_base: LogIndex | None = None
    """If given, all that the log held is void, and it goes on behind this index with these entries (`Log.reset`)."""

    @property
    def must_store(self) -> bool:
        """Whether there is anything to put on disk."""
        return self.hard_state is not None or self.first_index is not None or self.log_base is not None


class _Compaction(NamedTuple):
    """A call of `LogWriter.compact`, for the thread."""

    compacted_index: LogIndex
    finished_count: int
    """How many submissions must be finished first."""


class SyncRecord(NamedTuple):
    """How one batch went, for the metrics."""

    submissions: int
    payload_bytes: int
    write_seconds: float
    """With the making of a new segment, where one was due."""
    sync_seconds: float
    first_index: LogIndex | None = None
    """Of the entries that it stored; None: there were none."""
    entry_count: int = 0


class LogWriter(Generic[Token]):
    """Owns a log and the thread that writes it. `submit`, `compact` and the gauges belong to one other thread."""

    def __init__(
        self,
        log: Log,
        *,
        on_stored: Callable[[list[Token]], None],
        on_failure: Callable[[BaseException], None],
        clock: Callable[[], float],
        on_sync: Callable[[SyncRecord], None] | None = None,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        batch_bytes_max: int = BATCH_BYTES_MAX,
    ) -> None:
        """Start the thread.

        Args:
            log: Nobody else may use it until `close`.
            on_stored: Called in the thread with the tokens that are stored, in the order of submission.
            on_failure: Called in the thread, once, with what went wrong. The process must end.
            clock: Monotonic, in seconds.
            on_sync: Called in the thread after each batch, before `on_stored`.
            queue_bytes_max: See `QUEUE_BYTES_MAX`.
            batch_bytes_max: See `BATCH_BYTES_MAX`.
        """
        self._log = log
        self._on_stored = on_stored
        self._on_failure = on_failure
        self._on_sync = on_sync
        self._clock = clock
        self._queue_bytes_max = queue_bytes_max
        self._batch_bytes_max = batch_bytes_max
        # An index asks for compaction up to there; None asks the thread to end.
        self._queue: queue.SimpleQueue[Submission[Token] | LogIndex | None] = queue.SimpleQueue()
        # Each of these is written by one thread only, so that reading it from the other needs no lock.
        self._submitted_bytes = 0
        self._submitted_count = 0
        self._compacted_index = NO_INDEX
        self._finished_bytes = 0
        self._finished_count = 0
        self._busy_since: float | None = None
        self._must_drain = True
        self._closed = False
        self._disk_low = log.disk_low
        # The thread's own.
        self._waiting: deque[Submission[Token]] = deque()
        self._compaction: _Compaction | None = None
        self._ending = False
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._start()

    @property
    def queued_bytes(self) -> int:
        """Payload bytes submitted and not yet stored."""
        return self._submitted_bytes - self._finished_bytes

    @property
    def queued_count(self) -> int:
        """Submissions not yet stored."""
        return self._submitted_count - self._finished_count

    @property
    def busy_since(self) -> float | None:
        """When the write and sync that runs now began, by `clock`; None if none runs.

        A disk that hangs shows here and nowhere else. For ever the same after a failure in the middle of one.
        """
        return self._busy_since

    @property
    def disk_low(self) -> bool:
        """Whether the disk was found full, so that writes that grow should be refused."""
        return self._disk_low

    def submit(self, submission: Submission[Token]) -> None:
        """Queue something to be stored; returns at once. After a failure it is dropped: nothing can be stored.

        Raises:
            InvariantViolation: Its entries do not begin behind its `log_base`.
            LocalProtocolError: The writer is closed, or more waits already than may.
        """
        first_index, log_base = submission.first_index, submission.log_base
        if log_base is not None and first_index not in {None, log_base + 1}:
            raise InvariantViolation(f"entries from {first_index} on in a log that begins behind {log_base}")
        if self._closed:
            raise LocalProtocolError("the log writer is closed")
        if self.queued_bytes >= self._queue_bytes_max:
            raise LocalProtocolError(f"{self.queued_bytes} bytes wait to be written, and no more may")
        self._submitted_bytes += len(submission.payload)
        self._submitted_count += 1
        self._queue.put(submission)

    def compact(self, index: LogIndex) -> None:
        """Have segments removed in which no entry behind `index` is; a snapshot must hold what they held.

        Returns at once. It happens soon, but not before all that was submitted before this is stored; several calls
        become one, of the highest index. After a failure or `close` it does not happen at all, and costs space only.
        """
        if index > self._compacted_index and not self._closed:
            self._compacted_index = index
            self._queue.put(index)

    def close(self, *, drain: bool = True, timeout: float | None = None) -> bool:
        """End the thread.

        Args:
            drain: Store what is queued; otherwise only what is being written now, and drop the rest.
            timeout: Seconds to wait for the thread.

        Returns:
            Whether it has ended; if so the log may be closed.
        """
        if not self._closed:
            self._closed = True
            self._must_drain = drain
            self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _start(self) -> None:
        """Begin to work in the thread; a simulation does the same work in its own time."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._receive():
                group = self._next_group()
                if group[0].must_store:
                    self._store(group)
                self._finished_bytes += sum(len(submission.payload) for submission in group)
                self._finished_count += len(group)
                self._on_stored([submission.token for submission in group])
                self._remove_segment()
                if not self._waiting and self._queue.empty():
                    self._prepare()
        except BaseException as error:  # noqa: BLE001 - whatever it is, nothing can be stored any more
            self._on_failure(error)

    def _receive(self) -> bool:
        """Move what was submitted to `_waiting`; wait for something if nothing is there. False: the thread must end."""
        waiting = self._waiting
        while not waiting and not self._ending:
            if self._queue.empty() and self._remove_segment():
                continue
            try:
                self._accept(self._queue.get(timeout=RESERVE_RETRY_SECONDS if self._disk_low else None))
            except queue.Empty:
                self._prepare()
        while not self._queue.empty():
            self._accept(self._queue.get())
        return bool(waiting) and (self._must_drain or not self._closed)

    def _accept(self, item: Submission[Token] | LogIndex | None) -> None:
        if item is None:
            self._ending = True
        elif isinstance(item, Submission):
            self._waiting.append(item)
        else:
            self._compaction = _Compaction(item, self._finished_count + len(self._waiting))

    def _remove_segment(self) -> bool:
        """Remove one segment that is needed no more, or a piece of it; False if there is none yet."""
        compaction = self._compaction
        if compaction is not None and self._finished_count >= compaction.finished_count:
            self._log.release(compaction.compacted_index)
            self._compaction = None
        if not self._log.has_released:
            return False
        self._busy_since = self._clock()
        was_removed = self._log.remove_released()
        self._busy_since = None
        return was_removed

    def _next_group(self) -> list[Submission[Token]]:
        """Take from `_waiting` what can be stored as one batch, or what needs no storing.

        Entries that replace some of the same group's would have to be cut out of its bytes; that is rare, and so they
        wait for the next batch. A reset begins one, since what is before it in the log is void with the rest.
        """
        waiting = self._waiting
        first = waiting.popleft()
        group = [first]
        must_store = first.must_store
        next_index = _next_index(first)
        payload_bytes = len(first.payload)
        while waiting:
            submission = waiting[0]
            payload_bytes += len(submission.payload)
            if submission.must_store and (
                not must_store
                or submission.log_base is not None
                or payload_bytes > self._batch_bytes_max
                or (next_index is not None and submission.first_index not in {None, next_index})
            ):
                break
            next_index = _next_index(submission) or next_index
            group.append(waiting.popleft())
        return group

    def _store(self, group: list[Submission[Token]]) -> None:
        """Write a group as one batch, and sync it."""
        log_base = group[0].log_base
        hard_state: HardState | None = None
        first_index: LogIndex | None = None
        entry_count = 0
        payloads: list[bytes] = []
        for submission in group:
            if submission.hard_state is not None:
                hard_state = submission.hard_state
            if submission.first_index is not None:
                if first_index is None:
                    first_index = submission.first_index
                entry_count += submission.entry_count
                payloads.append(submission.payload)
        payload = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        start = self._busy_since = self._clock()
        if log_base is None:
            self._log.append(payload, first_index=first_index, entry_count=entry_count, hard_state=hard_state)
        else:
            self._log.reset(log_base, payload, entry_count=entry_count, hard_state=hard_state)
        written = self._clock()
        self._log.sync()
        synced = self._clock()
        self._busy_since = None
        self._disk_low = self._log.disk_low
        if self._on_sync is not None:
            times = (written - start, synced - written)
            self._on_sync(SyncRecord(len(group), len(payload), *times, first_index, entry_count))

    def _prepare(self) -> None:
        """Use a moment without work for what would hold up later work."""
        now = self._clock()
        if self._disk_low and now < self._retry_at:
            return
        self._retry_at = now + RESERVE_RETRY_SECONDS
        self._busy_since = now
        self._log.prepare()
        self._busy_since = None
        self._disk_low = self._log.disk_low


def _next_index(submission: Submission[Token]) -> LogIndex | None:
    """The index behind what a submission stores; None if it says nothing of where the log ends."""
    if submission.first_index is not None:
        return LogIndex(submission.first_index + submission.entry_count)
    return None if submission.log_base is None else LogIndex(submission.log_base + 1)
