"""The keys and their values, as of one revision.

Values are kept in a dict: a read of one key is one lookup. Nothing here ever depends on the dict's order.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from raftd.kv.commands import Revision

Record: TypeAlias = tuple[Revision, Revision, int, int, bytes]
"""What is kept of a key: (create_revision, modify_revision, version, lease, value), in the order of a get's answer.

A tuple and not a class on purpose: a million of them are kept, each a third smaller than an object with slots, and the
garbage collector stops visiting a tuple of plain values.
"""

NO_REVISION: Final = Revision(0)
"""The modify revision of an absent key; the store's before the first change."""

_NO_LEASE: Final = 0


class Store:
    """Keys and values; each change is one step of `revision`.

    Invariant: 0 < create_revision <= modify_revision <= revision and version >= 1 for each record.
    """

    __slots__ = ("_records", "bytes_total", "revision")

    def __init__(self) -> None:
        self._records: dict[bytes, Record] = {}
        self.revision = NO_REVISION
        self.bytes_total = 0
        """Of all keys and values, without what Python needs to keep them."""

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[tuple[bytes, Record]]:
        """All keys in byte order; sorts, so it is not for a request's path."""
        return iter(sorted(self._records.items()))

    def get(self, key: bytes) -> Record | None:
        """What is kept of `key`, or None if it is absent."""
        return self._records.get(key)

    def modify_revision(self, key: bytes) -> Revision:
        """The revision of the last change of `key`; 0 if it is absent."""
        record = self._records.get(key)
        return NO_REVISION if record is None else record[1]

    def put(self, key: bytes, value: bytes) -> Record:
        """Write `value`; a key that was absent is created with version 1. Bounds are the caller's to check."""
        revision = self.revision = Revision(self.revision + 1)
        previous = self._records.get(key)
        if previous is None:
            record = (revision, revision, 1, _NO_LEASE, value)
            self.bytes_total += len(key) + len(value)
        else:
            create_revision, _, version, _, previous_value = previous
            record = (create_revision, revision, version + 1, _NO_LEASE, value)
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
        self.revision = Revision(self.revision + 1)
        self.bytes_total -= len(key) + len(record[-1])
        return True
