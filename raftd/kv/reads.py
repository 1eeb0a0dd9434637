"""Answers to queries: of what is there now, and of what was there at a revision that is held.

A page of now costs what it shows: the keys before it are not walked over, and those behind it are counted by runs
(`raftd.kv.sorted_keys`). A page of the past also passes over the keys of its range that were created since, and follows
the changes since of those that it looks at; either may be all changes that are held. A history follows all changes of
its key that are newer than what it shows. That would hold up everybody for a tenth of a second, so these are read in
steps, and writes are applied in between: whoever asks begins a `Reading`, and has it go on until there is an answer.

Each answer is of one moment all the same:

- A range of now is one step.
- A range of the past is of its revision. In each step that is still held all keys of then stand among those of the
  store and those that are absent and have held changes, and what they were is found along their changes; so what is
  written in between makes no difference. It is known by its next key, and by a position in the history, which stays
  valid while later changes come and older ones go. If the revision is held no more in some step, the answer is
  COMPACTED, as if the query had come then.
- A history looks for where its page begins in steps, and shows the page in the last one, which is its moment. What is
  written meanwhile is not below the revision at which it looks.

A node may be sent a snapshot between two steps, and goes on with other objects (`StateMachine.become`). The revision
and the next key mean the same there; positions do not, and are looked for anew.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, assert_never

from raftd.consensus.types import Term
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.changes import encode_change
from raftd.kv.history import History
from raftd.kv.items import encode_keyed
from raftd.kv.limits import PAGE_BYTES_MAX, PAGE_ITEMS_MAX
from raftd.kv.operations import Range
from raftd.kv.pages import history_body, range_body
from raftd.kv.queries import HistoryQuery, RangeQuery
from raftd.kv.ranges import is_in_range
from raftd.kv.store import Store
from raftd.kv.types import Record, Revision

COUNTED_CHANGES_MAX: Final = 1000
"""A range in the past is counted by going over all changes since; if there are more, it is not counted."""

STEP_WORK_MAX: Final = 16_384
"""Work of one step of a range in the past, in links of a chain of changes that are followed: about a millisecond. The
first step may do so much more as it takes to count."""

KEY_WORK: Final = 32
"""What a key costs that is passed over, or a change that is counted, in links: 1.3 µs, and 0.05 µs a link. An item
costs as much again."""

HISTORY_LINKS_MAX: Final = 4096
"""Links that a history follows in one step, which may show a page besides."""


def page_of(
    keys: Iterator[bytes], get: Callable[[bytes], Record | None], limit: int, *, keys_only: bool
) -> tuple[list[bytes], bool]:
    """Encode one page of items.

    Args:
        keys: ascending.
        get: gives their records; a key without one is passed over.
        limit: at most so many; 0: as many as fit.
        keys_only: without values.

    Returns:
        The items, and whether there are more.
    """
    items: list[bytes] = []
    items_max = min(limit or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX)
    page_bytes = 0
    for key in keys:
        record = get(key)
        if record is None:
            continue
        if len(items) >= items_max or page_bytes >= PAGE_BYTES_MAX:
            return items, True
        item = encode_keyed(key, record, keys_only=keys_only)
        items.append(item)
        page_bytes += len(item)
    return items, False


class RangeReading:
    """A range that is being read.

    Invariant: what is on the page is all that there was at the revision, of the range below `_low`.
    """

    __slots__ = ("_at", "_count", "_history", "_items", "_low", "_page_bytes", "_revision", "_wanted")

    def __init__(self, query: RangeQuery) -> None:
        self._wanted, self._revision = query
        self._history: History | None = None
        """The history of the last step; None: nothing is read yet."""
        self._low = self._wanted.low
        """The next key to look at is not below this."""
        self._at: int | None = None
        """That key is `_low`, and its chain of changes was followed to this position of `_history`."""
        self._count: int | None = None
        self._items: list[bytes] = []
        self._page_bytes = 0

    def step(self, store: Store, history: History, term: Term) -> bytes | None:
        """Go on: the answer, OK, COMPACTED or FUTURE_REVISION; None: it takes a further step."""
        wanted, revision = self._wanted, self._revision
        if revision is None or revision == store.revision:
            body = _range_of_now(store, wanted)
        elif revision > store.revision:
            return answers.encode(Outcome.FUTURE_REVISION, term, store.revision)
        elif revision < history.compacted_revision:
            return answers.encode_compacted(term, store.revision, history.compacted_revision)
        else:
            more = self._go_on(store, history, revision)
            if more is None:
                return None
            count = self._count if more else len(self._items)
            body = range_body(revision, count, self._items, more=more)
        return answers.encode(Outcome.OK, term, store.revision, body)

    def _go_on(self, store: Store, history: History, revision: Revision) -> bool | None:
        """Do one step's work on a page of the past; returns whether there is more behind it, None: it is not done."""
        position = history.position_after(revision)
        work = 0
        if self._history is None and history.count_since(position) <= COUNTED_CHANGES_MAX:
            self._count = _count_at(store, history, self._wanted, position)
            work = KEY_WORK * history.count_since(position)
        if self._history is not history:
            self._history, self._at = history, None
        _, high, limit, keys_only, count_only = self._wanted
        if count_only and self._count is not None:
            return self._count > 0
        items, items_max = self._items, 0 if count_only else min(limit or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX)
        get, first_since = store.get, history.first_since
        for key in _keys_since_then(store, history, self._low, high):
            if work >= STEP_WORK_MAX:
                self._low = key
                return None
            work += KEY_WORK
            record = get(key)
            if record is None or record[1] > revision:
                at, record, left = first_since(key, position, STEP_WORK_MAX, self._at)
                work += STEP_WORK_MAX - left
                if not left:
                    self._low, self._at = key, at
                    return None
                self._at = None
            if record is None:
                continue
            if len(items) >= items_max or self._page_bytes >= PAGE_BYTES_MAX:
                return True
            item = encode_keyed(key, record, keys_only=keys_only)
            items.append(item)
            self._page_bytes += len(item)
            work += KEY_WORK
        return False


class HistoryReading:
    """A history that is being read."""

    __slots__ = ("_at", "_history", "_query")

    def __init__(self, query: HistoryQuery) -> None:
        self._query = query
        self._history: History | None = None
        self._at = 0
        """The chain of changes was followed to this position of `_history`."""

    def step(self, store: Store, history: History, term: Term) -> bytes | None:
        """Go on: the answer, of which changes of the key are held now; None: it takes a further step."""
        key, limit, wanted_below, values = self._query
        before_revision = wanted_below or store.revision + 1
        if self._history is not history:
            self._history, self._at = history, history.newest_of(key)
        position = history.position_after(before_revision - 1)
        self._at, _, left = history.first_since(key, position, HISTORY_LINKS_MAX, self._at)
        if not left:
            return None
        changes: list[bytes] = []
        changes_max = min(limit or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX)
        page_bytes, more = 0, False
        for change in history.changes_from(self._at, before_revision):
            if len(changes) >= changes_max or page_bytes >= PAGE_BYTES_MAX:
                more = True
                break
            encoded = encode_change(change, values=values, previous=values)
            changes.append(encoded)
            page_bytes += len(encoded)
        body = history_body(history.compacted_revision, changes, more=more)
        return answers.encode(Outcome.OK, term, store.revision, body)


Reading: TypeAlias = RangeReading | HistoryReading
"""A query that is being answered, in steps; between them the state machine may go on."""


def begin_reading(query: RangeQuery | HistoryQuery) -> Reading:
    """Begin to answer a query; nothing is read yet."""
    match query:
        case RangeQuery():
            return RangeReading(query)
        case HistoryQuery():
            return HistoryReading(query)
        case _:
            assert_never(query)


def _range_of_now(store: Store, wanted: Range) -> bytes:
    """The body of a range as it is."""
    low, high = wanted.low, wanted.high
    count = store.sorted_keys.count_between(low, high)
    items, more = list[bytes](), count > 0
    if not wanted.count_only:
        keys = store.sorted_keys.between(low, high)
        items, more = page_of(keys, store.get, wanted.limit, keys_only=wanted.keys_only)
    return range_body(store.revision, count, items, more=more)


def _count_at(store: Store, history: History, wanted: Range, position: int) -> int:
    """How many keys there were in the range before the change at `position`."""
    low, high = wanted.low, wanted.high
    changed = [key for key in history.keys_since(position) if is_in_range(key, low, high)]
    return store.sorted_keys.count_between(low, high) + sum(
        (history.record_at(key, position) is not None) - (store.get(key) is not None) for key in changed
    )


def _keys_since_then(store: Store, history: History, low: bytes, high: bytes) -> Iterator[bytes]:
    """All keys in [low, high) that are there, or were at any held revision, ascending; nothing may change meanwhile."""
    keys, absent_keys = store.sorted_keys.between(low, high), history.absent_keys
    if absent_keys.count_between(low, high):
        return heapq.merge(keys, absent_keys.between(low, high))
    return keys
