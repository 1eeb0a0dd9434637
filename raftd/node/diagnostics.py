"""What a node tells those who look for a fault: how it is set, what it has measured, and what happened lately."""

import platform
import time
from collections.abc import Callable, Mapping

from raftd.http.metrics import Metrics
from raftd.http.recent import RecentEvents


class Diagnostics:
    """Gathers them when an administrator asks; neither keys nor values nor secrets are in it.

    Args:
        settings: Says what the node goes by, as JSON has it.
        metrics: What `/metrics` shows.
        events: The newest events.
        wall_clock: Seconds since the epoch, by this machine.
    """

    def __init__(
        self,
        settings: Callable[[], Mapping[str, object]],
        metrics: Metrics,
        events: RecentEvents,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._events = events
        self._wall_clock = wall_clock

    def document(self) -> dict[str, object]:
        """All of it, as JSON has it; some milliseconds' work."""
        return {
            "wall_clock_seconds": self._wall_clock(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "settings": self._settings(),
            "events": [
                {"at_seconds": event.at_seconds, "level": event.level, "name": event.name, "text": event.text}
                for event in self._events.newest()
            ],
            "metrics": self._metrics.render().decode(),
        }
