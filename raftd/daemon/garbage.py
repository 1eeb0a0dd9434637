"""How long Python's garbage collector holds everything up: it stops all threads, the event loop's among them."""

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

Observe = Callable[[float], None]
"""Takes seconds."""

_START: Final = "start"


class GarbagePauses:
    """Watches the collector while entered. Collections do not overlap, whichever thread they happen in."""

    def __init__(self, observers: Mapping[str, Observe], clock: Callable[[], float] = time.perf_counter) -> None:
        """`observers` hear of each pause, by the generation that was collected: "0", "1" or "2"."""
        self._observers = observers
        self._clock = clock
        self._began = clock()

    def __enter__(self) -> Self:
        gc.callbacks.append(self._on_phase)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._on_phase)

    def _on_phase(self, phase: str, info: dict[str, Any]) -> None:
        if phase == _START:
            self._began = self._clock()
        else:
            self._observers[str(info["generation"])](self._clock() - self._began)
