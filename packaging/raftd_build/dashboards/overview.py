"""The cluster at a glance: does it serve, who leads, what does it do, is anybody behind."""

from typing import Final

from raftd_build.dashboards.dashboard import CLUSTER, Dashboard, Row
from raftd_build.dashboards.panel import GREEN, ORANGE, RED, Panel, Query, Shape, Threshold, Unit
from raftd_build.dashboards.queries import quantile, rate

_WRITES = f'{CLUSTER}, kind="write", outcome="ok"'
_OF_LEADER = f"on (job, cluster, instance) raftd_is_leader{{{CLUSTER}}} == 1"

_NOW: Final = Row(
    "Now",
    (
        Panel(
            "Leader",
            "Whether a node that answers leads or hears a leader. Without one the cluster takes no writes and gives no"
            " fresh reads.",
            [Query(f"max by (cluster) (raftd_has_leader{{{CLUSTER}}})", "{{cluster}}")],
            Unit.NONE,
            Shape.NUMBER,
            first_colour=RED,
            mappings=((0, "none", RED), (1, "there", GREEN)),
            no_value="no node answers",
            alert="RaftdNoLeader",
            columns=4,
            rows=4,
        ),
        Panel(
            "More nodes that may fail",
            "How many more voters can be lost before the cluster stops. As its leader sees it.",
            [Query(f"min by (cluster) (raftd_quorum_margin{{{CLUSTER}}})", "{{cluster}}")],
            Unit.NONE,
            Shape.NUMBER,
            thresholds=(Threshold(1, GREEN),),
            first_colour=RED,
            no_value="no leader answers",
            alert="RaftdQuorumAtEdge",
            columns=4,
            rows=4,
        ),
        Panel(
            "Nodes that answer",
            "Nodes whose metrics could be read; and the voters and learners that the membership names.",
            [
                Query(f"sum by (cluster) (up{{{CLUSTER}}})", "{{cluster}}: answer"),
                Query(f"max by (cluster) (raftd_voters{{{CLUSTER}}})", "voters"),
                Query(f"max by (cluster) (raftd_learners{{{CLUSTER}}})", "learners"),
            ],
            Unit.NONE,
            Shape.NUMBER,
            alert="RaftdNodeDown",
            columns=4,
            rows=4,
        ),
        Panel(
            "Term",
            "Grows with every election; the nodes agree on it within a heartbeat.",
            [Query(f"max by (cluster) (raftd_term{{{CLUSTER}}})", "{{cluster}}")],
            Unit.NONE,
            Shape.NUMBER,
            alert="RaftdLeaderChanges",
            columns=4,
            rows=4,
        ),
        Panel(
            "Keys",
            "Keys in the store.",
            [Query(f"max by (cluster) (raftd_keys{{{CLUSTER}}})", "{{cluster}}")],
            Unit.COUNT,
            Shape.NUMBER,
            alert="RaftdKeysNearBound",
            columns=4,
            rows=4,
        ),
        Panel(
            "Nodes whose state differs",
            "Nodes that were found to hold another state than others as of the same entry. Anything but 0 is a bug or a"
            " broken machine.",
            [Query(f"sum by (cluster) (raftd_state_diverged{{{CLUSTER}}})", "{{cluster}}")],
            Unit.NONE,
            Shape.NUMBER,
            first_colour=ORANGE,
            thresholds=(Threshold(0, GREEN), Threshold(1, RED)),
            alert="RaftdStateDiverged",
            columns=4,
            rows=4,
        ),
    ),
)

_WORK: Final = Row(
    "Work",
    (
        Panel(
            "Requests",
            "What clients ask for, all nodes together, by what it is.",
            [
                Query(
                    f"sum by (kind) ({rate('raftd_request_duration_seconds_count', CLUSTER)})",
                    "{{kind}}",
                )
            ],
            Unit.PER_SECOND,
        ),
        Panel(
            "How long writes take",
            "From a write's arrival to its answer: half of them, and all but a hundredth. It includes the fdatasync of"
            " a majority.",
            [
                quantile(0.5, "raftd_request_duration_seconds", "cluster", _WRITES),
                quantile(0.99, "raftd_request_duration_seconds", "cluster", _WRITES),
            ],
            Unit.SECONDS,
            thresholds=(Threshold(0.25, RED),),
            alert="RaftdWritesSlow",
        ),
        Panel(
            "Writes that failed",
            "Share of the writes that the cluster could not serve: no leader, no quorum in time, stopping. Refused ones"
            " (no permission, a comparison that failed) are no failures.",
            [
                Query("raftd:write_error_ratio:rate5m{" + CLUSTER + "}", "{{cluster}}, 5 minutes"),
                Query("raftd:write_error_ratio:rate1h{" + CLUSTER + "}", "{{cluster}}, an hour"),
            ],
            Unit.RATIO,
            thresholds=(Threshold(0.001, ORANGE), Threshold(0.0144, RED)),
            alert="RaftdWriteErrorsFast",
        ),
    ),
)

_MEMBERS: Final = Row(
    "Members",
    (
        Panel(
            "Roles",
            "Who led when. White is a node that did not answer.",
            [Query(f"raftd_is_leader{{{CLUSTER}}}", "{{instance}}")],
            Unit.NONE,
            Shape.STATES,
            mappings=((0, "follows", "blue"), (1, "leads", GREEN)),
            alert="RaftdLeaderChanges",
        ),
        Panel(
            "Entries behind",
            "Entries that a member is not known to have stored yet, as the leader sees it.",
            [Query(f"raftd_peer_lag_entries{{{CLUSTER}}} and {_OF_LEADER}", "node {{peer}}")],
            Unit.COUNT,
            thresholds=(Threshold(10000, RED),),
            alert="RaftdFollowerLags",
        ),
        Panel(
            "Leader changes and elections",
            "How often the leader changed within a quarter of an hour, and how many elections nodes began.",
            [
                Query(f"max by (cluster) (increase(raftd_leader_changes_total{{{CLUSTER}}}[15m]))", "leader changes"),
                Query(f"sum by (cluster) (increase(raftd_elections_started_total{{{CLUSTER}}}[15m]))", "elections"),
            ],
            Unit.COUNT,
            thresholds=(Threshold(4, RED),),
            alert="RaftdLeaderChanges",
        ),
        Panel(
            "Links",
            "Whether each node's link to each other stands.",
            [Query(f"raftd_peer_connected{{{CLUSTER}}}", "{{instance}} to {{peer}}")],
            Unit.NONE,
            Shape.STATES,
            mappings=((0, "down", RED), (1, "up", GREEN)),
            alert="RaftdPeerUnreachable",
        ),
        Panel(
            "Writes committed",
            "Proposals of clients that were committed and applied, all nodes together.",
            [Query(f"sum by (cluster, outcome) ({rate('raftd_proposals_total', CLUSTER)})", "{{outcome}}")],
            Unit.PER_SECOND,
        ),
        Panel(
            "Bytes of data",
            "Size of all keys and values, and the bound from which on writes that add are refused.",
            [
                Query(f"max by (cluster) (raftd_data_bytes{{{CLUSTER}}})", "{{cluster}}"),
                Query(f"min by (cluster) (raftd_data_bytes_max{{{CLUSTER}}})", "bound"),
            ],
            Unit.BYTES,
            alert="RaftdBytesNearBound",
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    "raftd-overview",
    "raftd / cluster",
    "Does the cluster serve, who leads, what does it do, and is anybody behind?",
    (_NOW, _WORK, _MEMBERS),
)
