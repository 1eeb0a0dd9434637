"""The changes that are still held: for watches that begin in the past, reads at an older revision, and `history KEY`.

They stand in the order in which they happened, and each is one of these tuples, `Held`::

    (revision, key, previous, record, by_lease, wall_clock_ms, user, address, clock_ms)

`previous` and `record` are the key's records before and after the change, None where it was absent: the very objects
that the store has or had. Every old record is `previous` of one change, and every present one is the store's. So what
is in memory for the history alone is the keys and the previous values: that is what `bytes_total` counts and
`Limits.history_bytes_max` bounds.

Each change has a position, which grows by one from change to change. For each key the positions of its changes are
kept: one number, or an ascending list of several, which may begin with some that are no longer held. So the record that
a key had at a held revision, `previous` of its first change after it, is found by bisection. Keys that are absent now
but have held changes stand in byte order in `absent_keys`; with the store's own, they are all that may have been there.

Changes are let go from the oldest on, in whole revisions: because of their bytes, their number, or their age by the
cluster's clock. The newest revision is let go for its age only, so that whoever follows sees each. One command lets go
of `_TRIMMED_MAX` changes and the rest of a revision at most, and leaves what is left to the next; and it lets go of a
thousandth more than it must, so that the next ones need not begin again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, TypeAlias

from raftd.kv.changes import Change
from raftd.kv.limits import Limits
from raftd.kv.sorted_keys import SortedKeys
from raftd.kv.store import NO_REVISION
from raftd.kv.types import Record, Revision

Held: TypeAlias = tuple[Revision, bytes, Record | None, Record | None, bool, int, bytes, bytes, int]
"""A held change, see above. A tuple and not a class on purpose, like `Record`; `Change` is for whoever asks."""

_TRIMMED_MAX: Final = 10_000
_SPARE_PART: Final = 1024

_GONE: Final[Held] = (NO_REVISION, b"", None, None, False, 0, b"", b"", 0)
_GONE_MIN: Final = 1024
_UNTIDY_MAX: Final = 1024

_revision_of: Final = itemgetter(0)


class History:
    """All held changes."""

    __slots__ = (
        "_bytes_max",
        "_changes",
        "_changes_max",
        "_first",
        "_full_at",
        "_held_ms_max",
        "_offset",
        "_positions_of",
        "_untidy_before",
        "absent_keys",
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
        # The positions at which there is one change too many, and below which they are taken out of a key's list.
        self._full_at = self._changes_max
        self._untidy_before = -_UNTIDY_MAX
        self._positions_of: dict[bytes, int | list[int]] = {}
        self.absent_keys = SortedKeys()
        """Keys that are absent and have held changes; to be read only."""
        self.bytes_total = 0
        """Of all keys and previous values."""
        self.compacted_revision = compacted_revision
        """The newest revision whose changes are not held; all changes after it are."""

    def __len__(self) -> int:
        return len(self._changes) - self._first

    def append(self, held: Held) -> bool:
        """Hold a further change.

        Returns:
            Whether there is too much now: `trim` is to be called when all changes of the revision are here.
        """
        key, previous = held[1], held[2]
        changes = self._changes
        position = self._offset + len(changes)
        changes.append(held)
        positions = self._positions_of.get(key)
        if positions is None:
            self._positions_of[key] = position
        elif isinstance(positions, list):
            positions.append(position)
            if positions[0] < self._untidy_before:
                del positions[: bisect_left(positions, self._offset + self._first)]
        else:
            self._positions_of[key] = [positions, position]
        if previous is None:
            bytes_total = self.bytes_total = self.bytes_total + len(key)
            if positions is not None:
                self.absent_keys.remove(key)
        else:
            bytes_total = self.bytes_total = self.bytes_total + len(key) + len(previous[-1])
            if held[3] is None:
                self.absent_keys.add(key)
        return position >= self._full_at or bytes_total > self._bytes_max

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
        changes, offset = self._changes, self._offset
        positions = self._positions_of.get(key, [])
        if isinstance(positions, int):
            positions = [positions]
        first = bisect_left(positions, offset + self._first)
        end = bisect_left(positions, before_revision, first, key=lambda position: changes[position - offset][0])
        return (Change._make(changes[positions[at] - offset][:-1]) for at in range(end - 1, first - 1, -1))

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
        positions = self._positions_of.get(key)
        if positions is None:
            return None
        if not isinstance(positions, int):
            at = bisect_left(positions, position)
            if at == len(positions):
                return None
            positions = positions[at]
        return self._changes[positions - self._offset][2] if positions >= position else None

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
        position = -len(self._changes)
        positions = self._positions_of.get(key)
        if positions is None:
            self._positions_of[key] = position
            if held[3] is None:
                self.absent_keys.add(key)
        elif isinstance(positions, int):
            self._positions_of[key] = [positions, position]
        else:
            positions.append(position)
        self.bytes_total += len(key) + (0 if previous is None else len(previous[-1]))

    def oldest_previous(self, key: bytes, present: Record | None) -> Record | None:
        """The record that `key` had before the last change that was prepended; `present` if there is none of it yet."""
        positions = self._positions_of.get(key)
        if positions is None:
            return present
        position = positions if isinstance(positions, int) else positions[-1]
        return self._changes[-1 - position][2]

    def end_prepending(self) -> None:
        """Put in order what was prepended."""
        self._changes.reverse()
        self._offset = -len(self._changes)
        self._begin_at(0)
        for positions in self._positions_of.values():
            if not isinstance(positions, int):
                positions.reverse()

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
        changes, positions_of, offset = self._changes, self._positions_of, self._offset
        first = at = self._first
        surely = len(changes) - changes_goal
        last = first + _TRIMMED_MAX
        bytes_total, revision = self.bytes_total, self.compacted_revision
        while at < len(changes):
            change_revision, key, previous, record, _, _, _, _, clock_ms = changes[at]
            if change_revision != revision:
                is_enough = at >= surely and bytes_total <= bytes_goal and clock_ms >= clock_goal
                if is_enough or change_revision >= end or at >= last:
                    break
                revision = change_revision
            changes[at] = _GONE
            positions = positions_of[key]
            if (positions[-1] if isinstance(positions, list) else positions) == at + offset:
                del positions_of[key]
                if record is None:
                    self.absent_keys.remove(key)
            bytes_total -= len(key) if previous is None else len(key) + len(previous[-1])
            at += 1
        self.bytes_total, self.compacted_revision = bytes_total, revision
        self._begin_at(at)

    def _begin_at(self, first: int) -> None:
        """Note that the first `first` of the changes are gone."""
        changes = self._changes
        if first >= _GONE_MIN and 2 * first >= len(changes):
            del changes[:first]
            self._offset += first
            first = 0
        self._first = first
        self._full_at = self._offset + first + self._changes_max
        self._untidy_before = self._offset + first - _UNTIDY_MAX
