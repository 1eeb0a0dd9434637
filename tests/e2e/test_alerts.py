"""Each alert on a live cluster, with a real Prometheus: a fault fires it, and the fault's end lets it clear.

The rules are raftd's own, with seconds in the place of minutes (tests/monitoring/hastening.py). Faults of the machine
are put between it and raftd (tests/monitoring/faulty_node.py); what no live cluster can be brought to say is said by a
puppet beside it.
"""

import asyncio
import dataclasses
import json
import shutil
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.client import ChangeKind, ClientError
from raftd.pki import issue_node
from raftd.settings import Document, Limits, Tls, TlsTemplate, render
from tests.e2e.cluster import Cluster, NodeProcess, own_address, until
from tests.e2e.conftest import MakeCluster
from tests.monitoring.prometheus import Prometheus, Target, needs_prometheus, nodes_of
from tests.monitoring.puppet import GROWS, Puppet

pytestmark = [pytest.mark.e2e, needs_prometheus, pytest.mark.timeout(300)]

FAULTY_NODE: Final = str(Path(__file__).parents[1] / "monitoring" / "faulty_node.py")
PATIENCE_SECONDS: Final = 90.0
KEYS_MAX: Final = 60
CONNECTIONS_MAX: Final = 12
OTHER_LIMITS: Final = Limits(segment_bytes=8 << 20)
"""They count after a restart."""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that ends with the test."""
    process = Prometheus(tmp_path)
    try:
        yield process
    finally:
        process.stop()


@dataclasses.dataclass
class Watched:
    """A cluster, and the Prometheus that watches it."""

    cluster: Cluster
    prometheus: Prometheus
    seen: set[str] = dataclasses.field(default_factory=set)
    """The alerts that have fired and cleared."""

    async def fires(self, *alerts: str) -> None:
        """Wait until all of these fire, with a text in which everything is filled in."""
        await self._until(lambda: set(alerts) - self.prometheus.firing(), "fire")
        for alert in self.prometheus.alerts():
            for text in alert["annotations"].values():
                assert "<no value>" not in text, alert
                assert "error" not in text.lower() or "expanding" not in text, alert

    async def clears(self, *alerts: str) -> None:
        """Wait until none of these fires any more."""
        await self._until(lambda: set(alerts) & self.prometheus.firing(), "clear")
        self.seen |= set(alerts)

    async def _until(self, missing: Callable[[], set[str]], what: str) -> None:
        try:
            await until(lambda: not missing(), "", seconds=PATIENCE_SECONDS)
        except AssertionError:
            raise AssertionError(
                f"should {what}: {', '.join(missing())}; now fire {self.prometheus.firing()}"
            ) from None

    def faults(self, faults: dict[int, dict[str, Any]]) -> None:
        """Let the nodes' machines have these faults from now on, and no others."""
        path = self.cluster.directory / "faults.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({str(node_id): each for node_id, each in faults.items()}))
        fresh.replace(path)


def watch(cluster: Cluster, prometheus: Prometheus, scenario: Callable[[Watched], Awaitable[None]]) -> None:
    """Start both, and play the scenario; at its end nothing fires that should not."""

    async def play() -> None:
        watched = Watched(cluster, prometheus)
        await cluster.start()
        prometheus.scrape(nodes_of(cluster))
        prometheus.start()
        await until(prometheus.is_ready, "Prometheus answers")
        await cluster.leader()
        await until(lambda: len(prometheus.query("raftd_uptime_seconds")) == len(cluster.nodes), "all are scraped")
        await scenario(watched)
        print("fired and cleared:", *sorted(watched.seen))

    asyncio.run(play())


async def followers(cluster: Cluster) -> list[NodeProcess]:
    leader = await cluster.leader()
    return [node for node in cluster.nodes.values() if node is not leader]


@asynccontextmanager
async def trying_to_write(cluster: Cluster) -> AsyncIterator[None]:
    """Puts, one after the other, whatever becomes of them."""

    async def write() -> None:
        async with cluster.client(timeout=0.5) as client:
            while True:
                with suppress(ClientError):
                    await client.put("tried", "x")
                await asyncio.sleep(0.01)  # leaves the nodes some of the processor

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):  # it closes its connections before that
            await task


def test_lost_nodes(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """A node is lost, then the quorum; both come back."""

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        first, second = await followers(cluster)
        async with trying_to_write(cluster):
            first.kill()
            of_one = ("RaftdNodeDown", "RaftdPeerUnreachable", "RaftdQuorumAtEdge")
            await watched.fires(*of_one)
            second.kill()
            of_two = ("RaftdNoLeader", "RaftdWriteErrorsFast", "RaftdWriteErrorsSlow")
            await watched.fires(*of_two)
            await cluster.start(first.id, second.id)
            await watched.clears(*of_one, *of_two)

    watch(make_cluster(), prometheus, scenario)


def test_a_directory_that_was_set_back(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """A follower comes back on an old copy of its directory: it is told of, and mended, and commits with the leader."""

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        victim, other = await followers(cluster)
        data = cluster.directory / "data" / str(victim.id)
        async with cluster.client() as client:
            await client.put("before", "x")
            await cluster.until_proven()
            victim.kill()
            shutil.copytree(data, cluster.directory / "copy")
            await cluster.start(victim.id)
            for number in range(50):
                await client.put(f"since-{number}", "x")
            await cluster.agreement()
            victim.kill()
            shutil.rmtree(data)
            (cluster.directory / "copy").rename(data)
            await cluster.start(victim.id)
            await watched.fires("RaftdLogLost")
            other.kill()
            await client.put("after", "x")
            assert await client.get("since-49") is not None
            await cluster.start(other.id)
        await watched.clears("RaftdLogLost")

    watch(make_cluster(), prometheus, scenario)


def test_restless_nodes(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """Leadership wanders, a process does not stay, a follower stands still, a learner does not become a voter."""

    def joining(_: int, document: Document) -> Document:
        nodes = tuple(dataclasses.replace(node, joins=node.id == 4) for node in document.nodes)
        return dataclasses.replace(document, nodes=nodes)

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        async with cluster.client() as client:
            learner, node = cluster.nodes[4], cluster.nodes[4].addresses
            addresses = f"client={node.client_address},peer={node.peer_address},http={node.http_address}"
            await client.change_membership(ChangeKind.ADD_LEARNER, 4, address=addresses)
            await watched.fires("RaftdLearnerStays")
            await client.change_membership(ChangeKind.PROMOTE, 4)
            for _ in range(8):
                await client.transfer_leadership()
                await cluster.leader()
            await watched.fires("RaftdLeaderChanges")
            for _ in range(4):
                await _started_anew(watched, learner)
            await watched.fires("RaftdNodeRestarts")
            follower = (await followers(cluster))[0]
            follower.pause()
            for number in range(400):
                await client.put(f"key-{number}", "x")
            await watched.fires("RaftdFollowerLags")
            follower.resume()
        await watched.clears("RaftdLearnerStays", "RaftdLeaderChanges", "RaftdNodeRestarts", "RaftdFollowerLags")

    watch(make_cluster(4, changes=joining), prometheus, scenario)


async def _started_anew(watched: Watched, node: NodeProcess) -> None:
    """End the node and start it, and wait until Prometheus has seen that."""
    seen = _seen_starts(watched, node.id)
    node.kill()
    await watched.cluster.start(node.id)
    await until(lambda: _seen_starts(watched, node.id) not in ([], seen), "the new process is seen")


def _seen_starts(watched: Watched, node_id: int) -> list[str]:
    """When the node's process started, as Prometheus knows it."""
    found = watched.prometheus.query(f'process_start_time_seconds{{node="{node_id}"}}')
    return [str(each["value"][1]) for each in found]


def test_sick_machines(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """Disks that are slow, stand still or are full, a clock that is wrong, a processor that is not there."""

    def small(_: int, document: Document) -> Document:
        return dataclasses.replace(
            document, limits=dataclasses.replace(document.limits, snapshot_log_bytes=64 << 10, log_tail_entries=100)
        )

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        follower, other = await followers(cluster)
        async with trying_to_write(cluster):
            slow = {"sync_seconds": 0.3}
            watched.faults(dict.fromkeys(cluster.nodes, slow) | {other.id: slow | {"clock_ahead_seconds": 9}})
            await watched.fires("RaftdDiskSlow", "RaftdWritesSlow", "RaftdClockApart")
            watched.faults({follower.id: {"sync_seconds": 10.0}})
            await watched.fires("RaftdDiskStalled")
            watched.faults({follower.id: {"state_differs": True}})
            await watched.fires("RaftdStateDiverged")
            watched.faults({})
            of_machines = ("RaftdDiskSlow", "RaftdWritesSlow", "RaftdClockApart", "RaftdDiskStalled")
            await watched.clears(*of_machines, "RaftdStateDiverged")

        async with cluster.client(timeout=1.0) as client:
            # The log has room in the segment that it has begun; a snapshot has none.
            watched.faults({follower.id: {"disk_full": True}})
            for number in range(200):
                await client.put(f"small-{number}", b"x" * (1 << 10))
            await watched.fires("RaftdSnapshotsFail")
            watched.faults({node_id: {"disk_full": True} for node_id in cluster.nodes})
            with suppress(ClientError):
                for number in range(64):
                    await client.put(f"large-{number}", b"x" * (256 << 10))
            await watched.fires("RaftdDiskLow", "RaftdDiskSpaceLow")
            watched.faults({})

        for _ in range(8):
            other.pause()
            await asyncio.sleep(0.4)  # a machine that does not run it: that takes time, whatever is waited for
            other.resume()
            await asyncio.sleep(0.2)
        await watched.fires("RaftdLoopLate")
        await watched.clears("RaftdDiskLow", "RaftdDiskSpaceLow", "RaftdSnapshotsFail", "RaftdLoopLate")

    watch(make_cluster(changes=small, program=[FAULTY_NODE]), prometheus, scenario)


def test_bounds(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """Keys, bytes and connections near their bounds and at them, and strangers at the door."""

    def tight(_: int, document: Document) -> Document:
        limits = dataclasses.replace(
            document.limits, keys_max=KEYS_MAX, bytes_max=1 << 20, connections_max=CONNECTIONS_MAX
        )
        return dataclasses.replace(document, limits=limits)

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        async with cluster.client() as client:
            for number in range(KEYS_MAX):
                await client.put(f"key-{number}", b"x" * (900 << 10) if number == 0 else b"")
            of_keys = ("RaftdKeysNearBound", "RaftdBytesNearBound", "RaftdFull")
            await watched.fires(*of_keys)
            await client.delete_range(prefix="key-")
            await watched.clears(*of_keys)
        node = cluster.nodes[1]
        for _ in range(80):
            _knock(node)
        await watched.fires("RaftdConnectionsRefused")
        clients = [cluster.client(node.endpoint) for _ in range(CONNECTIONS_MAX - 1)]
        for each in clients:
            await each.status(node.endpoint)
        await watched.fires("RaftdConnectionsNearBound")
        for each in clients:
            await each.close()
        await watched.clears("RaftdConnectionsRefused", "RaftdConnectionsNearBound")

    watch(make_cluster(changes=tight), prometheus, scenario)


def _knock(node: NodeProcess) -> None:
    """Come without a certificate."""
    address = node.addresses.client_address
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        suppress(OSError),
        socket.create_connection((address.host, address.port), timeout=5.0) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.recv(1)  # TLS 1.3 tells a client of its refusal only after its own handshake


def test_upkeep(make_cluster: MakeCluster, prometheus: Prometheus, pki: Path, tmp_path: Path) -> None:
    """Certificates that end soon, files that cannot be used or wait for a restart, backups that are old or fail."""
    own = tmp_path / "own"
    shutil.copytree(pki, own)

    def with_own_certificates(_: int, document: Document) -> Document:
        tls = document.tls
        return dataclasses.replace(document, tls=Tls(_moved(tls.peer, pki, own), _moved(tls.client, pki, own)))

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        node = cluster.nodes[1]
        await _issued_for(node, own, days=20)
        await watched.fires("RaftdCertificateExpires", "RaftdBackupNone")
        await _issued_for(node, own, days=5)
        await watched.fires("RaftdCertificateExpiresNow")
        await _issued_for(node, own, days=90)
        await watched.clears("RaftdCertificateExpires", "RaftdCertificateExpiresNow")

        good = node.settings.read_text()
        node.settings.write_text(f"{good}\nno_such_setting: 1\n")
        node.signal(signal.SIGHUP)
        await watched.fires("RaftdReloadRefused")
        node.settings.write_text(render(dataclasses.replace(cluster.document, limits=OTHER_LIMITS)))
        node.signal(signal.SIGHUP)
        await watched.fires("RaftdRestartWanted", "RaftdSettingsDiffer")
        node.settings.write_text(good)
        node.signal(signal.SIGHUP)
        await watched.clears("RaftdReloadRefused", "RaftdRestartWanted", "RaftdSettingsDiffer")

        async with cluster.client() as client:
            now_ms = time.time_ns() // 1_000_000
            await client.report_backup(node.endpoint, now_ms - 27 * 3_600_000)
            await watched.clears("RaftdBackupNone")
            await watched.fires("RaftdBackupOld")
            await client.report_backup(node.endpoint, now_ms)
            await watched.clears("RaftdBackupOld")
            await client.report_backup(node.endpoint, None)
            await watched.fires("RaftdBackupFailed")
            await client.report_backup(cluster.nodes[2].endpoint, time.time_ns() // 1_000_000)
            await watched.clears("RaftdBackupFailed")

    watch(make_cluster(changes=with_own_certificates), prometheus, scenario)


def _moved(files: TlsTemplate, old: Path, new: Path) -> TlsTemplate:
    return TlsTemplate(*(str(path).replace(str(old), str(new)) for path in dataclasses.astuple(files)))


async def _issued_for(node: NodeProcess, pki: Path, *, days: int) -> None:
    """Give the node certificates that hold so long, and have it read them."""
    issue_node(pki, node.id, [own_address()], days=days, overwrite=True)
    node.signal(signal.SIGHUP)


PUPPET_SAYS: Final[tuple[tuple[str, dict[str, float], dict[str, float]], ...]] = (
    ("RaftdTwoLeadersInTerm", {"raftd_is_leader": 1, "raftd_term": 1}, {"raftd_is_leader": 0, "raftd_term": 1}),
    (
        "RaftdApplyLags",
        {"raftd_commit_index": 90_000, "raftd_applied_index": 10},
        {"raftd_commit_index": 90_000, "raftd_applied_index": 90_000},
    ),
    ("RaftdVersionsDiffer", {'raftd_build_info{version="0.0.1"}': 1}, {}),
    ("RaftdMembershipDiffers", {"raftd_membership_difference": 1}, {"raftd_membership_difference": 0}),
    ("RaftdOldAuthorityTrusted", {'raftd_trusted_authorities{port="peer"}': 2}, {}),
    ("RaftdLogLinesLost", {"raftd_log_lines_dropped_total": GROWS}, {"raftd_log_lines_dropped_total": 0}),
    (
        "RaftdWatchesEnded",
        {'raftd_watches_ended_total{reason="compacted"}': GROWS},
        {'raftd_watches_ended_total{reason="compacted"}': 0},
    ),
    (
        "RaftdMessagesDropped",
        {"raftd_messages_dropped_total": GROWS, 'raftd_peer_connected{peer="7"}': 1},
        {"raftd_messages_dropped_total": 0, 'raftd_peer_connected{peer="7"}': 1},
    ),
)


def test_what_only_a_puppet_says(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """A target beside a cluster of one says what no live node can be brought to say in a test."""

    async def scenario(watched: Watched) -> None:
        puppet = Puppet()
        labels = {"cluster": watched.cluster.document.cluster.name, "node": "puppet"}
        with puppet.served():
            prometheus.scrape([*nodes_of(watched.cluster), Target(str(puppet.address), labels)])
            puppet.say({name: value for _, said, _ in PUPPET_SAYS for name, value in said.items()})
            alerts = [alert for alert, _, _ in PUPPET_SAYS]
            await watched.fires(*alerts)
            puppet.say({name: value for _, _, said in PUPPET_SAYS for name, value in said.items()})
            await watched.clears(*alerts)

    watch(make_cluster(1), prometheus, scenario)
