"""The byte format of a backup file: whose state it holds and when it was taken, and then a snapshot file.

All numbers are little-endian; crc32 is zlib's. A file is a header and the very bytes of a snapshot file of the node
that was asked (`raftd.storage.snapshot_format`).

    offset  size  header
         0     8  magic                b"raftdBAK"
         8     4  format_version       1
        12    16  cluster_id
        28     8  node_id              who was asked
        36     8  last_included_index  the log index that this is the state at
        44     8  last_included_term   of the entry there
        52     8  revision             of the store there
        60     4  state_hash           of the state machine there
        64     8  wall_clock_ms        of that node, when the state was known to hold what was answered before
        72     8  body_length          bytes of the snapshot file
        80     1  name_length          1..255
        81     n  cluster_name         UTF-8
      81+n     4  crc                  crc32 of everything before
      85+n     -  body                 the snapshot file, body_length bytes

A file is valid if and only if it has exactly these bytes, the crc is right, and the body is a valid snapshot file of
this cluster_id, last_included_index and last_included_term. That revision and state_hash are those of the state can be
seen only by whoever loads it.

The header alone tells of what a file is, and how long it has to be; so one that was cut is known without reading it.
"""

import struct
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.errors import DecodeError, LocalProtocolError
from raftd.storage.snapshot_format import SnapshotMetadata, SnapshotParser

FORMAT_VERSION: Final = 1
NAME_BYTES_MAX: Final = 255

_MAGIC: Final = b"raftdBAK"
_FORMAT: Final = struct.Struct("<8sI")
_HEADER: Final = struct.Struct("<8sI16sQQQQIQQB")
_CRC: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """The first bytes of a file; the fields are described in the module's table."""

    cluster_name: str
    cluster_id: bytes
    node_id: NodeId
    last_included_index: LogIndex
    last_included_term: Term
    revision: int
    state_hash: int
    wall_clock_ms: int
    body_length: int
    format_version: int = FORMAT_VERSION

    @property
    def header_length(self) -> int:
        """Bytes before the body."""
        return _HEADER.size + len(self.cluster_name.encode()) + _CRC.size

    @property
    def file_length(self) -> int:
        """Bytes of the whole file."""
        return self.header_length + self.body_length


def encode_backup_header(header: BackupHeader) -> bytes:
    """Encode a file's header, with its crc.

    Raises:
        LocalProtocolError: The cluster's name is empty or too long.
    """
    name = header.cluster_name.encode()
    if not 1 <= len(name) <= NAME_BYTES_MAX:
        raise LocalProtocolError(f"a cluster's name of {len(name)} bytes, where 1 to {NAME_BYTES_MAX} may be")
    fields = _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        header.cluster_id,
        header.node_id,
        header.last_included_index,
        header.last_included_term,
        header.revision,
        header.state_hash,
        header.wall_clock_ms,
        header.body_length,
        len(name),
    )
    return fields + name + _CRC.pack(crc32(fields + name))


def decode_backup_header(data: bytes) -> BackupHeader | None:
    """Read the header at the beginning of `data`; None if not all of it has come.

    Raises:
        DecodeError: This is no backup, or of another format, or its header is damaged.
    """
    if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
        raise DecodeError("this is not a backup of raftd")
    if len(data) < _FORMAT.size:
        return None
    version = _FORMAT.unpack_from(data)[1]
    if version != FORMAT_VERSION:
        raise DecodeError(f"the backup has format {version}, and this raftd knows format {FORMAT_VERSION} only")
    if len(data) < _HEADER.size:
        return None
    _, _, cluster_id, node_id, index, term, revision, state_hash, wall_clock_ms, body_length, name_length = (
        _HEADER.unpack_from(data)
    )
    end = _HEADER.size + name_length
    if len(data) < end + _CRC.size:
        return None
    if crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise DecodeError("the header's checksum is wrong")
    try:
        name = data[_HEADER.size : end].decode()
    except UnicodeDecodeError:
        raise DecodeError("the cluster's name is not UTF-8") from None
    return BackupHeader(
        name, cluster_id, NodeId(node_id), LogIndex(index), Term(term), revision, state_hash, wall_clock_ms, body_length
    )


class BackupParser:
    """Takes a file's bytes, cut anywhere, and gives the state machine's snapshot once each piece was found right."""

    def __init__(self) -> None:
        self.header: BackupHeader | None = None
        """What it is, as soon as that has come."""
        self._buffer = b""
        self._body: SnapshotParser | None = None

    @property
    def checked_bytes(self) -> int:
        """Bytes of the file that were found right: an error is further on."""
        if self.header is None or self._body is None:
            return 0
        return self.header.header_length + self._body.checked_bytes

    @property
    def metadata(self) -> SnapshotMetadata | None:
        """What the body is of, as soon as that has come."""
        return None if self._body is None else self._body.metadata

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes.

        Returns:
            The payload of each chunk that is complete with them.

        Raises:
            DecodeError: They are not those of a valid file; from then on this must not be used.
        """
        if self._body is None:
            self._buffer += data
            header = decode_backup_header(self._buffer)
            if header is None:
                return []
            self.header = header
            self._body = SnapshotParser(header.cluster_id, (header.last_included_index, header.last_included_term))
            data, self._buffer = self._buffer[header.header_length :], b""
        return self._body.feed(data)

    def finish(self, length: int) -> BackupHeader:
        """Say that there are no more bytes, and how many there were.

        Raises:
            DecodeError: There should be more, or fewer.
        """
        if self.header is None or self._body is None:
            raise DecodeError(f"the file ends after {length} bytes, in the middle of its header: it was cut")
        missing = self.header.file_length - length
        if missing > 0:
            raise DecodeError(f"the file ends after {length} bytes, and {missing} are missing: it was cut")
        self._body.finish()
        if missing < 0:
            raise DecodeError(f"the file is {-missing} bytes longer than its header says")
        return self.header
