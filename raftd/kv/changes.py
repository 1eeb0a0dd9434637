"""Changes: what became of one key in one step, and the bytes that watches and histories show of it.

All numbers are little-endian::

    flags u8 | revision u64 | key_length u16 | key | create_revision u64 | version u64 | lease u64 | wall_clock_ms u64 |
    user_length u8 | user | address_length u8 | address | value | previous

    flags      1 DELETE    the key is gone, else it was written; create_revision, version and lease are those of the
                           deleted record then
               2 BY_LEASE  with DELETE only: its lease was revoked or expired
               4 VALUE     not with DELETE: value is there, as value_length u32, value
               8 PREVIOUS  previous is there, as modify_revision u64, value_length u32, value: what the key had before
    user       who did it, and `address`, `wall_clock_ms`: from where and when by the leader's clock. For people.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from raftd.errors import DecodeError, InvariantViolation
from raftd.kv.types import LeaseId, Record, Revision

FLAG_DELETE: Final = 1
FLAG_BY_LEASE: Final = 2
FLAG_VALUE: Final = 4
FLAG_PREVIOUS: Final = 8

_HEAD: Final = struct.Struct("<BQH")
_FIELDS: Final = struct.Struct("<QQQQB")
_VALUE_LENGTH: Final = struct.Struct("<I")
_PREVIOUS: Final = struct.Struct("<QI")

# `Struct.size` makes an int each time it is asked; there are many changes.
_HEAD_BYTES: Final = _HEAD.size
_FIELDS_BYTES: Final = _FIELDS.size
_VALUE_LENGTH_BYTES: Final = _VALUE_LENGTH.size
_PREVIOUS_BYTES: Final = _PREVIOUS.size

_ALL_FLAGS: Final = FLAG_DELETE | FLAG_BY_LEASE | FLAG_VALUE | FLAG_PREVIOUS


class Change(NamedTuple):
    """One change of one key, as the state machine holds it. At least one of the two records is there."""

    revision: Revision
    key: bytes
    previous: Record | None
    """None: the key was created."""
    record: Record | None
    """None: the key was deleted."""
    by_lease: bool
    """Deleted since its lease was revoked or expired."""
    wall_clock_ms: int
    user: bytes
    address: bytes


class PreviousValue(NamedTuple):
    """What a key had before a change."""

    modify_revision: Revision
    value: bytes


class ShownChange(NamedTuple):
    """One change, as it is told to clients."""

    revision: Revision
    key: bytes
    is_delete: bool
    by_lease: bool
    create_revision: Revision
    version: int
    lease: LeaseId
    wall_clock_ms: int
    user: bytes
    address: bytes
    value: bytes | None
    """None: deleted, or not shown."""
    previous: PreviousValue | None
    """None: there was none, or not shown."""


def encode_change(change: Change, *, values: bool, previous: bool) -> bytes:
    """Encode what is shown of a change.

    Args:
        change: the change.
        values: whether to show what was written.
        previous: whether to show what was there before.

    Raises:
        InvariantViolation: neither record is there.
    """
    revision, key, before, after, by_lease, wall_clock_ms, user, address = change
    if after is not None:
        create_revision, _, version, lease, _, value = after
        flags = 0
    elif before is not None:
        create_revision, _, version, lease, _, value = before
        flags = FLAG_DELETE | FLAG_BY_LEASE if by_lease else FLAG_DELETE
    else:
        raise InvariantViolation(f"revision {revision} changed a key from nothing to nothing")
    parts = [
        b"",
        key,
        _FIELDS.pack(create_revision, version, lease, wall_clock_ms, len(user)),
        user,
        bytes((len(address),)),
        address,
    ]
    if values and after is not None:
        flags |= FLAG_VALUE
        parts += (_VALUE_LENGTH.pack(len(value)), value)
    if previous and before is not None:
        flags |= FLAG_PREVIOUS
        parts += (_PREVIOUS.pack(before[1], len(before[-1])), before[-1])
    parts[0] = _HEAD.pack(flags, revision, len(key))
    return b"".join(parts)


def decode_change(data: bytes, offset: int = 0) -> tuple[ShownChange, int]:
    """Decode the change at `offset`.

    Returns:
        The change, and where it ends.

    Raises:
        DecodeError: it is cut short, or has flags that it may not have.
    """
    if offset + _HEAD_BYTES > len(data):
        raise DecodeError("a change is cut short")
    flags, revision, key_length = _HEAD.unpack_from(data, offset)
    if flags & ~_ALL_FLAGS or (flags & FLAG_VALUE if flags & FLAG_DELETE else flags & FLAG_BY_LEASE):
        raise DecodeError(f"a change may not have flags {flags:#x}")
    key, offset = _take(data, offset + _HEAD_BYTES, key_length)
    fields, offset = _take(data, offset, _FIELDS_BYTES)
    create_revision, version, lease, wall_clock_ms, user_length = _FIELDS.unpack(fields)
    user, offset = _take(data, offset, user_length)
    length, offset = _take(data, offset, 1)
    address, offset = _take(data, offset, length[0])
    value = previous = None
    if flags & FLAG_VALUE:
        length, offset = _take(data, offset, _VALUE_LENGTH_BYTES)
        value, offset = _take(data, offset, _VALUE_LENGTH.unpack(length)[0])
    if flags & FLAG_PREVIOUS:
        fields, offset = _take(data, offset, _PREVIOUS_BYTES)
        modify_revision, value_length = _PREVIOUS.unpack(fields)
        previous_value, offset = _take(data, offset, value_length)
        previous = PreviousValue(modify_revision, previous_value)
    return (
        ShownChange(
            revision,
            key,
            bool(flags & FLAG_DELETE),
            bool(flags & FLAG_BY_LEASE),
            create_revision,
            version,
            lease,
            wall_clock_ms,
            user,
            address,
            value,
            previous,
        ),
        offset,
    )


def decode_changes(data: bytes, offset: int, count: int) -> tuple[Sequence[ShownChange], int]:
    """Decode `count` changes, from `offset` on; what is taken is bounded by `data`, whatever the count.

    Returns:
        The changes, and where they end.

    Raises:
        DecodeError: there are fewer, or one is wrong.
    """
    changes: list[ShownChange] = []
    for _ in range(count):
        change, offset = decode_change(data, offset)
        changes.append(change)
    return tuple(changes), offset


def _take(data: bytes, offset: int, length: int) -> tuple[bytes, int]:
    """The `length` bytes at `offset`, and where they end."""
    end = offset + length
    if end > len(data):
        raise DecodeError("a change is cut short")
    return data[offset:end], end
