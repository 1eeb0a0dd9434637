"""What the HTTP side wants to know of a node, as data.

`http` imports nothing of the driver: the driver hands over something with the methods of `NodeView`, and counts on
plain integers of its own. So a scrape costs the node's hot path nothing, and a test serves a made-up node.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

from raftd.consensus.types import NO_INDEX, LogIndex, NodeId, Role, Term


class ReplicationState(enum.Enum):
    """How a leader feeds a peer; `UNKNOWN` on a node that does not lead."""

    UNKNOWN = "unknown"
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One other node, as seen from here."""

    node_id: NodeId
    connected: bool
    """Whether this node's own outgoing link to the peer stands."""
    state: ReplicationState = ReplicationState.UNKNOWN
    match_index: LogIndex = NO_INDEX
    """The last index known to be stored there; 0 where this node does not lead."""
    lag_entries: int = 0
    """Entries of the leader's log that the peer is not known to have stored; 0 where this node does not lead."""
    in_flight_bytes: int = 0
    """Bytes of entries sent and not yet answered."""
    queued_bytes: int = 0
    """Bytes of frames that wait for the peer's socket."""
    round_trip_seconds: float | None = None
    """The latest heartbeat's round trip; None before the first."""
    clock_difference_seconds: float | None = None
    """How far this node's wall clock is ahead of the peer's, what a message takes included; None: not heard of, which
    a follower has of nobody but its leader."""
    is_learner: bool = False
    """Whether it stores the log and does not vote."""
    http_address: str = ""
    """Where it serves its own status, `host:port`; empty if nobody says."""


@dataclass(frozen=True, slots=True)
class SettingsDifference:
    """Something that the node's settings file and the replicated membership do not say alike."""

    node_id: NodeId
    """Of whom."""
    difference: str
    """For people: what the membership says, and what the file does."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node at one moment. Ages are in seconds by the node's monotonic clock."""

    node_id: NodeId
    cluster: str
    version: str
    role: Role
    current_term: Term
    leader_id: NodeId | None
    voted_for: NodeId | None
    commit_index: LogIndex
    last_applied: LogIndex
    last_log_index: LogIndex
    stored_index: LogIndex
    """The last index that is on this node's own disk."""
    revision: int
    keys: int
    data_bytes: int
    """Keys and values together."""
    keys_max: int
    """With as many, writes that add to them are refused; likewise the next."""
    data_bytes_max: int
    sessions: int
    leases: int
    lease_keys: int
    """Keys that end with a lease."""
    history_changes: int
    """Changes that are held, for watches and histories."""
    history_bytes: int
    compacted_revision: int
    """Changes up to this one are no longer held."""
    watches: int
    """On this node."""
    watches_behind: int
    """Of these, those that read the history: they began in the past, or their clients read too slowly."""
    watches_stalled: int
    """Of these, those that are told nothing until their clients have read what waits for them."""
    connections: int
    """Client connections past their handshake."""
    pending_proposals: int
    """Proposals that are neither committed nor refused yet."""
    pending_reads: int
    uptime_seconds: float
    election_timer_seconds: float
    """Until this node would campaign if it heard nothing; 0 on a leader."""
    loop_lag_seconds: float
    """How late the event loop's latest tick was."""
    storing_seconds: float
    """How long the oldest unfinished log write has been waiting for the disk; 0 where none is."""
    disk_low: bool
    """Whether the disk was found full: what would grow is refused, deletes are not."""
    replayed: bool
    """Whether everything that was committed before the start has been applied again."""
    draining: bool
    """Whether the node has been told to stop and refuses new work."""
    peers: tuple[PeerStatus, ...] = ()
    settings_differ: tuple[SettingsDifference, ...] = ()
    """Shown, never acted on: the membership is the truth."""
    is_learner: bool = False
    """Whether this node stores the log and does not vote."""


@dataclass(frozen=True, slots=True)
class NodeCounters:
    """What a node has counted since it started; each only grows."""

    leader_changes: int = 0
    elections_started: int = 0
    proposals_committed: int = 0
    proposals_failed: int = 0
    """Refused, or lost with a change of leader."""
    reads_confirmed: int = 0
    reads_refused: int = 0
    watch_changes: int = 0
    """Changes told to watches, each as often as it was told."""
    watches_compacted: int = 0
    """Watches that were ended since what they lacked was no longer held."""
    watches_refused: int = 0
    """Watches that were refused, there being as many as there may be."""
    leases_expired: int = 0
    """Leases that this node, as leader, has proposed to end."""
    log_batches: int = 0
    """Writes to the log, one fdatasync each."""
    log_entries: int = 0
    log_bytes: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    """By a bound, a deadline, TLS or the handshake."""
    messages_dropped: int = 0
    """To peers that were not connected or whose queue was full."""
    log_lines_dropped: int = 0
    """Lines that nobody read from the daemon's own standard error or journal in time."""


class NodeView(Protocol):
    """A node that can be asked, at any time, from its own event loop; neither call may block."""

    def status(self) -> NodeStatus:
        """Return what the node is now."""
        ...

    def counters(self) -> NodeCounters:
        """Return what the node has counted so far."""
        ...
