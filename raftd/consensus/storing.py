"""What the disk holds of this node: what was handed to the log writer, and what it has acknowledged.

The log writer is a first-in-first-out queue. Each Ready that must be stored is one element of it, and after the
acknowledgement of one the disk holds the hard state and the log as they were when that Ready was made.

The log may have been truncated since then, and have grown again: the disk then holds entries at indexes where memory
has others. So each element remembers up to where it still agrees with memory, a truncation lowers that for all of
them, and `stored_index` only ever speaks of entries that the log has now.
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

    __slots__ = ("_handed_hard_state", "_handed_index", "_in_flight", "stored_hard_state", "stored_index")

    def __init__(self, hard_state: HardState, last_index: LogIndex) -> None:
        """What was recovered from the disk is on it."""
        self.stored_hard_state = hard_state
        """What the disk is known to hold."""
        self.stored_index = last_index
        """The disk is known to hold the log's entries up to here."""
        self._handed_hard_state = hard_state
        self._handed_index = last_index
        self._in_flight: deque[_InFlight] = deque()

    def is_due(self, current_term: Term, voted_for: int | None, last_index: LogIndex) -> bool:
        """Whether there is anything that was not handed to the log writer yet."""
        handed = self._handed_hard_state
        return last_index > self._handed_index or current_term != handed.current_term or voted_for != handed.voted_for

    def hand_out(self, hard_state: HardState, log: RaftLog) -> tuple[HardState | None, tuple[Entry, ...]]:
        """What the next Ready must store; from now on it counts as being on its way."""
        changed = hard_state if hard_state != self._handed_hard_state else None
        last_index = log.last_index
        entries = log.entries(LogIndex(self._handed_index + 1), LogIndex(last_index + 1))
        if changed is not None or entries:
            self._handed_hard_state = hard_state
            self._handed_index = last_index
            self._in_flight.append(_InFlight(hard_state, last_index, last_index))
        return changed, entries

    def truncated(self, first_removed: LogIndex) -> None:
        """The log gave up its entries from `first_removed` on; none of them counts as stored any more."""
        kept = LogIndex(first_removed - 1)
        self._handed_index = min(self._handed_index, kept)
        self.stored_index = min(self.stored_index, kept)
        for batch in self._in_flight:
            batch.agreed_index = min(batch.agreed_index, kept)

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
