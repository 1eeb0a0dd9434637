"""The log's bytes: pinned, round-tripped, and refused when anything is off."""

from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import HardState, NodeId, Term
from raftd.errors import CorruptionError
from raftd.storage.format import (
    BATCH_HEADER_BYTES,
    RESET,
    SECTOR_BYTES,
    BatchHeader,
    SegmentHeader,
    count_sparse_sectors,
    decode_batch_header,
    decode_segment_header,
    encode_batch,
    encode_segment_header,
    pack_hard_state,
    round_to_sectors,
    unpack_hard_state,
)

PATH = Path("/data/wal/segment")
SEGMENT = SegmentHeader(0x01020304, b"0123456789abcdef", 2, 3, 65536, 4, 5, 6, 7, 0x0A0B0C0D)
u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)


def test_a_segment_header_is_these_bytes() -> None:
    """The format on disk does not change unnoticed."""
    fields = (
        b"raftdWAL\x01\0\0\0\x04\x03\x02\x010123456789abcdef"
        b"\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0"
        b"\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x0d\x0c\x0b\x0a"
    )
    assert encode_segment_header(SEGMENT) == (fields + crc32(fields).to_bytes(4, "little")).ljust(512, b"\0")


def test_a_batch_is_these_bytes() -> None:
    """The format on disk does not change unnoticed."""
    crc, buffers = encode_batch(BatchHeader(0, 0x01020304, 5, 6, 7, 8, 9, 0, 0, 0), b"payload", 0x55)
    fields = (
        b"\x04\x03\x02\x01\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x09\0\0\0"
        b"\x07\0\0\0" + crc32(b"payload", 0x55).to_bytes(4, "little") + bytes(11) + b"\xa5"
    )
    assert crc == crc32(fields, 0x55)
    assert b"".join(buffers) == (crc.to_bytes(4, "little") + fields + b"payload\xa5").ljust(512, b"\0")


@given(st.builds(SegmentHeader, u32, st.binary(min_size=16, max_size=16), u64, u64, u64, u64, u64, u64, u64, u32))
def test_a_segment_header_comes_back(header: SegmentHeader) -> None:
    """Decoding undoes encoding."""
    assert decode_segment_header(PATH, encode_segment_header(header)) == header


@pytest.mark.parametrize(
    ("sector", "message"),
    [
        (b"", "ends after 0 bytes"),
        (bytes(512), "no segment header"),
        (encode_segment_header(SEGMENT)[:-1] + b"\1", "checksum"),
        (encode_segment_header(SEGMENT)[:-1], "ends after 511 bytes"),
    ],
)
def test_what_is_no_segment_header_is_refused(sector: bytes, message: str) -> None:
    """With the file, the offset and what was found."""
    with pytest.raises(CorruptionError, match=f"{PATH}: damaged at offset 0: .*{message}"):
        decode_segment_header(PATH, sector)


def test_a_segment_of_a_later_format_is_refused() -> None:
    """A format that this code does not know is not guessed at."""
    fields = bytearray(encode_segment_header(SEGMENT)[:92])
    fields[8] = 2
    with pytest.raises(CorruptionError, match="segment of format 2, where 1 is the only one"):
        decode_segment_header(PATH, (bytes(fields) + crc32(fields).to_bytes(4, "little")).ljust(512, b"\0"))


@given(
    st.builds(BatchHeader, st.just(0), u32, u64, u64, u64, u64, u32, flags=st.sampled_from([0, RESET])),
    st.binary(max_size=1500),
    u32,
)
def test_a_batch_header_comes_back(header: BatchHeader, payload: bytes, salt: int) -> None:
    """Decoding undoes encoding; the batch fills whole sectors; another salt knows nothing of it."""
    crc, buffers = encode_batch(header, payload, salt)
    batch = b"".join(buffers)
    decoded = decode_batch_header(batch[:BATCH_HEADER_BYTES], salt)
    assert decoded == header._replace(
        crc=crc, payload_length=len(payload), payload_crc=crc32(payload, salt), sparse_sectors=0
    ) or count_sparse_sectors(payload)
    assert len(batch) == round_to_sectors(BATCH_HEADER_BYTES + len(payload) + 1)
    assert batch[64:].rstrip(b"\0") == payload + b"\xa5"
    assert decode_batch_header(batch[:BATCH_HEADER_BYTES], salt ^ 1) is None


def test_no_flipped_bit_leaves_a_batch_header_valid() -> None:
    """Nor does a header that is cut short."""
    _, buffers = encode_batch(BatchHeader(0, 1, 2, 3, 4, 5, 6, 0, 0, 0), b"payload", 7)
    header = bytearray(b"".join(buffers)[:BATCH_HEADER_BYTES])
    for bit in range(BATCH_HEADER_BYTES * 8):
        header[bit // 8] ^= 1 << bit % 8
        assert decode_batch_header(bytes(header), 7) is None
        header[bit // 8] ^= 1 << bit % 8
    assert decode_batch_header(bytes(header), 7) is not None
    assert decode_batch_header(bytes(header[:-1]), 7) is None


def test_flags_of_a_later_format_are_not_overlooked() -> None:
    """A header with a flag that nobody knows is not valid, whatever its checksum."""
    _, buffers = encode_batch(BatchHeader(0, 1, 2, 3, 4, 5, 6, 0, 0, 0), b"", 7)
    header = bytearray(b"".join(buffers)[:BATCH_HEADER_BYTES])
    header[56] = 2
    header[:4] = crc32(header[4:], 7).to_bytes(4, "little")
    assert decode_batch_header(bytes(header), 7) is None


sparse_parts = st.one_of(
    st.integers(0, 1200).map(bytes), st.binary(max_size=3), st.sampled_from([b"\x01", b"\x80", b"\x03", b"x" * 600])
)


@settings(deadline=None)
@given(st.lists(sparse_parts, max_size=12).map(b"".join))
def test_sparse_sectors_are_those_with_at_most_one_bit(payload: bytes) -> None:
    """The count is that of counting every bit of every sector."""
    batch = b"".join(encode_batch(BatchHeader(0, 1, 2, 3, 4, 5, 6, 0, 0, 0), payload, 7)[1])
    sectors = [batch[start : start + SECTOR_BYTES] for start in range(0, len(batch), SECTOR_BYTES)]
    assert count_sparse_sectors(payload) == sum(sum(byte.bit_count() for byte in sector) <= 1 for sector in sectors)


@pytest.mark.parametrize("state", [HardState(Term(0), None), HardState(Term(2**64 - 1), NodeId(9))])
def test_hard_state_comes_back(state: HardState) -> None:
    """No vote is 0, and 0 is no vote."""
    assert unpack_hard_state(*pack_hard_state(state)) == state
