"""Answers to queries: of what is there now, and of what was there at a revision that is held.

A page costs what it shows: the keys before it are not walked over, and those behind it are counted by runs
(`raftd.kv.sorted_keys`). A page of the past also passes over the keys of its range that were created since, of which
there are no more than there are held changes.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Final

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


def answer_range(store: Store, history: History, query: RangeQuery, term: Term) -> bytes:
    """Answer a range: OK, COMPACTED or FUTURE_REVISION."""
    wanted, revision = query
    if revision is None or revision == store.revision:
        keys = store.sorted_keys
        count = keys.count_between(wanted.low, wanted.high)
        items, more = list[bytes](), count > 0
        if not wanted.count_only:
            items, more = page_of(
                keys.between(wanted.low, wanted.high), store.get, wanted.limit, keys_only=wanted.keys_only
            )
        body = range_body(store.revision, count, items, more=more)
    elif revision > store.revision:
        return answers.encode(Outcome.FUTURE_REVISION, term, store.revision)
    elif revision < history.compacted_revision:
        return answers.encode_compacted(term, store.revision, history.compacted_revision)
    else:
        body = _range_at(store, history, wanted, revision)
    return answers.encode(Outcome.OK, term, store.revision, body)


def answer_history(history: History, query: HistoryQuery, term: Term, revision: Revision) -> bytes:
    """Answer which changes of a key are held; `revision` is the store's."""
    changes: list[bytes] = []
    changes_max = min(query.limit or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX)
    page_bytes, more = 0, False
    for change in history.changes_of(query.key, query.before_revision or revision + 1):
        if len(changes) >= changes_max or page_bytes >= PAGE_BYTES_MAX:
            more = True
            break
        encoded = encode_change(change, values=query.values, previous=query.values)
        changes.append(encoded)
        page_bytes += len(encoded)
    return answers.encode(Outcome.OK, term, revision, history_body(history.compacted_revision, changes, more=more))


def _range_at(store: Store, history: History, wanted: Range, revision: Revision) -> bytes:
    """The body of a range as it was at a held revision."""
    position = history.position_after(revision)

    def get(key: bytes) -> Record | None:
        record = store.get(key)
        return record if record is not None and record[1] <= revision else history.record_at(key, position)

    low, high = wanted.low, wanted.high
    count: int | None = None
    if history.count_since(position) <= COUNTED_CHANGES_MAX:
        changed = [key for key in history.keys_since(position) if is_in_range(key, low, high)]
        count = store.sorted_keys.count_between(low, high) + sum(
            (history.record_at(key, position) is not None) - (store.get(key) is not None) for key in changed
        )
    items, more = list[bytes](), bool(count)
    if not wanted.count_only:
        keys = heapq.merge(store.sorted_keys.between(low, high), history.absent_keys.between(low, high))
        items, more = page_of(keys, get, wanted.limit, keys_only=wanted.keys_only)
        if not more:
            count = len(items)
    return range_body(revision, count, items, more=more)
