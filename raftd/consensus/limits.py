"""Every bound of consensus, with its unit."""

from dataclasses import dataclass
from typing import Final

from raftd.consensus.types import NodeId

ENTRY_OVERHEAD_BYTES: Final = 13
"""What an entry takes in a log record or a frame besides its data: term u64, kind u8, data_length u32."""

RELUCTANT_TIMEOUTS: Final = 4
"""For so many election timeouts a node that is not to lead lets the others try, and leads before it hands over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and timeouts of one node's consensus. Ticks are the driver's; the bounds are in bytes or counts."""

    election_timeout_ticks: int = 10
    """A follower that hears nothing campaigns after a random time in [this, 2 * this) ticks, drawn anew each time."""
    heartbeat_ticks: int = 2
    """A leader sends a heartbeat round this often."""
    append_bytes_max: int = 1 << 20
    """One AppendEntries carries entries up to this size, overhead included, but always at least one."""
    append_entries_max: int = 4096
    """One AppendEntries carries at most this many entries."""
    in_flight_appends_max: int = 64
    """Unanswered AppendEntries to one peer."""
    in_flight_bytes_max: int = 16 << 20
    """With this many unanswered bytes of entries, a peer is sent no more; the last message may go over it."""
    held_entries_max: int = 64
    """While an AppendEntries is unanswered, a further one is held back until this many entries wait for it, ..."""
    held_bytes_max: int = 64 << 10
    """... or entries of this size, overhead included, or until a tick has passed; 1 in either: it never is."""
    committed_bytes_max: int = 4 << 20
    """One Ready hands out committed entries up to this size, but always at least one."""
    committed_entries_max: int = 1024
    """One Ready hands out at most this many committed entries: so much is copied out of the log at a time."""
    pending_reads_max: int = 1024
    """Batches of reads that wait for confirmation; more are refused."""

    members_max: int = 64
    """Members of the cluster, learners and leaving voters included."""
    promotion_lag_entries_max: int = 1000
    """A voter or learner that lacks more than this many entries cannot be counted on to commit new ones soon."""
    lease_reads: bool = False
    """A leader answers reads without asking a quorum as long as no other can have been elected. The same on all nodes:
    those that vote keep what those that lead rely on."""
    clock_drift: float = 0.1
    """How much faster the fastest clock of the cluster may run than the slowest: 0.1 is ten percent (lease reads)."""
    no_lead: frozenset[NodeId] = frozenset()
    """These vote, but lead only while nobody else can, or where they are told to."""

    def __post_init__(self) -> None:
        for name, value in ((name, getattr(self, name)) for name in self.__slots__):
            if name != "clock_drift" and type(value) is int and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 <= self.clock_drift <= 1:
            raise ValueError(f"clock_drift must be a ratio from 0 to 1, not {self.clock_drift}")
        if self.heartbeat_ticks >= self.election_timeout_ticks:
            raise ValueError("a heartbeat must come before the followers' election timeout")
