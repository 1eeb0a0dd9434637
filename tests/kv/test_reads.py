"""Pages: what they show, now and at a held revision, and what they cost."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import Term
from raftd.kv import answers, reads
from raftd.kv.answers import Outcome
from raftd.kv.changes import encode_change
from raftd.kv.commands import Revision
from raftd.kv.items import encode_keyed
from raftd.kv.limits import PAGE_BYTES_MAX, PAGE_ITEMS_MAX, Limits
from raftd.kv.operations import Delete, Increment, Put, Range, Transaction
from raftd.kv.pages import HistoryPage, RangePage, decode_history, decode_range
from raftd.kv.queries import HistoryQuery, RangeQuery
from tests.kv.test_execution import Writer

TERM = Term(8)
KEYS = [b"a", b"b", b"b\x00", b"c", b"d"]


def ask_range(writer: Writer, wanted: Range, revision: int | None = None) -> RangePage:
    query = RangeQuery(wanted, None if revision is None else Revision(revision))
    answer = answers.decode(writer.driver.machine.answer(query, TERM))
    assert answer[:3] == (Outcome.OK, TERM, writer.driver.machine.revision)
    return decode_range(answer.body, keys_only=wanted.keys_only)


def ask_history(writer: Writer, query: HistoryQuery) -> HistoryPage:
    answer = answers.decode(writer.driver.machine.answer(query, TERM))
    assert answer[:3] == (Outcome.OK, TERM, writer.driver.machine.revision)
    return decode_history(answer.body)


@given(
    writes=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3)), max_size=25),
    low=st.sampled_from([b"", *KEYS]),
    high=st.sampled_from([b"", *KEYS]),
    limit=st.integers(0, 4),
)
@settings(deadline=None)
def test_ranges_at_every_held_revision(
    writes: list[tuple[bytes, bytes | None]], low: bytes, high: bytes, limit: int
) -> None:
    """Each shows the store as it was then: items, number of all, and whether there are more; or says COMPACTED."""
    writer = Writer(Limits(history_changes_max=12))
    states: list[list[tuple[bytes, tuple[object, ...]]]] = [[]]
    for key, value in writes:
        writer.write(Delete(key) if value is None else Put(key, value))
        if writer.driver.machine.revision == len(states):
            states.append(list(writer.driver.machine._store))
    held_from = writer.driver.machine.history.compacted_revision
    for revision, state in enumerate(states):
        wanted = Range(low, high, limit)
        if revision < held_from:
            answer = answers.decode(writer.driver.machine.answer(RangeQuery(wanted, Revision(revision)), TERM))
            assert answer.outcome is Outcome.COMPACTED
            assert answers.decode_compacted(answer.body) == held_from
            continue
        inside = [item for item in state if low <= item[0] and (not high or item[0] < high)]
        shown = inside[:limit] if limit else inside
        page = ask_range(writer, wanted, revision)
        assert page == (revision, len(inside), len(inside) > len(shown), tuple(shown))
        keys = ask_range(writer, wanted._replace(keys_only=True), revision)
        assert [(key, item[:5]) for key, item in keys.items] == [(key, item[:5]) for key, item in shown]
        assert not any(item.value for _, item in keys.items)
        assert ask_range(writer, wanted._replace(count_only=True), revision)[:2] == (revision, len(inside))
    assert ask_range(writer, Range(low, high, limit)) == ask_range(writer, Range(low, high, limit), len(states) - 1)


def test_a_revision_in_the_future() -> None:
    """The store has not come to it."""
    writer = Writer()
    answer = answers.decode(writer.driver.machine.answer(RangeQuery(Range(b"", b""), Revision(1)), TERM))
    assert answer == (Outcome.FUTURE_REVISION, TERM, 0, b"")


def test_pages_go_on_where_they_ended() -> None:
    """From the last key and a zero byte, at the revision of the first page, whatever is written in between."""
    writer = Writer()
    for number in range(50):
        writer.write(Put(b"%02d" % number, b"v"))
    low, at, seen = b"", None, list[bytes]()
    for turn in itertools.count():
        page = ask_range(writer, Range(low, b"", 7), at)
        at = page.at_revision
        seen += [key for key, _ in page.items]
        if not page.more:
            break
        low = seen[-1] + b"\x00"
        writer.write(Put(b"%02d+" % turn, b"new"))
        writer.write(Delete(b"%02d" % (turn * 11 % 50)))
    assert seen == [b"%02d" % number for number in range(50)]


@pytest.mark.parametrize(
    ("value_bytes", "limit", "shown"), [(0, 0, 1000), (0, 5000, 1000), (4096, 0, 127), (9, 10, 10)]
)
def test_a_page_is_bounded(value_bytes: int, limit: int, shown: int) -> None:
    """In items and in bytes, whatever limit is asked for."""
    writer = Writer()
    for batch in range(20):
        writer.transact(*(Put(b"%04d" % (batch * 60 + at), bytes(value_bytes)) for at in range(60)))
    page = ask_range(writer, Range(b"", b"", limit))
    assert (len(page.items), page.more, page.key_count) == (shown, True, 1200)
    assert shown <= PAGE_ITEMS_MAX
    assert shown * value_bytes <= PAGE_BYTES_MAX


@pytest.mark.parametrize(("missing", "shown"), [(0, 1), (1, 2)])
def test_a_page_ends_with_the_item_that_fills_it(missing: int, shown: int) -> None:
    """Where a single byte is left, one more item comes."""
    writer = Writer()
    writer.write(Put(b"a", b""))
    record = writer.driver.machine._store.get(b"a")
    assert record is not None
    writer.write(Put(b"a", bytes(PAGE_BYTES_MAX - missing - len(encode_keyed(b"a", record)))))
    for key in (b"b", b"c"):
        writer.write(Put(key, b""))
    page = ask_range(writer, Range(b"", b""))
    assert (len(page.items), page.more) == (shown, True)


@pytest.mark.parametrize("key_count", [0, 1, 2])
def test_a_count_says_whether_there_is_anything(key_count: int) -> None:
    """It shows no items, so there are more of them as soon as there is one."""
    writer = Writer()
    for number in range(key_count):
        writer.write(Put(b"%d" % number, b""))
    page = ask_range(writer, Range(b"", b"", count_only=True))
    assert (page.key_count, page.items, page.more) == (key_count, (), key_count > 0)


def test_what_costs_too_much_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the past: when many changes would have to be gone over, unless the page shows all there was."""
    writer = Writer()
    for number in range(6):
        writer.write(Put(b"%d" % number, b""))
    monkeypatch.setattr(reads, "COUNTED_CHANGES_MAX", 2)
    assert ask_range(writer, Range(b"", b"", 2), 4).key_count == 4
    assert ask_range(writer, Range(b"", b"", 2), 3).key_count is None
    assert ask_range(writer, Range(b"", b"", count_only=True), 3).key_count is None
    assert ask_range(writer, Range(b"", b""), 3).key_count == 3


def test_the_history_of_a_key() -> None:
    """Its held changes, newest first, with values only if asked, in pages."""
    writer = Writer(Limits(history_changes_max=6))
    for number in range(4):
        writer.write(Put(b"k", b"%d" % number))
        writer.write(Put(b"other", b""))
    writer.write(Delete(b"k"))
    page = ask_history(writer, HistoryQuery(b"k", values=True))
    assert (page.compacted_revision, page.more) == (3, False)
    assert [(each.revision, each.is_delete, each.value) for each in page.changes] == [
        (9, True, None),
        (7, False, b"3"),
        (5, False, b"2"),
    ]
    assert page.changes[0].previous == (7, b"3")
    assert page.changes[2].previous == (3, b"1")
    assert (page.changes[0].user, page.changes[0].address) == (b"alice", b"192.0.2.1:5000")
    first = ask_history(writer, HistoryQuery(b"k", limit=2))
    assert ([each.revision for each in first.changes], first.more) == ([9, 7], True)
    assert not any(each.value or each.previous for each in first.changes)
    rest = ask_history(writer, HistoryQuery(b"k", limit=2, before_revision=first.changes[-1].revision))
    assert ([each.revision for each in rest.changes], rest.more) == ([5], False)
    assert ask_history(writer, HistoryQuery(b"absent")).changes == ()


@pytest.mark.parametrize(("missing", "shown"), [(0, 1), (1, 2)])
def test_a_history_page_ends_with_the_change_that_fills_it(missing: int, shown: int) -> None:
    """As a page of a range does."""
    writer = Writer()
    for _ in range(3):
        writer.write(Put(b"k", b""))
    newest = next(iter(writer.driver.machine.history.changes_of(b"k", Revision(9))))
    empty = len(encode_change(newest, values=True, previous=True))
    writer.write(Put(b"k", bytes(PAGE_BYTES_MAX - missing - empty)))
    page = ask_history(writer, HistoryQuery(b"k", values=True))
    assert (len(page.changes), page.more) == (shown, True)


def test_a_history_page_is_bounded() -> None:
    """In changes and in bytes."""
    writer = Writer()
    for _ in range(1100):
        writer.write(Increment(b"n", 1))
    page = ask_history(writer, HistoryQuery(b"n", values=True))
    assert (len(page.changes), page.more) == (PAGE_ITEMS_MAX, True)
    for _ in range(10):
        writer.write(Put(b"big", bytes(100_000)))
    page = ask_history(writer, HistoryQuery(b"big", values=True))
    assert (len(page.changes), page.more) == (3, True)


def test_changes_of_one_transaction_are_one_revision_apart_from_others() -> None:
    """A read between two transactions shows all of the first and nothing of the second."""
    writer = Writer()
    writer.write(Transaction((), (Put(b"a", b"1"), Put(b"b", b"1"), Delete(b"c"))))
    writer.write(Transaction((), (Put(b"c", b"2"), Delete(b"a"), Put(b"b", b"2"))))
    assert [key for key, _ in ask_range(writer, Range(b"", b""), 1).items] == [b"a", b"b"]
    assert [key for key, _ in ask_range(writer, Range(b"", b""), 2).items] == [b"b", b"c"]
