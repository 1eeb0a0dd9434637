"""The keys and their records, as of one revision; and a walk over them as they were, while they go on changing.

Records are kept in dicts: a read of one key is one lookup. There are 64 of them, and a key's hash says which one is
its own: a dict that grows copies all it has, which at a million keys would stop everything for a tenth of a second.
Nothing here ever depends on the dicts' order. The keys stand in byte order beside them (`raftd.kv.sorted_keys`), so
that a walk can be left at any key and taken up again there.

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
from collections.abc import Iterator, Sequence
from typing import Final

from raftd.errors import LocalProtocolError
from raftd.kv import letting_go
from raftd.kv.letting_go import drop_some
from raftd.kv.sorted_keys import SortedKeys
from raftd.kv.types import NO_LEASE, NetChange, Record, Revision

NO_REVISION: Final = Revision(0)
"""The modify revision of an absent key; the store's before the first change."""

_SHARDS: Final = 64
_SHARD_MASK: Final = _SHARDS - 1
_TABLE_PART: Final = 8
"""To free so many places of an empty dict takes as long as to free one item."""


class Store:
    """Keys and records. Which revision a change has is said by its record, and `revision` is the machine's to step.

    Invariant: 0 < create_revision <= modify_revision <= revision and version >= 1 for each record.
    """

    __slots__ = ("_shards", "_walk", "bytes_total", "revision", "sorted_keys")

    def __init__(self, revision: Revision = NO_REVISION) -> None:
        self._shards: list[dict[bytes, Record]] = [{} for _ in range(_SHARDS)]
        self._walk: StoreWalk | None = None
        self.sorted_keys = SortedKeys()
        """All keys in byte order; to be read only."""
        self.revision = revision
        self.bytes_total = 0
        """Of all keys and values, without what Python needs to keep them."""

    def __len__(self) -> int:
        return len(self.sorted_keys)

    def __iter__(self) -> Iterator[tuple[bytes, Record]]:
        """All keys in byte order; nothing may change meanwhile."""
        return ((key, self._shards[hash(key) & _SHARD_MASK][key]) for key in self.sorted_keys)

    def get(self, key: bytes) -> Record | None:
        """What is kept of `key`, or None if it is absent."""
        return self._shards[hash(key) & _SHARD_MASK].get(key)

    def put(self, key: bytes, value: bytes, user: bytes) -> tuple[Record | None, Record]:
        """Step the revision by writing one key; as `change`, in half the time, for the writes that nearly all are.

        Returns:
            The records before and after.
        """
        revision = self.revision = Revision(self.revision + 1)
        shard = self._shards[hash(key) & _SHARD_MASK]
        previous = shard.get(key)
        if previous is None:
            record = (revision, revision, 1, NO_LEASE, user, value)
            self.sorted_keys.add(key)
            self.bytes_total += len(key) + len(value)
        else:
            if self._walk is not None:
                self._walk.keep(key, previous)
            create_revision, _, version, _, _, previous_value = previous
            record = (create_revision, revision, version + 1, NO_LEASE, user, value)
            self.bytes_total += len(value) - len(previous_value)
        shard[key] = record
        return previous, record

    def change(self, key: bytes, previous: Record | None, record: Record | None) -> None:
        """Replace the record of `key`, which is `previous`, by `record`; None is for an absent key.

        One of the two is not None. Bounds are the caller's to check.
        """
        if previous is None:
            if record is not None:
                self.create(key, record)
            return
        if self._walk is not None:
            self._walk.keep(key, previous)
        if record is None:
            del self._shards[hash(key) & _SHARD_MASK][key]
            self.sorted_keys.remove(key)
            self.bytes_total -= len(key) + len(previous[-1])
        else:
            self._shards[hash(key) & _SHARD_MASK][key] = record
            self.bytes_total += len(record[-1]) - len(previous[-1])

    def change_all(self, changes: Sequence[NetChange]) -> None:
        """As `change`, of many distinct keys."""
        created: list[bytes] = []
        deleted: list[bytes] = []
        added_bytes = 0
        for key, previous, record in changes:
            shard = self._shards[hash(key) & _SHARD_MASK]
            if previous is None:
                created.append(key)
                added_bytes += len(key)
            else:
                if self._walk is not None:
                    self._walk.keep(key, previous)
                added_bytes -= len(previous[-1])
            if record is None:
                del shard[key]
                deleted.append(key)
                added_bytes -= len(key)
            else:
                shard[key] = record
                added_bytes += len(record[-1])
        self.bytes_total += added_bytes
        self.sorted_keys.remove_all(deleted)
        self.sorted_keys.add_all(created)

    def create(self, key: bytes, record: Record) -> None:
        """Add a key that is absent: a new one, or one that a walk has shown of a store of the same revision."""
        self._shards[hash(key) & _SHARD_MASK][key] = record
        self.sorted_keys.add(key)
        self.bytes_total += len(key) + len(record[-1])

    def let_go(self) -> Iterator[int]:
        """Give up everything, as `raftd.kv.letting_go` has it."""
        yield from self.sorted_keys.let_go()
        shards = self._shards
        table_items = list(map(len, shards))
        # From all in turn: what came at one time lies in one place, so memory goes back bit by bit, and not at the end.
        many = max(1, letting_go.PIECE_ITEMS // _SHARDS)
        while any(shards):
            for shard in shards:
                yield drop_some(shard, many)
        for shard, items in zip(shards, table_items, strict=True):
            shard.clear()
            yield 1 + items // _TABLE_PART

    def begin_walk(self) -> "StoreWalk":
        """Begin a walk over all keys as they are now; `end_walk` must follow, whether it came to its end or not.

        Raises:
            LocalProtocolError: There is a walk already.
        """
        if self._walk is not None:
            raise LocalProtocolError("the keys are being walked over already")
        self._walk = StoreWalk(self)
        return self._walk

    def end_walk(self) -> None:
        """Keep nothing for a walk any more."""
        self._walk = None


class StoreWalk:
    """One pass over the keys of a store as they were when this was made, in byte order.

    Invariant: each record of then was given out; or its key is behind `_position`, and it is in the store with a modify
    revision of at most `revision`; or it is in `_kept`.
    """

    __slots__ = ("_kept", "_position", "_store", "bytes_total", "key_count", "revision")

    def __init__(self, store: Store) -> None:
        """Use `Store.begin_walk`."""
        self.revision = store.revision
        self.key_count = len(store)
        self.bytes_total = store.bytes_total
        self._store = store
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
        get = self._store.get
        kept = self._kept
        revision = self.revision
        after = self._position + b"\0" if self._position else b""
        for key in self._store.sorted_keys.between(after, b""):
            while kept and kept[0][0] <= key:
                yield heapq.heappop(kept)
            self._position = key
            record = get(key)
            yield (key, record) if record is not None and record[1] <= revision else None
        while kept:
            yield heapq.heappop(kept)
