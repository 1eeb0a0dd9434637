"""What is shown again and again, until Ctrl-C: drawn in place on a terminal, one after the other into a pipe."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from raftd.cli.output import write
from raftd.errors import ExitCode

EVERY_SECONDS: Final = 1.0
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
"""The alternate screen, without a cursor (xterm's DECSET 1049 and 25)."""
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


def repeat(show: Callable[[], str]) -> int:
    """Write what `show` gives, once a second; Ctrl-C is how this is meant to end."""
    try:
        while True:
            started = time.monotonic()
            write(show())
            time.sleep(max(0.0, started + EVERY_SECONDS - time.monotonic()))
    except KeyboardInterrupt:
        return ExitCode.OK


def over(text: str) -> str:
    """`text` over what was drawn before: each line clears only what is left behind it, so nothing flickers."""
    return _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in text.splitlines()) + _CLEAR_BELOW


@contextlib.contextmanager
def own_screen() -> Iterator[None]:
    """Draw on a screen of one's own; whatever ends this, but SIGKILL, the terminal is afterwards as it was."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    write(_ENTER)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # Not `write`: what has ended this counts, and not that the terminal is gone too.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
