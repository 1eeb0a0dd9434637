"""Pages: the bodies of what is answered to queries that may have much to show.

All numbers are little-endian::

    range       at_revision u64 | key_count u64 | more u8 | item_count u32 | item_count times: key_length u16 | key |
                item
    history     compacted_revision u64 | more u8 | count u32 | count times: change, newest first
    lease       ttl_ms u32 | remaining_ms u32 | user_length u8 | user | key_count u32 | key_count times:
                key_length u16 | key, ascending
    leases      more u8 | count u32 | count times, ascending: lease u64 | ttl_ms u32 | key_count u32 |
                user_length u8 | user

    at_revision         what is shown is as it was then
    key_count           keys in the whole range at at_revision, be there room for them or not; 2^64-1: not counted
    more                1: there is more than this page shows, else 0
    item                see `raftd.kv.items`; with KEYS_ONLY without its value
    compacted_revision  changes up to and including it are not held
    change              see `raftd.kv.changes`
    remaining_ms        as the leader counts; the keys of a lease end with it

A page is made of items that are encoded already, since whoever makes it must know how long it gets.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError
from raftd.kv.changes import ShownChange, decode_changes
from raftd.kv.items import KeyedItem, decode_keyed_items
from raftd.kv.limits import KEY_BYTES_MAX
from raftd.kv.types import LeaseId, Revision

NOT_COUNTED: Final = (1 << 64) - 1
"""The key_count of a range in the past, where to count would cost too much."""

_RANGE: Final = struct.Struct("<QQBI")
_HISTORY: Final = struct.Struct("<QBI")


class RangePage(NamedTuple):
    """What a range says."""

    at_revision: Revision
    key_count: int | None
    """Keys in the whole range; None: not counted."""
    more: bool
    items: Sequence[KeyedItem]


class HistoryPage(NamedTuple):
    """What a history says."""

    compacted_revision: Revision
    more: bool
    changes: Sequence[ShownChange]


class LeaseInfo(NamedTuple):
    """What is said of one lease."""

    ttl_ms: int
    remaining_ms: int
    user: bytes
    keys: Sequence[bytes]


class ListedLease(NamedTuple):
    """One lease in a list."""

    lease: LeaseId
    ttl_ms: int
    key_count: int
    user: bytes


class LeasesPage(NamedTuple):
    """What a list of leases says."""

    more: bool
    leases: Sequence[ListedLease]


def range_body(at_revision: Revision, key_count: int | None, items: Sequence[bytes], *, more: bool) -> bytes:
    """Make the body of a range; `items` are of `encode_keyed`, and `key_count` is None if nobody counted."""
    return b"".join(
        (_RANGE.pack(at_revision, NOT_COUNTED if key_count is None else key_count, more, len(items)), *items),
    )


def decode_range(body: bytes, *, keys_only: bool = False) -> RangePage:
    """Decode the body of a range; `keys_only`: whether only keys were asked for.

    Raises:
        DecodeError: it is not one.
    """
    if len(body) < _RANGE.size:
        raise DecodeError("a range is cut short")
    at_revision, key_count, more, item_count = _RANGE.unpack_from(body)
    items, end = decode_keyed_items(body, _RANGE.size, item_count, keys_only=keys_only)
    _check_end(body, end)
    return RangePage(at_revision, None if key_count == NOT_COUNTED else key_count, _boolean(more), items)


def history_body(compacted_revision: Revision, changes: Sequence[bytes], *, more: bool) -> bytes:
    """Make the body of a history; `changes` are of `encode_change`."""
    return b"".join((_HISTORY.pack(compacted_revision, more, len(changes)), *changes))


def decode_history(body: bytes) -> HistoryPage:
    """Decode the body of a history.

    Raises:
        DecodeError: it is not one.
    """
    if len(body) < _HISTORY.size:
        raise DecodeError("a history is cut short")
    compacted_revision, more, count = _HISTORY.unpack_from(body)
    changes, end = decode_changes(body, _HISTORY.size, count)
    _check_end(body, end)
    return HistoryPage(compacted_revision, _boolean(more), changes)


def lease_body(info: LeaseInfo) -> bytes:
    """Make the body that tells of one lease."""
    writer = Writer()
    writer.u32(info.ttl_ms)
    writer.u32(info.remaining_ms)
    writer.bytes_u8(info.user)
    writer.u32(len(info.keys))
    for key in info.keys:
        writer.bytes_u16(key)
    return writer.finish()


def decode_lease(body: bytes) -> LeaseInfo:
    """Decode the body that tells of one lease.

    Raises:
        DecodeError: it is not one.
    """
    reader = Reader(body)
    ttl_ms = reader.u32("a time to live")
    remaining_ms = reader.u32("a remaining time")
    user = reader.bytes_u8("a user")
    count = reader.u32("a number of keys")
    keys = tuple([reader.bytes_u16("a key", KEY_BYTES_MAX) for _ in range(count)])
    reader.finish()
    return LeaseInfo(ttl_ms, remaining_ms, user, keys)


def leases_body(leases: Sequence[ListedLease], *, more: bool) -> bytes:
    """Make the body of a list of leases."""
    writer = Writer()
    writer.boolean(more)
    writer.u32(len(leases))
    for lease, ttl_ms, key_count, user in leases:
        writer.u64(lease)
        writer.u32(ttl_ms)
        writer.u32(key_count)
        writer.bytes_u8(user)
    return writer.finish()


def decode_leases(body: bytes) -> LeasesPage:
    """Decode the body of a list of leases.

    Raises:
        DecodeError: it is not one.
    """
    reader = Reader(body)
    more = reader.boolean("more")
    count = reader.u32("a number of leases")
    leases = tuple([_read_listed_lease(reader) for _ in range(count)])
    reader.finish()
    return LeasesPage(more, leases)


def _read_listed_lease(reader: Reader) -> ListedLease:
    lease = LeaseId(reader.u64("a lease"))
    ttl_ms = reader.u32("a time to live")
    key_count = reader.u32("a number of keys")
    return ListedLease(lease, ttl_ms, key_count, reader.bytes_u8("a user"))


def _boolean(value: int) -> bool:
    if value > 1:
        raise DecodeError(f"a flag is {value}, and may be 0 or 1")
    return value == 1


def _check_end(body: bytes, end: int) -> None:
    if end != len(body):
        raise DecodeError(f"{len(body) - end} bytes follow the end of a page")
