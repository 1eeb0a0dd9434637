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
    """The latest heartbeat's round trip; None before the first, and where this node does not lead."""
    clock_difference_seconds: float | None = None
    """How far this node's wall clock is ahead of the peer's, what a message takes included; None: not heard of, which
    a follower has of nobody but its leader."""
    is_learner: bool = False
    """Whether it stores the log and does not vote."""
    http_address: str = ""
    """Where it serves its own status, `host:port`; empty if nobody says."""
    contact_seconds: float | None = None
    """How long ago the peer was heard; None where this node does not lead."""
    queued_bytes_max: int = 0
    """With more bytes waiting for the socket, messages are dropped."""
    sent_bytes: int = 0
    """Of messages on this node's link to the peer, as long as it is a member; likewise the next three."""
    received_bytes: int = 0
    connect_failures: int = 0
    """Vain attempts to set the link up."""
    disconnects: int = 0
    """Links that stood and were lost."""
    diverged: bool = False
    """Whether the peer's state was found to differ from this node's as of the same entry."""


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
class SnapshotStatus:
    """The newest snapshot, and those on their way."""

    index: LogIndex = NO_INDEX
    """The entry as of which the newest one on the disk is; 0: there is none."""
    size_bytes: int = 0
    """Of the state in the latest one that was made here; 0: none was."""
    last_seconds: float = 0.0
    """How long the latest one took that was made here; 0: none was."""
    succeeded_seconds: float | None = None
    """When one was last made or installed, since the epoch; None: not since the start."""
    transfers: int = 0
    """Peers that one is being sent to."""


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """What a node knows of backups through it; it remembers the times over a restart."""

    running: int = 0
    """That are handed out at this moment."""
    success_ms: int = 0
    """Of when the newest one is that was stored, read again and loaded, in ms since 1970; 0: none is known."""
    failure_ms: int = 0
    """When one failed last; likewise."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many there may be at most."""

    sessions: int = 0
    leases: int = 0
    watches: int = 0
    connections: int = 0
    history_changes: int = 0
    history_bytes: int = 0


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
    is_voter: bool = False
    """Whether this node is a member that votes; the next, that it is one that does not."""
    is_learner: bool = False
    http_address: str = ""
    """Where it serves this, by the membership or the settings, `host:port`; empty if nobody says."""
    voters: int = 0
    """By the membership in force; likewise the next."""
    learners: int = 0
    quorum_margin: int | None = None
    """How many more voters may fail before nothing can be committed; None where this node does not lead."""
    leader_contact_seconds: float = 0.0
    """How long ago a leader was heard, a vote was given or an election began; 0 on a leader."""
    compared_hash: int = 0
    """Of the state as of `compared_index`, where it is compared with other nodes'; 0: not yet."""
    compared_index: LogIndex = NO_INDEX
    pending_bytes: int = 0
    """Of proposals that are neither committed nor refused yet; and with how many further ones are refused."""
    pending_bytes_max: int = 0
    log_queued_bytes: int = 0
    """Entries that wait to be written to the log."""
    disk_free_bytes: int = 0
    """What may still be written on the data directory's file system; the reserve counts as written."""
    disk_size_bytes: int = 0
    """That, and all that is written there; 0: not known yet."""
    bounds: Bounds = Bounds()
    snapshot: SnapshotStatus = SnapshotStatus()
    proven: bool = True
    """False on a node whose disk was new and that has not caught up yet (`raftd.consensus.proof`)."""
    backup: BackupStatus = BackupStatus()
    configuration: Configuration = Configuration()


@dataclass(frozen=True, slots=True)
class NodeCounters:
    """What a node has counted since it started; each only grows."""

    leader_changes: int = 0
    elections_started: int = 0
    log_losses: int = 0
    """Peers found, while this node led, to have come back without what they had stored."""
    proposals_committed: int = 0
    proposals_failed: int = 0
    """Refused: they were never in the log."""
    proposals_unknown: int = 0
    """Under way when leadership was lost: the next leader may commit them or not."""
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
    sessions_expired: int = 0
    """Sessions that have expired since the cluster began, as of the last applied entry."""
    comparisons_equal: int = 0
    """Comparisons of this node's state with another's as of the same entry; likewise the next."""
    comparisons_different: int = 0
    snapshots_made: int = 0
    snapshots_installed: int = 0
    """Taken over from a leader."""
    snapshots_failed: int = 0
    snapshot_sent_bytes: int = 0
    snapshot_received_bytes: int = 0
    reloads_done: int = 0
    reloads_refused: int = 0
    log_batches: int = 0
    """Writes to the log, one fdatasync each."""
    log_entries: int = 0
    log_bytes: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    """By a bound, a deadline, TLS or the handshake."""
    messages_dropped: int = 0
    """To peers that were not connected or whose queue was full."""
    backup_bytes_sent: int = 0
    """Of backups, to clients."""
    log_lines_dropped: int = 0
    """Lines that nobody read from the daemon's own standard error or journal in time."""


class NodeView(Protocol):
    """A node that can be asked, at any time, from its own event loop; no call may block."""

    def status(self) -> NodeStatus:
        """Return what the node is now."""
        ...

    def counters(self) -> NodeCounters:
        """Return what the node has counted so far."""
        ...

    async def read_index(self, max_age_seconds: float) -> LogIndex | None:
        """Entries up to there had been committed when a quorum or a lease confirmed that, at most so long ago.

        None if neither does, within about a second.
        """
        ...
