from collections.abc import Callable

from raftd.http.node_families import NODE_FAMILIES
from raftd.http.view import BackupStatus, CertificateStatus, Configuration, NodeStatus
from tests.http.families import values_of


def test_what_a_node_goes_by(leader_with: Callable[..., NodeStatus]) -> None:
    """Its settings' hash, whether the latest reload was refused, and what waits for a restart."""
    configuration = Configuration("abc", ("timing.heartbeat",), reloaded_seconds=1.7e9, is_refused=True)
    values = values_of(NODE_FAMILIES, leader_with(configuration=configuration))
    assert values["raftd_settings_info", "abc"] == 1
    assert values["raftd_settings_waiting",] == 1
    assert values["raftd_last_reload_successful",] == 0
    assert values["raftd_last_reload_success_timestamp_seconds",] == 1.7e9


def test_the_first_certificate_to_end_counts(leader_with: Callable[..., NodeStatus]) -> None:
    """Of several authorities for one port the earliest end is told, and how many there are."""
    certificates = (
        CertificateStatus("peer", "certificate", "f1", "", 300.0),
        CertificateStatus("peer", "authority", "f2", "", 200.0),
        CertificateStatus("peer", "authority", "f3", "", 100.0),
    )
    values = values_of(NODE_FAMILIES, leader_with(configuration=Configuration(certificates=certificates)))
    assert values["raftd_certificate_not_after_seconds", "peer", "certificate"] == 300
    assert values["raftd_certificate_not_after_seconds", "peer", "authority"] == 100
    assert values["raftd_trusted_authorities", "peer"] == 2


def test_what_runs_is_told(leader_with: Callable[..., NodeStatus]) -> None:
    """Version, cluster and node are labels of one series."""
    assert values_of(NODE_FAMILIES, leader_with())["raftd_build_info", "0.1.0", "demo", "1"] == 1


def test_backups_tell_their_times_in_seconds(leader_with: Callable[..., NodeStatus]) -> None:
    """Of the newest good one, and of the latest failure; zeros where there was none, so that an alarm is raised."""
    values = values_of(NODE_FAMILIES, leader_with(backup=BackupStatus(2, 1_700_000_000_500, 1_600_000_000_000)))
    assert values["raftd_backups",] == 2
    assert values["raftd_backup_last_success_timestamp_seconds",] == 1_700_000_000.5
    assert values["raftd_backup_last_failure_timestamp_seconds",] == 1_600_000_000
    values = values_of(NODE_FAMILIES, leader_with())
    assert values["raftd_backup_last_success_timestamp_seconds",] == 0
    assert values["raftd_backup_last_failure_timestamp_seconds",] == 0
