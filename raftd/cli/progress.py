"""A bar that shows how far something is, on standard error, where that is a terminal; else nothing at all."""

import sys
import time
from types import TracebackType
from typing import Final, Self

from raftd.cli.output import complain, is_terminal

_BAR_CHARACTERS: Final = 30
_DRAW_SECONDS: Final = 0.1


class Progress:
    """A context manager; `advance` says what was done since.

    Args:
        what: is done, in a word or two.
        total: how many there are; None: nobody knows.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._drawn_at = 0.0
        self._is_shown = is_terminal(sys.stderr)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if self._is_shown and now - self._drawn_at >= _DRAW_SECONDS:
            self._drawn_at = now
            self._draw()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_shown:
            self._draw()
            complain("\n")

    def _draw(self) -> None:
        complain(f"\r{self._what}  {bar(self._done, self._total)}\x1b[K")


def bar(done: int, total: int | None) -> str:
    """How far it is, as a text."""
    if total is None:
        return f"{done}"
    share = min(done / total, 1.0) if total else 1.0
    full = int(share * _BAR_CHARACTERS)
    return f"[{'#' * full}{'.' * (_BAR_CHARACTERS - full)}] {int(share * 100):3} %  {done} of {total}"
