"""Reads little-endian fields out of bytes that are not to be trusted."""

import struct
from typing import NoReturn

from raftd.errors import DecodeError

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I64 = struct.Struct("<q")


class Reader:
    """Takes fields from the front of `data`, and never looks behind its end.

    A length is compared with the bytes that are there before anything of that length is made, so what a decoder takes
    is bounded by what it was given. For messages that are few; hot paths use precompiled Structs with their own checks.

    Every method but `remaining` raises `DecodeError` and names the field, when the bytes do not hold it.
    """

    __slots__ = ("_data", "_end", "_offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self._offset = offset

    @property
    def remaining(self) -> int:
        """How many bytes have not been read yet."""
        return self._end - self._offset

    def u8(self, field: str) -> int:
        """An integer of one byte."""
        return self._data[self._advance(1, field)]

    def u16(self, field: str) -> int:
        """An integer of two bytes."""
        value: int = _U16.unpack_from(self._data, self._advance(2, field))[0]
        return value

    def u32(self, field: str) -> int:
        """An integer of four bytes."""
        value: int = _U32.unpack_from(self._data, self._advance(4, field))[0]
        return value

    def u64(self, field: str) -> int:
        """An integer of eight bytes."""
        value: int = _U64.unpack_from(self._data, self._advance(8, field))[0]
        return value

    def i64(self, field: str) -> int:
        """An integer of eight bytes with its sign, in two's complement."""
        value: int = _I64.unpack_from(self._data, self._advance(8, field))[0]
        return value

    def boolean(self, field: str) -> bool:
        """One byte that is 0 or 1: anything else would be two spellings of one message."""
        value = self.u8(field)
        if value > 1:
            _refuse(f"{field} is {value}, and may be 0 or 1")
        return value == 1

    def raw(self, length: int, field: str) -> bytes:
        """The next `length` bytes, copied."""
        start = self._advance(length, field)
        return self._data[start : start + length]

    def bytes_u8(self, field: str) -> bytes:
        """Bytes behind their length in one byte."""
        return self.raw(self.u8(field), field)

    def bytes_u16(self, field: str, length_max: int) -> bytes:
        """Bytes behind their length in two bytes."""
        return self._bytes(self.u16(field), field, length_max)

    def bytes_u32(self, field: str, length_max: int) -> bytes:
        """Bytes behind their length in four bytes."""
        return self._bytes(self.u32(field), field, length_max)

    def text_u16(self, field: str, length_max: int) -> str:
        """UTF-8 behind its length, counted in bytes, in two bytes."""
        encoded = self.bytes_u16(field, length_max)
        try:
            return encoded.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"{field} is not UTF-8: {error.reason} at byte {error.start}") from None

    def rest(self) -> bytes:
        """Everything that is left, copied."""
        return self.raw(self.remaining, "rest")

    def finish(self) -> None:
        """Refuse bytes that no field has claimed."""
        if self.remaining:
            _refuse(f"{self.remaining} bytes too many at byte {self._offset}")

    def _bytes(self, length: int, field: str, length_max: int) -> bytes:
        if length > length_max:
            _refuse(f"{field} is {length} bytes long, and may have {length_max}")
        return self.raw(length, field)

    def _advance(self, length: int, field: str) -> int:
        """Claim `length` bytes, and say where they start."""
        start = self._offset
        end = start + length
        if end > self._end:
            _refuse(f"{field} needs {length} bytes at byte {start}, and {self.remaining} are left")
        self._offset = end
        return start


def _refuse(reason: str) -> NoReturn:
    raise DecodeError(reason)
