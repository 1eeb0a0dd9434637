"""Writing fields: the mirror of reading them."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer


@settings(deadline=None)
@given(st.integers(0, (1 << 64) - 1), st.booleans(), st.binary(max_size=50), st.text(max_size=50))
def test_round_trip(number: int, flag: bool, data: bytes, text: str) -> None:
    """What is written in an order is read in the same order."""
    writer = Writer()
    writer.u8(number % (1 << 8))
    writer.u16(number % (1 << 16))
    writer.u32(number % (1 << 32))
    writer.u64(number)
    writer.i64(number - (1 << 63))
    writer.boolean(flag)
    writer.bytes_u8(data)
    writer.bytes_u16(data)
    writer.bytes_u32(data)
    writer.text_u16(text, 200)
    writer.raw(data)
    reader = Reader(writer.finish())
    assert reader.u8("") == number % (1 << 8)
    assert reader.u16("") == number % (1 << 16)
    assert reader.u32("") == number % (1 << 32)
    assert reader.u64("") == number
    assert reader.i64("") == number - (1 << 63)
    assert reader.boolean("") is flag
    assert reader.bytes_u8("") == data
    assert reader.bytes_u16("", 50) == data
    assert reader.bytes_u32("", 50) == data
    assert reader.text_u16("", 200) == text
    assert reader.rest() == data
    reader.finish()


def test_layout() -> None:
    """Numbers are little-endian, lengths stand in front."""
    writer = Writer()
    writer.u16(0x0102)
    writer.bytes_u32(b"ab")
    writer.text_u16("é", 2)
    assert writer.finish() == bytes.fromhex("0201 02000000 6162 0200 c3a9")


@settings(deadline=None)
@given(st.text(max_size=20), st.integers(0, 30))
def test_text_is_cut_between_characters(text: str, length_max: int) -> None:
    """Text that is too long loses characters at its end, as few as its bound allows."""
    writer = Writer()
    writer.text_u16(text, length_max)
    cut = Reader(writer.finish()).text_u16("", length_max)
    assert text.startswith(cut)
    assert cut == text or len((cut + text[len(cut)]).encode()) > length_max


def test_text_always_has_bytes() -> None:
    """A message that holds half of a surrogate pair, as file names may, is sent all the same."""
    writer = Writer()
    writer.text_u16("a\udcffb", 10)
    assert writer.finish() == b"\x03\0a?b"


@pytest.mark.parametrize("value", [-1, 256])
def test_numbers_out_of_bounds_are_bugs(value: int) -> None:
    """A number that its field cannot hold is never written as another one."""
    with pytest.raises(struct.error):
        Writer().u8(value)
