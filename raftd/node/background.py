"""Work that would make the event loop wait, done beside it: reading and writing snapshot files."""

import queue
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Background(Protocol):
    """Does one thing after another, in the order in which it was told to."""

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Do `work` away from the event loop; then call `done` or `failed` on the loop. Never waits."""
        ...


class BackgroundThread:
    """A `Background` of one thread.

    It belongs to a node's event loop, whose `call_soon_threadsafe` it is given.
    """

    def __init__(self, call_soon_threadsafe: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon_threadsafe = call_soon_threadsafe
        self._queue: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="background", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """As `Background.run`."""

        def attempt() -> Callable[[], None]:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the loop's to judge
                caught = error
                return lambda: failed(caught)
            return lambda: done(result)

        self._queue.put(attempt)

    def close(self, timeout: float | None = None) -> None:
        """End after the work under way; what is queued behind it is dropped. `timeout` is in seconds."""
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._queue.put(None)
        self._thread.join(timeout)

    def _serve(self) -> None:
        while (attempt := self._queue.get()) is not None:
            self._call_soon_threadsafe(attempt())
