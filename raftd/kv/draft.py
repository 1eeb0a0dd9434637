"""What one command is about to change, laid over the store: seen by its later operations, and by nobody else.

The store is only read here. So a command that turns out to be impossible in its last operation leaves nothing behind:
its draft is dropped. And what is committed is the net change of each key, in the order in which the keys were first
touched, all in one revision.
"""

import heapq
from collections.abc import Iterator, Sequence

from raftd.kv.leases import LeaseTable
from raftd.kv.sorted_keys import SortedKeys
from raftd.kv.store import Store
from raftd.kv.types import NO_LEASE, LeaseId, NetChange, Record, Revision


class Draft:
    """The store as it will be.

    Args:
        store: as it is.
        leases: as they are; `put` counts keys against their bound.
        user: who writes.
    """

    __slots__ = ("_after", "_appeared", "_before", "_gone", "_lease_keys", "_leases", "_store", "_user", "revision")

    def __init__(self, store: Store, leases: LeaseTable, user: bytes) -> None:
        self._store = store
        self._leases = leases
        self._user = user
        # Of the keys that were touched, in that order: what the store has of them, and what it will have.
        self._before: dict[bytes, Record | None] = {}
        self._after: dict[bytes, Record | None] = {}
        # Keys that are in here and not in the store, and the other way round.
        self._appeared = SortedKeys()
        self._gone = SortedKeys()
        self._lease_keys: dict[LeaseId, int] = {}  # how many more a lease will have
        self.revision = Revision(store.revision + 1)
        """That of each record that is written here."""

    @property
    def shown_revision(self) -> Revision:
        """Of which revision is what is read here: there may be none but the store's, if nothing more is written."""
        return self.revision if any(self._changes()) else self._store.revision

    def get(self, key: bytes) -> Record | None:
        """What will be kept of `key`."""
        if key in self._after:
            return self._after[key]
        return self._store.get(key)

    def put(self, key: bytes, value: bytes, lease_id: LeaseId) -> Record:
        """Write a value; the lease is there, unless it is none, and `has_room` for the key."""
        previous = self.get(key)
        before = self._before.setdefault(key, previous)
        if previous is None:
            record = (self.revision, self.revision, 1, lease_id, self._user, value)
            if before is None:
                self._appeared.add(key)
            else:
                self._gone.remove(key)
            self._move(NO_LEASE, lease_id)
        else:
            record = (previous[0], self.revision, previous[2] + 1, lease_id, self._user, value)
            self._move(previous[3], lease_id)
        self._after[key] = record
        return record

    def delete(self, key: bytes, record: Record) -> None:
        """Delete a key, whose record this is."""
        if self._before.setdefault(key, record) is None:
            self._appeared.remove(key)
        else:
            self._gone.add(key)
        self._move(record[3], NO_LEASE)
        self._after[key] = None

    def delete_all(self, keys: Sequence[bytes]) -> list[tuple[bytes, Record]]:
        """Delete many distinct keys that are there; returns them with their records."""
        before, after = self._before, self._after
        get = self.get if after else self._store.get
        found = [(key, record) for key, record in zip(keys, map(get, keys), strict=True) if record is not None]
        appeared = [key for key in keys if key in before and before[key] is None]
        gone = [key for key in keys if key not in before or before[key] is not None] if appeared else keys
        for key, record in found:
            before.setdefault(key, record)
            if record[3]:
                self._move(record[3], NO_LEASE)
        after.update(dict.fromkeys(keys))
        self._gone.add_all(gone)
        self._appeared.remove_all(appeared)
        return found

    def has_room(self, lease_id: LeaseId, key: bytes) -> bool:
        """Whether `key` may be put on a lease, which is there."""
        record = self.get(key)
        if record is not None and record[3] == lease_id:
            return True
        lease = self._leases.get(lease_id)
        return lease is not None and self._leases.has_room(lease, self._lease_keys.get(lease_id, 0) + 1)

    def keys(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """The keys in [low, high), ascending; nothing may change meanwhile."""
        keys = self._left(low, high) if self._gone else self._store.sorted_keys.between(low, high)
        return heapq.merge(keys, self._appeared.between(low, high)) if self._appeared else keys

    def count(self, low: bytes, high: bytes) -> int:
        """How many keys there will be in [low, high)."""
        count = self._store.sorted_keys.count_between(low, high)
        return count + self._appeared.count_between(low, high) - self._gone.count_between(low, high)

    def changes(self) -> list[NetChange]:
        """What is to be done to the store, in the order of each key's first touch."""
        return list(self._changes())

    def growth(self) -> tuple[int, int]:
        """By how many keys and bytes the store will be larger."""
        changed_bytes = 0
        for key, previous, record in self.changes():
            changed_bytes += 0 if record is None else len(key) + len(record[-1])
            changed_bytes -= 0 if previous is None else len(key) + len(previous[-1])
        return len(self._appeared) - len(self._gone), changed_bytes

    def _changes(self) -> Iterator[NetChange]:
        after = self._after
        return (
            (key, before, after[key])
            for key, before in self._before.items()
            if before is not None or after[key] is not None
        )

    def _left(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """The store's keys in [low, high) without those that are gone.

        A transaction may delete ten thousand keys and then go over their range a hundred times: so runs of keys that
        are all gone are not looked at key by key.
        """
        gone = self._gone
        for run in self._store.sorted_keys.runs_between(low, high):
            end = run[-1] + b"\0"
            gone_count = gone.count_between(run[0], end)
            if gone_count == 0:
                yield from run
            elif gone_count < len(run):
                are_gone = set(gone.between(run[0], end))
                yield from (key for key in run if key not in are_gone)

    def _move(self, before: LeaseId, after: LeaseId) -> None:
        if before != after:
            for lease_id, more in ((before, -1), (after, 1)):
                if lease_id != NO_LEASE:
                    self._lease_keys[lease_id] = self._lease_keys.get(lease_id, 0) + more
