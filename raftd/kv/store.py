"""The keys and their values, as of one revision; and a walk over them as they were, while they go on changing.

Values are kept in a dict: a read of one key is one lookup. Nothing here ever depends on the dict's order. The keys
stand in byte order beside it, so that a walk can be left at any key and taken up again there.

A walk (`StoreWalk`) visits the keys in order, some at a time, and shows the store as it was when the walk began. So
each change looks whether there is a walk; if the key's turn is still to come and this is its first change since the
walk began, the old record is left with the walk. That is a reference to a tuple: a change copies nothing, a read does
not know of walks, and there is nothing to merge when the walk is over. Old and new records are told apart by the
modify revision, which each has anyway:

    what happens to a key      before its turn
    -------------------------  ---------------------------------------------------------------------------------------
    nothing                    the walk finds its record, with a modify revision of at most the walk's own
    it is created              the walk passes over it
    it is overwritten          the old record is kept for the walk, which passes over the new one
    it is deleted              the old record is kept for the walk, unless the key was created since the walk began

After its turn nothing needs to be done.
"""

import heapq
from collections.abc import Iterator
from typing import Any, Final

from sortedcontainers import SortedList

from raftd.errors import LocalProtocolError
from raftd.kv.types import NO_LEASE, Record, Revision

NO_REVISION: Final = Revision(0)
"""The modify revision of an absent key; the store's before the first change."""


class Store:
    """Keys and values; each change is one step of `revision`.

    Invariant: 0 < create_revision <= modify_revision <= revision and version >= 1 for each record.
    """

    __slots__ = ("_keys", "_records", "_walk", "bytes_total", "revision")

    def __init__(self, revision: Revision = NO_REVISION) -> None:
        self._records: dict[bytes, Record] = {}
        self._keys = SortedList()
        self._walk: StoreWalk | None = None
        self.revision = revision
        self.bytes_total = 0
        """Of all keys and values, without what Python needs to keep them."""

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[tuple[bytes, Record]]:
        """All keys in byte order; nothing may change meanwhile."""
        return ((key, self._records[key]) for key in self._keys)

    def get(self, key: bytes) -> Record | None:
        """What is kept of `key`, or None if it is absent."""
        return self._records.get(key)

    def modify_revision(self, key: bytes) -> Revision:
        """The revision of the last change of `key`; 0 if it is absent."""
        record = self._records.get(key)
        return NO_REVISION if record is None else record[1]

    def put(self, key: bytes, value: bytes, user: bytes) -> Record:
        """Write `value` for `user`; an absent key is created with version 1. Bounds are the caller's to check."""
        revision = self.revision = Revision(self.revision + 1)
        previous = self._records.get(key)
        if previous is None:
            record = (revision, revision, 1, NO_LEASE, user, value)
            self._keys.add(key)
            self.bytes_total += len(key) + len(value)
        else:
            if self._walk is not None:
                self._walk.keep(key, previous)
            create_revision, _, version, _, _, previous_value = previous
            record = (create_revision, revision, version + 1, NO_LEASE, user, value)
            self.bytes_total += len(value) - len(previous_value)
        self._records[key] = record
        return record

    def delete(self, key: bytes) -> bool:
        """Remove `key`. If it is absent nothing changes, not even the revision.

        Returns:
            Whether it was there.
        """
        record = self._records.pop(key, None)
        if record is None:
            return False
        if self._walk is not None:
            self._walk.keep(key, record)
        self._keys.remove(key)
        self.revision = Revision(self.revision + 1)
        self.bytes_total -= len(key) + len(record[-1])
        return True

    def append(self, key: bytes, record: Record) -> None:
        """Put back what a walk has shown; keys come in byte order, and the revision was given when this was made."""
        self._records[key] = record
        self._keys.add(key)
        self.bytes_total += len(key) + len(record[-1])

    def begin_walk(self) -> "StoreWalk":
        """Begin a walk over all keys as they are now; `end_walk` must follow, whether it came to its end or not.

        Raises:
            LocalProtocolError: There is a walk already.
        """
        if self._walk is not None:
            raise LocalProtocolError("the keys are being walked over already")
        self._walk = StoreWalk(self.revision, len(self._records), self.bytes_total, self._records, self._keys)
        return self._walk

    def end_walk(self) -> None:
        """Keep nothing for a walk any more."""
        self._walk = None


class StoreWalk:
    """One pass over the keys of a store as they were when this was made, in byte order.

    Invariant: each record of then was given out; or its key is behind `_position`, and it is in the store with a modify
    revision of at most `revision`; or it is in `_kept`.
    """

    __slots__ = ("_kept", "_keys", "_position", "_records", "bytes_total", "key_count", "revision")

    def __init__(
        self, revision: Revision, key_count: int, bytes_total: int, records: dict[bytes, Record], keys: Any
    ) -> None:
        """Use `Store.begin_walk`."""
        self.revision = revision
        self.key_count = key_count
        self.bytes_total = bytes_total
        self._records = records
        self._keys = keys
        self._position = b""
        self._kept: list[tuple[bytes, Record]] = []  # a heap, with each key at most once

    @property
    def kept_count(self) -> int:
        """How many old records are there for this walk only; at most `key_count`."""
        return len(self._kept)

    def keep(self, key: bytes, record: Record) -> None:
        """Take note of a record that is replaced or deleted now."""
        if record[1] <= self.revision and key > self._position:
            heapq.heappush(self._kept, (key, record))

    def resume(self) -> Iterator[tuple[bytes, Record] | None]:
        """Go on where the walk was left. Leave it before the store changes, and begin anew with a further call.

        Gives (key, record), or None for each key that is passed over, so that a caller who counts may leave there too.
        """
        records = self._records
        kept = self._kept
        revision = self.revision
        for key in self._keys.irange(self._position, inclusive=(False, True)):
            while kept and kept[0][0] <= key:
                yield heapq.heappop(kept)
            self._position = key
            record = records[key]
            yield (key, record) if record[1] <= revision else None
        while kept:
            yield heapq.heappop(kept)
