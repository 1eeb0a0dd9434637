"""The snapshot file's bytes: the same for the same payload, and nothing accepted that was changed."""

import itertools
import struct
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, Term
from raftd.errors import DecodeError, LocalProtocolError
from raftd.storage.snapshot_format import (
    CHUNK_BYTES_MAX,
    MEMBERSHIP_BYTES_MAX,
    SnapshotEncoder,
    SnapshotHeader,
    SnapshotMetadata,
    SnapshotParser,
    encode_header,
)

CLUSTER = b"0123456789abcdef"
METADATA = SnapshotMetadata(LogIndex(77), Term(5), b"members")
HEADER = SnapshotHeader(CLUSTER, METADATA, 16)


def encode(*pieces: bytes, header: SnapshotHeader = HEADER) -> bytes:
    encoder = SnapshotEncoder(header)
    buffers = [encoder.header]
    for piece in pieces:
        buffers += encoder.add(piece)
    return b"".join([*buffers, *encoder.finish()])


def parse(*pieces: bytes, expecting: bool = True) -> bytes:
    parser = SnapshotParser(CLUSTER, METADATA.last_included if expecting else None)
    payload = b"".join(chunk for piece in pieces for chunk in parser.feed(piece))
    assert parser.finish() == METADATA
    assert parser.finished
    assert parser.checked_bytes == sum(map(len, pieces))
    return payload


def test_the_documented_bytes() -> None:
    """The table in the module, written out by hand."""
    fields = struct.pack("<8sI16sQQII", b"raftdSNP", 1, CLUSTER, 77, 5, 4, 2) + b"AB"
    crc = crc32(fields)
    expected = fields + struct.pack("<I", crc)
    for chunk in (b"0123", b"45"):
        length = struct.pack("<I", len(chunk))
        crc = crc32(length + chunk, crc)
        expected += length + struct.pack("<I", crc) + chunk
    footer = struct.pack("<IQQ", 0, 2, 6)
    expected += footer + struct.pack("<I", crc32(footer, crc))
    metadata = SnapshotMetadata(LogIndex(77), Term(5), b"AB")
    assert encode(b"012345", header=SnapshotHeader(CLUSTER, metadata, 4)) == expected


@given(pieces=st.lists(st.binary(max_size=50)), cuts=st.lists(st.integers(0, 600)))
@settings(deadline=None)
def test_pieces_do_not_matter(pieces: list[bytes], cuts: list[int]) -> None:
    """Payload in any pieces makes the same file, and the file in any pieces gives the same payload."""
    payload = b"".join(pieces)
    file = encode(*pieces)
    assert file == encode(payload)
    places = [0, *sorted(min(cut, len(file)) for cut in cuts), len(file)]
    assert parse(*(file[a:b] for a, b in itertools.pairwise(places))) == payload


@pytest.mark.parametrize("payload", [b"", bytes(16), b"the state of a machine, in three chunks"])
def test_every_flipped_bit_is_refused(payload: bytes) -> None:
    """Wherever it is; and also if any snapshot will do (pitfall 20)."""
    file = bytearray(encode(payload))
    for expecting in (True, False):
        for bit in range(8 * len(file)):
            file[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DecodeError):
                parse(bytes(file), expecting=expecting)
            file[bit // 8] ^= 1 << bit % 8
    assert parse(bytes(file)) == payload


@pytest.mark.parametrize("payload", [b"", bytes(32), b"the state of a machine, in three chunks"])
def test_every_truncation_and_addition_is_refused(payload: bytes) -> None:
    """Also right behind the last chunk, before the footer."""
    file = encode(payload)
    for end in range(len(file)):
        with pytest.raises(DecodeError, match="too early"):
            parse(file[:end])
    with pytest.raises(DecodeError, match="follow the footer"):
        parse(file + b"\0")
    with pytest.raises(DecodeError, match="follow the footer"):
        parse(file, file)


def test_chunks_that_are_missing_moved_or_another_file_s_are_refused() -> None:
    """Each is right by itself, but each crc starts from the one before."""
    file, other = encode(bytes(range(64))), encode(bytes(64))
    start = len(encode_header(HEADER))
    chunks = [file[at : at + 24] for at in range(start, start + 96, 24)]
    footer = file[start + 96 :]
    assert parse(file[:start], *chunks, footer) == bytes(range(64))
    for changed in (
        [chunks[0], *chunks[2:]],
        chunks[:-1],
        [chunks[1], chunks[0], *chunks[2:]],
        [*chunks[:2], other[start + 48 : start + 72], chunks[3]],
        [*chunks, chunks[3]],
    ):
        with pytest.raises(DecodeError):
            parse(file[:start], *changed, footer)


@pytest.mark.parametrize("lengths", [(15, 16), (17,), (16, 0, 16), (16, 1, 1)])
def test_only_the_last_chunk_may_be_short(lengths: tuple[int, ...]) -> None:
    """One payload has one file: with right checksums, too, other cuts are refused."""
    file = encode_header(HEADER)
    crc = crc32(file[:-4])
    for length in lengths:
        chunk = struct.pack("<I", length) + bytes(length)
        crc = crc32(chunk, crc)
        file += chunk[:4] + struct.pack("<I", crc) + chunk[4:]
    footer = struct.pack("<IQQ", 0, len(lengths), sum(lengths))
    with pytest.raises(DecodeError):
        parse(file + footer + struct.pack("<I", crc32(footer, crc)))


@pytest.mark.parametrize(("count", "length"), [(0, 5), (2, 5), (1, 4), (1, 6)])
def test_the_footer_counts(count: int, length: int) -> None:
    """With right checksums, too, a footer of another count or length is refused."""
    file = encode(b"12345")[:-24]
    (crc,) = struct.unpack_from("<I", file, len(file) - 9)
    footer = struct.pack("<IQQ", 0, count, length)
    with pytest.raises(DecodeError, match="counts other"):
        parse(file + footer + struct.pack("<I", crc32(footer, crc)))


@pytest.mark.parametrize(
    ("version", "chunk_bytes", "membership_length", "reason"),
    [
        (2, 16, 7, "format 2"),
        (1, 0, 7, "chunks of 0"),
        (1, CHUNK_BYTES_MAX + 1, 7, "chunks of"),
        (1, 16, MEMBERSHIP_BYTES_MAX + 1, "membership of"),
    ],
)
def test_lengths_are_bounded_before_they_are_believed(
    version: int, chunk_bytes: int, membership_length: int, reason: str
) -> None:
    """A header is refused by its first 52 bytes, before anything of these lengths is gathered (pitfall 34)."""
    fields = struct.pack("<8sI16sQQII", b"raftdSNP", version, CLUSTER, 77, 5, chunk_bytes, membership_length)
    with pytest.raises(DecodeError, match=reason):
        SnapshotParser(CLUSTER, None).feed(fields)


def test_a_snapshot_of_something_else_is_refused() -> None:
    """Of another cluster, index or term, as soon as the header is there."""
    index, term, membership = METADATA.last_included_index, METADATA.last_included_term, METADATA.membership
    for header in (
        SnapshotHeader(b"another cluster!", METADATA, 16),
        SnapshotHeader(CLUSTER, SnapshotMetadata(LogIndex(78), term, membership), 16),
        SnapshotHeader(CLUSTER, SnapshotMetadata(index, Term(6), membership), 16),
    ):
        parser = SnapshotParser(CLUSTER, METADATA.last_included)
        with pytest.raises(DecodeError, match="a snapshot"):
            parser.feed(encode_header(header))
        assert parser.checked_bytes == 0


def test_what_cannot_be_read_again_is_not_written() -> None:
    """The encoder has the parser's bounds."""
    too_long = SnapshotMetadata(LogIndex(1), Term(1), bytes(MEMBERSHIP_BYTES_MAX + 1))
    for header in (
        SnapshotHeader(CLUSTER, too_long, 16),
        SnapshotHeader(CLUSTER, METADATA, 0),
        SnapshotHeader(CLUSTER, METADATA, CHUNK_BYTES_MAX + 1),
    ):
        with pytest.raises(LocalProtocolError):
            encode_header(header)
    widest = SnapshotMetadata(LogIndex(1), Term(1), bytes(MEMBERSHIP_BYTES_MAX))
    for header in (SnapshotHeader(CLUSTER, widest, 16), SnapshotHeader(CLUSTER, METADATA, CHUNK_BYTES_MAX)):
        parser = SnapshotParser(CLUSTER, None)
        parser.feed(encode(b"payload", header=header))
        assert parser.finish() == header.metadata
