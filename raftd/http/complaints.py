"""Telling of HTTP that nobody should send, at a rate that nobody can raise: each kind once a minute, with a count.

What a stranger sent is not repeated: a path or header could be anything, of any length.
"""

import enum
import logging
from collections.abc import Callable
from typing import Final

from raftd import events

logger = logging.getLogger(__name__)

PERIOD_SECONDS: Final = 60.0


class Misuse(enum.Enum):
    """What is wrong with a request or connection."""

    UNKNOWN_PAGE = "it asks for a page that there is not"
    METHOD = "it uses another method than GET and HEAD"
    BODY = "it sends a body"
    TOO_LARGE = "its request is too large"
    MALFORMED = "it sends what is no request"
    SLOW = "it was not done in time"
    CROWD = "there were too many connections, and it was the oldest"


class Complaints:
    """What one listener has to complain of."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives monotonic seconds."""
        self._now = now
        self._quiet_until: dict[Misuse, float] = {}
        self._left_out: dict[Misuse, int] = {}

    def tell(self, address: str, misuse: Misuse) -> None:
        """Log it, or count it if one of its kind was logged within the last minute."""
        now = self._now()
        if now < self._quiet_until.get(misuse, now):
            self._left_out[misuse] = self._left_out.get(misuse, 0) + 1
            return
        self._quiet_until[misuse] = now + PERIOD_SECONDS
        count = self._left_out.pop(misuse, 0)
        untold = f" ({count} like it were not told)" if count else ""
        events.HTTP_REFUSED.log(logger, address=address, reason=misuse.value + untold)
