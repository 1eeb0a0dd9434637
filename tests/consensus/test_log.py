"""The log against a plain list, and its edges by hand."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftd.consensus import ENTRY_OVERHEAD_BYTES, Entry, EntryKind, LogIndex, Term
from raftd.consensus.log import RaftLog, check_consecutive
from raftd.errors import InvariantViolation
from tests.consensus.words import entries_of, entry


class LogAgainstList(RuleBasedStateMachine):
    """Whatever is appended and truncated, the log answers as a list of entries behind a base does."""

    def __init__(self) -> None:
        super().__init__()
        self.base_index, self.base_term = 0, 0
        self.model: list[Entry] = []
        self.log = RaftLog()

    @precondition(lambda self: not self.model)
    @rule(index=st.integers(1, 5), term=st.integers(1, 3))
    def begin_behind_a_snapshot(self, index: int, term: int) -> None:
        self.base_index, self.base_term = index, term
        self.log = RaftLog(base_index=LogIndex(index), base_term=Term(term))

    @rule(steps=st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=20)), min_size=1, max_size=6))
    def append(self, steps: list[tuple[int, bytes]]) -> None:
        index = self.base_index + len(self.model)
        term = self.model[-1][1] if self.model else max(self.base_term, 1)
        entries = []
        for higher, data in steps:
            index, term = index + 1, Term(term + higher)
            entries.append((LogIndex(index), term, EntryKind.COMMAND, data))
        self.model.extend(entries)
        self.log.append(entries)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.base_index, self.base_index + len(self.model)))
        dropped = index - self.base_index
        if dropped:
            self.base_term = self.model[dropped - 1][1]
        self.base_index = index
        del self.model[:dropped]
        self.log.compact(LogIndex(index))

    @rule(index=st.integers(1, 5), term=st.integers(1, 3))
    def reset(self, index: int, term: int) -> None:
        self.base_index, self.base_term, self.model = index, term, []
        self.log.reset(LogIndex(index), Term(term))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        keep = data.draw(st.integers(0, len(self.model) - 1))
        self.log.truncate(LogIndex(self.base_index + keep + 1))
        del self.model[keep:]

    @rule(data=st.data(), entries_max=st.integers(1, 5), bytes_max=st.integers(1, 90))
    def bound(self, data: st.DataObject, entries_max: int, bytes_max: int) -> None:
        if not self.model:
            return
        start = data.draw(st.integers(0, len(self.model) - 1))
        stop = data.draw(st.integers(start + 1, len(self.model)))
        high = start
        size = 0
        while high < stop:
            size += len(self.model[high][3]) + ENTRY_OVERHEAD_BYTES
            if high > start and (size > bytes_max or high - start == entries_max):
                break
            high += 1
        low_index, high_index = LogIndex(self.base_index + 1 + start), LogIndex(self.base_index + 1 + stop)
        bounded = self.log.bounded(low_index, high_index, entries_max=entries_max, bytes_max=bytes_max)
        assert bounded == self.base_index + 1 + high
        taken = self.model[start:high]
        assert self.log.size_bytes(low_index, bounded) == sum(len(one[3]) + ENTRY_OVERHEAD_BYTES for one in taken)

    @rule(data=st.data())
    def slice(self, data: st.DataObject) -> None:
        low = data.draw(st.integers(0, len(self.model)))
        high = data.draw(st.integers(low, len(self.model)))
        first = self.base_index + 1
        assert list(self.log.entries(LogIndex(first + low), LogIndex(first + high))) == self.model[low:high]

    @invariant()
    def ends_agree(self) -> None:
        assert self.log.last_index == self.base_index + len(self.model)
        assert self.log.last_term == (self.model[-1][1] if self.model else self.base_term)

    @invariant()
    def terms_agree(self) -> None:
        known = {self.base_index: self.base_term} | {index: term for index, term, _, _ in self.model}
        for index in range(self.base_index + len(self.model) + 2):
            assert self.log.term_at(LogIndex(index)) == known.get(index)

    @invariant()
    def runs_agree(self) -> None:
        for index, term, _, _ in self.model:
            first = min(one[0] for one in self.model if one[1] == term)
            assert self.log.first_index_of_run(index) == first
        for highest in range(self.base_term, self.log.last_term + 2):
            last = max((one[0] for one in self.model if one[1] <= highest), default=self.base_index)
            assert self.log.last_index_up_to_term(Term(highest)) == last


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(deadline=None, max_examples=60, stateful_step_count=20)


def test_the_same_slice_twice_is_one_object() -> None:
    """What the disk and all peers get is one tuple, until the log changes below."""
    log = RaftLog(entries_of(1, 1, 1))
    first = log.entries(LogIndex(2), LogIndex(4))
    log.append(entries_of(1, first=4))
    assert log.entries(LogIndex(2), LogIndex(4)) is first
    log.truncate(LogIndex(3))
    log.append(entries_of(2, first=3))
    assert log.entries(LogIndex(2), LogIndex(4)) == (entry(2, 1), entry(3, 2))


def test_a_slice_that_was_compacted_is_gone() -> None:
    """That it was the last one asked for does not keep it."""
    log = RaftLog(entries_of(1, 1, 1))
    log.entries(LogIndex(1), LogIndex(3))
    log.compact(LogIndex(2))
    with pytest.raises(InvariantViolation):
        log.entries(LogIndex(1), LogIndex(3))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 5), (3, 2), (5, 6)])
def test_entries_outside_are_a_bug(low: int, high: int) -> None:
    """Asking for what the log does not hold is a bug of the asker, not an empty answer."""
    with pytest.raises(InvariantViolation):
        RaftLog(entries_of(1, 1, 1)).entries(LogIndex(low), LogIndex(high))


@pytest.mark.parametrize("bad", [entry(2, 1), entry(4, 1), entry(3, 0)])
def test_append_refuses_what_does_not_follow(bad: Entry) -> None:
    """A repeated index, a gap, or a term that goes down is a bug of the caller, and changes nothing."""
    log = RaftLog(entries_of(1, 1))
    with pytest.raises(InvariantViolation):
        log.append([bad])
    assert log.last_index == 2


@pytest.mark.parametrize("first_removed", [0, 3, 4])
def test_truncate_outside_is_a_bug(first_removed: int) -> None:
    """Nothing can be removed that is not there."""
    with pytest.raises(InvariantViolation):
        RaftLog(entries_of(1, 1)).truncate(LogIndex(first_removed))


@pytest.mark.parametrize("index", [1, 5])
def test_compact_outside_is_a_bug(index: int) -> None:
    """What is gone already, or not there yet, cannot become the base; nothing changes."""
    log = RaftLog(entries_of(1, 1, first=3), base_index=LogIndex(2), base_term=Term(1))
    with pytest.raises(InvariantViolation):
        log.compact(LogIndex(index))
    assert (log.base_index, log.entries(LogIndex(3), LogIndex(5))) == (2, entries_of(1, 1, first=3))


@pytest.mark.parametrize("entries", [entries_of(1, first=2), (entry(1, 1), entry(3, 1)), entries_of(2, 1)])
def test_recovery_refuses_gaps(entries: tuple[Entry, ...]) -> None:
    """A recovered log with a gap, or with a term that goes down, is no log."""
    with pytest.raises(InvariantViolation):
        RaftLog(entries)
    with pytest.raises(InvariantViolation):
        check_consecutive(LogIndex(0), Term(0), entries)


@pytest.mark.parametrize(
    ("index", "term", "is_up_to_date"), [(2, 2, True), (3, 2, True), (1, 3, True), (1, 2, False), (9, 1, False)]
)
def test_is_up_to_date_compares_terms_before_lengths(index: int, term: int, is_up_to_date: bool) -> None:
    """The log with the later last term is more up to date; with equal terms, the longer one (§5.4.1)."""
    assert RaftLog(entries_of(1, 2)).is_up_to_date(LogIndex(index), Term(term)) is is_up_to_date
