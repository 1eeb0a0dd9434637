"""How a node hands out a backup of its state: the bodies of BACKUP, BACKUP_PIECE and BACKUP_REPORT.

    offset  size  BACKUP
         0     1  consistency     as of a READ

    offset  size  BACKUP_PIECE
         0     8  backup          as the answer to BACKUP has named it
         8     8  offset          where the piece begins in the file

    offset  size  BACKUP_REPORT
         0     1  outcome         `BackupOutcome`
         1     8  wall_clock_ms   with VERIFIED the backup's own, out of its header; else 0

A BACKUP is answered with a DOCUMENT, `{"backup": ..., "size": ...}`: what to call it, and how many bytes its file has.
A BACKUP_PIECE is answered with a PIECE, whose body is bytes of the file: at least one, unless `offset` is at its end.
The file is what is to be kept, byte for byte (`raftd.storage.backup_format`). A BACKUP_REPORT tells the node what
became of a backup; the DOCUMENT that answers has `success_ms`, of when the newest good one is, and `failure_ms`, when
one failed last; each is 0 where there was none.
"""

import enum
import struct
from typing import Final

from raftd.encoding.reader import Reader
from raftd.errors import DecodeError
from raftd.wire.client import BODY_OFFSET, Consistency, ResponseKind
from raftd.wire.limits import CLIENT_HEADER_BYTES


class BackupOutcome(enum.IntEnum):
    """What became of a backup. The numbers are on the wire: never renumber."""

    VERIFIED = 1
    """It was stored, read again and loaded."""
    FAILED = 2
    """There is none, or not one that can be loaded."""


_PIECE: Final = struct.Struct("<QQ")
_REPORT: Final = struct.Struct("<BQ")
_FRAME: Final = struct.Struct("<IBQ")

_OUTCOMES: Final = {outcome.value: outcome for outcome in BackupOutcome}
_CONSISTENCIES: Final = {consistency.value: consistency for consistency in Consistency}


def encode_backup_body(consistency: Consistency) -> bytes:
    """Make the body of a BACKUP."""
    return bytes((consistency,))


def decode_backup(payload: bytes) -> Consistency:
    """Return how fresh the state of a BACKUP must be.

    Raises:
        DecodeError: The body does not follow its format.
    """
    reader = Reader(payload, BODY_OFFSET)
    number = reader.u8("consistency")
    reader.finish()
    consistency = _CONSISTENCIES.get(number)
    if consistency is None:
        raise DecodeError(f"a backup of unknown consistency {number}")
    return consistency


def encode_backup_piece_body(backup_id: int, offset: int) -> bytes:
    """Make the body of a BACKUP_PIECE."""
    return _PIECE.pack(backup_id, offset)


def decode_backup_piece(payload: bytes) -> tuple[int, int]:
    """Return of which backup a BACKUP_PIECE asks for a piece, and where it begins.

    Raises:
        DecodeError: The body does not follow its format.
    """
    reader = Reader(payload, BODY_OFFSET)
    backup_id = reader.u64("backup")
    offset = reader.u64("offset")
    reader.finish()
    return backup_id, offset


def encode_backup_report_body(outcome: BackupOutcome, wall_clock_ms: int = 0) -> bytes:
    """Make the body of a BACKUP_REPORT."""
    return _REPORT.pack(outcome, wall_clock_ms)


def decode_backup_report(payload: bytes) -> tuple[BackupOutcome, int]:
    """Return what a BACKUP_REPORT says became of a backup, and of when that is.

    Raises:
        DecodeError: The body does not follow its format.
    """
    reader = Reader(payload, BODY_OFFSET)
    number = reader.u8("outcome")
    wall_clock_ms = reader.u64("wall_clock_ms")
    reader.finish()
    outcome = _OUTCOMES.get(number)
    if outcome is None:
        raise DecodeError(f"a backup with unknown outcome {number}")
    if (outcome is BackupOutcome.VERIFIED) != bool(wall_clock_ms):
        raise DecodeError(f"a backup with outcome {outcome.name} and time {wall_clock_ms}")
    return outcome, wall_clock_ms


def encode_piece(request_id: int, data: bytes) -> bytes:
    """Make the whole frame of a PIECE, length included."""
    return _FRAME.pack(CLIENT_HEADER_BYTES + len(data), ResponseKind.PIECE, request_id) + data
