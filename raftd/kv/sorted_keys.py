"""Keys in byte order: added and removed one at a time, walked over from anywhere, and counted without a walk.

They stand in sorted runs of `_RUN_MAX` keys at most; a search looks for the run by the runs' last keys, and then within
it. So a change moves one run's pointers at most, and nothing here ever rearranges all keys at once: there is no index
of positions that a change would have to mend or throw away. Counting adds up the lengths of the runs in between, some
thousandth of the keys counted, and does not look at any others.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain
from typing import Final

_RUN_MAX: Final = 1024
_RUN_MIN: Final = _RUN_MAX // 4


class SortedKeys:
    """Distinct keys, ascending.

    Invariant: no run is empty, and `_last_keys` has the last key of each.
    """

    __slots__ = ("_count", "_last_keys", "_runs")

    def __init__(self) -> None:
        self._runs: list[list[bytes]] = []
        self._last_keys: list[bytes] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """All of them; nothing may change meanwhile."""
        return chain.from_iterable(self._runs)

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        self._count += 1
        last_keys = self._last_keys
        at = bisect_left(last_keys, key)
        if at == len(last_keys):
            self._append(key)
            return
        run = self._runs[at]
        insort(run, key)
        if len(run) > _RUN_MAX:
            self._split(at)

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        self._count -= 1
        at = bisect_left(self._last_keys, key)
        run = self._runs[at]
        del run[bisect_left(run, key)]
        if len(run) < _RUN_MIN:
            self._join(at)
        else:
            self._last_keys[at] = run[-1]

    def between(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """The keys in [low, high), an empty `high` being the end of all; nothing may change meanwhile."""
        return chain.from_iterable(self._slices(low, high))

    def slice(self, place: int, count: int) -> list[bytes]:
        """At most `count` keys from the one in that place on, counted from 0; fewer where the keys end."""
        for at, run in enumerate(self._runs):
            if place < len(run):
                found = run[place : place + count]
                following = at + 1
                while len(found) < count and following < len(self._runs):
                    found += self._runs[following][: count - len(found)]
                    following += 1
                return found
            place -= len(run)
        return []

    def count_between(self, low: bytes, high: bytes) -> int:
        """How many keys there are in [low, high)."""
        first, first_offset = self._locate(low)
        end, end_offset = self._locate(high) if high else (len(self._runs), 0)
        if (first, first_offset) >= (end, end_offset):
            return 0
        return sum(map(len, self._runs[first:end])) + end_offset - first_offset

    def _locate(self, key: bytes) -> tuple[int, int]:
        """The run and the offset in it of the first key that is not below `key`."""
        at = bisect_left(self._last_keys, key)
        return at, bisect_left(self._runs[at], key) if at < len(self._runs) else 0

    def _slices(self, low: bytes, high: bytes) -> Iterator[list[bytes]]:
        first, offset = self._locate(low)
        if first == len(self._runs):
            return
        if not high:
            yield self._runs[first][offset:]
            for at in range(first + 1, len(self._runs)):
                yield self._runs[at]
            return
        end, end_offset = self._locate(high)
        if first == end:
            yield self._runs[first][offset:end_offset]
        elif first < end:
            yield self._runs[first][offset:]
            for at in range(first + 1, end):
                yield self._runs[at]
            if end_offset:
                yield self._runs[end][:end_offset]

    def _append(self, key: bytes) -> None:
        """Add a key above all others. A full run stays full: keys often come in order, and all do from a snapshot."""
        runs = self._runs
        if runs and len(runs[-1]) < _RUN_MAX:
            runs[-1].append(key)
            self._last_keys[-1] = key
        else:
            runs.append([key])
            self._last_keys.append(key)

    def _split(self, at: int) -> None:
        run = self._runs[at]
        half = len(run) // 2
        self._runs.insert(at + 1, run[half:])
        self._last_keys[at] = run[half - 1]
        self._last_keys.insert(at + 1, run[-1])
        del run[half:]

    def _join(self, at: int) -> None:
        """Join a run that has become short to a neighbour, so that runs stay few; what gets too long is split again."""
        runs = self._runs
        if len(runs) > 1:
            left = max(at - 1, 0)
            runs[left] += runs.pop(left + 1)
            self._last_keys.pop(left)
            self._last_keys[left] = runs[left][-1]
            if len(runs[left]) > _RUN_MAX:
                self._split(left)
        elif runs[0]:
            self._last_keys[0] = runs[0][-1]
        else:
            runs.clear()
            self._last_keys.clear()
