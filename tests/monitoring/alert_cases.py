"""For each alert, series that fire it and let it clear again, in promtool's notation of values.

`0x3 1x4` is 0 at four samples and 1 at five more; `_x4` is none at all. A case begins quiet, fires at `fires_at`, and
is quiet again at `clears_at`: an expression that is always true, or never, fails either way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Case:
    """One alert's test. Times are in promtool's notation; `labels` are those of the one alert that fires."""

    alert: str
    series: Mapping[str, str]
    fires_at: str
    clears_at: str
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: str = "15s"
    quiet_at: str = "0s"


def node(metric: str, instance: int = 1, **labels: str) -> str:
    """The series `metric` of one node of the test's cluster."""
    fixed = {"job": "raftd", "cluster": "prod", "instance": f"n{instance}:7402"}
    inside = ", ".join(f'{name}="{value}"' for name, value in (fixed | labels).items())
    return f"{metric}{{{inside}}}"


OF_CLUSTER = {"job": "raftd", "cluster": "prod"}
OF_NODE_1 = OF_CLUSTER | {"instance": "n1:7402"}
WRITES = "raftd_request_duration_seconds_count"
WRITE_BUCKETS = "raftd_request_duration_seconds_bucket"
TICK_BUCKETS = "raftd_tick_delay_duration_seconds_bucket"
SYNC_BUCKETS = "raftd_log_sync_duration_seconds_bucket"


def buckets(metric: str, fast: str, slow: str, **labels: str) -> dict[str, str]:
    """A histogram whose observations are below 1 ms in `fast` and beyond 0.5 s in `slow`: counts of each as values."""
    counts = {"0.001": fast, "0.512": fast, "1.024": slow, "+Inf": slow}
    return {node(metric, 1, le=bound, **labels): values for bound, values in counts.items()}


SERVING = (
    Case(
        "RaftdNoLeader",
        {node("raftd_has_leader"): "1x3 0x8 0x8", node("raftd_has_leader", 2): "0x3 0x8 1x8", node("up"): "1x20"},
        "1m30s",
        "4m",
        OF_CLUSTER,
    ),
    Case(
        # Nobody answers at all: there is no raftd_has_leader left to look at.
        "RaftdNoLeader",
        {node("raftd_has_leader"): "1x3 stale _x12 1x8", node("up"): "1x3 0x13 1x8"},
        "3m",
        "5m30s",
        OF_CLUSTER,
    ),
    Case(
        # For three minutes only Prometheus does not reach the leader: the other node hears it. Then it does no more.
        "RaftdNoLeader",
        {
            node("raftd_is_leader"): "1x3 stale",
            node("raftd_has_leader"): "1x3 stale",
            node("up"): "1x3 0x40",
            node("raftd_is_leader", 2): "0x24 1x8",
            node("raftd_has_leader", 2): "1x15 0x8 1x8",
            node("up", 2): "1x40",
        },
        "5m",
        "7m",
        OF_CLUSTER,
        quiet_at="3m30s",
    ),
    Case(
        "RaftdTwoLeadersInTerm",
        {
            node("raftd_is_leader"): "1x20",
            node("raftd_is_leader", 2): "1x20",
            node("raftd_term"): "4x3 5x3 5x8",
            node("raftd_term", 2): "5x3 5x3 6x8",
        },
        "1m15s",
        "3m",
        OF_CLUSTER | {"term": "5"},
    ),
    Case(
        "RaftdStateDiverged",
        {node("raftd_state_diverged"): "0x3 1x3 0x8", node("raftd_state_diverged", 2): "0x20"},
        "1m15s",
        "3m",
        OF_NODE_1,
    ),
    Case(
        "RaftdLogLost",
        {node("raftd_log_losses_total"): "0x3 1x80", node("raftd_log_losses_total", 2): "0x80"},
        "2m",
        "40m",
        OF_CLUSTER,
    ),
    Case(
        "RaftdQuorumAtEdge",
        {
            # Only the leader knows whom it reaches, so only it says.
            node("raftd_quorum_margin"): "1x3 0x8 1x8",
            node("raftd_voters"): "3x20",
        },
        "2m30s",
        "4m",
        OF_CLUSTER,
    ),
    Case(
        # Two voters are both there, before a third has come and after it has gone for good: nothing is missing.
        "RaftdQuorumAtEdge",
        {
            node("raftd_quorum_margin"): "0x12 1x3 0x8 0x8",
            node("raftd_voters"): "2x12 3x11 2x8",
        },
        "5m30s",
        "6m30s",
        OF_CLUSTER,
        quiet_at="3m",
    ),
    Case(
        "RaftdWriteErrorsFast",
        {
            node(WRITES, kind="write", outcome="ok"): "0+1000x20 20000+900x40 56000+1000x120",
            node(WRITES, kind="write", outcome="failed"): "0x20 0+100x40 4000x120",
            node(WRITES, kind="write", outcome="refused"): "0+200x180",
        },
        "50m",
        "2h30m",
        OF_CLUSTER,
        interval="1m",
    ),
    Case(
        "RaftdWriteErrorsSlow",
        {
            node(WRITES, kind="write", outcome="ok"): "0+1000x1000",
            node(WRITES, kind="write", outcome="failed"): "0x60 0+5x400 2000x540",
        },
        "7h",
        "16h",
        OF_CLUSTER,
        interval="1m",
    ),
    Case(
        # Two of a hundred are few, ten are not.
        "RaftdProposalsFail",
        {
            node("raftd_proposals_total", outcome="committed"): "0+98x20 1960+90x30 4660+100x60",
            node("raftd_proposals_total", outcome="failed"): "0+2x20 40+5x30 190x60",
            node("raftd_proposals_total", 2, outcome="unknown"): "0x20 0+5x30 150x60",
        },
        "40m",
        "1h",
        OF_CLUSTER,
        interval="1m",
        quiet_at="15m",
    ),
    Case(
        "RaftdWritesSlow",
        buckets(WRITE_BUCKETS, "0+100x20 2000+95x40 5800+100x60", "0+100x120", kind="write", outcome="ok"),
        "50m",
        "1h50m",
        OF_NODE_1,
        interval="1m",
    ),
)

NODES = (
    Case("RaftdNodeDown", {node("up"): "1x3 0x8 1x8"}, "2m30s", "4m", OF_NODE_1),
    Case(
        # The targets of one cluster vanish, and come back; those of the other are there.
        "RaftdNothingScraped",
        {
            node("up"): "1x12 stale _x30 1x20",
            node("up", 2): "1x12 stale _x30 1x20",
            'up{job="raftd", cluster="other", instance="o1:7402"}': "1x80",
        },
        "10m",
        "13m",
        OF_CLUSTER,
        quiet_at="5m",
    ),
    Case(
        # There is nothing at all, and for so long that nobody remembers a cluster.
        "RaftdNothingScraped",
        {node("up"): "1x12 stale _x600 1x20", 'up{job="prometheus", instance="p:9090"}': "1x700"},
        "2h",
        "2h36m",
    ),
    Case(
        "RaftdPeerUnreachable",
        {
            node("raftd_peer_connected", peer="2"): "1x3 0x8 1x8",
            node("raftd_is_leader"): "1x20",
            # A follower's link to another follower carries nothing that anybody waits for.
            node("raftd_peer_connected", 3, peer="2"): "0x20",
            node("raftd_is_leader", 3): "0x20",
        },
        "2m30s",
        "4m",
        OF_NODE_1 | {"peer": "2"},
    ),
    Case(
        "RaftdNodeRestarts",
        {node("process_start_time_seconds"): "0x3 100x1 200x1 300x80"},
        "5m",
        "20m",
        OF_NODE_1,
    ),
    Case("RaftdLeaderChanges", {node("raftd_leader_changes_total"): "1x10 2+1x6 8x80"}, "5m", "22m", OF_CLUSTER),
    Case("RaftdLearnerStays", {node("raftd_is_learner"): "0x3 1x150 0x20"}, "36m", "41m", OF_NODE_1),
    Case(
        "RaftdFollowerLags",
        {node("raftd_peer_lag_entries", peer="2"): "10x3 20000x12 10x8"},
        "3m30s",
        "5m",
        OF_NODE_1 | {"peer": "2"},
    ),
    Case(
        "RaftdApplyLags",
        {node("raftd_commit_index"): "50000x30", node("raftd_applied_index"): "50000x3 100x12 50000x8"},
        "3m30s",
        "5m",
        OF_NODE_1,
    ),
)

MACHINE = (
    Case(
        "RaftdDiskSlow",
        buckets(SYNC_BUCKETS, "0+100x20 2000+95x40 5800+100x60", "0+100x120"),
        "50m",
        "1h50m",
        OF_NODE_1,
        interval="1m",
    ),
    Case("RaftdDiskStalled", {node("raftd_storing_age_seconds"): "0x3 3x3 0x8"}, "1m15s", "3m", OF_NODE_1),
    Case(
        "RaftdDiskSpaceLow",
        {node("raftd_disk_free_bytes"): "5e9x3 9e8x12 5e9x8", node("raftd_disk_size_bytes"): "10e9x23"},
        "3m30s",
        "5m",
        OF_NODE_1,
    ),
    Case("RaftdDiskLow", {node("raftd_disk_low"): "0x3 1x3 0x8"}, "1m15s", "3m", OF_NODE_1),
    Case(
        "RaftdLoopLate",
        buckets(TICK_BUCKETS, "0+100x20 2000+95x40 5800+100x60", "0+100x120"),
        "50m",
        "1h50m",
        OF_NODE_1,
        interval="1m",
    ),
    Case(
        "RaftdClockApart",
        {node("raftd_clock_difference_seconds", peer="2"): "0.01x3 -3x30 0.01x8"},
        "7m",
        "9m30s",
        OF_NODE_1 | {"peer": "2"},
    ),
    Case(
        "RaftdSnapshotsFail",
        {node("raftd_snapshots_total", outcome="failed"): "0x3 1x200"},
        "2m",
        "40m",
        OF_NODE_1 | {"outcome": "failed"},
    ),
    Case("RaftdLogLinesLost", {node("raftd_log_lines_dropped_total"): "0x3 7x80"}, "2m", "15m", OF_NODE_1),
)

USE = (
    Case(
        "RaftdKeysNearBound",
        {node("raftd_keys"): "10x3 85x30 10x8", node("raftd_keys_max"): "100x60"},
        "7m",
        "9m30s",
        OF_NODE_1,
    ),
    Case(
        "RaftdBytesNearBound",
        {node("raftd_data_bytes"): "10x3 85x30 10x8", node("raftd_data_bytes_max"): "100x60"},
        "7m",
        "9m30s",
        OF_NODE_1,
    ),
    Case(
        "RaftdFull",
        {
            node("raftd_keys"): "10x3 100x3 10x8",
            node("raftd_keys_max"): "100x60",
            node("raftd_data_bytes"): "10x60",
            node("raftd_data_bytes_max"): "100x60",
        },
        "1m15s",
        "3m",
        OF_NODE_1,
    ),
    *(
        Case(
            f"Raftd{what}NearBound",
            {node(f"raftd_{what.lower()}"): "10x3 85x30 10x8", node(f"raftd_{what.lower()}_max"): "100x60"},
            "7m",
            "9m30s",
            OF_NODE_1,
        )
        for what in ("Sessions", "Leases", "Watches")
    ),
    Case(
        "RaftdConnectionsNearBound",
        {node("raftd_connections"): "10x3 85x30 10x8", node("raftd_connections_max"): "100x60"},
        "7m",
        "9m30s",
        OF_NODE_1,
    ),
    Case(
        "RaftdConnectionsRefused",
        {node("raftd_connections_total", outcome="refused"): "0x3 100x80"},
        "2m",
        "15m",
        OF_NODE_1 | {"outcome": "refused"},
    ),
    Case(
        "RaftdWatchesEnded",
        {
            node("raftd_watches_ended_total", reason="compacted"): "0x3 8x80",
            node("raftd_watches_ended_total", reason="overloaded"): "0x3 8x80",
        },
        "2m",
        "15m",
        OF_NODE_1,
    ),
    Case(
        "RaftdMessagesDropped",
        {
            node("raftd_messages_dropped_total"): "0x3 0+300x80 24000x80",
            # Node 2's peer is away: messages to it are dropped as they should be.
            node("raftd_messages_dropped_total", 2): "0+300x200",
            node("raftd_peer_connected", peer="2"): "1x200",
            node("raftd_peer_connected", peer="3"): "1x200",
            node("raftd_peer_connected", 2, peer="3"): "0x200",
        },
        "18m",
        "35m",
        OF_NODE_1,
    ),
)

UPKEEP = (
    Case(
        "RaftdCertificateExpires",
        {
            node(
                "raftd_certificate_not_after_seconds", port="peer", kind="leaf"
            ): f"{100 * DAY_SECONDS}x9 {20 * DAY_SECONDS}x150 {100 * DAY_SECONDS}x60"
        },
        "2h",
        "3h",
        OF_NODE_1 | {"port": "peer", "kind": "leaf"},
        interval="1m",
    ),
    Case(
        "RaftdCertificateExpiresNow",
        {
            node(
                "raftd_certificate_not_after_seconds", port="client", kind="authority"
            ): f"{100 * DAY_SECONDS}x3 {5 * DAY_SECONDS}x3 {100 * DAY_SECONDS}x8"
        },
        "1m15s",
        "3m",
        OF_NODE_1 | {"port": "client", "kind": "authority"},
    ),
    Case(
        "RaftdBackupOld",
        {
            # One node makes the backups, from the second hour on; the others have never made one.
            node("raftd_backup_last_success_timestamp_seconds"): f"0x{2 * 6 - 1} {3600}x{27 * 6} {29 * 3600}x10",
            node("raftd_backup_last_success_timestamp_seconds", 2): "0x200",
        },
        "28h",
        "30h",
        OF_CLUSTER,
        interval="10m",
    ),
    Case(
        "RaftdBackupNone",
        {
            node("raftd_backup_last_success_timestamp_seconds"): f"0x{26 * 6} {26 * 3600}x10",
            node("raftd_backup_last_success_timestamp_seconds", 2): "0x200",
        },
        "25h",
        "27h",
        OF_CLUSTER,
        interval="10m",
        quiet_at="23h",
    ),
    Case(
        "RaftdBackupFailed",
        {
            node("raftd_backup_last_success_timestamp_seconds"): "100x3 100x3 300x8",
            node("raftd_backup_last_failure_timestamp_seconds"): "50x3 200x3 200x8",
        },
        "1m15s",
        "3m",
        OF_NODE_1,
    ),
    Case(
        # The first of all fails, and then one through another node is good.
        "RaftdBackupFailed",
        {
            node("raftd_backup_last_success_timestamp_seconds"): "0x20",
            node("raftd_backup_last_failure_timestamp_seconds"): "0x3 200x20",
            node("raftd_backup_last_success_timestamp_seconds", 2): "0x7 300x12",
            node("raftd_backup_last_failure_timestamp_seconds", 2): "0x20",
        },
        "1m15s",
        "3m",
        OF_NODE_1,
    ),
    Case(
        "RaftdVersionsDiffer",
        {
            node("raftd_build_info", version="1"): "1x200",
            node("raftd_build_info", 2, version="1"): "1x9 stale",
            node("raftd_build_info", 2, version="2"): "_x9 1x90 stale",
            node("raftd_build_info", 3, version="1"): "1x200",
        },
        "1h30m",
        "2h",
        OF_CLUSTER,
        interval="1m",
    ),
    Case(
        "RaftdSettingsDiffer",
        {
            node("raftd_settings_info", hash="a"): "1x200",
            node("raftd_settings_info", 2, hash="a"): "1x9 stale _x49 1x60",
            node("raftd_settings_info", 2, hash="b"): "_x9 1x50 stale",
        },
        "50m",
        "1h10m",
        OF_CLUSTER,
        interval="1m",
    ),
    Case(
        "RaftdMembershipDiffers",
        {node("raftd_membership_difference"): "0x9 2x50 0x20"},
        "50m",
        "1h10m",
        OF_NODE_1,
        interval="1m",
    ),
    Case("RaftdReloadRefused", {node("raftd_last_reload_successful"): "1x3 0x8 1x8"}, "2m30s", "4m", OF_NODE_1),
    Case(
        "RaftdRestartWanted",
        {node("raftd_settings_waiting"): "0x9 2x1600 0x20"},
        "25h",
        "27h",
        OF_NODE_1,
        interval="1m",
    ),
    Case(
        "RaftdOldAuthorityTrusted",
        {node("raftd_trusted_authorities", port="peer"): "1x9 2x1100 1x20"},
        "180h",
        "187h",
        OF_CLUSTER | {"port": "peer"},
        interval="10m",
    ),
)

CASES = (*SERVING, *NODES, *MACHINE, *USE, *UPKEEP)
