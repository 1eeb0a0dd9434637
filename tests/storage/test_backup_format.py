"""Backup files: byte for byte, cut anywhere, damaged anywhere."""

import struct
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.errors import DecodeError, LocalProtocolError
from raftd.storage.backup_format import (
    BackupHeader,
    BackupParser,
    decode_backup_header,
    encode_backup_header,
)
from raftd.storage.snapshot_format import SnapshotEncoder, SnapshotHeader, SnapshotMetadata

CLUSTER = bytes(range(16))
METADATA = SnapshotMetadata(LogIndex(300), Term(7), b"members")
PAYLOAD = bytes(range(250)) * 2


def body(metadata: SnapshotMetadata = METADATA, cluster_id: bytes = CLUSTER) -> bytes:
    encoder = SnapshotEncoder(SnapshotHeader(cluster_id, metadata, 64))
    return encoder.header + b"".join((*encoder.add(PAYLOAD), *encoder.finish()))


BODY = body()
HEADER = BackupHeader("prod", CLUSTER, NodeId(2), LogIndex(300), Term(7), 290, 0xDEADBEEF, 1_700_000_000_000, len(BODY))
FILE = encode_backup_header(HEADER) + BODY


def parse(data: bytes, step: int = 1 << 20) -> tuple[BackupHeader, bytes]:
    parser = BackupParser()
    payload = b"".join(b"".join(parser.feed(data[at : at + step])) for at in range(0, len(data), step))
    return parser.finish(len(data)), payload


def _feed_all(parser: BackupParser, data: bytes) -> None:
    parser.feed(data)
    parser.finish(len(data))


def test_the_header_byte_for_byte() -> None:
    """As the module's table has it."""
    fields = (
        b"raftdBAK"
        + struct.pack("<I", 1)
        + CLUSTER
        + struct.pack("<QQQQIQQ", 2, 300, 7, 290, 0xDEADBEEF, 1_700_000_000_000, len(BODY))
        + b"\x04prod"
    )
    assert encode_backup_header(HEADER) == fields + struct.pack("<I", crc32(fields))
    assert (HEADER.header_length, HEADER.file_length) == (len(fields) + 4, len(FILE))


@settings(deadline=None)
@given(st.integers(1, len(FILE)))
def test_it_may_come_in_any_pieces(step: int) -> None:
    """The header and the whole payload come out."""
    assert parse(FILE, step) == (HEADER, PAYLOAD)


@pytest.mark.parametrize("name", ["x", "ü" * 127, "n" * 255])
def test_names_of_any_length(name: str) -> None:
    """From one byte to 255."""
    header = BackupHeader(name, CLUSTER, NodeId(1), LogIndex(1), Term(1), 0, 0, 0, 0)
    encoded = encode_backup_header(header)
    assert decode_backup_header(encoded) == header
    assert len(encoded) == header.header_length


@pytest.mark.parametrize("name", ["", "n" * 256])
def test_a_name_that_does_not_fit_is_our_mistake(name: str) -> None:
    """No such header is made."""
    with pytest.raises(LocalProtocolError):
        encode_backup_header(BackupHeader(name, CLUSTER, NodeId(1), LogIndex(1), Term(1), 0, 0, 0, 0))


@pytest.mark.parametrize("length", range(len(FILE)))
def test_a_file_that_was_cut_is_found_out(length: int) -> None:
    """At whatever length; it is said how much is missing, or that there is no header."""
    with pytest.raises(DecodeError, match=rf"ends after {length} bytes.*it was cut"):
        parse(FILE[:length])


@pytest.mark.parametrize("position", range(len(FILE)))
def test_a_flipped_bit_is_found_out(position: int) -> None:
    """In every byte of every section, and no more bytes are called right than come before it."""
    damaged = bytearray(FILE)
    damaged[position] ^= 1 << (position % 8)
    parser = BackupParser()
    with pytest.raises(DecodeError):
        _feed_all(parser, bytes(damaged))
    assert parser.checked_bytes <= position


def test_what_follows_is_found_out() -> None:
    """The file ends where its header says."""
    with pytest.raises(DecodeError, match="follow"):
        parse(FILE + b"\0")


def test_a_newer_format_is_refused_by_name() -> None:
    """With both numbers, as soon as it can be seen, whatever the rest may mean then."""
    with pytest.raises(DecodeError, match="the backup has format 2, and this raftd knows format 1 only"):
        decode_backup_header(b"raftdBAK" + struct.pack("<I", 2))


@pytest.mark.parametrize("data", [b"x", b"raftdSNP", b"raftdBAx" + bytes(200)])
def test_what_is_no_backup_is_refused(data: bytes) -> None:
    """From its first byte on."""
    with pytest.raises(DecodeError, match="not a backup"):
        BackupParser().feed(data)


def test_a_header_that_has_not_come_in_full_is_none() -> None:
    """Not even an empty one."""
    encoded = encode_backup_header(HEADER)
    for length in range(len(encoded)):
        assert decode_backup_header(encoded[:length]) is None


@pytest.mark.parametrize(
    "other",
    [
        body(SnapshotMetadata(LogIndex(301), Term(7), b"members")),
        body(SnapshotMetadata(LogIndex(300), Term(8), b"members")),
        body(cluster_id=bytes(16)),
    ],
)
def test_header_and_body_belong_together(other: bytes) -> None:
    """The body of another backup does not do."""
    with pytest.raises(DecodeError, match="a snapshot"):
        parse(encode_backup_header(HEADER) + other)


def test_a_body_that_is_shorter_than_promised() -> None:
    """A valid snapshot whose length is not the header's is no valid backup."""
    longer = BackupHeader("prod", CLUSTER, NodeId(2), LogIndex(300), Term(7), 290, 0, 1, len(BODY) + 5)
    with pytest.raises(DecodeError, match="and 5 are missing"):
        parse(encode_backup_header(longer) + BODY)
    shorter = BackupHeader("prod", CLUSTER, NodeId(2), LogIndex(300), Term(7), 290, 0, 1, len(BODY) - 5)
    with pytest.raises(DecodeError, match="5 bytes longer"):
        parse(encode_backup_header(shorter) + BODY)


def test_a_name_that_is_not_text_is_refused() -> None:
    """Though its checksum is right."""
    encoded = bytearray(encode_backup_header(HEADER))
    encoded[-8:-4] = b"\xff\xff\xff\xff"
    encoded[-4:] = struct.pack("<I", crc32(encoded[:-4]))
    with pytest.raises(DecodeError, match="UTF-8"):
        decode_backup_header(bytes(encoded))
