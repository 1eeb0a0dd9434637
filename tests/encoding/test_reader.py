"""Reading fields out of bytes that are not to be trusted."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.encoding.reader import Reader
from raftd.errors import DecodeError


def test_numbers_are_little_endian() -> None:
    """Each number takes its size, lowest byte first, and the reader goes on behind it."""
    reader = Reader(bytes.fromhex("ff 01 0203 04050607 08090a0b0c0d0e0f"), offset=1)
    assert reader.u8("a") == 1
    assert reader.u16("b") == 0x0302
    assert reader.u32("c") == 0x07060504
    assert reader.remaining == 8
    assert reader.u64("d") == 0x0F0E0D0C0B0A0908
    assert reader.remaining == 0
    reader.finish()


@pytest.mark.parametrize(
    ("read", "size"),
    [
        pytest.param(lambda reader: reader.u8("it"), 1, id="u8"),
        pytest.param(lambda reader: reader.u16("it"), 2, id="u16"),
        pytest.param(lambda reader: reader.u32("it"), 4, id="u32"),
        pytest.param(lambda reader: reader.u64("it"), 8, id="u64"),
        pytest.param(lambda reader: reader.boolean("it"), 1, id="boolean"),
        pytest.param(lambda reader: reader.raw(3, "it"), 3, id="raw"),
        pytest.param(lambda reader: reader.bytes_u16("it", 9), 2, id="bytes_u16"),
        pytest.param(lambda reader: reader.bytes_u32("it", 9), 4, id="bytes_u32"),
        pytest.param(lambda reader: reader.text_u16("it", 9), 2, id="text_u16"),
    ],
)
def test_one_byte_too_few(read: Callable[[Reader], object], size: int) -> None:
    """A field that is a byte short is refused by name; one that is there is read to its end."""
    reader = Reader(bytes(size))
    read(reader)
    reader.finish()
    with pytest.raises(DecodeError, match=rf"^it needs {size} bytes at byte 0, and {size - 1} are left$"):
        read(Reader(bytes(size - 1)))


@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=5))
def test_bytes_behind_their_length(data: bytes, rest: bytes) -> None:
    """As many bytes as the length says, and not one more."""
    short = Reader(len(data).to_bytes(2, "little") + data + rest)
    assert short.bytes_u16("it", 20) == data
    assert short.rest() == rest
    long = Reader(len(data).to_bytes(4, "little") + data + rest)
    assert long.bytes_u32("it", 20) == data
    assert long.rest() == rest
    long.finish()


def test_lengths_have_a_bound() -> None:
    """A length above the bound is refused although its bytes are there; one at the bound is not."""
    assert Reader(b"\x03\0abc").bytes_u16("it", 3) == b"abc"
    with pytest.raises(DecodeError, match=r"^it is 3 bytes long, and may have 2$"):
        Reader(b"\x03\0abc").bytes_u16("it", 2)
    with pytest.raises(DecodeError, match=r"^it is 4294967295 bytes long, and may have 1048576$"):
        Reader(b"\xff\xff\xff\xff").bytes_u32("it", 1 << 20)


def test_lengths_are_compared_with_what_is_there() -> None:
    """A length within the bound but behind the end is refused."""
    with pytest.raises(DecodeError, match=r"^it needs 1000000 bytes at byte 4, and 2 are left$"):
        Reader((1_000_000).to_bytes(4, "little") + b"ab").bytes_u32("it", 1 << 20)


def test_booleans_have_one_spelling() -> None:
    """Only 0 and 1 are booleans."""
    reader = Reader(b"\x00\x01\x02")
    assert [reader.boolean("it"), reader.boolean("it")] == [False, True]
    with pytest.raises(DecodeError, match=r"^it is 2, and may be 0 or 1$"):
        reader.boolean("it")


def test_text_is_utf_8() -> None:
    """Text is UTF-8, its bound in bytes; anything else is refused with its place."""
    assert Reader("\x03\0é!".encode()).text_u16("it", 3) == "é!"
    with pytest.raises(DecodeError, match="may have 2"):
        Reader("\x03\0é!".encode()).text_u16("it", 2)
    with pytest.raises(DecodeError, match=r"^it is not UTF-8: invalid start byte at byte 1$"):
        Reader(b"\x02\0a\xff").text_u16("it", 9)


def test_finish_refuses_what_is_left() -> None:
    """Bytes that no field claimed make the whole invalid."""
    reader = Reader(b"abc")
    reader.u8("it")
    with pytest.raises(DecodeError, match=r"^2 bytes too many at byte 1$"):
        reader.finish()


def test_a_refused_field_is_not_taken() -> None:
    """After a field that is not there, the reader stands where it stood."""
    reader = Reader(b"ab")
    with pytest.raises(DecodeError):
        reader.u32("it")
    assert reader.rest() == b"ab"
