"""The log in memory: entries behind a base, and an index of where each term begins.

The base is the last entry that was compacted away, (0, 0) while there is none; the log holds (base_index, last_index].
A snapshot stands for everything up to the base, and may go further: what lies between is kept for slow peers. Beside
the entries it keeps two things, so that nothing here ever walks along them:

- the *runs*: (first index, term) of each stretch of one term. Terms never go down along a log, so both are sorted and
  "where does this term begin" is a bisection over the few terms there are;
- the *ends*: how many bytes all entries up to each one take, so that "as many as fit into a message" is a bisection.

This class knows nothing of commitment or of disks; `Node` guards those.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from raftd.consensus.limits import ENTRY_OVERHEAD_BYTES
from raftd.consensus.types import NO_INDEX, NO_TERM, Entry, LogIndex, Term
from raftd.errors import InvariantViolation


class RaftLog:
    """Entries with consecutive indexes and terms that never go down."""

    __slots__ = ("_ends", "_entries", "_last_slice", "_run_firsts", "_run_terms", "base_index", "base_term")

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        *,
        base_index: LogIndex = NO_INDEX,
        base_term: Term = NO_TERM,
    ) -> None:
        self._entries: list[Entry]
        self._ends: array[int]
        self._run_firsts: list[LogIndex]
        self._run_terms: list[Term]
        self._last_slice: tuple[LogIndex, LogIndex, tuple[Entry, ...]]
        self.reset(base_index, base_term)
        recovered = list(entries)
        if recovered:
            check_consecutive(base_index, base_term, recovered)
            self.append(recovered)

    @property
    def last_index(self) -> LogIndex:
        """Index of the last entry, or of the base when there is none behind it."""
        return LogIndex(self.base_index + len(self._entries))

    @property
    def last_term(self) -> Term:
        """Term of the last entry, or of the base when there is none behind it."""
        return self._run_terms[-1] if self._run_terms else self.base_term

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of the entry at `index`, the base included; None where the log does not reach."""
        offset = index - self.base_index
        if 0 < offset <= len(self._entries):
            return self._entries[offset - 1][1]
        return self.base_term if offset == 0 else None

    def entries(self, low: LogIndex, high: LogIndex) -> tuple[Entry, ...]:
        """The entries of [low, high), all of which the log must hold.

        Asked for the same range twice in a row, this gives the same tuple: what goes to the disk and to several peers
        is one object, which whoever encodes it may encode once.
        """
        last_low, last_high, entries = self._last_slice
        if low == last_low and high == last_high:
            return entries
        base = self.base_index + 1
        if not base <= low <= high <= base + len(self._entries):
            raise InvariantViolation(f"entries [{low}, {high}) of a log that holds [{base}, {self.last_index + 1})")
        entries = tuple(self._entries[low - base : high - base])
        self._last_slice = (low, high, entries)
        return entries

    def bounded(self, low: LogIndex, high: LogIndex, *, entries_max: int, bytes_max: int) -> LogIndex:
        """The greatest h <= high such that [low, h) respects both bounds; but one entry is always let through."""
        first = low - self.base_index - 1
        budget = self._ends[first] + bytes_max
        fitting = bisect_right(self._ends, budget, first, high - self.base_index) - 1
        return LogIndex(min(high, low + entries_max, low + max(1, fitting - first)))

    def size_bytes(self, low: LogIndex, high: LogIndex) -> int:
        """What the entries of [low, high) take in a log record or frame."""
        base = self.base_index + 1
        return self._ends[high - base] - self._ends[low - base]

    def append(self, entries: Sequence[Entry]) -> None:
        """Add `entries` behind the last one; the caller made or checked them to be consecutive (§5.3)."""
        index, term, _, _ = entries[0]
        if index != self.last_index + 1 or term < self.last_term:
            raise InvariantViolation(f"entry ({index}, {term}) behind ({self.last_index}, {self.last_term})")
        if (
            not self._run_terms or entries[-1][1] != self._run_terms[-1]
        ):  # Else all are of the last run: the usual case.
            for index, term, _, _ in entries:
                if not self._run_terms or term != self._run_terms[-1]:
                    self._run_firsts.append(index)
                    self._run_terms.append(term)
        self._entries.extend(entries)
        sizes = [len(entry[3]) + ENTRY_OVERHEAD_BYTES for entry in entries]
        sizes[0] += self._ends[-1]
        self._ends.extend(accumulate(sizes))

    def truncate(self, first_removed: LogIndex) -> None:
        """Remove the entry at `first_removed` and all behind it."""
        if not self.base_index < first_removed <= self.last_index:
            raise InvariantViolation(f"truncate from {first_removed} in ({self.base_index}, {self.last_index}]")
        del self._entries[first_removed - self.base_index - 1 :]
        del self._ends[first_removed - self.base_index :]
        while self._run_firsts and self._run_firsts[-1] >= first_removed:
            self._run_firsts.pop()
            self._run_terms.pop()
        self._last_slice = (NO_INDEX, NO_INDEX, ())

    def reset(self, base_index: LogIndex, base_term: Term) -> None:
        """Begin anew, without entries, behind (base_index, base_term)."""
        self.base_index = base_index
        self.base_term = base_term
        self._entries = []
        self._ends = array("Q", [0])
        self._run_firsts = []
        self._run_terms = []
        self._last_slice = (NO_INDEX, NO_INDEX, ())

    def compact(self, index: LogIndex) -> None:
        """Drop the entries up to `index`, which is the base from now on."""
        term = self.term_at(index)
        if term is None:
            raise InvariantViolation(f"compact up to {index} in ({self.base_index}, {self.last_index}]")
        del self._entries[: index - self.base_index]
        del self._ends[: index - self.base_index]
        # The run that the new base is in goes on behind it, or ends with it.
        runs = bisect_right(self._run_firsts, index)
        if runs and self._entries and self._entries[0][1] == self._run_terms[runs - 1]:
            runs -= 1
            self._run_firsts[runs] = LogIndex(index + 1)
        del self._run_firsts[:runs], self._run_terms[:runs]
        self.base_index, self.base_term = index, term
        self._last_slice = (NO_INDEX, NO_INDEX, ())

    def first_index_of_run(self, index: LogIndex) -> LogIndex:
        """Where the term of the entry at `index`, which must be behind the base, begins in this log."""
        return self._run_firsts[bisect_right(self._run_firsts, index) - 1]

    def last_index_up_to_term(self, term: Term) -> LogIndex:
        """The last index whose term is at most `term`; the base's where every entry is newer."""
        run = bisect_right(self._run_terms, term)
        if run == len(self._run_firsts):
            return self.last_index
        return LogIndex(self._run_firsts[run] - 1)

    def is_up_to_date(self, last_log_index: LogIndex, last_log_term: Term) -> bool:
        """Whether a log that ends there is at least as up to date as this one (§5.4.1)."""
        return (last_log_term, last_log_index) >= (self.last_term, self.last_index)


def check_consecutive(prev_index: LogIndex, prev_term: Term, entries: Iterable[Entry]) -> None:
    """Check that `entries` follow (prev_index, prev_term) without a gap and without a term going down.

    Raises:
        InvariantViolation: they do not. For entries that a peer sent, the caller says it is the peer's fault.
    """
    expected: int = prev_index
    for index, term, _, _ in entries:
        expected += 1
        if index != expected or term < prev_term:
            raise InvariantViolation(f"entry ({index}, {term}) where index {expected}, term >= {prev_term} is due")
        prev_term = term
