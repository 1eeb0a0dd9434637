"""The bytes of what is shown of a key; answers and pages are made of them.

All numbers are little-endian::

    item        create_revision u64 | modify_revision u64 | version u64 | lease u64 | user_length u8 | user |
                value_length u32 | value
    keys only   an item without value_length and value
    keyed       key_length u16 | key | item
    previous    0 u8 if there was no such key; or 1 u8 | item

`user` wrote the key last; `lease` is 0 if it has none.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from raftd.errors import DecodeError
from raftd.kv.types import LeaseId, Record, Revision

_ITEM: Final = struct.Struct("<QQQQB")
_KEY_LENGTH: Final = struct.Struct("<H")
_VALUE_LENGTH: Final = struct.Struct("<I")

# `Struct.size` makes an int each time it is asked; pages have many items.
_ITEM_BYTES: Final = _ITEM.size
_KEY_LENGTH_BYTES: Final = _KEY_LENGTH.size
_VALUE_LENGTH_BYTES: Final = _VALUE_LENGTH.size


class KeyValue(NamedTuple):
    """What is shown of a key: a `Record`, with names."""

    create_revision: Revision
    modify_revision: Revision
    version: int
    lease: LeaseId
    user: bytes
    value: bytes
    """Empty where only keys were asked for."""


KeyedItem: TypeAlias = tuple[bytes, KeyValue]
"""(key, what is shown of it)"""


def encode_item(record: Record) -> bytes:
    """Encode an item."""
    create_revision, modify_revision, version, lease, user, value = record
    return b"".join(
        (
            _ITEM.pack(create_revision, modify_revision, version, lease, len(user)),
            user,
            _VALUE_LENGTH.pack(len(value)),
            value,
        )
    )


def encode_keyed(key: bytes, record: Record, *, keys_only: bool = False) -> bytes:
    """Encode a key and its item."""
    create_revision, modify_revision, version, lease, user, value = record
    key_length = _KEY_LENGTH.pack(len(key))
    fields = _ITEM.pack(create_revision, modify_revision, version, lease, len(user))
    if keys_only:
        return b"".join((key_length, key, fields, user))
    return b"".join((key_length, key, fields, user, _VALUE_LENGTH.pack(len(value)), value))


def encode_previous(record: Record | None) -> bytes:
    """Encode what was there before a write."""
    return b"\x00" if record is None else b"\x01" + encode_item(record)


def decode_item(data: bytes, offset: int, *, keys_only: bool = False) -> tuple[KeyValue, int]:
    """Decode the item at `offset`.

    Returns:
        The item, and where it ends.

    Raises:
        DecodeError: it is cut short.
    """
    data_bytes = len(data)
    user_start = offset + _ITEM_BYTES
    if user_start > data_bytes:
        raise DecodeError("an item is cut short")
    create_revision, modify_revision, version, lease, user_length = _ITEM.unpack_from(data, offset)
    end: int = user_start + user_length
    user = data[user_start:end]
    value = b""
    if not keys_only:
        value_start = end + _VALUE_LENGTH_BYTES
        if value_start > data_bytes:
            raise DecodeError("an item is cut short before its value")
        end = value_start + _VALUE_LENGTH.unpack_from(data, end)[0]
        value = data[value_start:end]
    if end > data_bytes:
        raise DecodeError("an item is cut short within its last field")
    return KeyValue(create_revision, modify_revision, version, lease, user, value), end


def decode_keyed_items(
    data: bytes, offset: int, count: int, *, keys_only: bool = False
) -> tuple[Sequence[KeyedItem], int]:
    """Decode `count` keys with their items, from `offset` on; what is taken is bounded by `data`, whatever the count.

    Returns:
        The items, and where they end.

    Raises:
        DecodeError: there are fewer.
    """
    items: list[KeyedItem] = []
    data_bytes = len(data)
    for _ in range(count):
        start = offset + _KEY_LENGTH_BYTES
        if start > data_bytes:
            raise DecodeError(f"{count} items are announced, and {len(items)} are there")
        key_end = start + _KEY_LENGTH.unpack_from(data, offset)[0]
        item, offset = decode_item(data, key_end, keys_only=keys_only)
        items.append((data[start:key_end], item))
    return tuple(items), offset


def decode_previous(data: bytes, offset: int) -> tuple[KeyValue | None, int]:
    """Decode what was there before a write.

    Returns:
        It, None if there was nothing; and where it ends.

    Raises:
        DecodeError: it is cut short, or neither there nor absent.
    """
    presence = data[offset : offset + 1]
    if presence == b"\x01":
        return decode_item(data, offset + 1)
    if presence != b"\x00":
        raise DecodeError("a previous item is neither there nor absent")
    return None, offset + 1
