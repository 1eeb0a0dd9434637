"""The clock by which a client judges whether a lease may have ended."""

import time
from collections.abc import Callable
from typing import Final


def _boot_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


lease_clock: Final[Callable[[], float]] = _boot_seconds if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
"""Seconds that do not jump with the date, and go on while the machine is suspended, since the cluster's clock does too.

Linux's monotonic clock, which is the event loop's, stands still then (clock_gettime(2)): by that, whoever closes the
lid of a laptop would still hold the lock the next morning.
"""
