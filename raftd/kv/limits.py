"""Every bound of the state machine, with its unit.

They are part of what the state machine *is*: two nodes with different bounds would answer one log entry differently. So
they are constants of a version of raftd, not settings; `Limits` exists so that tests can reach a bound quickly.
"""

from dataclasses import dataclass
from typing import Final

KEY_BYTES_MAX: Final = 4096
"""A key has 1 to this many bytes."""

VALUE_BYTES_MAX: Final = 1 << 20
"""A value has 0 to this many bytes."""

COMMAND_BYTES_MAX: Final = 2 << 20
"""No valid command is longer: whoever frames commands may refuse one by its length alone."""

USER_BYTES_MAX: Final = 255
"""A user's name in a stamp, UTF-8."""

ADDRESS_BYTES_MAX: Final = 255
"""A client's address in a stamp, UTF-8."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the session table; the same on every node of a cluster."""

    sessions_max: int = 100_000
    """Open sessions of all users together."""
    sessions_per_user_max: int = 20_000
    """Open sessions of one user: a program that forgets to close its own must not keep everyone else from writing."""
    in_flight_max: int = 1024
    """A session's sequence may be less than this far above its lowest unanswered one."""
    answer_bytes_max: int = 256 << 20
    """Remembered answers of all sessions together. Beyond it a session may remember one answer, and no second."""
    advance_ms_max: int = 20_000
    """One ADVANCE_CLOCK moves the clock by at most this much; whatever more passed is forgotten."""
    ttl_ms_min: int = 10_000
    """A shorter time to live that a client asks for becomes this one."""
    ttl_ms_max: int = 24 * 3_600_000
    """A longer one becomes this one."""
    ttl_ms_default: int = 3_600_000
    """What a client that asks for 0 gets."""
