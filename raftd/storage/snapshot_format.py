"""The byte format of a snapshot file, and the parser that every such byte goes through, read or received.

All numbers are little-endian; crc32 is zlib's. A file is a header, chunks, and a footer.

    offset  size  header
         0     8  magic                b"raftdSNP"
         8     4  format_version       1
        12    16  cluster_id
        28     8  last_included_index  the log index that this is the state at
        36     8  last_included_term   of the entry there
        44     4  chunk_bytes          1..1048576, payload bytes in each chunk but the last
        48     4  membership_length    0..65536
        52     n  membership           as of last_included_index
      52+n     4  crc                  crc32 of everything before

    offset  size  chunk
         0     4  length               chunk_bytes; in the last chunk 1..chunk_bytes
         4     4  crc                  crc32 of length and payload, starting from the crc before
         8     n  payload              the next part of the state machine's snapshot

    offset  size  footer
         0     4  zero                 where a chunk has its length
         4     8  chunk_count
        12     8  payload_length       of all chunks
        20     4  crc                  crc32 of the 20 bytes before, starting from the crc before

A file is valid if and only if it has exactly these bytes, all counts and lengths are those of what is there, and each
crc is right. Since each crc starts from the one before, the footer's vouches for all bytes of the file and their order.

The same payload makes the same file whatever pieces it was written in, because all chunks but the last are full. So a
transfer that one node began can be continued by another with the same snapshot.
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never
from zlib import crc32

from raftd.consensus.types import LogIndex, Term
from raftd.errors import DecodeError, LocalProtocolError

FORMAT_VERSION: Final = 1
CHUNK_BYTES: Final = 256 << 10
"""The usual chunk_bytes."""
CHUNK_BYTES_MAX: Final = 1 << 20
MEMBERSHIP_BYTES_MAX: Final = 64 << 10

_MAGIC: Final = b"raftdSNP"
_HEADER: Final = struct.Struct("<8sI16sQQII")
_CHUNK: Final = struct.Struct("<II")
_FOOTER: Final = struct.Struct("<IQQ")
_CRC: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class SnapshotMetadata:
    """What a snapshot is of."""

    last_included_index: LogIndex
    """The snapshot replaces the log up to here (paper §7)."""
    last_included_term: Term
    """The term of that entry."""
    membership: bytes
    """Who belonged to the cluster there, encoded; at most 64 KiB, and opaque here."""

    @property
    def last_included(self) -> tuple[LogIndex, Term]:
        """What names the snapshot: there is never another one at the same index and term."""
        return self.last_included_index, self.last_included_term


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """The first bytes of a file; the fields are described in the module's table."""

    cluster_id: bytes
    metadata: SnapshotMetadata
    chunk_bytes: int


def encode_header(header: SnapshotHeader) -> bytes:
    """Encode a file's header, with its crc.

    Raises:
        LocalProtocolError: The membership is too long, or chunks are.
    """
    metadata = header.metadata
    if len(metadata.membership) > MEMBERSHIP_BYTES_MAX:
        raise LocalProtocolError(
            f"a membership of {len(metadata.membership)} bytes, where {MEMBERSHIP_BYTES_MAX} may be"
        )
    if not 1 <= header.chunk_bytes <= CHUNK_BYTES_MAX:
        raise LocalProtocolError(f"chunks of {header.chunk_bytes} bytes, where 1 to {CHUNK_BYTES_MAX} may be")
    fields = _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        header.cluster_id,
        metadata.last_included_index,
        metadata.last_included_term,
        header.chunk_bytes,
        len(metadata.membership),
    )
    return _with_crc(fields + metadata.membership, 0)


class SnapshotEncoder:
    """Makes a file's bytes of payload that comes in any pieces."""

    def __init__(self, header: SnapshotHeader) -> None:
        """Begin; see `encode_header` for what it raises."""
        self.header = encode_header(header)
        """The file's first bytes."""
        self._chunk_bytes = header.chunk_bytes
        self._pending = bytearray()
        self._crc = _crc_at_end(self.header)
        self._chunk_count = 0
        self._payload_length = 0

    def add(self, payload: bytes) -> Iterator[bytes]:
        """Give the buffers that are complete with this payload; all of them must be taken."""
        pending = self._pending
        pending += payload
        while len(pending) >= self._chunk_bytes:
            chunk = bytes(pending[: self._chunk_bytes])
            del pending[: self._chunk_bytes]
            yield from self._chunk(chunk)

    def finish(self) -> Iterator[bytes]:
        """Give the buffers that remain; nothing can be added any more."""
        if self._pending:
            yield from self._chunk(bytes(self._pending))
        yield _with_crc(_FOOTER.pack(0, self._chunk_count, self._payload_length), self._crc)

    def _chunk(self, payload: bytes) -> tuple[bytes, bytes]:
        self._crc = _chunk_crc(payload, self._crc)
        self._chunk_count += 1
        self._payload_length += len(payload)
        return _CHUNK.pack(len(payload), self._crc), payload


class _Part(enum.Enum):
    """What comes next in a file."""

    HEADER = enum.auto()
    CHUNK = enum.auto()
    FOOTER = enum.auto()
    NOTHING = enum.auto()


class SnapshotParser:
    """Takes a file's bytes, cut anywhere, and gives the payload of each chunk once its crc was found right.

    At most one chunk or header is kept that has not come in full.

    Args:
        cluster_id: whose snapshot it must be.
        last_included: the index and term that it must be of; None: whatever its header says.
    """

    def __init__(self, cluster_id: bytes, last_included: tuple[LogIndex, Term] | None) -> None:
        self.metadata: SnapshotMetadata | None = None
        """What it is of, as soon as the header has come."""
        self._last_included = last_included
        self._cluster_id = cluster_id
        self.checked_bytes = 0
        """Bytes of the file that were found right: an error is further on."""
        self._part = _Part.HEADER
        self._buffer = bytearray()
        self._wanted_bytes = _HEADER.size  # as soon as there are so many, something can be done
        self._crc = 0
        self._chunk_bytes = 0
        self._last_length = 0
        self._chunk_count = 0
        self._payload_length = 0

    @property
    def finished(self) -> bool:
        """Whether the whole file has come."""
        return self._part is _Part.NOTHING

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes.

        Returns:
            The payload of each chunk that is complete with them.

        Raises:
            DecodeError: They are not those of a valid file; from then on this must not be used.
        """
        self._buffer += data
        payloads: list[bytes] = []
        while self._buffer and len(self._buffer) >= self._wanted_bytes:
            self._wanted_bytes = 0
            self._take(payloads)
        return payloads

    def finish(self) -> SnapshotMetadata:
        """Say that there are no more bytes.

        Raises:
            DecodeError: There should be.
        """
        if self._part is not _Part.NOTHING or self.metadata is None:
            raise DecodeError("the file ends too early")
        return self.metadata

    def _take(self, payloads: list[bytes]) -> None:
        """Take one part, or say how many bytes it has."""
        match self._part:
            case _Part.HEADER:
                self._take_header()
            case _Part.CHUNK:
                self._take_chunk(payloads)
            case _Part.FOOTER:
                self._take_footer()
            case _Part.NOTHING:
                raise DecodeError(f"{len(self._buffer)} bytes follow the footer")
            case _:
                assert_never(self._part)

    def _take_header(self) -> None:
        magic, version, cluster_id, index, term, chunk_bytes, membership_length = _HEADER.unpack_from(self._buffer)
        if magic != _MAGIC:
            raise DecodeError("this is not a snapshot file")
        if version != FORMAT_VERSION:
            raise DecodeError(f"snapshot file of format {version}, where {FORMAT_VERSION} is the only one")
        if not 1 <= chunk_bytes <= CHUNK_BYTES_MAX or membership_length > MEMBERSHIP_BYTES_MAX:
            raise DecodeError(f"chunks of {chunk_bytes} bytes and a membership of {membership_length}")
        end = _HEADER.size + membership_length
        if self._lacks(end + _CRC.size):
            return
        self._crc = self._check_crc(end, 0)
        membership = bytes(self._buffer[_HEADER.size : end])
        if cluster_id != self._cluster_id:
            raise DecodeError(f"a snapshot of cluster {cluster_id.hex()}")
        if self._last_included not in {None, (index, term)}:
            raise DecodeError(f"a snapshot at {index} of term {term}, which is not the wanted one")
        self.metadata = SnapshotMetadata(LogIndex(index), Term(term), membership)
        self._chunk_bytes = self._last_length = chunk_bytes
        self._advance(end + _CRC.size, _Part.CHUNK)

    def _take_chunk(self, payloads: list[bytes]) -> None:
        if self._lacks(_LENGTH.size):
            return
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length == 0:
            self._part = _Part.FOOTER
            return
        if self._last_length != self._chunk_bytes or length > self._chunk_bytes:
            raise DecodeError(f"a chunk of {length} bytes after one of {self._last_length}, of {self._chunk_bytes}")
        end = _CHUNK.size + length
        if self._lacks(end):
            return
        payload = bytes(self._buffer[_CHUNK.size : end])
        crc = _chunk_crc(payload, self._crc)
        if crc != _CHUNK.unpack_from(self._buffer)[1]:
            raise DecodeError("a chunk's checksum is wrong")
        self._crc = crc
        self._last_length = length
        self._chunk_count += 1
        self._payload_length += length
        payloads.append(payload)
        self._advance(end, _Part.CHUNK)

    def _take_footer(self) -> None:
        if self._lacks(_FOOTER.size + _CRC.size):
            return
        self._check_crc(_FOOTER.size, self._crc)
        if _FOOTER.unpack_from(self._buffer) != (0, self._chunk_count, self._payload_length):
            raise DecodeError("the footer counts other chunks than there are")
        self._advance(_FOOTER.size + _CRC.size, _Part.NOTHING)

    def _lacks(self, length: int) -> bool:
        """Whether the part, of this length, has not come in full; if so, wait until it has."""
        if len(self._buffer) >= length:
            return False
        self._wanted_bytes = length
        return True

    def _check_crc(self, end: int, start_crc: int) -> int:
        """Compare the crc at `end` with that of the bytes before."""
        crc = crc32(memoryview(self._buffer)[:end], start_crc)
        if crc != _CRC.unpack_from(self._buffer, end)[0]:
            raise DecodeError(f"the {self._part.name.lower()}'s checksum is wrong")
        return crc

    def _advance(self, length: int, part: _Part) -> None:
        del self._buffer[:length]
        self.checked_bytes += length
        self._part = part


def _chunk_crc(payload: bytes, crc_before: int) -> int:
    return crc32(payload, crc32(_LENGTH.pack(len(payload)), crc_before))


def _with_crc(data: bytes, start_crc: int) -> bytes:
    return data + _CRC.pack(crc32(data, start_crc))


def _crc_at_end(data: bytes) -> int:
    crc: int = _CRC.unpack_from(data, len(data) - _CRC.size)[0]
    return crc
