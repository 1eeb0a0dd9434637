"""Keys in byte order: added and removed one or many at a time, walked over from anywhere, and counted without a walk.

They stand in sorted runs of `_RUN_MAX` keys at most; a search looks for the run by the runs' last keys, and then within
it. So a change moves one run's pointers at most, and nothing here ever rearranges all keys at once: there is no index
of positions that a change would have to mend or throw away. Counting adds up the lengths of the runs in between, some
thousandth of the keys counted, and does not look at any others.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Final

_RUN_MAX: Final = 1024
_RUN_MIN: Final = _RUN_MAX // 4
_MANY_MIN: Final = 16
"""From so many keys on a run is put in order anew, instead of making room for each."""


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
            self._split_long(at)

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        self._count -= 1
        at = bisect_left(self._last_keys, key)
        run = self._runs[at]
        del run[bisect_left(run, key)]
        self._mend(at)

    def add_all(self, keys: Iterable[bytes]) -> None:
        """Add distinct keys that are not there: each run that they fall into is put in order once."""
        ordered = sorted(keys)
        self._count += len(ordered)
        last_keys = self._last_keys
        start = 0
        while start < len(ordered):
            at = bisect_left(last_keys, ordered[start])
            if at == len(last_keys):
                self._append_all(ordered[start:])
                return
            end = bisect_left(ordered, last_keys[at], start)
            run = self._runs[at]
            if end - start < _MANY_MIN:
                for key in ordered[start:end]:
                    insort(run, key)
            else:
                # Two ascending pieces, which the sort only has to merge.
                run += ordered[start:end]
                run.sort()
            if len(run) > _RUN_MAX:
                self._split_long(at)
            start = end

    def remove_all(self, keys: Iterable[bytes]) -> None:
        """Remove distinct keys that are there: each run that they are in is gone over once."""
        ordered = sorted(keys)
        self._count -= len(ordered)
        start = 0
        while start < len(ordered):
            at = bisect_left(self._last_keys, ordered[start])
            run = self._runs[at]
            end = bisect_right(ordered, self._last_keys[at], start)
            first = bisect_left(run, ordered[start])
            if run[first : first + end - start] == ordered[start:end]:
                del run[first : first + end - start]
            else:
                gone = set(ordered[start:end])
                run[:] = [key for key in run if key not in gone]
            self._mend(at)
            start = end

    def let_go(self) -> Iterator[int]:
        """Give up all keys, as `raftd.kv.letting_go` has it."""
        while self._runs:
            self._last_keys.pop()
            yield len(self._runs.pop())

    def between(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """The keys in [low, high), an empty `high` being the end of all; nothing may change meanwhile."""
        return chain.from_iterable(self.runs_between(low, high))

    def runs_between(self, low: bytes, high: bytes) -> Iterator[list[bytes]]:
        """As `between`, a run or its part at a time; none of them is empty or to be changed."""
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
            if offset < end_offset:
                yield self._runs[first][offset:end_offset]
        elif first < end:
            yield self._runs[first][offset:]
            for at in range(first + 1, end):
                yield self._runs[at]
            if end_offset:
                yield self._runs[end][:end_offset]

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

    def _append(self, key: bytes) -> None:
        """Add a key above all others. A full run stays full: keys often come in order, and all do from a snapshot."""
        runs = self._runs
        if runs and len(runs[-1]) < _RUN_MAX:
            runs[-1].append(key)
            self._last_keys[-1] = key
        else:
            runs.append([key])
            self._last_keys.append(key)

    def _append_all(self, ordered: list[bytes]) -> None:
        """As `_append`, of many."""
        runs, last_keys = self._runs, self._last_keys
        room = _RUN_MAX - len(runs[-1]) if runs else 0
        if room:
            runs[-1] += ordered[:room]
            last_keys[-1] = runs[-1][-1]
        added = [ordered[low : low + _RUN_MAX] for low in range(room, len(ordered), _RUN_MAX)]
        runs += added
        last_keys += [run[-1] for run in added]

    def _split_long(self, at: int) -> None:
        """Split a run that has become too long into equal ones, of at least half the length that one may have."""
        run = self._runs[at]
        parts = len(run) // (_RUN_MAX // 2)
        bounds = [len(run) * part // parts for part in range(parts + 1)]
        pieces = [run[low:high] for low, high in pairwise(bounds)]
        self._runs[at : at + 1] = pieces
        self._last_keys[at : at + 1] = [piece[-1] for piece in pieces]

    def _mend(self, at: int) -> None:
        """Put right what is known of a run that has become shorter."""
        run = self._runs[at]
        if len(run) < _RUN_MIN:
            self._join(at)
        else:
            self._last_keys[at] = run[-1]

    def _join(self, at: int) -> None:
        """Join a run that has become short to a neighbour, so that runs stay few; what gets too long is split again."""
        runs = self._runs
        if len(runs) > 1:
            left = max(at - 1, 0)
            runs[left] += runs.pop(left + 1)
            self._last_keys.pop(left)
            self._last_keys[left] = runs[left][-1]
            if len(runs[left]) > _RUN_MAX:
                self._split_long(left)
        elif runs[0]:
            self._last_keys[0] = runs[0][-1]
        else:
            runs.clear()
            self._last_keys.clear()
