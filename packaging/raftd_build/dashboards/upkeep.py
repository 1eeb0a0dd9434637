"""Day 2: versions, settings, certificates, backups, snapshots."""

from typing import Final

from raftd_build.dashboards.dashboard import CLUSTER, NODES, Dashboard, Row
from raftd_build.dashboards.panel import GREEN, ORANGE, RED, Panel, Query, Shape, Threshold, Unit
from raftd_build.dashboards.queries import by_node, rate_by_node

_DAY_SECONDS: Final = 86_400

_SAME: Final = Row(
    "Alike",
    (
        Panel(
            "Versions",
            "What runs on each node.",
            [Query(f"max by (instance, node, version) (raftd_build_info{{{NODES}}})", "{{instance}} {{version}}")],
            Unit.NONE,
            Shape.TABLE,
            alert="RaftdVersionsDiffer",
        ),
        Panel(
            "Settings",
            "The hash is equal on nodes whose raftd.yaml mean the same.",
            [Query(f"max by (instance, hash) (raftd_settings_info{{{NODES}}})", "{{instance}} {{hash}}")],
            Unit.NONE,
            Shape.TABLE,
            alert="RaftdSettingsDiffer",
        ),
        Panel(
            "raftd.yaml against the membership",
            "In how many points a node's raftd.yaml is not what the cluster has agreed on.",
            [by_node("raftd_membership_difference")],
            Unit.COUNT,
            thresholds=(Threshold(1, ORANGE),),
            alert="RaftdMembershipDiffers",
        ),
        Panel(
            "Settings that wait for a restart",
            "They were changed in raftd.yaml and count after a restart only.",
            [by_node("raftd_settings_waiting")],
            Unit.COUNT,
            thresholds=(Threshold(1, ORANGE),),
            alert="RaftdRestartWanted",
        ),
        Panel(
            "Reloads",
            "Reloads of settings and certificates, by how they ended.",
            [rate_by_node("raftd_reloads_total", "{{instance}} {{outcome}}")],
            Unit.PER_SECOND,
            alert="RaftdReloadRefused",
        ),
        Panel(
            "The latest reload",
            "Whether the node goes by its files, or refused them at the latest reload.",
            [by_node("raftd_last_reload_successful")],
            Unit.NONE,
            Shape.STATES,
            mappings=((0, "refused", RED), (1, "in force", GREEN)),
            alert="RaftdReloadRefused",
        ),
    ),
)

_CERTIFICATES: Final = Row(
    "Certificates",
    (
        Panel(
            "Time left",
            "Until the first certificate of each kind ends, as the nodes' files say.",
            [
                Query(
                    f"min by (instance, port, kind) (raftd_certificate_not_after_seconds{{{NODES}}}) - time()",
                    "{{instance}} {{port}} {{kind}}",
                )
            ],
            Unit.SECONDS,
            first_colour=RED,
            thresholds=(Threshold(7 * _DAY_SECONDS, ORANGE), Threshold(30 * _DAY_SECONDS, GREEN)),
            alert="RaftdCertificateExpires",
        ),
        Panel(
            "Trusted authorities",
            "Two while authorities are being rotated; otherwise one.",
            [by_node("raftd_trusted_authorities", "{{instance}} {{port}}")],
            Unit.COUNT,
            alert="RaftdOldAuthorityTrusted",
        ),
        Panel(
            "Latest successful reload",
            "When the node read its files last.",
            [Query(f"raftd_last_reload_success_timestamp_seconds{{{NODES}}} * 1000", "{{instance}}")],
            Unit.MOMENT,
            Shape.NUMBER,
            alert="RaftdReloadRefused",
        ),
    ),
)

_NEWEST_BACKUP: Final = f"max by (cluster) (raftd_backup_last_success_timestamp_seconds{{{CLUSTER}}})"
_STATE: Final = Row(
    "Backups",
    (
        Panel(
            "Age of the newest backup",
            "Of all nodes' backups the newest; a night without one raises an alert, and so does a cluster without any.",
            # Without any it would be as old as the epoch.
            [Query(f"(time() - ({_NEWEST_BACKUP} > 0)) or {_NEWEST_BACKUP} - 1", "{{cluster}}")],
            Unit.SECONDS,
            Shape.NUMBER,
            first_colour=ORANGE,
            thresholds=(Threshold(0, GREEN), Threshold(26 * 3600, RED)),
            mappings=((-1, "none is known", RED),),
            alert="RaftdBackupOld",
        ),
        Panel(
            "Latest failed backup",
            "When a backup failed last; none when none has.",
            [Query(f"raftd_backup_last_failure_timestamp_seconds{{{NODES}}} * 1000", "{{instance}}")],
            Unit.MOMENT,
            Shape.NUMBER,
            mappings=((0, "none", GREEN),),
            alert="RaftdBackupFailed",
        ),
        Panel(
            "Backups under way",
            "Backups that a node is handing out now.",
            [by_node("raftd_backups")],
            Unit.COUNT,
        ),
        Panel(
            "Bytes of backups",
            "How fast backups are handed out.",
            [rate_by_node("raftd_backup_sent_bytes_total")],
            Unit.BYTES_PER_SECOND,
        ),
        Panel(
            "Log lines lost",
            "Lines of the daemon's own log that could not be written without waiting.",
            [rate_by_node("raftd_log_lines_dropped_total")],
            Unit.PER_SECOND,
            alert="RaftdLogLinesLost",
        ),
    ),
)

UPKEEP: Final = Dashboard(
    "raftd-upkeep",
    "raftd / upkeep",
    "What is looked at in daylight: versions, settings, certificates, backups.",
    (_SAME, _CERTIFICATES, _STATE),
)
