"""Pages: what they show, now and at a held revision, and what they cost."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import Term
from raftd.kv import answers, reads
from raftd.kv.answers import Outcome
from raftd.kv.changes import Change, encode_change
from raftd.kv.commands import Revision
from raftd.kv.items import encode_keyed
from raftd.kv.limits import PAGE_BYTES_MAX, PAGE_ITEMS_MAX, Limits
from raftd.kv.operations import Delete, Increment, Put, Range, Transaction
from raftd.kv.pages import HistoryPage, RangePage, decode_history, decode_range
from raftd.kv.queries import HistoryQuery, RangeQuery
from raftd.kv.reads import HISTORY_LINKS_MAX, KEY_WORK, STEP_WORK_MAX, Reading, begin_reading
from raftd.kv.store import Store
from raftd.kv.types import Record
from tests.kv.test_execution import Writer
from tests.kv.test_snapshot import load, read_all

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
    assert ask_range(writer, Range(b"", b""), 3).key_count == 3


@pytest.mark.parametrize("changes_max", [2, 100])
def test_a_count_of_the_past_says_whether_there_was_anything(changes_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it costs too much to say how many; and that there was nothing is a count."""
    writer = Writer()
    for number in range(6):
        writer.write(Put(b"%d" % number, b""))
    monkeypatch.setattr(reads, "COUNTED_CHANGES_MAX", changes_max)
    counted = ask_range(writer, Range(b"", b"", count_only=True), 3)
    assert (counted.key_count, counted.items, counted.more) == (None if changes_max < 3 else 3, (), True)
    absent = ask_range(writer, Range(b"5", b"", count_only=True), 3)
    assert (absent.key_count, absent.items, absent.more) == (0, (), False)


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


# In steps.

WRITES = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3)), max_size=4)


class Past(Writer):
    """A writer that remembers the store as of each revision."""

    def __init__(self, changes_max: int) -> None:
        super().__init__(Limits(history_changes_max=changes_max))
        self.states: list[list[tuple[bytes, tuple[object, ...]]]] = [[]]

    def write_all(self, writes: list[tuple[bytes, bytes | None]], *, at_once: bool) -> None:
        operations = [Delete(key) if value is None else Put(key, value) for key, value in writes]
        machine = self.driver.machine
        for operation in [Transaction((), tuple(operations))] if at_once else operations:
            self.write(operation)
            if machine.revision == len(self.states):
                self.states.append(list(machine._store))

    def be_sent_a_snapshot(self) -> None:
        """Go on with the same state in other objects, whose history has other positions."""
        machine = self.driver.machine
        machine.become(load(read_all(machine.begin_snapshot()), machine.limits))

    def shown(self, wanted: Range, revision: int) -> RangePage:
        """What a page of then shows."""
        low, high = wanted.low, wanted.high
        inside = [item for item in self.states[revision] if low <= item[0] and (not high or item[0] < high)]
        shown = inside[: wanted.limit] if wanted.limit else inside
        if wanted.count_only:
            return RangePage(Revision(revision), len(inside), bool(inside), ())
        if wanted.keys_only:
            shown = [(key, (*item[:-1], b"")) for key, item in shown]
        return RangePage(Revision(revision), len(inside), len(inside) > len(shown), tuple(shown))  # type: ignore[arg-type]  # items compare as tuples


@given(
    before=st.lists(WRITES, max_size=6),
    between=st.lists(st.tuples(WRITES, st.booleans(), st.booleans()), max_size=12),
    wanted=st.builds(
        Range,
        st.sampled_from([b"", *KEYS]),
        st.sampled_from([b"", *KEYS]),
        st.integers(0, 4),
        keys_only=st.booleans(),
        count_only=st.booleans(),
    ),
    ago=st.integers(0, 8),
    bounds=st.tuples(st.sampled_from([6, 15, 40]), st.sampled_from([1, 2, KEY_WORK, KEY_WORK + 1, 3 * KEY_WORK])),
)
@settings(deadline=None, max_examples=300)
def test_a_range_read_in_steps_is_of_its_revision(
    before: list[list[tuple[bytes, bytes | None]]],
    between: list[tuple[list[tuple[bytes, bytes | None]], bool, bool]],
    wanted: Range,
    ago: int,
    bounds: tuple[int, int],
) -> None:
    """Whatever is written, deleted, let go of and loaded between the steps; or it is COMPACTED, as if asked now."""
    changes_max, work_max = bounds
    past = Past(changes_max)
    machine = past.driver.machine
    for writes in before:
        past.write_all(writes, at_once=False)
    revision = max(0, machine.revision - ago)
    reading = begin_reading(RangeQuery(wanted, Revision(revision)))
    steps = iter(between)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reads, "STEP_WORK_MAX", work_max)
        while (answered := machine.go_on(reading, TERM)) is None:
            assert revision >= machine.history.compacted_revision
            writes, at_once, is_sent = next(steps, ([], False, False))
            past.write_all(writes, at_once=at_once)
            if is_sent:
                past.be_sent_a_snapshot()
    answer = answers.decode(answered)
    assert answer[1:3] == (TERM, machine.revision)
    if revision < machine.history.compacted_revision:
        assert answer.outcome is Outcome.COMPACTED
        assert answers.decode_compacted(answer.body) == machine.history.compacted_revision
    else:
        assert answer.outcome is Outcome.OK
        assert decode_range(answer.body, keys_only=wanted.keys_only) == past.shown(wanted, revision)


@pytest.mark.parametrize("kind", ["range", "history"])
def test_a_chain_that_is_followed_is_not_lost_with_a_snapshot(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are others then: each step before and after may be the one between which it comes."""
    for sent_after in range(1, 7):
        past = Past(100)
        past.write_all([(b"a", b"then"), (b"b", b"then")], at_once=False)
        past.write_all([(key, b"%d" % number) for number in range(5) for key in (b"a", b"b")], at_once=False)
        query = RangeQuery(Range(b"", b""), Revision(2)) if kind == "range" else HistoryQuery(b"b", 0, Revision(3))
        monkeypatch.setattr(reads, "STEP_WORK_MAX", 1)
        monkeypatch.setattr(reads, "HISTORY_LINKS_MAX", 1)
        reading = begin_reading(query)
        steps = 0
        while (answer := past.driver.machine.go_on(reading, TERM)) is None:
            steps += 1
            if steps == sent_after:
                past.be_sent_a_snapshot()
        body = answers.decode(answer).body
        if kind == "range":
            assert decode_range(body) == past.shown(Range(b"", b""), 2)
        else:
            assert [change.revision for change in decode_history(body).changes] == [2]


@given(
    before=st.lists(WRITES, max_size=8),
    between=st.lists(st.tuples(WRITES, st.booleans(), st.booleans()), max_size=12),
    limit=st.integers(0, 3),
    below=st.integers(0, 12),
    changes_max=st.sampled_from([6, 15, 40]),
)
@settings(deadline=None, max_examples=200)
def test_a_history_read_in_steps_is_of_its_last_one(
    before: list[list[tuple[bytes, bytes | None]]],
    between: list[tuple[list[tuple[bytes, bytes | None]], bool, bool]],
    limit: int,
    below: int,
    changes_max: int,
) -> None:
    """As if all of it had been asked then."""
    past = Past(changes_max)
    machine = past.driver.machine
    for writes in before:
        past.write_all(writes, at_once=False)
    query = HistoryQuery(b"b", limit, Revision(below), values=True)
    reading = begin_reading(query)
    steps = iter(between)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reads, "HISTORY_LINKS_MAX", 1)
        while (answered := machine.go_on(reading, TERM)) is None:
            writes, at_once, is_sent = next(steps, ([], False, False))
            past.write_all(writes, at_once=at_once)
            if is_sent:
                past.be_sent_a_snapshot()
    held = [Change._make(held[:-1]) for held in machine.history.held() if held[1] == b"b"]
    wanted = [change for change in reversed(held) if not below or change.revision < below]
    shown = wanted[:limit] if limit else wanted
    answer = answers.decode(answered)
    assert answer[:3] == (Outcome.OK, TERM, machine.revision)
    page = decode_history(answer.body)
    assert [each.revision for each in page.changes] == [each.revision for each in shown]
    assert (page.compacted_revision, page.more) == (machine.history.compacted_revision, len(wanted) > len(shown))


class CountedLinks(list[int]):
    """The links of all chains; each look at one is counted."""

    looks = 0

    def __getitem__(self, at: object) -> int:  # type: ignore[override]  # no slices are taken
        self.looks += 1
        return super().__getitem__(at)  # type: ignore[call-overload,no-any-return]  # see above


def work_of_steps(
    writer: Writer, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[tuple[int, int]], bytes]:
    """Of each step, how many keys and links it looked at; and the answer."""
    machine = writer.driver.machine
    assert machine.history.newest_of(b"") < 0
    links = machine.history._older = CountedLinks(machine.history._older)
    keys = [0]
    get = Store.get

    def counted(store: Store, key: bytes) -> Record | None:
        keys[0] += 1
        return get(store, key)

    monkeypatch.setattr(Store, "get", counted)
    works: list[tuple[int, int]] = []
    answer = None
    while answer is None:
        keys[0] = links.looks = 0
        answer = machine.go_on(reading, TERM)
        works.append((keys[0], links.looks))
    return works, answer


CREATED = 100_000


@pytest.fixture(scope="module")
def grown() -> tuple[Writer, Revision]:
    """A store in which nearly every held change created a key, or wrote one and the same key, since a revision."""
    writer = Writer(Limits(history_changes_max=2 * CREATED))
    writer.write(Put(b"y", b"then"))
    writer.write(Put(b"z", b"then"))
    revision = writer.driver.machine.revision
    for number in range(0, CREATED, 100):
        writer.write(Transaction((), tuple(Put(b"k%06d" % at, b"") for at in range(number, number + 100))))
    for number in range(20_000):
        writer.write(Put(b"y", b"%d" % number))
    return writer, revision


def test_a_step_passes_over_few_of_many_keys(grown: tuple[Writer, Revision], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were created since, and however often the one that is shown was written."""
    writer, revision = grown
    reading = begin_reading(RangeQuery(Range(b"", b"", 1), revision))
    works, answer = work_of_steps(writer, reading, monkeypatch)
    assert max(keys for keys, _ in works) <= STEP_WORK_MAX // KEY_WORK + 1
    assert max(links for _, links in works) <= STEP_WORK_MAX + STEP_WORK_MAX // KEY_WORK + 1
    assert sum(keys for keys, _ in works) <= CREATED + 5
    assert len(works) <= CREATED * KEY_WORK / STEP_WORK_MAX + 20_000 / STEP_WORK_MAX + 3
    page = decode_range(answers.decode(answer).body)
    assert ([(key, item.value) for key, item in page.items], page.more) == ([(b"y", b"then")], True)
    assert page.key_count is None


def test_a_step_follows_few_of_many_changes(grown: tuple[Writer, Revision], monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep in one key's history."""
    writer, revision = grown
    reading = begin_reading(HistoryQuery(b"y", 1, Revision(revision + 1)))
    works, answer = work_of_steps(writer, reading, monkeypatch)
    assert max(links for _, links in works) <= HISTORY_LINKS_MAX + 3
    assert len(works) <= 20_000 / HISTORY_LINKS_MAX + 2
    assert [change.revision for change in decode_history(answers.decode(answer).body).changes] == [1]


def test_what_was_counted_is_a_step_s_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step counts at most so many changes, and then passes over fewer keys, or none."""
    writer = Writer()
    writer.write(Put(b"z", b"then"))
    revision = writer.driver.machine.revision
    for number in range(reads.COUNTED_CHANGES_MAX):
        writer.write(Put(b"k%06d" % number, b""))
    works, answer = work_of_steps(writer, begin_reading(RangeQuery(Range(b"", b""), revision)), monkeypatch)
    assert works[0][0] == reads.COUNTED_CHANGES_MAX
    assert all(keys <= STEP_WORK_MAX // KEY_WORK + 1 for keys, _ in works[1:])
    page = decode_range(answers.decode(answer).body)
    assert (page.key_count, [key for key, _ in page.items]) == (1, [b"z"])


def test_a_page_of_now_is_one_step() -> None:
    """Which is its moment; so is one of the newest revision."""
    writer = Writer()
    for number in range(1500):
        writer.write(Put(b"%04d" % number, b""))
    machine = writer.driver.machine
    for revision in (None, machine.revision):
        answer = machine.go_on(begin_reading(RangeQuery(Range(b"", b""), revision)), TERM)
        assert answer is not None
        assert decode_range(answers.decode(answer).body).key_count == 1500
