"""The changes that are still held: for watches that begin in the past, reads at an older revision, and `history KEY`.

They stand in the order in which they happened, and each is one of these tuples, `Held`::

    (revision, key, previous, record, by_lease, wall_clock_ms, user, address, clock_ms)

`previous` and `record` are the key's records before and after the change, None where it was absent: the very objects
that the store has or had. Every old record is `previous` of one change, and every present one is the store's. So what
is in memory for the history alone is the keys and the previous values: that is what `bytes_total` counts and
`Limits.history_bytes_max` bounds.

Each change has a position, which grows by one from change to change. Of each key the position of its newest held change
is kept, and of each change the position of its key's change before it: the changes of a key are a chain, newest first.
The record that a key had at a held revision is `previous` of its first change after that, and is found along the chain.
Keys that are absent now but have held changes stand in byte order in `absent_keys`; with the store's own, these are all
that may have been there. All this is the index. Who writes does not need it, so it follows the changes with a delay of
`_UNINDEXED_MAX` at most, and is brought up to date for whoever asks: many in one go cost half of what each costs alone.

Changes are let go from the oldest on, in whole revisions: because of their bytes, their number, or their age by the
cluster's clock. The newest revision is let go for its age only, so that whoever follows sees each. One command lets go
of `_TRIMMED_MAX` changes and the rest of a revision at most, and leaves what is left to the next; and it lets go of a
thousandth more than it must, so that the next ones need not begin again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Final, TypeAlias

from raftd.kv.changes import Change
from raftd.kv.letting_go import drop_all, drop_items
from raftd.kv.limits import Limits
from raftd.kv.sorted_keys import SortedKeys
from raftd.kv.store import NO_REVISION
from raftd.kv.types import Record, Revision

Held: TypeAlias = tuple[Revision, bytes, Record | None, Record | None, bool, int, bytes, bytes, int]
"""A held change, see above. A tuple and not a class on purpose, like `Record`; `Change` is for whoever asks."""

_TRIMMED_MAX: Final = 10_000
_SPARE_PART: Final = 1024
_UNINDEXED_MAX: Final = 128

_GONE: Final[Held] = (NO_REVISION, b"", None, None, False, 0, b"", b"", 0)
_GONE_MIN: Final = 1024
_NO_POSITION: Final = -(1 << 62)

_revision_of: Final = itemgetter(0)
_key_of: Final = itemgetter(1)
_previous_of: Final = itemgetter(2)


class History:
    """All held changes."""

    __slots__ = (
        "_absent_keys",
        "_bytes_max",
        "_changes",
        "_changes_max",
        "_first",
        "_full_length",
        "_held_ms_max",
        "_index_length",
        "_newest_of",
        "_offset",
        "_older",
        "_oldest_of",
        "bytes_total",
        "compacted_revision",
    )

    def __init__(self, limits: Limits, compacted_revision: Revision = NO_REVISION) -> None:
        self._bytes_max = limits.history_bytes_max
        self._changes_max = limits.history_changes_max
        self._held_ms_max = limits.history_ms_max
        # The first `_first` of these are `_GONE`, and `_offset` is the position of the very first.
        self._changes: list[Held] = []
        self._first = 0
        self._offset = 0
        self._full_length = self._changes_max  # a longer list has one change too many
        # The index; `_older` is as long as the part of `_changes` that it knows.
        self._older: list[int] = []
        self._newest_of: dict[bytes, int] = {}
        self._oldest_of: dict[bytes, int] = {}  # while changes are prepended
        self._absent_keys = SortedKeys()
        self._index_length = _UNINDEXED_MAX  # a list of this length has enough that the index does not know
        self.bytes_total = 0
        """Of all keys and previous values."""
        self.compacted_revision = compacted_revision
        """The newest revision whose changes are not held; all changes after it are."""

    def __len__(self) -> int:
        return len(self._changes) - self._first

    @property
    def absent_keys(self) -> SortedKeys:
        """Keys that are absent and have held changes; to be read only, and before the next change."""
        self._index()
        return self._absent_keys

    def append(self, held: Held) -> bool:
        """Hold a further change.

        Returns:
            Whether there is too much now: `trim` is to be called when all changes of the revision are here.
        """
        changes, previous = self._changes, held[2]
        changes.append(held)
        added_bytes = len(held[1]) if previous is None else len(held[1]) + len(previous[-1])
        bytes_total = self.bytes_total = self.bytes_total + added_bytes
        length = len(changes)
        if length >= self._index_length:
            self._index()
        return length > self._full_length or bytes_total > self._bytes_max

    def extend(self, changes: Sequence[Held]) -> bool:
        """As `append`, of many changes of distinct keys."""
        self._index()
        keys = list(map(_key_of, changes))
        position = self._offset + len(self._changes)
        older = list(map(self._newest_of.get, keys, repeat(_NO_POSITION)))
        self._newest_of.update(zip(keys, range(position, position + len(keys)), strict=True))
        self._older += older
        self._changes += changes
        self._index_length = len(self._changes) + _UNINDEXED_MAX
        self.bytes_total += _bytes_of(changes)
        self._absent_keys.remove_all(
            [held[1] for held, at in zip(changes, older, strict=True) if held[2] is None and at != _NO_POSITION]
        )
        self._absent_keys.add_all([held[1] for held in changes if held[3] is None])
        return len(self._changes) > self._full_length or self.bytes_total > self._bytes_max

    def trim(self) -> None:
        """Let go of old revisions while there is too much, within the bound for one command."""
        self._let_go(
            self._changes[-1][0],
            self._changes_max - self._changes_max // _SPARE_PART,
            self._bytes_max - self._bytes_max // _SPARE_PART,
            0,
        )

    def trim_old(self, clock_ms: int) -> None:
        """Let go of revisions that are too old when the clock shows `clock_ms`, and of what is still too much."""
        if self:
            newest = self._changes[-1][0]
            self._let_go(newest, self._changes_max, self._bytes_max, 0)
            self._let_go(Revision(newest + 1), len(self), self.bytes_total, clock_ms - self._held_ms_max + 1)

    def changes_after(self, revision: int, limit: int, skipped: int = 0) -> list[Change]:
        """The first `limit` changes behind `skipped` ones after `revision`, which is `compacted_revision` or newer.

        They ascend, and may begin and end within a revision: one may have more changes than anyone wants at once.
        """
        start = self._index_after(revision) + skipped
        return [Change._make(held[:-1]) for held in self._changes[start : start + limit]]

    def changes_of(self, key: bytes, before_revision: int) -> Iterator[Change]:
        """The held changes of `key` below `before_revision`, newest first; nothing may change meanwhile."""
        return self.changes_from(self.newest_of(key), before_revision)

    def changes_from(self, at: int, before_revision: int) -> Iterator[Change]:
        """As `changes_of`, along a key's chain from its change at `at` on; nothing, if that is held no more."""
        self._index()
        changes, older, offset = self._changes, self._older, self._offset
        first = offset + self._first
        while at >= first:
            held = changes[at - offset]
            if held[0] < before_revision:
                yield Change._make(held[:-1])
            at = older[at - offset]

    def newest_of(self, key: bytes) -> int:
        """The position of the newest change of `key`; below all that are held if none is."""
        self._index()
        return self._newest_of.get(key, _NO_POSITION)

    def first_since(
        self, key: bytes, position: int, links_max: int, at: int | None = None
    ) -> tuple[int, Record | None, int]:
        """Look for the first change of `key` at or after `position`, along its chain, over some links only.

        Args:
            key: whose chain.
            position: what `position_after` gives now.
            links_max: at least 1.
            at: where the search goes on: what it has come to before, whatever was appended and let go of since. None:
                at the newest change, which the index must know (`absent_keys`, `newest_of`).

        Returns:
            The position that was come to, below `position` if there is no such change; the record that the key had
            before that change; and how many links are left, 0: go on from there.
        """
        if at is None:
            at = self._newest_of.get(key, _NO_POSITION)
        if at < position:
            return at, None, links_max
        older, offset = self._older, self._offset
        before = older[at - offset]
        while before >= position:
            links_max -= 1
            if not links_max:
                return before, None, 0
            at, before = before, older[before - offset]
        return at, self._changes[at - offset][2], links_max

    def position_after(self, revision: int) -> int:
        """The position of the first change after `revision`, which is `compacted_revision` or newer."""
        return self._offset + self._index_after(revision)

    def count_since(self, position: int) -> int:
        """How many changes are held from `position` on."""
        return self._offset + len(self._changes) - position

    def record_at(self, key: bytes, position: int) -> Record | None:
        """The record that `key` had before its first change at or after `position`.

        None if it was absent then. If there is no such change, None too: so ask for keys that have changed since, or
        are absent now.
        """
        self._index()
        older, offset = self._older, self._offset
        at, found = self._newest_of.get(key, _NO_POSITION), _NO_POSITION
        while at >= position:
            found, at = at, older[at - offset]
        return None if found == _NO_POSITION else self._changes[found - offset][2]

    def keys_since(self, position: int) -> set[bytes]:
        """The keys that changed at or after `position`."""
        return {held[1] for held in self._changes[position - self._offset :]}

    def held(self) -> list[Held]:
        """All held changes as they are now, ascending."""
        return self._changes[self._first :]

    def prepend(self, held: Held) -> None:
        """Put back a change that comes before all that are here, as a snapshot shows them.

        `end_prepending` must follow before anything else is asked, but for `oldest_previous`.
        """
        key, previous = held[1], held[2]
        self._changes.append(held)
        self._older.append(_NO_POSITION)
        position = -len(self._changes)
        newer = self._oldest_of.get(key)
        if newer is None:
            self._newest_of[key] = position
            if held[3] is None:
                self._absent_keys.add(key)
        else:
            self._older[-1 - newer] = position
        self._oldest_of[key] = position
        self.bytes_total += len(key) + (0 if previous is None else len(previous[-1]))

    def oldest_previous(self, key: bytes, present: Record | None) -> Record | None:
        """The record that `key` had before the last change that was prepended; `present` if there is none of it yet."""
        position = self._oldest_of.get(key)
        return present if position is None else self._changes[-1 - position][2]

    def end_prepending(self) -> None:
        """Put in order what was prepended."""
        self._changes.reverse()
        self._older.reverse()
        self._oldest_of = {}
        self._offset = -len(self._changes)
        self._begin_at(0)

    def let_go(self) -> Iterator[int]:
        """Give up everything, as `raftd.kv.letting_go` has it."""
        yield from drop_all(self._changes)
        yield from drop_all(self._older)
        yield from drop_items(self._newest_of)
        yield from self._absent_keys.let_go()

    def _index(self) -> None:
        """Let the index know all changes."""
        start = len(self._older)
        changes, newest_of, older_positions = self._changes, self._newest_of, self._older
        for position, held in enumerate(changes[start:], self._offset + start):
            key = held[1]
            older = newest_of.get(key, _NO_POSITION)
            newest_of[key] = position
            older_positions.append(older)
            if held[2] is None:
                if older != _NO_POSITION:
                    self._absent_keys.remove(key)
            elif held[3] is None:
                self._absent_keys.add(key)
        self._index_length = len(changes) + _UNINDEXED_MAX

    def _index_after(self, revision: int) -> int:
        return bisect_right(self._changes, revision, self._first, key=_revision_of)

    def _let_go(self, end: Revision, changes_goal: int, bytes_goal: int, clock_goal: int) -> None:
        """Let go of whole revisions below `end`, oldest first, while one of three is not reached.

        Args:
            end: the first revision that must stay.
            changes_goal: at most so many changes are held.
            bytes_goal: at most so many bytes are.
            clock_goal: none is held from before this.
        """
        self._index()
        changes, first = self._changes, self._first
        last = first + _TRIMMED_MAX
        # Those that are too many go whatever they are, so that most changes are let go without a look at each bound.
        at = max(first, min(len(changes) - changes_goal, last))
        if at > first and changes[at - 1][0] >= end:
            at = bisect_left(changes, end, first, key=_revision_of)
        revision = changes[at - 1][0] if at > first else self.compacted_revision
        self._drop(first, at)
        dropped = at
        bytes_total = self.bytes_total
        while at < len(changes):
            change_revision, key, previous, _, _, _, _, _, clock_ms = changes[at]
            if change_revision != revision:
                is_enough = bytes_total <= bytes_goal and clock_ms >= clock_goal
                if is_enough or change_revision >= end or at >= last:
                    break
                revision = change_revision
            bytes_total -= len(key) if previous is None else len(key) + len(previous[-1])
            at += 1
        self._drop(dropped, at)
        self.compacted_revision = revision
        self._begin_at(at)

    def _drop(self, start: int, end: int) -> None:
        """Drop the changes from index `start` to `end`; those before are gone already."""
        newest_of, dropped = self._newest_of, self._changes[start:end]
        self.bytes_total -= _bytes_of(dropped)
        first = self._offset + start
        forgotten: list[bytes] = []
        for position, key in enumerate(map(_key_of, dropped), first):
            if newest_of[key] == position:
                del newest_of[key]
                if dropped[position - first][3] is None:
                    forgotten.append(key)
        self._absent_keys.remove_all(forgotten)
        self._changes[start:end] = [_GONE] * len(dropped)

    def _begin_at(self, first: int) -> None:
        """Note that the first `first` of the changes are gone."""
        changes = self._changes
        if first >= _GONE_MIN and 2 * first >= len(changes):
            del changes[:first]
            del self._older[:first]
            self._offset += first
            first = 0
        self._first = first
        self._full_length = first + self._changes_max
        self._index_length = len(self._older) + _UNINDEXED_MAX


def _bytes_of(changes: Sequence[Held]) -> int:
    """Bytes of keys and previous values; adding up is left to C, since there may be thousands in one go."""
    values = [len(previous[-1]) for previous in map(_previous_of, changes) if previous is not None]
    return sum(map(len, map(_key_of, changes))) + sum(values)
