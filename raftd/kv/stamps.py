"""Stamps: what a leader puts in front of a command, so that the entry says who wrote, from where, and when.

All numbers are little-endian. The data of a log entry::

    stamp_length u16 | wall_clock_ms u64 | user_length u8 | user | address_length u8 | address | command

    stamp_length    what follows it up to the command: 10 + user_length + address_length
    wall_clock_ms   the leader's, since 1970; for people, never for ordering or expiry
    user            the name in the client's certificate, UTF-8; empty: a server wrote this itself
    address         where the client was connected from, UTF-8; may be empty
"""

import struct
from typing import Final, TypeAlias

from raftd.kv.limits import ADDRESS_BYTES_MAX, USER_BYTES_MAX
from raftd.kv.types import InvalidCommand

ParsedStamp: TypeAlias = tuple[int, bytes, bytes]
"""(wall_clock_ms, user, address); a tuple and not a class on purpose, since there is one for each command."""

_STAMP: Final = struct.Struct("<HQB")
_LENGTH_BYTES: Final = 2
_FIXED_BYTES: Final = 10  # wall_clock_ms, user_length, address_length

# `Struct.size` makes an int each time it is asked.
_STAMP_BYTES: Final = _STAMP.size


class Stamp:
    """Who writes, from where: the part of a stamp that stays the same on one connection, encoded once.

    Args:
        user: the name in the client's certificate; `""` for what a server proposes itself.
        address: where the client is connected from; for people to read, so an overlong one is cut.

    Raises:
        ValueError: the user's name has more than 255 bytes.
    """

    __slots__ = ("_identity", "_length", "_user_length")

    def __init__(self, user: str, address: str = "") -> None:
        user_bytes = user.encode()
        if len(user_bytes) > USER_BYTES_MAX:
            raise ValueError(f"a user's name has at most {USER_BYTES_MAX} bytes, not {len(user_bytes)}")
        address_bytes = address.encode()[:ADDRESS_BYTES_MAX]
        self._user_length = len(user_bytes)
        self._identity = user_bytes + bytes((len(address_bytes),)) + address_bytes
        self._length = _FIXED_BYTES + len(user_bytes) + len(address_bytes)

    def at(self, wall_clock_ms: int) -> bytes:
        """The stamp's bytes; a log entry's data is these followed by the command."""
        return _STAMP.pack(self._length, wall_clock_ms, self._user_length) + self._identity


def parse_stamp(data: bytes) -> tuple[ParsedStamp, int]:
    """Parse the stamp of a log entry's data.

    Returns:
        The stamp, and where the command starts.

    Raises:
        InvalidCommand: it is cut short, or its lengths disagree.
    """
    if len(data) < _STAMP_BYTES:
        raise InvalidCommand("the stamp is cut short")
    stamp_length, wall_clock_ms, user_length = _STAMP.unpack_from(data)
    user_end = _STAMP_BYTES + user_length
    start: int = _LENGTH_BYTES + stamp_length
    if user_end >= len(data) or user_end + 1 + data[user_end] != start:
        raise InvalidCommand("the stamp's lengths disagree")
    return (wall_clock_ms, data[_STAMP_BYTES:user_end], data[user_end + 1 : start]), start
