"""When a lease must be kept alive, and until when it certainly lives, pure: `raftd.client.leases` obeys.

The leader gives a lease its full time to live from the moment at which it confirms a keep-alive, and a new leader does
so from the moment at which it begins to lead. Both lie after the client has *sent* the keep-alive that was answered, so
counted from there the time is never too long, however long the answer took. A tenth of it is taken off: for two clocks
that do not run equally fast, and for the holder to notice.
"""

from typing import Final

MARGIN_SHARE: Final = 0.1
"""How much of its time to live a lease is taken to be shorter here than at the cluster."""
_SENDINGS: Final = 3
"""How often a lease is kept alive within its time to live: two may fail."""


class LeaseTime:
    """What one lease's holder knows about its time.

    Args:
        ttl: seconds that the cluster granted.
        sent_at: when the request to grant it was sent first, by the holder's clock.
    """

    __slots__ = ("_ended", "_sent_at", "ttl")

    def __init__(self, ttl: float, sent_at: float) -> None:
        self.ttl = ttl
        self._sent_at = sent_at
        self._ended = False

    @property
    def certain_until(self) -> float:
        """Until when the cluster certainly has it, by the holder's clock."""
        return self._sent_at + self.ttl * (1.0 - MARGIN_SHARE)

    @property
    def due_at(self) -> float:
        """When it is to be kept alive again."""
        return self._sent_at + self.ttl / _SENDINGS

    def remaining(self, now: float) -> float:
        """Seconds for which the cluster certainly has it; 0: it may be gone."""
        return 0.0 if self._ended else max(0.0, self.certain_until - now)

    def lost(self, now: float) -> bool:
        """Whether it is gone or may be; once that is so, it stays so."""
        if not self._ended and now >= self.certain_until:
            self._ended = True
        return self._ended

    def confirmed(self, sent_at: float, now: float) -> None:
        """Note that the cluster has answered the keep-alive that was sent then. A lease that was lost stays lost."""
        if not self.lost(now):
            self._sent_at = max(self._sent_at, sent_at)

    def end(self) -> None:
        """Note that the cluster does not have it any more."""
        self._ended = True
