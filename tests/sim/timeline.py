"""Virtual time: a queue of what is to happen, and a trace of what did.

Two events of one instant happen in the order in which they were planned, so nothing depends on how a heap breaks ties.
"""

import hashlib
import heapq
import random
from collections.abc import Callable
from typing import Any, TextIO


class Timer:
    """One planned call."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not make it."""
        self._call = None

    def fire(self) -> None:
        """Make it, unless it was cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Timeline:
    """The one clock that is right, and everything that waits for it."""

    def __init__(self) -> None:
        self.now = 0.0
        """Virtual seconds since the beginning."""
        self.events_total = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call at `when`, or now if that is over."""
        self._planned += 1
        heapq.heappush(self._queue, (max(when, self.now), self._planned, call, arguments))

    def after(self, delay: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call in `delay` seconds."""
        self.at(self.now + delay, call, *arguments)

    def run_until(self, end: float, is_done: Callable[[], bool] = lambda: False) -> None:
        """Let everything up to `end` happen, or up to the event after which `is_done`."""
        queue = self._queue
        while queue and queue[0][0] <= end:
            self.now, _, call, arguments = heapq.heappop(queue)
            self.events_total += 1
            call(*arguments)
            if is_done():
                return
        self.now = end


class Trace:
    """What happened, as lines; a hash of them stands for a whole run."""

    def __init__(self, timeline: Timeline, out: TextIO | None = None) -> None:
        self._timeline = timeline
        self._out = out
        self._lines: list[str] = []
        self._hash = hashlib.blake2b(digest_size=8)

    def note(self, line: str) -> None:
        """Add a line."""
        line = f"{self._timeline.now:.6f} {line}\n"
        self._lines.append(line)
        if self._out is not None:
            self._out.write(line)
        if len(self._lines) >= 1024:
            self._digest()

    def hash(self) -> str:
        """Stand for all lines so far."""
        self._digest()
        return self._hash.hexdigest()

    def _digest(self) -> None:
        self._hash.update("".join(self._lines).encode())
        self._lines.clear()


def generator(seed: int, purpose: str) -> random.Random:
    """Entropy for one purpose: another purpose more, or another draw there, changes nothing here."""
    return random.Random(f"{seed}/{purpose}")
