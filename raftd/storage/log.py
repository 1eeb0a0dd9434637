"""The write-ahead log: hard state and entries, a batch at a time.

The bytes are described in `raftd.storage.format`, the files in `raftd.storage.segment`, and what a crash may leave of
them in `raftd.storage.recovery`. A `Log` is used by one thread at a time; `raftd.storage.writer` gives it one.
"""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from raftd.consensus.types import NO_INDEX, NO_TERM, HardState, LogIndex
from raftd.errors import DataDirectoryError, InvariantViolation, StorageError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import File
from raftd.storage.format import (
    BATCH_OVERHEAD_BYTES,
    PAYLOAD_BYTES_MAX,
    RESET,
    SECTOR_BYTES,
    BatchHeader,
    Identity,
    SegmentHeader,
    damaged,
    encode_batch,
    pack_hard_state,
    round_to_sectors,
    unpack_hard_state,
)
from raftd.storage.recovery import Recovered, recover
from raftd.storage.reserve import Reserve, is_no_space
from raftd.storage.segment import SegmentDirectory, SegmentRow

SEGMENT_BYTES: Final = 64 << 20
"""A segment's usual size."""
RESERVE_BYTES: Final = 64 << 20
"""What is set aside for a full disk, at least."""
RESERVE_MARGIN_BYTES: Final = 8 << 20
"""By how much the reserve of a node is larger than a segment, at least (`raftd.storage.reserve`)."""
_REMOVED_BYTES: Final = 4 << 20
"""How much of a segment is removed at once: a few milliseconds' worth."""
_SALT_BYTES: Final = 4


def open_log(
    directory: DataDirectory,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    reserve_bytes: int = RESERVE_BYTES,
    compacted_index: LogIndex = NO_INDEX,
    entropy: Callable[[int], bytes] = os.urandom,
) -> tuple["Log", Recovered]:
    """Open the log of a data directory, or begin it where the directory is new.

    Args:
        directory: The data directory, locked by this process.
        segment_bytes: Size of a segment; a batch that is larger gets a segment of its own size, and on a full disk each
            one does, as long as other segments are to be removed.
        reserve_bytes: What is set aside for a full disk; 0 for nothing.
        compacted_index: Up to here a snapshot holds what the log may no longer hold.
        entropy: Gives so many random bytes; a parameter, so that a test can repeat itself.

    Raises:
        CorruptionError: The log is damaged, or does not reach back to `compacted_index`.
        DataDirectoryError: There is a log with contents, but no identity that says whose.
        StorageError: The disk failed.
    """
    reserve = Reserve(directory.filesystem, directory.reserve_path, reserve_bytes, min(reserve_bytes, segment_bytes))
    segments = SegmentDirectory(directory.filesystem, directory.log_path, reserve)
    log = Log(segments, directory.identity, reserve, segment_bytes=segment_bytes, entropy=entropy)
    is_new = directory.is_new
    if is_new and not segments.numbers():
        log.begin()
    recovered = log.resume()
    if is_new:
        if recovered.entries or recovered.hard_state.current_term:
            log.close()
            raise DataDirectoryError(f"{directory.path}: there is a log, but no identity file says whose it is")
        directory.stamp()
    if recovered.first_index > compacted_index + 1:
        log.close()
        raise damaged(
            log.path,
            0,
            f"the log begins at entry {recovered.first_index}, and nothing holds those from {compacted_index + 1} on",
        )
    log.prepare()
    return log, recovered


class _Fatal:
    """Makes of the first failure of the disk the last thing that is done to it."""

    __slots__ = ("_doing", "_path", "closed")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._doing = ""
        self.closed = False

    def __call__(self, doing: str) -> "_Fatal":
        """Name what is about to be done."""
        if self.closed:
            raise StorageError(f"{self._path}: {doing}: it is closed, or the disk failed before")
        self._doing = doing
        return self

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the log if this failed; say where, if it was the operating system that failed."""
        if error is None:
            return
        self.closed = True
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise StorageError(f"{self._path}: {self._doing}: {reason}") from error


class Log:
    """A log that is open for appending."""

    def __init__(
        self,
        directory: SegmentDirectory,
        identity: Identity,
        reserve: Reserve,
        *,
        segment_bytes: int,
        entropy: Callable[[int], bytes],
    ) -> None:
        """Use `open_log`; this makes a log without contents."""
        self._directory = directory
        self._identity = identity
        self._reserve = reserve
        self._segment_bytes = round_to_sectors(max(segment_bytes, 2 * SECTOR_BYTES))
        self._entropy = entropy
        self._segments = SegmentRow()
        self._released: deque[int] = deque()  # The numbers of segments that are to be removed, oldest first.
        self._removed: File | None = None  # One without a name, whose space is being given back.
        self._unsynced = False
        self._file: File | None = None
        self._segment_end = 0
        self._position = 0
        self._salt = 0
        self._chain = 0
        self._sequence = 1
        self._fatal = _Fatal(directory.path)
        self.hard_state = HardState(NO_TERM, None)
        """As last written."""
        self.next_index = LogIndex(1)
        """Behind the last entry written."""

    @property
    def first_index(self) -> LogIndex:
        """Of the oldest entry that is still needed, or that would be."""
        return self._segments.first_index

    @property
    def has_released(self) -> bool:
        """Whether there are files that are not needed any more."""
        return bool(self._released) or self._removed is not None

    @property
    def disk_low(self) -> bool:
        """Whether the disk was found full and the reserve is in use: writes that grow should be refused."""
        return not self._reserve.held

    @property
    def path(self) -> Path:
        """The directory of the log's files."""
        return self._directory.path

    def begin(self) -> None:
        """Make the first segment of a new log; `resume` opens it.

        Raises:
            StorageError: The disk failed.
        """
        with self._fatal("cannot begin a log"):
            self._directory.remove_unfinished()
            self._rotate(0).close()
            self._file = None

    def resume(self) -> Recovered:
        """Read the log that is there, and append behind it from now on.

        Raises:
            CorruptionError: The log is damaged.
            StorageError: The disk failed.
        """
        with self._fatal("cannot read the log"):
            replay, tail, torn_at = recover(self._directory, self._identity)
        self._segments = replay.segments
        self._use(tail.file, tail.header, tail.position)
        self._chain = replay.chain
        self._sequence = replay.sequence
        self.hard_state = unpack_hard_state(replay.current_term, replay.voted_for)
        self.next_index = replay.next_index
        return Recovered(
            self.hard_state,
            self.first_index,
            replay.entries,
            None if torn_at is None else (tail.file.path, torn_at),
        )

    def append(
        self,
        payload: bytes = b"",
        *,
        first_index: LogIndex | None = None,
        entry_count: int = 0,
        hard_state: HardState | None = None,
    ) -> None:
        """Write one batch; it is durable after `sync`, and not before.

        Only the last batch may be torn by a crash, so whoever must survive one syncs before the next.

        Args:
            payload: Consecutive entries, as `raftd.wire.entries` encodes them. Not looked into.
            first_index: Of the entries; what the log held from there on is replaced. By default they go to its end.
            entry_count: How many entries.
            hard_state: The new one; None if it is as it was.

        Raises:
            InvariantViolation: This would leave a hole, or give up a term or a vote.
            StorageError: The disk failed, now or before; what was not synced must not be relied upon.
        """
        start = self.next_index if first_index is None else first_index
        state = self.hard_state if hard_state is None else hard_state
        if not self.first_index <= start <= self.next_index:
            raise InvariantViolation(
                f"entries from {start} on do not join the log [{self.first_index}, {self.next_index})"
            )
        self._check(state, len(payload))
        extent = round_to_sectors(BATCH_OVERHEAD_BYTES + len(payload))
        with self._fatal("cannot write the log"):
            file = self._file
            if file is None or self._position + extent > self._segment_end:
                file = self._rotate(extent)
            self._write(file, payload, start, state, entry_count=entry_count)
        self._segments.replace_from(start)

    def reset(
        self,
        base_index: LogIndex,
        payload: bytes = b"",
        *,
        entry_count: int = 0,
        hard_state: HardState | None = None,
    ) -> None:
        """Void every entry and go on behind `base_index`, in one batch; it is durable after `sync`, and not before.

        A crash before that leaves the log as it was. After it `remove_released` removes the segments from before; a
        crash meanwhile leaves some, and `resume` removes them.

        Args:
            base_index: The last index of the snapshot that stands for the log up to there. It is durable already.
            payload: The entries from `base_index` + 1 on, as for `append`: in the same batch, so that one sync stores
                both and a crash leaves both or neither.
            entry_count: How many entries.
            hard_state: The new one; None if it is as it was. No reset makes a node forget it.

        Raises:
            InvariantViolation: This would give up a term or a vote, or begins before the first index.
            StorageError: The disk failed, now or before; what was not synced must not be relied upon.
        """
        start = LogIndex(base_index + 1)
        state = self.hard_state if hard_state is None else hard_state
        if base_index < NO_INDEX:
            raise InvariantViolation(f"a log cannot go on behind entry {base_index}")
        self._check(state, len(payload))
        with self._fatal("cannot reset the log"):
            file = self._rotate(round_to_sectors(BATCH_OVERHEAD_BYTES + len(payload)), is_reset=True)
            self._write(file, payload, start, state, entry_count=entry_count, flags=RESET)
        self._released += self._segments.reset(start)

    def _write(
        self, file: File, payload: bytes, start: LogIndex, state: HardState, *, entry_count: int, flags: int = 0
    ) -> None:
        """Write a batch for which there is room."""
        term, vote = pack_hard_state(state)
        chain, buffers = encode_batch(
            BatchHeader(0, self._chain, self._sequence, term, vote, start, entry_count, 0, 0, 0, flags),
            payload,
            self._salt,
        )
        self._unsynced = True
        file.write(self._position, *buffers)
        self._position += round_to_sectors(BATCH_OVERHEAD_BYTES + len(payload))
        self._chain = chain
        self._sequence += 1
        self.hard_state = state
        self.next_index = LogIndex(start + entry_count)

    def _check(self, state: HardState, payload_bytes: int) -> None:
        """See that a batch says nothing that a log cannot."""
        now = self.hard_state
        if state.current_term < now.current_term:
            raise InvariantViolation(f"term {state.current_term} after term {now.current_term}")
        if state.current_term == now.current_term and now.voted_for not in {None, state.voted_for}:
            raise InvariantViolation(
                f"a second vote in term {now.current_term}: {state.voted_for} after {now.voted_for}"
            )
        if payload_bytes > PAYLOAD_BYTES_MAX:
            raise InvariantViolation(f"a batch of {payload_bytes} bytes")

    def sync(self) -> None:
        """Make everything durable that was appended.

        Raises:
            StorageError: It is not known what is durable, and never will be: the process must end. Linux forgets what
                it could not write, so a second sync that succeeds would say nothing.
        """
        with self._fatal("cannot sync the log"):
            if self._file is not None:
                self._file.sync()
                self._unsynced = False

    def prepare(self) -> None:
        """Do ahead what the log will need soon: space for the next segment, and the reserve where it was used.

        Cheap if there is nothing to do. A full disk is no error here.

        Raises:
            StorageError: The disk failed.
        """
        with self._fatal("cannot prepare a segment"):
            if not self._reserve.held:
                self._reserve.restore()
            elif self._position > self._segment_end // 2:
                try:
                    self._directory.prepare(self._segment_bytes)
                except OSError as error:
                    # The rotation will say it again, if it is still true by then.
                    if not is_no_space(error):
                        raise

    def compact(self, index: LogIndex) -> None:
        """Release what `release` does, and remove it.

        Raises:
            StorageError: The disk failed.
        """
        self.release(index)
        while self.remove_released():
            pass

    def release(self, index: LogIndex) -> None:
        """Give up the segments in which no entry behind `index` is; a snapshot must hold what they held.

        Touches no file: that takes time, and `remove_released` takes it piece by piece.
        """
        self._released += self._segments.release(index)

    def remove_released(self) -> bool:
        """Remove the oldest segment that is needed no more, if all that was appended is synced.

        Of a large one only so much goes in one call that the next batch need not wait for long.

        Returns:
            Whether there was anything to remove.

        Raises:
            StorageError: The disk failed.
        """
        # As long as a reset is not durable, what it makes void is the log.
        if self._unsynced or not self.has_released:
            return False
        with self._fatal("cannot remove a segment"):
            file = self._removed
            if file is None:
                file = self._removed = self._directory.unlink(self._released.popleft())
            else:
                file.shrink(file.size() - _REMOVED_BYTES)
            if file.size() <= _REMOVED_BYTES:
                file.close()
                self._removed = None
        return True

    def close(self) -> None:
        """Close the file; nothing is synced."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._fatal.closed = True
        if self._removed is not None:
            self._removed.close()
            self._removed = None

    def _rotate(self, extent: int, *, is_reset: bool = False) -> File:
        """Begin the next segment, with room for at least one batch of `extent` bytes."""
        size_min = SECTOR_BYTES + extent
        size = max(self._segment_bytes, size_min)
        try:
            self._directory.prepare(size)
        except OSError as error:
            # What fills the disk may be just what a reset makes void: it goes as soon as the reset is durable, which no
            # start would ever come to without this.
            if not is_no_space(error) or not (is_reset or self.has_released):
                raise
            size = size_min
        if self._unsynced and self._file is not None:
            # The next segment vouches for this one.
            self._file.sync()
        header = SegmentHeader(
            salt=int.from_bytes(self._entropy(_SALT_BYTES), "little"),
            cluster_id=self._identity.cluster_id,
            node_id=self._identity.node_id,
            number=self._segments.next_number,
            size=size,
            first_index=self.next_index,
            sequence=self._sequence,
            current_term=self.hard_state.current_term,
            voted_for=pack_hard_state(self.hard_state)[1],
            chain=self._chain,
        )
        file = self._directory.create(header)
        if self._file is not None:
            self._file.close()
        self._segments.add(header.number, self.next_index)
        self._use(file, header, SECTOR_BYTES)
        return file

    def _use(self, file: File, header: SegmentHeader, position: int) -> None:
        """Append to this segment from now on."""
        self._file = file
        self._salt = header.salt
        self._segment_end = header.size
        self._position = position
