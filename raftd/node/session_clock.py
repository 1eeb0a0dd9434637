"""When the leader moves the cluster's clock, by which sessions expire (ARCHITECTURE.md, "Exactly once")."""

from typing import Final

from raftd.consensus.types import NO_TERM, Term

ADVANCE_INTERVAL_SECONDS: Final = 10.0
"""How often; well below `raftd.kv.limits.Limits.advance_ms_max`, of which whatever exceeds it is forgotten."""


class SessionClock:
    """Measures how long this node has been leading, in pieces that it can propose.

    What was measured and not proposed when leadership ends is forgotten: sessions may live longer, never shorter.
    """

    __slots__ = ("_counted_until", "_interval_seconds", "_term")

    def __init__(self, interval_seconds: float = ADVANCE_INTERVAL_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._term = NO_TERM
        self._counted_until = 0.0

    def elapsed_ms(self, now: float, leading_term: Term | None) -> int:
        """How many milliseconds to propose now; 0: none yet.

        `now` is this node's monotonic clock in seconds; `leading_term` the term that it leads, None if it does not.
        """
        if leading_term is None:
            self._term = NO_TERM
            return 0
        if leading_term != self._term:
            self._term = leading_term
            self._counted_until = now
        elapsed = now - self._counted_until
        if elapsed < self._interval_seconds:
            return 0
        self._counted_until = now
        return int(elapsed * 1000)
