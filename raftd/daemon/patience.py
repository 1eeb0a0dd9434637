"""Waiting for what comes by itself while a host boots: its addresses, and the time.

What is missing is told, in the log and to the supervisor. What does not come in time ends the process; its supervisor
starts it again, not so often that it would give up (`systemd/raftd@.service`).
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn, TypeVar

PATIENCE_SECONDS: Final = 120.0
"""How long is waited, before the process ends."""
_PAUSE_SECONDS_MIN: Final = 0.5
"""Between the first two attempts; it doubles up to the next."""
_PAUSE_SECONDS_MAX: Final = 5.0

FoundT = TypeVar("FoundT")


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """The process was told to stop meanwhile."""


class Missing(Exception):  # noqa: N818 - it may come
    """Something that there may be later; says what."""


def wait_for(
    attempt: Callable[[], FoundT],
    tell_status: Callable[[str], None],
    tell_log: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> FoundT:
    """Attempt something until it succeeds, in the main thread.

    Args:
        attempt: gives what is waited for, or raises `Missing`.
        tell_status: hears what is missing, before each pause.
        tell_log: the same, but once of each reason.
        clock: monotonic seconds.
        sleep: waits for so many of them.

    Raises:
        Missing: it did not come in time.
        Interrupted: SIGTERM came.
    """
    told: set[str] = set()
    deadline, pause = clock() + PATIENCE_SECONDS, _PAUSE_SECONDS_MIN
    with _interruptible():
        while True:
            try:
                return attempt()
            except Missing as missing:
                if clock() >= deadline:
                    raise
                reason = str(missing)
            if reason not in told:
                told.add(reason)
                tell_log(reason)
            tell_status(reason)
            sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have SIGTERM leave the block: as the first process of a container, this one would be told in vain."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
