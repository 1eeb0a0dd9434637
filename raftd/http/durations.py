"""The histograms: what is observed as it happens, rather than read when somebody scrapes."""

import enum
from typing import Final

from raftd.http.family import Family, Kind

STORE_BUCKETS: Final = tuple(0.0005 * 2**power for power in range(15))
"""0.5 ms to 8.2 s: from a good SSD's fdatasync to a disk that is about to be given up."""

REQUEST_BUCKETS: Final = tuple(0.0001 * 2**power for power in range(17))
"""0.1 ms to 6.6 s: from an answer out of memory, or over a good network, to a client's deadline."""

COMMAND_BUCKETS: Final = tuple(0.000004 * 4**power for power in range(10))
"""4 us to 1 s: from a put that is found to be done already to a transaction over ten thousand keys."""


class RequestKind(enum.Enum):
    """What a client asked for, coarsely: a fixed set, so that the number of series is one too."""

    READ = "read"
    WRITE = "write"
    SESSION = "session"


class RequestOutcome(enum.Enum):
    """How a request ended."""

    OK = "ok"
    REFUSED = "refused"
    """The request itself did not allow more: not permitted, a comparison failed, malformed."""
    FAILED = "failed"
    """The cluster did not allow more: no leader, no quorum in time, draining."""


class CommandKind(enum.Enum):
    """What a command in the log does, for whoever applies it."""

    PUT = "put"
    DELETE = "delete"
    INCREMENT = "increment"
    DELETE_RANGE = "delete_range"
    TRANSACTION = "transaction"
    SESSION = "session"
    LEASE = "lease"
    CLOCK = "clock"
    """The cluster's clock goes on, and sessions expire by it."""
    INVALID = "invalid"


GENERATIONS: Final = ("0", "1", "2")
"""Of Python's garbage collector, from the youngest objects to all."""

LOG_WRITE_SECONDS: Final = Family(
    "raftd_log_write_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one write of a batch to the log, without its fdatasync.",
)
LOG_SYNC_SECONDS: Final = Family("raftd_log_sync_duration_seconds", Kind.HISTOGRAM, "Time of one fdatasync of the log.")
APPLY_SECONDS: Final = Family(
    "raftd_apply_duration_seconds", Kind.HISTOGRAM, "Time to apply one batch of committed entries."
)
COMMAND_SECONDS: Final = Family(
    "raftd_apply_command_duration_seconds",
    Kind.HISTOGRAM,
    "Time to apply one command; of every 16th entry of the log.",
    labels=("kind", "outcome"),
)
REQUEST_SECONDS: Final = Family(
    "raftd_request_duration_seconds",
    Kind.HISTOGRAM,
    "Time from a client request's arrival to its answer.",
    labels=("kind", "outcome"),
)
ROUND_TRIP_SECONDS: Final = Family(
    "raftd_peer_round_trip_duration_seconds",
    Kind.HISTOGRAM,
    "Time from a leader's heartbeat to the peer's answer.",
    labels=("peer",),
)
TICK_DELAY_SECONDS: Final = Family(
    "raftd_tick_delay_duration_seconds", Kind.HISTOGRAM, "How late the event loop came to a tick."
)
GARBAGE_SECONDS: Final = Family(
    "raftd_gc_pause_duration_seconds",
    Kind.HISTOGRAM,
    "For how long Python's garbage collector held everything up.",
    labels=("generation",),
)
SCRAPE_SECONDS: Final = Family(
    "raftd_scrape_duration_seconds",
    Kind.HISTOGRAM,
    "Processor time for which gathering and writing these metrics held the event loop.",
)

DURATIONS: Final = (
    LOG_WRITE_SECONDS,
    LOG_SYNC_SECONDS,
    APPLY_SECONDS,
    COMMAND_SECONDS,
    REQUEST_SECONDS,
    ROUND_TRIP_SECONDS,
    TICK_DELAY_SECONDS,
    GARBAGE_SECONDS,
    SCRAPE_SECONDS,
)
