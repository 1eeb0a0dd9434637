import shutil
import subprocess
from collections.abc import Callable
from typing import Protocol

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raftd.consensus.types import LogIndex, NodeId, Role
from raftd.http.catalogue import FAMILIES
from raftd.http.durations import CommandKind, RequestKind, RequestOutcome
from raftd.http.metrics import Metrics
from raftd.http.view import NodeCounters, NodeStatus, PeerStatus, SettingsDifference


class FakeNode(Protocol):
    now: NodeStatus
    counted: NodeCounters

    def status(self) -> NodeStatus: ...
    def counters(self) -> NodeCounters: ...
    async def read_index(self, max_age_seconds: float) -> LogIndex | None: ...


Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: Metrics) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


@pytest.fixture
def metrics(node: FakeNode) -> Metrics:
    made = Metrics()
    made.attach(node)
    return made


def test_the_text_is_clean(metrics: Metrics) -> None:
    """Every family of the text has a help and a type and comes once; `_created` series are left out."""
    lines = metrics.render().decode().splitlines()
    helped = [line.split()[2] for line in lines if line.startswith("# HELP") and len(line.split()) > 3]
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert helped == typed
    assert len(set(typed)) == len(typed)
    assert not any("_created" in line or line.endswith("nan") for line in lines)
    assert {family.name for family in FAMILIES} <= set(typed)
    assert {"process_open_fds", "python_gc_collections_total", "python_info"} <= set(typed)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; on Debian: apt install prometheus"
)
def test_promtool_has_nothing_to_say(metrics: Metrics) -> None:
    """Prometheus' own linter accepts names, types and texts of all that is exported."""
    metrics.round_trip(NodeId(2), 0.001)
    linted = subprocess.run(["promtool", "check", "metrics"], input=metrics.render(), capture_output=True, check=False)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")


def test_a_scrape_reads_the_node(metrics: Metrics, node: FakeNode, leader_with: Callable[..., NodeStatus]) -> None:
    """A scrape shows the node as it is now, not as it was when the metrics were made."""
    before = scrape(metrics)
    differing = (SettingsDifference(NodeId(4), "in raftd.yaml, and no member"),)
    node.now = leader_with(
        role=Role.FOLLOWER, leader_id=None, commit_index=LogIndex(99), peers=(), settings_differ=differing
    )
    node.counted = NodeCounters(proposals_committed=7)
    after = scrape(metrics)
    assert (before["raftd_is_leader", ()], after["raftd_is_leader", ()]) == (1, 0)
    assert (before["raftd_has_leader", ()], after["raftd_has_leader", ()]) == (1, 0)
    assert after["raftd_commit_index", ()] == 99
    assert after["raftd_role", (("role", "follower"),)] == 1
    assert after["raftd_role", (("role", "leader"),)] == 0
    assert after["raftd_proposals_total", (("outcome", "committed"),)] == 7
    assert (before["raftd_membership_difference", ()], after["raftd_membership_difference", ()]) == (0, 1)
    assert ("raftd_peer_connected", (("peer", "2"),)) in before
    assert ("raftd_peer_connected", (("peer", "2"),)) not in after


def test_one_scrape_looks_once(metrics: Metrics, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """All gauges of one scrape come from one look at the node, so that lag is never negative."""
    looks: list[NodeStatus] = []

    def look() -> NodeStatus:
        looks.append(node.now)
        return node.now

    monkeypatch.setattr(node, "status", look)
    metrics.render()
    assert len(looks) == 1


def test_series_exist_from_the_start(metrics: Metrics) -> None:
    """Each kind and outcome has its series before the first request and command, at zero."""
    values = scrape(metrics)
    for kind in RequestKind:
        for outcome in RequestOutcome:
            labels = (("kind", kind.value), ("outcome", outcome.value))
            assert values["raftd_request_duration_seconds_count", labels] == 0
    for command in CommandKind:
        for ending in ("ok", "refused"):
            labels = (("kind", command.value), ("outcome", ending))
            assert values["raftd_apply_command_duration_seconds_count", labels] == 0


def test_observations_show(metrics: Metrics) -> None:
    """What is observed is in the next scrape, under its labels."""
    metrics.log_sync_seconds.observe(0.003)
    metrics.request_seconds[RequestKind.WRITE, RequestOutcome.OK].observe(0.25)
    values = scrape(metrics)
    assert values["raftd_log_sync_duration_seconds_bucket", (("le", "0.002"),)] == 0
    assert values["raftd_log_sync_duration_seconds_bucket", (("le", "0.004"),)] == 1
    assert values["raftd_request_duration_seconds_sum", (("kind", "write"), ("outcome", "ok"))] == 0.25
    assert values["raftd_request_duration_seconds_sum", (("kind", "read"), ("outcome", "ok"))] == 0
    assert values["raftd_log_write_duration_seconds_count", ()] == 0


def test_what_is_not_known_has_no_series(
    metrics: Metrics, node: FakeNode, leader_with: Callable[..., NodeStatus]
) -> None:
    """No measurement is no sample: a zero would look like a very fast link, or a quorum about to be lost."""
    node.now = leader_with(peers=(PeerStatus(NodeId(2), True),), quorum_margin=None)
    values = scrape(metrics)
    assert ("raftd_peer_round_trip_duration_seconds_count", (("peer", "2"),)) not in values
    assert ("raftd_peer_contact_age_seconds", (("peer", "2"),)) not in values
    assert ("raftd_quorum_margin", ()) not in values
    metrics.round_trip(NodeId(2), 0.002)
    node.now = leader_with(quorum_margin=0)
    values = scrape(metrics)
    assert values["raftd_peer_round_trip_duration_seconds_sum", (("peer", "2"),)] == 0.002
    assert values["raftd_quorum_margin", ()] == 0


def test_two_nodes_in_one_process_do_not_mix(node: FakeNode) -> None:
    """Each node's metrics are its own: there is no process-wide registry."""
    one, other = Metrics(), Metrics()
    one.attach(node)
    other.attach(node)
    one.apply_seconds.observe(1.0)
    assert scrape(other)["raftd_apply_duration_seconds_count", ()] == 0
