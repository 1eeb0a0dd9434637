"""Telling of refused connections, at a rate that strangers cannot raise: a port scan must not fill the log."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from raftd import events

logger = logging.getLogger(__name__)

LINES_MAX: Final = 10
"""In each period; those beyond are counted, and the count is told when the period ends."""
PERIOD_SECONDS: Final = 60.0


class Timer(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Do not make it."""


class Timers(Protocol):
    """The part of an event loop that is used here."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        """Run `callback` in `delay` seconds."""


class Refusals:
    """The refusals of one port. A period begins with the first one that is told outside of any."""

    def __init__(self, purpose: str, timers: Timers) -> None:
        """`purpose` names the port, such as "clients"."""
        self._purpose = purpose
        self._timers = timers
        self._period: Timer | None = None
        self._told = 0
        self._left_out = 0

    def tell(self, address: str, reason: str) -> None:
        """Log a refusal, or count it if this period has had its lines."""
        if self._period is None:
            self._period = self._timers.call_later(PERIOD_SECONDS, self.end)
        if self._told == LINES_MAX:
            self._left_out += 1
            return
        self._told += 1
        events.CONNECTION_REFUSED.log(logger, address=address, reason=reason)

    def end(self) -> None:
        """End the period, if there is one, and tell how many refusals it left out."""
        if self._period is not None:
            self._period.cancel()
            self._period = None
        left_out, self._left_out, self._told = self._left_out, 0, 0
        if left_out:
            events.REFUSALS_LEFT_OUT.log(logger, count=left_out, purpose=self._purpose, seconds=round(PERIOD_SECONDS))
