"""What the disk holds of this node: what was handed to the log writer, and what it has acknowledged.

The log writer is a first-in-first-out queue. Each Ready that must be stored is one element of it, and after the
acknowledgement of one the disk holds the hard state and the log as they were when that Ready was made.

The log may have been truncated since then, and have grown again: the disk then holds entries at indexes where memory
has others. So each element remembers up to where it still agrees with memory, a truncation lowers that for all of
them, and `stored_index` only ever speaks of entries that the log has now.

When a snapshot takes the place of the whole log (`reset`), it is on disk already, so everything up to it is stored; no
entry behind it is, whatever is under way, until it was handed out again behind the new base. A crash on that way leaves
the snapshot with an older log, which ends before the snapshot or contradicts it: then the snapshot wins (`recovery`).
"""

from collections import deque
from dataclasses import dataclass

from raftd.consensus.log import RaftLog
from raftd.consensus.types import Entry, HardState, LogIndex, Term
from raftd.errors import InvariantViolation


@dataclass(slots=True)
class _InFlight:
    """One Ready that the log writer has not acknowledged."""

    hard_state: HardState
    """The hard state on disk once this is stored, changed by this Ready or not."""
    last_index: LogIndex
    """The log's last index when the Ready was made: what names it."""
    agreed_index: LogIndex
    """Up to here, what is stored with this Ready is still what the log holds."""


class Storing:
    """Follows hard state and log on their way to the disk."""

    __slots__ = ("_handed_hard_state", "_in_flight", "_log_base", "handed_index", "stored_hard_state", "stored_index")

    def __init__(self, hard_state: HardState, last_index: LogIndex) -> None:
        """What was recovered from the disk is on it."""
        self.stored_hard_state = hard_state
        """What the disk is known to hold."""
        self.stored_index = last_index
        """The disk is known to hold the log's entries up to here."""
        self._handed_hard_state = hard_state
        self.handed_index = last_index
        """The log's entries up to here were handed to the log writer."""
        self._in_flight: deque[_InFlight] = deque()
        self._log_base: tuple[LogIndex, Term] | None = None
        """Of a log that took the place of the one on disk, which the log writer was not told of yet."""

    def is_due(self, current_term: Term, voted_for: int | None, last_index: LogIndex) -> bool:
        """Whether there is anything that was not handed to the log writer yet."""
        handed = self._handed_hard_state
        return (
            last_index > self.handed_index
            or current_term != handed.current_term
            or voted_for != handed.voted_for
            or self._log_base is not None
        )

    def hand_out(
        self, hard_state: HardState, log: RaftLog
    ) -> tuple[HardState | None, tuple[LogIndex, Term] | None, tuple[Entry, ...]]:
        """(hard state, log base, entries) that the next Ready must store; from now on they count as on their way."""
        changed = hard_state if hard_state != self._handed_hard_state else None
        last_index = log.last_index
        entries = log.entries(LogIndex(self.handed_index + 1), LogIndex(last_index + 1))
        log_base, self._log_base = self._log_base, None
        if changed is not None or log_base is not None or entries:
            self._handed_hard_state = hard_state
            self.handed_index = last_index
            self._in_flight.append(_InFlight(hard_state, last_index, last_index))
        return changed, log_base, entries

    def truncated(self, first_removed: LogIndex) -> None:
        """The log gave up its entries from `first_removed` on; none of them counts as stored any more."""
        kept = LogIndex(first_removed - 1)
        self.handed_index = min(self.handed_index, kept)
        self.stored_index = min(self.stored_index, kept)
        for batch in self._in_flight:
            batch.agreed_index = min(batch.agreed_index, kept)

    def reset(self, base_index: LogIndex, base_term: Term) -> None:
        """A snapshot that is on disk takes the place of the log there; what lies behind it is to be stored anew."""
        self._log_base = base_index, base_term
        self.handed_index = base_index
        self.stored_index = base_index
        for batch in self._in_flight:
            batch.agreed_index = base_index

    def acknowledge(self, term: Term, index: LogIndex) -> None:
        """The oldest Ready in flight, which must be the one named so, is on disk.

        Raises:
            InvariantViolation: another one, or none, is the oldest.
        """
        if not self._in_flight:
            raise InvariantViolation(f"stored({term}, {index}), but nothing was to be stored")
        oldest = self._in_flight[0]
        if (oldest.hard_state.current_term, oldest.last_index) != (term, index):
            expected = f"({oldest.hard_state.current_term}, {oldest.last_index})"
            raise InvariantViolation(f"stored({term}, {index}), but {expected} was handed out before it")
        self._in_flight.popleft()
        self.stored_hard_state = oldest.hard_state
        self.stored_index = oldest.agreed_index
