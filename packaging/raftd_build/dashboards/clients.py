"""What clients do and get: connections, requests, keys, leases, watches."""

from typing import Final

from raftd_build.dashboards.dashboard import NODES, Dashboard, Row
from raftd_build.dashboards.panel import ORANGE, RED, Panel, Query, Threshold, Unit
from raftd_build.dashboards.queries import by_node, quantile, rate, rate_by_node

_REQUESTS: Final = Row(
    "Requests",
    (
        Panel(
            "Requests by outcome",
            "ok: served. refused: the request itself did not allow more. failed: the cluster did not.",
            [Query(f"sum by (kind, outcome) ({rate('raftd_request_duration_seconds_count')})", "{{kind}} {{outcome}}")],
            Unit.PER_SECOND,
            alert="RaftdWriteErrorsFast",
        ),
        Panel(
            "Median",
            "Half of the requests are answered within this time, by kind.",
            [quantile(0.5, "raftd_request_duration_seconds", "kind")],
            Unit.SECONDS,
            alert="RaftdWritesSlow",
        ),
        Panel(
            "99th percentile",
            "All but a hundredth of the requests are answered within this time, by kind.",
            [quantile(0.99, "raftd_request_duration_seconds", "kind")],
            Unit.SECONDS,
            thresholds=(Threshold(0.25, RED),),
            alert="RaftdWritesSlow",
        ),
        Panel(
            "Connections",
            "Client connections of each node, and the bound from which on further ones are closed.",
            [by_node("raftd_connections"), by_node("raftd_connections_max", "{{instance}} bound")],
            Unit.COUNT,
            alert="RaftdConnectionsNearBound",
        ),
        Panel(
            "New connections",
            "Connections that were accepted and refused. A client that reconnects for each request shows here.",
            [Query(f"sum by (instance, outcome) ({rate('raftd_connections_total')})", "{{instance}} {{outcome}}")],
            Unit.PER_SECOND,
            alert="RaftdConnectionsRefused",
        ),
        Panel(
            "Sessions",
            "Sessions of clients that are open: each remembers its latest answers, so that a repeated write is not"
            " applied twice.",
            [by_node("raftd_sessions"), by_node("raftd_sessions_max", "{{instance}} bound")],
            Unit.COUNT,
            alert="RaftdSessionsNearBound",
        ),
        Panel(
            "Sessions that expired",
            "Sessions that ended because their clients were not heard of for too long.",
            [rate_by_node("raftd_sessions_expired_total")],
            Unit.PER_SECOND,
        ),
    ),
)

_KEYS: Final = Row(
    "Keys",
    (
        Panel(
            "Keys",
            "Keys in the store, and the bound from which on writes that add keys are refused.",
            [by_node("raftd_keys"), by_node("raftd_keys_max", "{{instance}} bound")],
            Unit.COUNT,
            alert="RaftdKeysNearBound",
        ),
        Panel(
            "Share of the bounds",
            "How much of what may be held is held, in keys and in bytes.",
            [
                Query(f"raftd_keys{{{NODES}}} / raftd_keys_max{{{NODES}}}", "{{instance}} keys"),
                Query(f"raftd_data_bytes{{{NODES}}} / raftd_data_bytes_max{{{NODES}}}", "{{instance}} bytes"),
            ],
            Unit.RATIO,
            thresholds=(Threshold(0.8, ORANGE), Threshold(1, RED)),
            alert="RaftdFull",
        ),
        Panel(
            "Writing commands",
            "How fast the store's revision grows: one for each command that changed something.",
            [Query(f"deriv(raftd_revision{{{NODES}}}[$__rate_interval])", "{{instance}}")],
            Unit.PER_SECOND,
        ),
        Panel(
            "History: changes",
            "Changes that are held for watches and histories.",
            [by_node("raftd_history_changes"), by_node("raftd_history_changes_max", "{{instance}} bound")],
            Unit.COUNT,
            alert="RaftdWatchesEnded",
        ),
        Panel(
            "History: bytes",
            "What is held for watches and histories alone.",
            [by_node("raftd_history_bytes"), by_node("raftd_history_bytes_max", "{{instance}} bound")],
            Unit.BYTES,
            alert="RaftdWatchesEnded",
        ),
        Panel(
            "History: how far back",
            "Revisions from the oldest change held to now. A watch that comes back after more has to list anew.",
            [Query(f"raftd_revision{{{NODES}}} - raftd_compacted_revision{{{NODES}}}", "{{instance}}")],
            Unit.COUNT,
            alert="RaftdWatchesEnded",
        ),
    ),
)

_HELD: Final = Row(
    "Leases and watches",
    (
        Panel(
            "Leases",
            "Leases that are alive, and keys that end with one.",
            [
                by_node("raftd_leases", "{{instance}} leases"),
                by_node("raftd_leases_max", "{{instance}} bound"),
                by_node("raftd_lease_keys", "{{instance}} keys"),
            ],
            Unit.COUNT,
            alert="RaftdLeasesNearBound",
        ),
        Panel(
            "Leases that ran out",
            "Leases that the leader proposed to end because nobody kept them alive.",
            [rate_by_node("raftd_leases_expired_total")],
            Unit.PER_SECOND,
        ),
        Panel(
            "Watches",
            "Watches on each node; behind: they read the history; stalled: their clients do not read.",
            [
                by_node("raftd_watches", "{{instance}} all"),
                by_node("raftd_watches_max", "{{instance}} bound"),
                by_node("raftd_watches_behind", "{{instance}} behind"),
                by_node("raftd_watches_stalled", "{{instance}} stalled"),
            ],
            Unit.COUNT,
            alert="RaftdWatchesEnded",
        ),
        Panel(
            "Changes told",
            "Changes told to watches, each as often as it was told.",
            [rate_by_node("raftd_watch_changes_total")],
            Unit.PER_SECOND,
        ),
        Panel(
            "Watches ended by the node",
            "What they lacked was no longer held, or there were too many.",
            [Query(f"sum by (instance, reason) ({rate('raftd_watches_ended_total')})", "{{instance}} {{reason}}")],
            Unit.PER_SECOND,
            alert="RaftdWatchesEnded",
        ),
    ),
)

CLIENTS: Final = Dashboard(
    "raftd-clients",
    "raftd / clients and keys",
    "What clients ask for and how long they wait; what is stored for them.",
    (_REQUESTS, _KEYS, _HELD),
)
