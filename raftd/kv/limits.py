"""Every bound of the state machine, with its unit.

They are part of what the state machine *is*: two nodes with different bounds would answer one log entry differently. So
they are constants of a version of raftd, not settings; `Limits` exists so that tests can reach a bound quickly.
"""

from dataclasses import dataclass
from typing import Final

KEY_BYTES_MAX: Final = 4096
"""A key has 1 to this many bytes."""

BOUND_BYTES_MAX: Final = KEY_BYTES_MAX + 1
"""A bound of a range has 0 to this many bytes: a page goes on at the last key and one zero byte."""

VALUE_BYTES_MAX: Final = 1 << 20
"""A value has 0 to this many bytes."""

COMMAND_BYTES_MAX: Final = 2 << 20
"""No valid command is longer: whoever frames commands may refuse one by its length alone."""

OPERATIONS_MAX: Final = 128
"""Operations of one transaction, in all its lists together; a nested transaction is one, and so is each of its own."""

COMPARES_MAX: Final = 128
"""Compares of one transaction, with those of nested ones."""

DELETE_RANGE_KEYS_MAX: Final = 10_000
"""Keys that one DELETE_RANGE deletes: it is one step, and nothing else happens meanwhile."""

EXPIRED_LEASES_MAX: Final = 4096
"""Leases that one EXPIRE_LEASES names."""

EXPIRED_KEYS_MAX: Final = DELETE_RANGE_KEYS_MAX
"""Keys that one EXPIRE_LEASES deletes, more than one lease has; leases with which they would be more are left."""

PAGE_ITEMS_MAX: Final = 1000
"""Items in the answer to one range, history or list, whatever limit it has."""

PAGE_BYTES_MAX: Final = 512 << 10
"""A page has no further item once it has this many bytes; so it is longer by less than one item."""

ANSWER_BYTES_MAX: Final = 3 << 19
"""The body of an answer to a write, 1.5 MiB: it may have to be remembered, and has a head of 17 bytes besides. What
would be longer is RESULT_TOO_LARGE. The same of an answer that shows a lease."""

SHORT_ANSWER_BYTES_MAX: Final = 1024
"""An answer to a write for which there is always room, though too many are remembered already; without its head."""

ANSWER_OVERHEAD_BYTES: Final = 112
"""What it takes to remember an answer, besides its bytes: an object, a sequence and their place in a dict. Measured
with CPython 3.11; most answers are much shorter than that."""

USER_BYTES_MAX: Final = 255
"""A user's name in a stamp, UTF-8."""

ADDRESS_BYTES_MAX: Final = 255
"""A client's address in a stamp, UTF-8."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is kept beside the keys; the same on every node of a cluster."""

    sessions_max: int = 100_000
    """Open sessions of all users together."""
    sessions_per_user_max: int = 20_000
    """Open sessions of one user: a program that forgets to close its own must not keep everyone else from writing."""
    in_flight_max: int = 1024
    """A session's sequence may be less than this far above its lowest unanswered one."""
    answer_bytes_max: int = 256 << 20
    """Remembered answers of all sessions together, with what keeping them takes (`ANSWER_OVERHEAD_BYTES`). Beyond it a
    session may remember one short answer, and no other."""
    answer_bytes_per_user_max: int = 32 << 20
    """The same of one user's sessions: a program that never says what it has got must not keep everyone else from
    writing."""
    advance_ms_max: int = 20_000
    """One ADVANCE_CLOCK moves the clock by at most this much; whatever more passed is forgotten."""
    ttl_ms_min: int = 10_000
    """A shorter time to live that a client asks for becomes this one."""
    ttl_ms_max: int = 24 * 3_600_000
    """A longer one becomes this one."""
    ttl_ms_default: int = 3_600_000
    """What a client that asks for 0 gets."""

    leases_max: int = 100_000
    """Leases of all users together."""
    leases_per_user_max: int = 50_000
    """Leases of one user."""
    keys_per_lease_max: int = 4096
    """Keys that end with one lease: their deletion is one step, like a DELETE_RANGE."""
    lease_ttl_ms_min: int = 1_000
    """A shorter time to live that a client asks for becomes this one."""
    lease_ttl_ms_max: int = 7 * 24 * 3_600_000
    """A longer one becomes this one."""
    lease_ttl_ms_default: int = 60_000
    """What a client that asks for 0 gets."""

    history_bytes_max: int = 64 << 20
    """Keys and values of all changes that are held, the previous values included."""
    history_changes_max: int = 100_000
    """Changes that are held."""
    history_ms_max: int = 24 * 3_600_000
    """How long a change is held, by the cluster's clock."""
