"""Waiting for what hosts do in their own time."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS: Final = 60.0
"""How long anything may take before the test gives up on it: three hosts may share one busy core."""
_BETWEEN_LOOKS_SECONDS: Final = 0.05


def until_found(
    find: Callable[[], T | None],
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    every: float = _BETWEEN_LOOKS_SECONDS,
    details: Callable[[], str] = str,
) -> T:
    """Look again and again until something is there, and return it.

    Args:
        find: Returns it, or something falsy as long as it is not there.
        what: What is waited for, for the message.
        seconds: After how long to give up.
        every: How long to leave it alone between two looks.
        details: What else to tell whoever reads the failure; asked only then.

    Raises:
        AssertionError: it was not there in time.
    """
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s\n{details()}"
        pause.wait(every)
    return found
