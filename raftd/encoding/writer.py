"""Writes little-endian fields, the mirror of `raftd.encoding.reader`."""

import struct

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I64 = struct.Struct("<q")


class Writer:
    """Collects fields, in the order in which `Reader` takes them.

    Raises `struct.error` for a number that its field cannot hold: what is written here was validated before.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> None:
        """An integer of one byte."""
        self._parts.append(struct.pack("<B", value))

    def u16(self, value: int) -> None:
        """An integer of two bytes."""
        self._parts.append(_U16.pack(value))

    def u32(self, value: int) -> None:
        """An integer of four bytes."""
        self._parts.append(_U32.pack(value))

    def u64(self, value: int) -> None:
        """An integer of eight bytes."""
        self._parts.append(_U64.pack(value))

    def i64(self, value: int) -> None:
        """An integer of eight bytes with its sign, in two's complement."""
        self._parts.append(_I64.pack(value))

    def boolean(self, value: bool) -> None:
        """One byte, 0 or 1."""
        self._parts.append(b"\x01" if value else b"\x00")

    def raw(self, data: bytes) -> None:
        """Bytes as they are, without a length."""
        self._parts.append(data)

    def bytes_u8(self, data: bytes) -> None:
        """Bytes behind their length in one byte."""
        self._parts += (bytes((len(data),)), data)

    def bytes_u16(self, data: bytes) -> None:
        """Bytes behind their length in two bytes."""
        self._parts += (_U16.pack(len(data)), data)

    def bytes_u32(self, data: bytes) -> None:
        """Bytes behind their length in four bytes."""
        self._parts += (_U32.pack(len(data)), data)

    def text_u16(self, text: str, length_max: int) -> None:
        """UTF-8 behind its length, counted in bytes, in two bytes.

        Text is for people: what is too long is cut between two characters, and what UTF-8 has no bytes for becomes "?".
        """
        encoded = text.encode(errors="replace")
        if len(encoded) > length_max:
            encoded = encoded[:length_max].decode(errors="ignore").encode()
        self.bytes_u16(encoded)

    def finish(self) -> bytes:
        """Everything that was written."""
        return b"".join(self._parts)
