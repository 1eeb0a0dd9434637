"""The log's byte format.

A log is a row of segment files, `wal/<number, 20 digits>.wal`, numbered without a gap. All numbers are little-endian; a
sector is 512 bytes, the unit in which a disk may lose or keep what was not synced. crc32 is zlib's, and starts from the
segment's salt where it says "salted": so bytes that a client sends can never pass for a header.

Segment: one header sector, batches, zeros up to its size.

    offset  size  segment header
         0     8  magic             b"raftdWAL"
         8     4  format_version    1
        12     4  salt              random; the start of every salted crc32 in this segment
        16    16  cluster_id
        32     8  node_id
        40     8  number            of this segment; also in its name
        48     8  size              of the file, which is allocated before anything else
        56     8  first_index       one behind the last entry of the segments before
        64     8  sequence          of this segment's first batch
        72     8  current_term      | the hard state when the segment was made: what came before it
        80     8  voted_for         | may be deleted (0: no vote)
        88     4  chain             header_crc of the last batch before this segment; 0 in a new log
        92     4  header_crc        crc32 of the 92 bytes before
        96   416  zeros

A segment header is valid if and only if its magic, header_crc and zeros are right, its number is the name's, its size
the file's, and its other fields are what the segments before it end with.

Batch: what one fdatasync made durable. It starts at a sector.

    offset  size  batch header
         0     4  header_crc        salted crc32 of the 60 bytes behind it
         4     4  previous_crc      header_crc of the batch before; the segment's chain for its first batch
         8     8  sequence          one more than the batch before, over the whole log
        16     8  current_term      | the hard state as of this batch, in one record with the entries:
        24     8  voted_for         | neither is ever stored without the other (0: no vote)
        32     8  first_index       of the entries; what the log held from here on is replaced
        40     4  entry_count       may be 0
        44     4  payload_length
        48     4  payload_crc       salted crc32 of the payload
        52     4  sparse_sectors    sectors of this batch in which at most one bit is set
        56     1  flags             bit 0: RESET; the other bits 0
        57     6  zeros
        63     1  mark              0xA5
        64     n  payload           the entries, as `raftd.wire.entries` encodes them
      64+n     1  mark              0xA5
    65+n       -  zeros             up to the next sector

A batch is valid if and only if both marks, both crc32 and the zeros are right, previous_crc and sequence continue the
batch before, first_index is as below, current_term is not below the batch's before, and the payload is entry_count
entries. Since header_crc covers previous_crc and payload_crc, each batch vouches for all before it, and a batch of an
older or another log never fits.

A batch with RESET says that no entry before it counts any more: the log begins at its first_index, which may be any
from 1 on, below, within or above what there was. It is the first batch of its segment, so that all segments before can
be removed. The first_index of any other batch is in the log or one behind it; or from 1 on before it, if segments were
removed and no RESET came since: it replaces entries that were in those, and the log begins there.

The marks have four bits set and end what they follow, so no flipped bit makes them zero: a zero in a mark's place says
that the bytes from some point to there never came to the disk. For the same reason sparse_sectors counts sectors that
one flipped bit could empty.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from raftd.consensus.types import HardState, NodeId, Term
from raftd.errors import CorruptionError

FORMAT_VERSION: Final = 1
SECTOR_BYTES: Final = 512
BATCH_HEADER_BYTES: Final = 64
BATCH_OVERHEAD_BYTES: Final = BATCH_HEADER_BYTES + 1
PAYLOAD_BYTES_MAX: Final = (1 << 32) - 1
MARK: Final = 0xA5
TRAILER: Final = bytes([MARK])
RESET: Final = 1
"""The one flag of a batch."""
ZERO_SECTOR: Final = bytes(SECTOR_BYTES)

_MAGIC: Final = b"raftdWAL"
_SEGMENT_HEADER: Final = struct.Struct("<8sII16s7QI")
_SEGMENT_CRC: Final = struct.Struct("<I")
_SEGMENT_FIELDS_BYTES: Final = _SEGMENT_HEADER.size + _SEGMENT_CRC.size
BATCH_CRC: Final = struct.Struct("<I")
BATCH_FIELDS: Final = struct.Struct("<IQQQQIIIIB6xB")
# A sector with at most one byte that is not zero has at least this long a run of zeros on one side of it.
_ZERO_RUN: Final = bytes(SECTOR_BYTES // 2)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose data this is."""

    cluster_id: bytes
    """16 bytes."""
    node_id: NodeId


class SegmentHeader(NamedTuple):
    """A segment's first sector; the fields are described in the module's table."""

    salt: int
    cluster_id: bytes
    node_id: int
    number: int
    size: int
    first_index: int
    sequence: int
    current_term: int
    voted_for: int
    chain: int


class BatchHeader(NamedTuple):
    """What a batch's header says; the fields are described in the module's table."""

    crc: int
    previous_crc: int
    sequence: int
    current_term: int
    voted_for: int
    first_index: int
    entry_count: int
    payload_length: int
    payload_crc: int
    sparse_sectors: int
    flags: int = 0


def damaged(path: Path, offset: int, found: str) -> CorruptionError:
    """Make the one error for bytes on disk that no crash explains."""
    return CorruptionError(
        f"{path}: damaged at offset {offset}: {found}; if a majority of the others runs, set its "
        "data directory aside and let a node with a new id take its place: raftctl member replace"
    )


def pack_hard_state(state: HardState) -> tuple[int, int]:
    """Give the hard state as the two numbers of the format."""
    return state.current_term, 0 if state.voted_for is None else state.voted_for


def unpack_hard_state(current_term: int, voted_for: int) -> HardState:
    """Undo `pack_hard_state`."""
    return HardState(Term(current_term), NodeId(voted_for) if voted_for else None)


def round_to_sectors(length: int) -> int:
    """How many bytes the sectors have that hold `length` bytes."""
    return -(-length // SECTOR_BYTES) * SECTOR_BYTES


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Encode a segment's first sector."""
    fields = _SEGMENT_HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        *header,
    )
    return (fields + _SEGMENT_CRC.pack(crc32(fields))).ljust(SECTOR_BYTES, b"\0")


def decode_segment_header(path: Path, sector: bytes) -> SegmentHeader:
    """Decode a segment's first sector.

    Raises:
        CorruptionError: It is not what `encode_segment_header` makes.
    """
    if len(sector) != SECTOR_BYTES:
        raise damaged(path, 0, f"the file ends after {len(sector)} bytes, within the segment header")
    if sector[: len(_MAGIC)] != _MAGIC:
        raise damaged(path, 0, "no segment header")
    (crc,) = _SEGMENT_CRC.unpack_from(sector, _SEGMENT_HEADER.size)
    if crc != crc32(sector[: _SEGMENT_HEADER.size]) or any(sector[_SEGMENT_FIELDS_BYTES:]):
        raise damaged(path, 0, "the segment header's checksum is wrong")
    _, version, *fields = _SEGMENT_HEADER.unpack_from(sector)
    if version != FORMAT_VERSION:
        raise damaged(path, 0, f"segment of format {version}, where {FORMAT_VERSION} is the only one")
    return SegmentHeader(*fields)


def encode_batch(header: BatchHeader, payload: bytes, salt: int) -> tuple[int, tuple[bytes, ...]]:
    """Encode a batch around a payload.

    `header.crc`, `payload_length`, `payload_crc` and `sparse_sectors` are worked out here, whatever they are.

    Returns:
        The batch's header_crc, and the buffers that make it up to the end of its last sector.
    """
    length = len(payload)
    fields = BATCH_FIELDS.pack(
        header.previous_crc,
        header.sequence,
        header.current_term,
        header.voted_for,
        header.first_index,
        header.entry_count,
        length,
        crc32(payload, salt),
        count_sparse_sectors(payload),
        header.flags,
        MARK,
    )
    crc = crc32(fields, salt)
    tail = TRAILER.ljust(round_to_sectors(BATCH_OVERHEAD_BYTES + length) - BATCH_HEADER_BYTES - length, b"\0")
    return crc, (BATCH_CRC.pack(crc), fields, payload, tail)


def decode_batch_header(data: bytes, salt: int) -> BatchHeader | None:
    """Decode a batch's header; None if these are not the bytes of one in a segment with this salt."""
    if len(data) < BATCH_HEADER_BYTES or data[BATCH_HEADER_BYTES - 1] != MARK:
        return None
    (crc,) = BATCH_CRC.unpack_from(data)
    if crc != crc32(data[BATCH_CRC.size : BATCH_HEADER_BYTES], salt):
        return None
    *fields, _ = BATCH_FIELDS.unpack_from(data, BATCH_CRC.size)
    header = BatchHeader(crc, *fields)
    return None if header.flags & ~RESET else header


def count_sparse_sectors(payload: bytes) -> int:
    """Count the sectors of a batch with this payload in which at most one bit is set.

    The batch's first and last sectors hold a mark and never count.
    """
    # Nearly every payload ends here, after one search of a microsecond.
    if _ZERO_RUN not in payload:
        return 0
    count = 0
    for start in range(SECTOR_BYTES - BATCH_HEADER_BYTES, len(payload) - SECTOR_BYTES + 1, SECTOR_BYTES):
        sector = payload[start : start + SECTOR_BYTES]
        if sector.count(0) >= SECTOR_BYTES - 1 and int.from_bytes(sector).bit_count() <= 1:
            count += 1
    return count
