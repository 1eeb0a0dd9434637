"""The metrics of one process: what runs, by which settings and certificates, and how its disk and its loop do."""

from collections.abc import Iterable
from typing import Final

from raftd.http.family import Sample, counter, counter_by, gauge, labelled_gauge
from raftd.http.view import NodeStatus


def _build(status: NodeStatus) -> Iterable[Sample]:
    return [((status.version, status.cluster, str(status.node_id)), 1)]


def _settings(status: NodeStatus) -> Iterable[Sample]:
    return [((status.configuration.settings_hash,), 1)]


def _expiries(status: NodeStatus) -> Iterable[Sample]:
    ends: dict[tuple[str, ...], float] = {}
    for each in status.configuration.certificates:
        name = (each.port, each.kind)
        ends[name] = min(each.not_after_seconds, ends.get(name, each.not_after_seconds))
    return ends.items()


def _authority_counts(status: NodeStatus) -> Iterable[Sample]:
    authorities = [each.port for each in status.configuration.certificates if each.kind == "authority"]
    return [((port,), authorities.count(port)) for port in dict.fromkeys(authorities)]


NODE_FAMILIES: Final = (
    labelled_gauge("raftd_build_info", "Always 1; what runs here.", ("version", "cluster", "node"), _build),
    gauge("raftd_uptime_seconds", "Time since the node started.", lambda s: s.uptime_seconds),
    gauge("raftd_draining", "Whether the node was told to stop and refuses new work.", lambda s: s.draining),
    gauge(
        "raftd_membership_difference",
        "In how many points this node's raftd.yaml is not what the replicated membership says.",
        lambda s: len(s.settings_differ),
    ),
    labelled_gauge(
        "raftd_settings_info",
        "Always 1; the hash is equal on nodes whose raftd.yaml mean the same.",
        ("hash",),
        _settings,
    ),
    gauge(
        "raftd_settings_waiting",
        "Settings that are different in raftd.yaml and count after a restart only.",
        lambda s: len(s.configuration.waiting),
    ),
    counter_by(
        "outcome",
        "raftd_reloads_total",
        "Reloads of settings and certificates, by how they ended.",
        done=lambda c: c.reloads_done,
        refused=lambda c: c.reloads_refused,
    ),
    gauge(
        "raftd_last_reload_successful",
        "Whether the node goes by its files: 0 while the latest reload was refused.",
        lambda s: not s.configuration.is_refused,
    ),
    gauge(
        "raftd_last_reload_success_timestamp_seconds",
        "When the files were read last with success, at a reload or at the start.",
        lambda s: s.configuration.reloaded_seconds,
    ),
    labelled_gauge(
        "raftd_certificate_not_after_seconds",
        "Until when the certificates in the node's files hold, since the epoch; of authorities, the first to end.",
        ("port", "kind"),
        _expiries,
    ),
    labelled_gauge(
        "raftd_trusted_authorities",
        "How many authorities the other side of a port may be of.",
        ("port",),
        _authority_counts,
    ),
    counter("raftd_log_batches_total", "Batches written to the log, one fdatasync each.", lambda c: c.log_batches),
    counter("raftd_log_entries_total", "Entries written to the log.", lambda c: c.log_entries),
    counter("raftd_log_written_bytes_total", "Bytes written to the log.", lambda c: c.log_bytes),
    gauge("raftd_log_queued_bytes", "Entries that wait to be written to the log.", lambda s: s.log_queued_bytes),
    gauge(
        "raftd_storing_age_seconds",
        "How long the oldest unfinished log write has waited for the disk; 0 where none does.",
        lambda s: s.storing_seconds,
    ),
    gauge(
        "raftd_disk_low",
        "Whether the disk was found full: the reserve is in use, and a leader refuses writes that give no room back.",
        lambda s: s.disk_low,
    ),
    gauge(
        "raftd_disk_free_bytes",
        "What may still be written where the data directory is, besides the reserve.",
        lambda s: s.disk_free_bytes,
    ),
    gauge(
        "raftd_disk_size_bytes",
        "What may be written there in all, by whomever; 0: not known yet.",
        lambda s: s.disk_size_bytes,
    ),
    gauge("raftd_loop_lag_seconds", "How late the event loop's latest tick was.", lambda s: s.loop_lag_seconds),
    gauge("raftd_backups", "Backups that this node hands out at this moment.", lambda s: s.backup.running),
    gauge(
        "raftd_backup_last_success_timestamp_seconds",
        "Of when the newest backup through this node is that was stored, read again and loaded; 0: none is known.",
        lambda s: s.backup.success_ms / 1000,
    ),
    gauge(
        "raftd_backup_last_failure_timestamp_seconds",
        "When a backup through this node failed last; 0: none did.",
        lambda s: s.backup.failure_ms / 1000,
    ),
    counter("raftd_backup_sent_bytes_total", "Bytes of backups sent to clients.", lambda c: c.backup_bytes_sent),
    counter(
        "raftd_log_lines_dropped_total",
        "Lines of the daemon's own log that could not be written without waiting.",
        lambda c: c.log_lines_dropped,
    ),
)
