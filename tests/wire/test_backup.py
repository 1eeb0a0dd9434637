"""Backups, as clients ask for them: what comes back, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import DecodeError
from raftd.wire.backup import (
    BackupOutcome,
    decode_backup,
    decode_backup_piece,
    decode_backup_report,
    encode_backup_body,
    encode_backup_piece_body,
    encode_backup_report_body,
    encode_piece,
)
from raftd.wire.client import BODY_OFFSET, Consistency, ResponseKind, parse_response

HEADER = bytes(BODY_OFFSET)
u64 = st.integers(0, (1 << 64) - 1)


@pytest.mark.parametrize("consistency", Consistency)
def test_backups_round_trip(consistency: Consistency) -> None:
    """What is asked for comes back."""
    assert decode_backup(HEADER + encode_backup_body(consistency)) is consistency


@settings(deadline=None)
@given(u64, u64)
def test_pieces_round_trip(backup_id: int, offset: int) -> None:
    """So does which piece of which backup."""
    assert decode_backup_piece(HEADER + encode_backup_piece_body(backup_id, offset)) == (backup_id, offset)


@settings(deadline=None)
@given(st.integers(1, (1 << 64) - 1))
def test_reports_round_trip(wall_clock_ms: int) -> None:
    """And what became of it."""
    body = encode_backup_report_body(BackupOutcome.VERIFIED, wall_clock_ms)
    assert decode_backup_report(HEADER + body) == (BackupOutcome.VERIFIED, wall_clock_ms)
    failed = encode_backup_report_body(BackupOutcome.FAILED)
    assert decode_backup_report(HEADER + failed) == (BackupOutcome.FAILED, 0)


@settings(deadline=None)
@given(u64, st.binary())
def test_a_piece_is_the_body(request_id: int, data: bytes) -> None:
    """Of a response with the request's id."""
    payload = encode_piece(request_id, data)[4:]
    assert parse_response(payload) == (ResponseKind.PIECE, request_id)
    assert payload[BODY_OFFSET:] == data


@pytest.mark.parametrize("body", [b"", b"\x02", b"\x00\x00"])
def test_what_is_no_backup_is_refused(body: bytes) -> None:
    """A consistency that is missing, unknown, or followed by something."""
    with pytest.raises(DecodeError):
        decode_backup(HEADER + body)


@pytest.mark.parametrize("body", [b"", bytes(15), bytes(17)])
def test_what_is_no_piece_is_refused(body: bytes) -> None:
    """Two numbers of eight bytes, and nothing else."""
    with pytest.raises(DecodeError):
        decode_backup_piece(HEADER + body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01" + bytes(7),
        b"\x00" + bytes(8),
        b"\x03" + bytes(8),
        encode_backup_report_body(BackupOutcome.VERIFIED, 0),
        encode_backup_report_body(BackupOutcome.FAILED, 1),
        encode_backup_report_body(BackupOutcome.VERIFIED, 1) + b"\0",
    ],
)
def test_what_is_no_report_is_refused(body: bytes) -> None:
    """An outcome that there is, and a time if and only if there is a backup."""
    with pytest.raises(DecodeError):
        decode_backup_report(HEADER + body)
