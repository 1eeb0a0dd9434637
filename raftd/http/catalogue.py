"""Every metric that raftd itself exports: one table, which `docs/metrics.md` must equal.

Most values are read from the node at scrape time: a family here says how. Histograms are observed as things happen and
so have no reader; `raftd.http.metrics` makes them. Names follow Prometheus' rules: base units, `_total` on counters and
on nothing else, label values from a fixed set or from the cluster's members.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from raftd.consensus.types import Role
from raftd.http.view import NodeCounters, NodeStatus, PeerStatus, ReplicationState

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""(label values, value)."""

Reader: TypeAlias = Callable[[NodeStatus, NodeCounters], Iterable[Sample]]

STORE_BUCKETS: Final = tuple(0.0005 * 2**power for power in range(15))
"""0.5 ms to 8.2 s: from a good SSD's fdatasync to a disk that is about to be given up."""

REQUEST_BUCKETS: Final = tuple(0.0001 * 2**power for power in range(17))
"""0.1 ms to 6.6 s: from an answer out of memory to a client's deadline."""


class Kind(enum.Enum):
    """Prometheus' types, as far as raftd uses them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


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


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, type, help and labels, and where its samples come from."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    read: Reader | None = None
    """None for a histogram."""


def _status(read: Callable[[NodeStatus], float]) -> Reader:
    return lambda status, _: [((), read(status))]


def _counter(read: Callable[[NodeCounters], float]) -> Reader:
    return lambda _, counters: [((), read(counters))]


def _outcomes(read: Callable[[NodeCounters], Iterable[tuple[str, float]]]) -> Reader:
    return lambda _, counters: [((outcome,), value) for outcome, value in read(counters)]


def _peers(read: Callable[[PeerStatus], float | None]) -> Reader:
    def samples(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
        for peer in status.peers:
            value = read(peer)
            if value is not None:
                yield (str(peer.node_id),), value

    return samples


def _roles(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
    return [((role.value,), status.role is role) for role in Role]


def _peer_states(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
    return [
        ((str(peer.node_id), state.value), peer.state is state) for peer in status.peers for state in ReplicationState
    ]


def _build(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
    return [((status.version, status.cluster, str(status.node_id)), 1)]


def _expiries(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
    ends: dict[tuple[str, ...], float] = {}
    for each in status.configuration.certificates:
        name = (each.port, each.kind)
        ends[name] = min(each.not_after_seconds, ends.get(name, each.not_after_seconds))
    return ends.items()


def _authority_counts(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
    authorities = [each.port for each in status.configuration.certificates if each.kind == "authority"]
    return [((port,), authorities.count(port)) for port in dict.fromkeys(authorities)]


LOG_WRITE_SECONDS: Final = Family(
    "raftd_log_write_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one write of a batch to the log, without its fdatasync.",
)
LOG_SYNC_SECONDS: Final = Family("raftd_log_sync_duration_seconds", Kind.HISTOGRAM, "Time of one fdatasync of the log.")
APPLY_SECONDS: Final = Family(
    "raftd_apply_duration_seconds", Kind.HISTOGRAM, "Time to apply one batch of committed entries."
)
REQUEST_SECONDS: Final = Family(
    "raftd_request_duration_seconds",
    Kind.HISTOGRAM,
    "Time from a client request's arrival to its answer.",
    labels=("kind", "outcome"),
)

FAMILIES: Final = (
    LOG_WRITE_SECONDS,
    LOG_SYNC_SECONDS,
    APPLY_SECONDS,
    REQUEST_SECONDS,
    Family("raftd_build_info", Kind.GAUGE, "Always 1; what runs here.", ("version", "cluster", "node"), _build),
    Family("raftd_uptime_seconds", Kind.GAUGE, "Time since the node started.", (), _status(lambda s: s.uptime_seconds)),
    Family(
        "raftd_has_leader",
        Kind.GAUGE,
        "Whether this node knows a leader.",
        (),
        _status(lambda s: s.leader_id is not None),
    ),
    Family("raftd_is_leader", Kind.GAUGE, "Whether this node leads.", (), _status(lambda s: s.role is Role.LEADER)),
    Family("raftd_role", Kind.GAUGE, "1 for the role that this node has.", ("role",), _roles),
    Family("raftd_term", Kind.GAUGE, "Current term.", (), _status(lambda s: s.current_term)),
    Family(
        "raftd_commit_index", Kind.GAUGE, "Last entry known to be committed.", (), _status(lambda s: s.commit_index)
    ),
    Family(
        "raftd_applied_index",
        Kind.GAUGE,
        "Last entry applied to the state machine.",
        (),
        _status(lambda s: s.last_applied),
    ),
    Family("raftd_last_index", Kind.GAUGE, "Last entry of the log.", (), _status(lambda s: s.last_log_index)),
    Family(
        "raftd_stored_index",
        Kind.GAUGE,
        "Last entry that is on this node's disk.",
        (),
        _status(lambda s: s.stored_index),
    ),
    Family(
        "raftd_leader_changes_total",
        Kind.COUNTER,
        "Changes of the leader that this node saw.",
        (),
        _counter(lambda c: c.leader_changes),
    ),
    Family(
        "raftd_elections_started_total",
        Kind.COUNTER,
        "Elections that this node started, pre-votes not counted.",
        (),
        _counter(lambda c: c.elections_started),
    ),
    Family(
        "raftd_proposals_total",
        Kind.COUNTER,
        "Proposals of this node that ended, by how.",
        ("outcome",),
        _outcomes(lambda c: (("committed", c.proposals_committed), ("failed", c.proposals_failed))),
    ),
    Family(
        "raftd_proposals_pending",
        Kind.GAUGE,
        "Proposals neither committed nor failed yet.",
        (),
        _status(lambda s: s.pending_proposals),
    ),
    Family(
        "raftd_reads_total",
        Kind.COUNTER,
        "Linearizable reads that ended, by how.",
        ("outcome",),
        _outcomes(lambda c: (("confirmed", c.reads_confirmed), ("refused", c.reads_refused))),
    ),
    Family(
        "raftd_reads_pending", Kind.GAUGE, "Reads that wait for confirmation.", (), _status(lambda s: s.pending_reads)
    ),
    Family("raftd_revision", Kind.GAUGE, "The store's revision.", (), _status(lambda s: s.revision)),
    Family("raftd_keys", Kind.GAUGE, "Keys in the store.", (), _status(lambda s: s.keys)),
    Family("raftd_data_bytes", Kind.GAUGE, "Size of all keys and values.", (), _status(lambda s: s.data_bytes)),
    Family("raftd_sessions", Kind.GAUGE, "Open client sessions.", (), _status(lambda s: s.sessions)),
    Family(
        "raftd_membership_difference",
        Kind.GAUGE,
        "In how many points this node's raftd.yaml is not what the replicated membership says.",
        (),
        _status(lambda s: len(s.settings_differ)),
    ),
    Family(
        "raftd_settings_info",
        Kind.GAUGE,
        "Always 1; the hash is equal on nodes whose raftd.yaml mean the same.",
        ("hash",),
        lambda s, _: [((s.configuration.settings_hash,), 1)],
    ),
    Family(
        "raftd_settings_waiting",
        Kind.GAUGE,
        "Settings that are different in raftd.yaml and count after a restart only.",
        (),
        _status(lambda s: len(s.configuration.waiting)),
    ),
    Family(
        "raftd_reloads_total",
        Kind.COUNTER,
        "Reloads of settings and certificates, by how they ended.",
        ("outcome",),
        _outcomes(lambda c: (("done", c.reloads_done), ("refused", c.reloads_refused))),
    ),
    Family(
        "raftd_last_reload_successful",
        Kind.GAUGE,
        "Whether the node goes by its files: 0 while the latest reload was refused.",
        (),
        _status(lambda s: not s.configuration.is_refused),
    ),
    Family(
        "raftd_last_reload_success_timestamp_seconds",
        Kind.GAUGE,
        "When the files were read last with success, at a reload or at the start.",
        (),
        _status(lambda s: s.configuration.reloaded_seconds),
    ),
    Family(
        "raftd_certificate_not_after_seconds",
        Kind.GAUGE,
        "Until when the certificates in the node's files hold, since the epoch; of authorities, the first to end.",
        ("port", "kind"),
        _expiries,
    ),
    Family(
        "raftd_trusted_authorities",
        Kind.GAUGE,
        "How many authorities the other side of a port may be of.",
        ("port",),
        _authority_counts,
    ),
    Family("raftd_connections", Kind.GAUGE, "Client connections.", (), _status(lambda s: s.connections)),
    Family(
        "raftd_connections_total",
        Kind.COUNTER,
        "Client connections so far, by whether they were accepted.",
        ("outcome",),
        _outcomes(lambda c: (("accepted", c.connections_accepted), ("refused", c.connections_refused))),
    ),
    Family(
        "raftd_log_batches_total",
        Kind.COUNTER,
        "Batches written to the log, one fdatasync each.",
        (),
        _counter(lambda c: c.log_batches),
    ),
    Family(
        "raftd_log_entries_total", Kind.COUNTER, "Entries written to the log.", (), _counter(lambda c: c.log_entries)
    ),
    Family(
        "raftd_log_written_bytes_total",
        Kind.COUNTER,
        "Bytes written to the log.",
        (),
        _counter(lambda c: c.log_bytes),
    ),
    Family(
        "raftd_storing_age_seconds",
        Kind.GAUGE,
        "How long the oldest unfinished log write has waited for the disk; 0 where none does.",
        (),
        _status(lambda s: s.storing_seconds),
    ),
    Family(
        "raftd_disk_low",
        Kind.GAUGE,
        "Whether the disk was found full: the reserve is in use, and a leader refuses puts.",
        (),
        _status(lambda s: s.disk_low),
    ),
    Family(
        "raftd_loop_lag_seconds",
        Kind.GAUGE,
        "How late the event loop's latest tick was.",
        (),
        _status(lambda s: s.loop_lag_seconds),
    ),
    Family(
        "raftd_peer_connected",
        Kind.GAUGE,
        "Whether the link to the peer stands.",
        ("peer",),
        _peers(lambda p: p.connected),
    ),
    Family(
        "raftd_peer_state",
        Kind.GAUGE,
        "1 for the way in which this node, as leader, feeds the peer.",
        ("peer", "state"),
        _peer_states,
    ),
    Family(
        "raftd_peer_match_index",
        Kind.GAUGE,
        "Last entry known to be stored by the peer; 0 where this node does not lead.",
        ("peer",),
        _peers(lambda p: p.match_index),
    ),
    Family(
        "raftd_peer_lag_entries",
        Kind.GAUGE,
        "Entries that the peer is not known to have stored; 0 where this node does not lead.",
        ("peer",),
        _peers(lambda p: p.lag_entries),
    ),
    Family(
        "raftd_peer_in_flight_bytes",
        Kind.GAUGE,
        "Entries sent to the peer and not answered yet.",
        ("peer",),
        _peers(lambda p: p.in_flight_bytes),
    ),
    Family(
        "raftd_peer_queued_bytes",
        Kind.GAUGE,
        "Frames that wait for the peer's socket.",
        ("peer",),
        _peers(lambda p: p.queued_bytes),
    ),
    Family(
        "raftd_peer_round_trip_seconds",
        Kind.GAUGE,
        "Latest heartbeat's round trip; absent before the first.",
        ("peer",),
        _peers(lambda p: p.round_trip_seconds),
    ),
    Family(
        "raftd_messages_dropped_total",
        Kind.COUNTER,
        "Messages to peers that were not connected or whose queue was full.",
        (),
        _counter(lambda c: c.messages_dropped),
    ),
    Family(
        "raftd_log_lines_dropped_total",
        Kind.COUNTER,
        "Lines of the daemon's own log that could not be written without waiting.",
        (),
        _counter(lambda c: c.log_lines_dropped),
    ),
)
