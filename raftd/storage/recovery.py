"""What the log holds, read back from disk; a torn tail told from damage.

A crash can only harm the last batch, at the end of the last segment: each batch before it was durable before the next
one was written, and so was each segment before the next one was made. So whatever is wrong elsewhere is damage, and
the log is refused. At the end of the last segment, where the next batch would be but is not valid, these are told
apart, the first that holds deciding:

1. Nothing but zeros up to the end of the file: the log ends here.
2. A later sector holds a batch header of this segment: damage. What is before it was durable once.
3. The header is right and fits here. Bytes that are not zero behind the batch: damage, the batch was not the last.
   The mark behind the payload is zero, or more sectors are empty than the batch was written with (`sparse_sectors`):
   a tear. No flipped bit does that. Else: damage. The batch may have been acknowledged.
4. The header is not right. Its sector is empty, or the bytes end before the header does: a tear. Else: damage.

A tear is cut: its bytes are made zero again. A crash while they are leaves a tear by the same rules, since empty
sectors only become more. That a whole acknowledged batch at the very end is gone without a trace, because a disk
synced it and lost it, cannot be seen here; consensus calls that a disk that lies.

A crash while segments are removed leaves some of them, the oldest gone. If a RESET made them void, they are read as
strictly as all others, and then the removal is finished. If a snapshot did, they stay until the log is compacted again.

Two things make what was read durable before anyone may rely on it, for the last process may have been killed before its
sync, or because its sync failed: the directory is synced, and the last batch is written once more and synced. Written,
because after a failed sync Linux takes its copy for clean, and a sync alone would do nothing and say that all is well.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final
from zlib import crc32

from raftd.consensus.types import Entry, HardState, LogIndex
from raftd.errors import DecodeError, StorageError
from raftd.storage.filesystem import File
from raftd.storage.format import (
    BATCH_HEADER_BYTES,
    BATCH_OVERHEAD_BYTES,
    MARK,
    RESET,
    SECTOR_BYTES,
    ZERO_SECTOR,
    BatchHeader,
    Identity,
    SegmentHeader,
    damaged,
    decode_batch_header,
    decode_segment_header,
    round_to_sectors,
)
from raftd.storage.segment import SegmentDirectory, SegmentRow
from raftd.wire.entries import decode_entries

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a node finds on its disk."""

    hard_state: HardState
    first_index: LogIndex
    """Of the log: 1, or higher once a prefix was compacted or the log was reset."""
    entries: list[Entry]
    """The log, from `first_index` on."""
    torn_at: tuple[Path, int] | None
    """Where a batch that a crash had torn was cut off: (file, offset). Nothing acknowledged was in it."""


class SegmentReader:
    """A segment file, read in chunks."""

    __slots__ = ("_chunk", "_chunk_offset", "file", "size")

    def __init__(self, file: File) -> None:
        self.file = file
        self.size = file.size()
        self._chunk = b""
        self._chunk_offset = 0

    def read(self, offset: int, length: int) -> bytes:
        """Give `length` bytes at `offset`, fewer only where the file ends."""
        start = offset - self._chunk_offset
        if start < 0 or start + length > len(self._chunk):
            self._chunk = self.file.read(offset, max(length, _CHUNK_BYTES))
            self._chunk_offset = offset
            start = 0
        return self._chunk[start : start + length]

    def content_end(self, offset: int) -> int:
        """Offset behind the last byte that is not zero, or `offset` if there is none from there on."""
        end = offset
        zeros = bytes(_CHUNK_BYTES)
        for start in range(offset, self.size, _CHUNK_BYTES):
            chunk = self.read(start, min(_CHUNK_BYTES, self.size - start))
            if chunk != zeros and (content := chunk.rstrip(b"\0")):
                end = start + len(content)
        return end


class Replay:
    """The log as of the batches taken in so far."""

    def __init__(self, header: SegmentHeader) -> None:
        """Begin with what a log's oldest segment says of what came before it."""
        self.sequence = header.sequence
        self.chain = header.chain
        self.current_term = header.current_term
        self.voted_for = header.voted_for
        self.entries: list[Entry] = []
        self.segments = SegmentRow()
        """Those that were read, but for `void`."""
        self.void: list[int] = []
        """The numbers of those that a RESET left behind, oldest first."""
        self._has_beginning = header.number == 1
        self.begin_segment(header)

    @property
    def first_index(self) -> LogIndex:
        """The index of the first entry, also where there is none yet."""
        return self.segments.first_index

    @property
    def next_index(self) -> LogIndex:
        """The index behind the last entry."""
        return LogIndex(self.first_index + len(self.entries))

    def continues(self, header: SegmentHeader) -> bool:
        """Whether a segment begins where this ends."""
        return (
            header.first_index == self.next_index
            and header.sequence == self.sequence
            and header.chain == self.chain
            and header.current_term == self.current_term
            and header.voted_for == self.voted_for
        )

    def begin_segment(self, header: SegmentHeader) -> None:
        """Go on with the batches of a segment that continues this."""
        self.segments.add(header.number, LogIndex(header.first_index))

    def take(self, reader: SegmentReader, salt: int, position: int) -> int | None:
        """Take in the batch at a position.

        Returns:
            The offset behind it; None if there is no valid batch, and then nothing has changed.

        Raises:
            CorruptionError: The batch is whole, but says what this log cannot.
        """
        header = decode_batch_header(reader.read(position, BATCH_HEADER_BYTES), salt)
        if header is None or header.sequence != self.sequence or header.previous_crc != self.chain:
            return None
        length = header.payload_length
        extent = round_to_sectors(BATCH_OVERHEAD_BYTES + length)
        if position + extent > reader.size:
            return None
        batch = reader.read(position, extent)
        payload_end = BATCH_HEADER_BYTES + length
        payload = batch[BATCH_HEADER_BYTES:payload_end]
        if (
            crc32(payload, salt) != header.payload_crc
            or batch[payload_end] != MARK
            or batch.count(0, payload_end) != extent - payload_end - 1
        ):
            return None
        self._apply(header, payload, reader.file.path, position)
        return position + extent

    def _apply(self, header: BatchHeader, payload: bytes, path: Path, position: int) -> None:
        """Do what a valid batch says."""
        is_reset = bool(header.flags & RESET)
        self._check_place(header.first_index, path, position, is_reset=is_reset)
        if header.current_term < self.current_term:
            raise damaged(path, position, f"term {header.current_term} behind term {self.current_term}")
        if payload:
            try:
                entries = decode_entries(payload, LogIndex(header.first_index))
            except DecodeError as error:
                raise damaged(path, position, str(error)) from error
        else:
            entries = []
        if len(entries) != header.entry_count:
            raise damaged(path, position, f"{len(entries)} entries where {header.entry_count} are due")
        first_index = LogIndex(header.first_index)
        if is_reset:
            self.entries.clear()
            self.void += self.segments.reset(first_index)
            self._has_beginning = True
        else:
            del self.entries[max(0, first_index - self.first_index) :]
            self.segments.replace_from(first_index)
        self.entries += entries
        self.sequence = header.sequence + 1
        self.chain = header.crc
        self.current_term = header.current_term
        self.voted_for = header.voted_for

    def _check_place(self, first_index: int, path: Path, position: int, *, is_reset: bool) -> None:
        """See that a batch begins where it may."""
        if is_reset and position != SECTOR_BYTES:
            raise damaged(path, position, "the log is reset, but not at the beginning of a segment")
        lowest = 1 if is_reset or not self._has_beginning else self.first_index
        if first_index < lowest or (first_index > self.next_index and not is_reset):
            raise damaged(path, position, f"entries from {first_index} on do not join the log")


@dataclass(frozen=True, slots=True)
class Tail:
    """The last segment and where the next batch goes."""

    file: File
    header: SegmentHeader
    position: int


def recover(directory: SegmentDirectory, identity: Identity) -> tuple[Replay, Tail, int | None]:
    """Read a log, cut a torn tail off, make durable what is left, and remove the segments that a RESET made void.

    Returns:
        The log; the last segment, open; where a tear was cut off in it, if any.

    Raises:
        CorruptionError: No crash explains what is there.
        OSError: The file system failed.
    """
    directory.remove_unfinished()
    directory.sync()
    numbers = directory.numbers()
    if not numbers:
        raise damaged(directory.path, 0, "no segment is there")
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise damaged(directory.segment_path(following), 0, f"segment {following - 1} is missing")
    replay: Replay | None = None
    for number in numbers[:-1]:
        file = directory.open(number)
        try:
            reader = SegmentReader(file)
            header, replay = _begin_segment(reader, number, identity, replay)
            _, position = read_batches(replay, reader, header.salt, SECTOR_BYTES)
            if reader.content_end(position) > position:
                raise damaged(file.path, position, f"batch {replay.sequence} is not valid")
        finally:
            file.close()
    file = directory.open(numbers[-1])
    try:
        reader = SegmentReader(file)
        header, replay = _begin_segment(reader, numbers[-1], identity, replay)
        last_batch, position = read_batches(replay, reader, header.salt, SECTOR_BYTES)
        torn_end = find_tear(replay, reader, header.salt, position)
        _make_durable(reader, last_batch, position, torn_end)
        for number in replay.void:
            directory.remove(number)
    except (StorageError, OSError):
        file.close()
        raise
    return replay, Tail(file, header, position), None if torn_end is None else position


def _begin_segment(
    reader: SegmentReader, number: int, identity: Identity, replay: Replay | None
) -> tuple[SegmentHeader, Replay]:
    """Read a segment's header, and see that it continues what was read so far; None before the oldest segment."""
    header = _read_segment_header(reader, number, identity)
    if replay is None:
        return header, Replay(header)
    if not replay.continues(header):
        raise damaged(
            reader.file.path,
            0,
            f"the segment begins at batch {header.sequence}, entry {header.first_index} and does not continue the one "
            f"before, which ends before batch {replay.sequence}, entry {replay.next_index}",
        )
    replay.begin_segment(header)
    return header, replay


def _read_segment_header(reader: SegmentReader, number: int, identity: Identity) -> SegmentHeader:
    """Read a segment's header and compare it with the file and with whose log it should be."""
    path = reader.file.path
    header = decode_segment_header(path, reader.read(0, SECTOR_BYTES))
    if header.number != number:
        raise damaged(path, 0, f"this is segment {header.number}")
    if header.cluster_id != identity.cluster_id or header.node_id != identity.node_id:
        raise damaged(path, 0, f"segment of node {header.node_id} of cluster {header.cluster_id.hex()}")
    if header.size != reader.size:
        raise damaged(path, min(header.size, reader.size), f"{reader.size} bytes long, not {header.size}")
    return header


def read_batches(replay: Replay, reader: SegmentReader, salt: int, position: int) -> tuple[int, int]:
    """Take in batches from `position` on, as long as they are valid.

    Returns:
        Where the last valid one starts (`position` itself if there is none), and where the next would.
    """
    start = position
    while (end := replay.take(reader, salt, position)) is not None:
        start, position = position, end
    return start, position


def find_tear(replay: Replay, reader: SegmentReader, salt: int, position: int) -> int | None:
    """Say what is at `position` in the last segment, where no valid batch is; the rules are the module's.

    Returns:
        None if the log ends there; else the offset behind the last byte of a torn batch.

    Raises:
        CorruptionError: It is damage, or may be.
    """
    path = reader.file.path
    end = reader.content_end(position)
    if end == position:
        return None
    for later in range(position + SECTOR_BYTES, end, SECTOR_BYTES):
        if decode_batch_header(reader.read(later, BATCH_HEADER_BYTES), salt) is not None:
            raise damaged(path, position, f"batch {replay.sequence} is not valid, and one at {later} was written later")
    header = decode_batch_header(reader.read(position, BATCH_HEADER_BYTES), salt)
    if header is None:
        if end < position + BATCH_HEADER_BYTES or reader.read(position, SECTOR_BYTES) == ZERO_SECTOR:
            return end
        raise damaged(path, position, f"the header of batch {replay.sequence} is not valid")
    if header.sequence != replay.sequence or header.previous_crc != replay.chain:
        raise damaged(path, position, f"batch {header.sequence} does not continue batch {replay.sequence - 1}")
    mark = position + BATCH_HEADER_BYTES + header.payload_length
    if mark >= reader.size or end > mark + 1:
        raise damaged(path, position, f"batch {header.sequence} ends before {mark + 1}, and there are bytes behind it")
    if end <= mark or _count_empty_sectors(reader, position, mark + 1) > header.sparse_sectors:
        return end
    raise damaged(path, position, f"the payload of batch {header.sequence} is not what was written")


def _count_empty_sectors(reader: SegmentReader, start: int, end: int) -> int:
    """Count the sectors from `start` to `end` in which all is zero."""
    return sum(reader.read(offset, SECTOR_BYTES) == ZERO_SECTOR for offset in range(start, end, SECTOR_BYTES))


def _make_durable(reader: SegmentReader, last_batch: int, position: int, torn_end: int | None) -> None:
    """Write the last batch once more, cut off what is torn, and sync both."""
    if last_batch < position:
        reader.file.write(last_batch, reader.read(last_batch, position - last_batch))
    if torn_end is not None:
        end = round_to_sectors(torn_end)
        for start in range(position, end, _CHUNK_BYTES):
            reader.file.write(start, bytes(min(_CHUNK_BYTES, end - start)))
    reader.file.sync()
