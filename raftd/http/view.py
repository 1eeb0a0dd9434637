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


@dataclass(frozen=True, slots=True)
class SettingsDifference:
    """Something that the node's settings file and the replicated membership do not say alike."""

    node_id: NodeId
    """Of whom."""
    difference: str
    """For people: what the membership says, and what the file does."""


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """One certificate in a node's files, as it was read last."""

    port: str
    """For which port it is: `peer` or `client`."""
    kind: str
    """`certificate`: the node's own; `authority`: one that the other side's may be of."""
    fingerprint: str
    """SHA-256 over the DER bytes, in hexadecimal."""
    key_id: str
    """Of its own key, in hexadecimal: what is of an authority has that as the key id of its issuer. Empty: unknown."""
    not_after_seconds: float
    """Until when it holds, since the epoch."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a node goes by, as it was read from its files last."""

    settings_hash: str = ""
    """Equal on nodes whose `raftd.yaml` mean the same."""
    waiting: tuple[str, ...] = ()
    """Settings that are different in the file and count after a restart only."""
    certificates: tuple[CertificateStatus, ...] = ()
    reloaded_seconds: float = 0.0
    """When the files were read last with success, since the epoch: at a reload, or at the start."""
    is_refused: bool = False
    """Whether the latest reload was refused, so that the files are not what the node goes by."""
    reloads_done: int = 0
    reloads_refused: int = 0


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
    sessions: int
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
    proven: bool = True
    """False on a node whose disk was new and that has not caught up yet (`raftd.consensus.proof`)."""
    configuration: Configuration = Configuration()


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
    reloads_done: int = 0
    reloads_refused: int = 0


class NodeView(Protocol):
    """A node that can be asked, at any time, from its own event loop; neither call may block."""

    def status(self) -> NodeStatus:
        """Return what the node is now."""
        ...

    def counters(self) -> NodeCounters:
        """Return what the node has counted so far."""
        ...
