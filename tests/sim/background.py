"""Work beside a simulated process's loop: production's `Background` without its thread."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tests.sim.process import Process

T = TypeVar("T")


class SimulatedBackground:
    """Does one thing after another, each when the disk has had its time; the process may end in between."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self._life = process.life
        self._queue: deque[Callable[[], None]] = deque()
        self._is_busy = False

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """See `Background`."""

        def attempt() -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - as in `BackgroundThread`
                self._process.later(failed, error)
            else:
                self._process.later(done, result)

        self._queue.append(attempt)
        if not self._is_busy:
            self._plan()

    def _plan(self) -> None:
        process = self._process
        timeline, disk = process.world.timeline, process.disk
        self._is_busy = True
        delay = disk.draw.expovariate(1 / disk.latency)
        timeline.at(max(timeline.now, disk.hung_until) + delay, process.enter, self._life, self._do_next)

    def _do_next(self) -> None:
        attempt = self._queue.popleft()
        self._is_busy = False
        attempt()
        if self._queue:
            self._plan()
