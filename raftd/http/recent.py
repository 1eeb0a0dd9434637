"""The latest events of this node, for whoever looks at its status page: bounded, and without values.

Only records of the catalogue are kept (`raftd.events`): what they say is what the catalogue lets them say.
"""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

from raftd.events import Event

EVENTS_MAX: Final = 100
TEXT_CHARACTERS_MAX: Final = 400
"""A longer text is cut: a remote side has its say in some of them."""


@dataclass(frozen=True, slots=True)
class RecentEvent:
    """Something that happened on this node."""

    at_seconds: float
    """Wall clock, since the epoch."""
    level: str
    """As logging names it, in lower case."""
    name: str
    """The event's, from the catalogue."""
    text: str


class RecentEvents(logging.Handler):
    """Keeps the newest `EVENTS_MAX` events that are logged, from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[RecentEvent] = deque(maxlen=EVENTS_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, if it is of an event."""
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            text = record.getMessage()
            if len(text) > TEXT_CHARACTERS_MAX:
                text = f"{text[: TEXT_CHARACTERS_MAX - 1]}…"
            self._kept.append(RecentEvent(record.created, record.levelname.lower(), event.name, text))

    def newest(self, count: int = EVENTS_MAX) -> tuple[RecentEvent, ...]:
        """The newest `count` events, newest first."""
        return tuple(reversed(self._kept))[:count]
