"""What users want: random writes and reads, aimed at what is there, so that conditions are met as often as not."""

import random
from collections.abc import Callable, Sequence
from typing import Final

from raftd.kv.operations import (
    I64_MAX,
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Operation,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
    WriteOperation,
)
from raftd.kv.ranges import prefix_end
from raftd.kv.types import NO_LEASE, LeaseId, Revision
from tests.kv.model import Model

PREFIX: Final = b"s/"
"""Of all keys here: those of other clients are watched, and read as ranges, but not written."""
LOCK: Final = PREFIX + b"lock"
_KEYS: Final = tuple(PREFIX + name for name in (b"a", b"b", b"b\x00", b"c", b"d"))
_COUNTERS: Final = tuple(PREFIX + name for name in (b"n", b"n2"))
_NUMBERS: Final = tuple(target for target in CompareTarget if target is not CompareTarget.VALUE)
_STALE: Final = Revision(1)


class Wishes:
    """One user's."""

    def __init__(self, draw: random.Random, model: Model, value: Callable[[], bytes]) -> None:
        """`value` makes a new value each time."""
        self._draw = draw
        self._model = model
        self._value = value
        self.leases: Sequence[LeaseId] = ()
        """That keys may be put on; some may be over."""
        self.lock_revision = Revision(0)
        """The fencing token that the user believes in."""

    def write(self) -> Write:
        """Something to write."""
        draw = self._draw
        make = draw.choices(
            (self._put, self._delete, self._increment, self._delete_range, self._transaction, self._acquire),
            (3, 1, 2, 1, 5, 1),
        )[0]
        return Write(make(), self._fence() if draw.random() < 0.15 else None)

    def range(self) -> tuple[bytes, bytes]:
        """Some keys to read, watch, or delete."""
        draw = self._draw
        low, high = sorted(draw.sample(_KEYS, 2))
        return draw.choice(((low, high), (PREFIX, prefix_end(PREFIX)), (PREFIX + b"b", prefix_end(PREFIX + b"b"))))

    def watched(self) -> tuple[bytes, bytes]:
        """Some keys to watch: also one, all, or those of other clients."""
        key = self._draw.choice((*_KEYS, *_COUNTERS, LOCK))
        others = b"key-", prefix_end(b"key-")
        return self._draw.choice((self.range(), self.range(), (key, key + b"\x00"), (b"", b""), others, (b"k", b"")))

    def wanted(self) -> Range:
        """A range to read."""
        draw = self._draw
        low, high = self.range() if draw.random() < 0.7 else (b"", b"")
        return Range(low, high, draw.choice((0, 1, 2, 2)), draw.random() < 0.2, draw.random() < 0.1)

    def key(self) -> bytes:
        """A key to read."""
        return self._draw.choice((*_KEYS, *_COUNTERS, LOCK))

    def _fence(self) -> Fence:
        return Fence(LOCK, self.lock_revision)

    def _lease(self) -> LeaseId:
        return self._draw.choice(self.leases) if self.leases and self._draw.random() < 0.5 else NO_LEASE

    def _acquire(self) -> WriteOperation:
        """Take the lock, if it is free."""
        return Put(LOCK, self._value(), self._lease(), expected_revision=Revision(0))

    def _expected(self, key: bytes) -> tuple[Revision | None, bytes | None]:
        row = self._model.now.get(key)
        revision, value = (row.modify_revision, row.value) if row else (Revision(0), None)
        nothing: tuple[Revision | None, bytes | None] = (None, None)
        choices = (nothing, nothing, (revision, None), (_STALE, None), (None, value), (None, b"not that"))
        return self._draw.choice(choices)

    def _put(self) -> Put:
        key = self._draw.choice(_KEYS)
        revision, value = self._expected(key)
        return Put(key, self._value(), self._lease(), revision, value, previous=self._draw.random() < 0.3)

    def _delete(self) -> Delete:
        key = self._draw.choice(_KEYS)
        revision, value = self._expected(key)
        return Delete(key, revision, value, previous=self._draw.random() < 0.3)

    def _increment(self) -> Increment:
        draw = self._draw
        key = draw.choice((*_COUNTERS, *_COUNTERS, *_KEYS))
        revision = self._expected(key)[0] if draw.random() < 0.3 else None
        return Increment(key, draw.choice((1, 1, -2, I64_MAX)), revision)

    def _delete_range(self) -> DeleteRange:
        return DeleteRange(*self.range(), self._draw.choice((1, 2, 10_000)), previous=self._draw.random() < 0.3)

    def _transaction(self) -> Transaction:
        draw = self._draw
        compares = tuple(self._compare() for _ in range(draw.choice((0, 1, 1, 2))))
        return Transaction(compares, self._operations(nests=True), self._operations(nests=True))

    def _operations(self, *, nests: bool) -> tuple[Operation, ...]:
        draw = self._draw
        made: list[Operation] = []
        for _ in range(draw.choice((0, 1, 2, 3, 4))):
            kind = draw.choice(("put", "put", "put", "delete", "increment", "range", "get", "read", "nested"))
            key = draw.choice(_KEYS)
            if kind == "put":
                made.append(Put(key, self._value(), self._lease(), previous=draw.random() < 0.3))
            elif kind == "delete":
                made.append(Delete(key, previous=draw.random() < 0.3))
            elif kind == "increment":
                made.append(Increment(draw.choice(_COUNTERS), 1))
            elif kind == "range":
                made.append(self._delete_range())
            elif kind == "get":
                made.append(Get(key))
            elif kind == "read":
                made.append(Range(*self.range(), limit=draw.choice((0, 1))))
            elif nests:
                made.append(
                    Transaction((self._compare(),), self._operations(nests=False), self._operations(nests=False))
                )
        return tuple(made)

    def _compare(self) -> Compare:
        draw = self._draw
        key = draw.choice((*_KEYS, LOCK))
        row = self._model.now.get(key)
        relation = draw.choice(tuple(Relation))
        if draw.random() < 0.3:
            value = row.value if row and draw.random() < 0.7 else b"not that"
            return Compare(CompareTarget.VALUE, relation, key, value)
        target = draw.choice(_NUMBERS)
        number: int = getattr(row, target.name.lower()) if row else 0
        return Compare(target, relation, key, max(0, number + draw.choice((-1, 0, 0, 0, 1))))
