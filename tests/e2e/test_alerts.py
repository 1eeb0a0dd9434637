"""Each alert on a live cluster, with a real Prometheus: a fault fires it, and the fault's end lets it clear.

The rules are raftd's own, with seconds in the place of minutes (tests/monitoring/hastening.py). Faults of the machine
are put between it and raftd (tests/monitoring/faulty_node.py). That two nodes lead one term no live cluster can be
brought to: a puppet beside it says so.

Each test prints a table of what fired and cleared, and how soon; with RAFTD_TABLES=build it is in build/alerts-*.md.
"""

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.client import AsyncClient, ChangeKind, ClientError, LimitReached, NotPossible
from raftd.pki import create_authorities, issue_node
from raftd.settings import Document, Limits, Tls, TlsTemplate, render
from tests.e2e.cluster import CLUSTER_NAME, Cluster, NodeProcess, next_address, own_address, until, until_found
from tests.e2e.conftest import MakeCluster
from tests.monitoring.prometheus import Prometheus, Target, needs_prometheus, nodes_of
from tests.monitoring.puppet import Puppet
from tests.monitoring.tables import tell

pytestmark = [pytest.mark.e2e, needs_prometheus, pytest.mark.timeout(300)]

FAULTY_NODE: Final = str(Path(__file__).parents[1] / "monitoring" / "faulty_node.py")
PATIENCE_SECONDS: Final = 90.0
KEYS_MAX: Final = 60
CONNECTIONS_MAX: Final = 40
CONNECTED: Final = 36
BOUND: Final = 20
"""Of sessions, leases and watches."""
NEAR_BOUND: Final = 17
REPEATED_MAX: Final = 20
RELOADS: Final = 30
"""Each is told of in a line."""
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
    always: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The faults that all nodes have from their start on."""
    seen: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """For each alert after how many seconds it fired and cleared."""

    async def fires(self, *alerts: str) -> None:
        """Wait until each of these has fired, with a text in which everything is filled in."""
        waiting = set(alerts)
        began = time.monotonic()

        def missing() -> set[str]:
            for alert in waiting & self.prometheus.firing():
                self.seen[alert] = [time.monotonic() - began]
                waiting.discard(alert)
            return waiting

        await self._until(missing, "fire")
        for alert in self.prometheus.alerts():
            for text in alert["annotations"].values():
                assert "<no value>" not in text, alert
                assert "error" not in text.lower() or "expanding" not in text, alert

    async def clears(self, *alerts: str) -> None:
        """Wait until none of these fires any more."""
        waiting = set(alerts)
        began = time.monotonic()

        def left() -> set[str]:
            for alert in waiting - self.prometheus.firing():
                self.seen[alert].append(time.monotonic() - began)
                waiting.discard(alert)
            return waiting

        await self._until(left, "clear")

    async def _until(self, missing: Callable[[], set[str]], what: str) -> None:
        try:
            await until(lambda: not missing(), "", seconds=PATIENCE_SECONDS)
        except AssertionError:
            raise AssertionError(
                f"should {what}: {', '.join(missing())}; now fire {self.prometheus.firing()}"
            ) from None

    def faults(self, faults: Mapping[int, Mapping[str, Any]]) -> None:
        """Let the nodes' machines have these faults from now on, and no others but those that they always have."""
        path = self.cluster.directory / "faults.json"
        fresh = path.with_suffix(".new")
        named = {str(node_id): {**self.always, **faults.get(node_id, {})} for node_id in self.cluster.nodes}
        fresh.write_text(json.dumps(named))
        fresh.replace(path)


def watch(
    cluster: Cluster,
    prometheus: Prometheus,
    *scenarios: Callable[[Watched], Awaitable[None]],
    always: Mapping[str, Any] | None = None,
    by_sd: bool = False,
) -> None:
    """Start both, and play the scenarios side by side.

    Args:
        cluster: The cluster.
        prometheus: Watches it.
        scenarios: Faults, each with the alerts that it fires.
        always: Faults that all nodes have from their start on.
        by_sd: Whether Prometheus is told the nodes by one of them, rather than by a file.
    """

    async def play() -> None:
        watched = Watched(cluster, prometheus, always or {})
        watched.faults({})
        if by_sd:
            prometheus.discovery = [f"http://{node.addresses.http_address}/sd" for node in cluster.nodes.values()]
        prometheus.scrape([] if by_sd else nodes_of(cluster))
        prometheus.start()
        await until(prometheus.is_ready, "Prometheus answers")
        if by_sd:
            await watched.fires("RaftdNothingScraped")
        await cluster.start()
        await cluster.leader()
        await until(lambda: len(prometheus.query("raftd_uptime_seconds")) == len(cluster.nodes), "all are scraped")
        assert sorted(prometheus.targets()) == sorted(nodes_of(cluster))
        await asyncio.gather(*(scenario(watched) for scenario in scenarios))
        head = ("alert", "waited until it fired", "and until it cleared")
        name = str(os.environ["PYTEST_CURRENT_TEST"]).partition("::test_")[2].partition(" ")[0]
        tell(
            f"alerts-{name.replace('_', '-')}",
            head,
            [(alert, *(f"{seconds:.1f} s" for seconds in took)) for alert, took in sorted(watched.seen.items())],
        )
        assert {len(took) for took in watched.seen.values()} == {2}, "some have not cleared"

    asyncio.run(play())


async def followers(cluster: Cluster) -> list[NodeProcess]:
    leader = await cluster.leader()
    return [node for node in cluster.nodes.values() if node is not leader]


@asynccontextmanager
async def trying_to_write(cluster: Cluster, *, clients: int = 1, pause: float = 0.01) -> AsyncIterator[None]:
    """Puts, of each client one after the other, whatever becomes of them."""

    async def write(number: int) -> None:
        async with cluster.client(timeout=0.5) as client:
            while True:
                with suppress(ClientError):
                    await client.put(f"tried-{number}", "x")
                await asyncio.sleep(pause)  # leaves the nodes some of the processor

    tasks = [asyncio.create_task(write(number)) for number in range(clients)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # they close their connections before that


def test_lost_nodes(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """At first no node names the others by /sd; then a directory is set back, a node is lost, and the quorum."""

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        await watched.clears("RaftdNothingScraped")
        first, second = await followers(cluster)
        await _set_back(watched, first)
        second.kill()
        async with cluster.client() as client:
            # It was told what it lacked, and is one of the two that commit.
            await client.put("after", "x")
            assert await client.get("since-49") is not None
        async with trying_to_write(cluster, clients=16, pause=0.2):
            of_one = ("RaftdNodeDown", "RaftdPeerUnreachable", "RaftdQuorumAtEdge")
            await watched.fires(*of_one)
            first.kill()
            of_two = ("RaftdNoLeader", "RaftdWriteErrorsFast", "RaftdWriteErrorsSlow", "RaftdProposalsFail")
            await watched.fires(*of_two)
            await cluster.start(first.id, second.id)
            await watched.clears(*of_one, *of_two, "RaftdLogLost")

    watch(make_cluster(), prometheus, scenario, by_sd=True)


async def _set_back(watched: Watched, victim: NodeProcess) -> None:
    """Start the node with an old copy of its directory: it is told of, and mended."""
    cluster = watched.cluster
    data, copy = cluster.directory / "data" / str(victim.id), cluster.directory / "copy"
    async with cluster.client() as client:
        await client.put("before", "x")
        await cluster.until_proven()
        victim.kill()
        shutil.copytree(data, copy)
        await cluster.start(victim.id)
        for number in range(50):
            await client.put(f"since-{number}", "x")
        await cluster.agreement()
        victim.kill()
        shutil.rmtree(data)
        copy.rename(data)
        await cluster.start(victim.id)
        await watched.fires("RaftdLogLost")
        await cluster.agreement()


def test_restless_nodes(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """Leadership wanders, a process of another version does not stay and is no voter, followers do not keep up."""

    def joining(_: int, document: Document) -> Document:
        nodes = tuple(dataclasses.replace(node, joins=node.id == 4) for node in document.nodes)
        return dataclasses.replace(document, nodes=nodes)

    async def scenario(watched: Watched) -> None:
        cluster = watched.cluster
        async with cluster.client() as client:
            await _again_until("RaftdLeaderChanges", watched, lambda: _led_by_another(cluster, client))
            await watched.fires("RaftdLeaderChanges")
            learner, node = cluster.nodes[4], cluster.nodes[4].addresses
            addresses = f"client={node.client_address},peer={node.peer_address},http={node.http_address}"
            await client.change_membership(ChangeKind.ADD_LEARNER, 4, address=addresses)
            watched.faults({4: {"version": "0.0.1"}})
            await _again_until("RaftdNodeRestarts", watched, lambda: _started_anew(watched, learner))
            await watched.fires("RaftdNodeRestarts", "RaftdLearnerStays", "RaftdVersionsDiffer")
            watched.faults({})
            await _started_anew(watched, learner)
            await until_found(lambda: _promoted(client, 4), "the learner is promoted")
            paused, stalled, _ = await followers(cluster)
            paused.pause()
            watched.faults({stalled.id: {"apply_stalled": True}})
            await asyncio.gather(*(client.put(f"key-{number}", "x") for number in range(400)))
            await watched.fires("RaftdFollowerLags", "RaftdApplyLags")
            paused.resume()
            watched.faults({})
        await watched.clears(*watched.seen)

    watch(make_cluster(4, changes=joining, program=[FAULTY_NODE]), prometheus, scenario)


async def _again_until(alert: str, watched: Watched, act: Callable[[], Awaitable[None]]) -> None:
    """Act so often that the alert fires: on a machine that is busy some of it may be out of the window by then."""
    for _ in range(REPEATED_MAX):
        await act()
        if alert in watched.prometheus.firing():
            return


async def _led_by_another(cluster: Cluster, client: AsyncClient) -> None:
    await client.transfer_leadership()
    await cluster.leader()


async def _promoted(client: AsyncClient, node_id: int) -> bool:
    """Whether the learner has caught up, so that it could be made a voter."""
    try:
        await client.change_membership(ChangeKind.PROMOTE, node_id)
    except NotPossible:
        return False
    return True


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
        async with cluster.client(timeout=1.0) as client:
            # The log has room in the segment that it has begun; a snapshot has none.
            watched.faults({follower.id: {"disk_full": True}})
            for number in range(200):
                await client.put(f"small-{number % 8}", b"x" * (1 << 10))
            await watched.fires("RaftdSnapshotsFail")
            watched.faults({node_id: {"disk_full": True} for node_id in cluster.nodes})
            with suppress(ClientError):
                for number in range(64):
                    await client.put(f"large-{number % 8}", b"x" * (256 << 10))
            await watched.fires("RaftdDiskLow", "RaftdDiskSpaceLow")

        async with trying_to_write(cluster):
            slow = {"sync_seconds": 0.3}
            watched.faults(dict.fromkeys(cluster.nodes, slow) | {other.id: slow | {"clock_ahead_seconds": 9}})
            await watched.fires("RaftdDiskSlow", "RaftdWritesSlow", "RaftdClockApart")
            watched.faults({follower.id: {"sync_seconds": 10.0}})
            await watched.fires("RaftdDiskStalled")
            # Its answers find no room on the way to the leader, which goes on with the other node.
            watched.faults({follower.id: {"state_differs": True}, other.id: {"queue_full": True}})
            await watched.fires("RaftdStateDiverged", "RaftdMessagesDropped")
            watched.faults({})
            for _ in range(8):
                other.pause()
                await asyncio.sleep(0.4)  # a machine that does not run it: that takes time, whatever is waited for
                other.resume()
                await asyncio.sleep(0.2)
            await watched.fires("RaftdLoopLate")
            await watched.clears(*watched.seen)  # states are compared as entries come

    watch(make_cluster(changes=small, program=[FAULTY_NODE]), prometheus, scenario)


def test_use_and_upkeep(make_cluster: MakeCluster, prometheus: Prometheus, pki: Path, tmp_path: Path) -> None:
    """What operators let be: bounds that come near, strangers, certificates, files and backups; all side by side."""
    own = tmp_path / "own"
    shutil.copytree(pki, own)

    def tight(_: int, document: Document) -> Document:
        limits = dataclasses.replace(
            document.limits, keys_max=KEYS_MAX, bytes_max=1 << 20, connections_max=CONNECTIONS_MAX
        )
        tls = document.tls
        own_tls = Tls(_moved(tls.peer, pki, own), _moved(tls.client, pki, own))
        return dataclasses.replace(document, limits=limits, tls=own_tls)

    async def upkeep(watched: Watched) -> None:
        await _certificates(watched, own)
        await _files(watched)
        await _backups(watched)

    async def use(watched: Watched) -> None:
        await _full_store(watched)
        await _strangers_and_connections(watched)
        await _sessions_leases_and_watches(watched)

    cluster = make_cluster(changes=tight, program=[FAULTY_NODE])
    watch(cluster, prometheus, upkeep, use, _two_leaders, always={"bound": BOUND})


async def _full_store(watched: Watched) -> None:
    """Keys and bytes come near their bounds, and reach them."""
    async with watched.cluster.client() as client:
        for number in range(KEYS_MAX):
            await client.put(f"key-{number}", b"x" * (900 << 10) if number == 0 else b"")
        of_keys = ("RaftdKeysNearBound", "RaftdBytesNearBound", "RaftdFull")
        await watched.fires(*of_keys)
        await client.delete_range(prefix="key-")
        await watched.clears(*of_keys)


async def _strangers_and_connections(watched: Watched) -> None:
    """Many come without a certificate, and many with one."""
    node = watched.cluster.nodes[3]
    for _ in range(80):
        await asyncio.to_thread(_knock, node)
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTED):
            client = await stack.enter_async_context(watched.cluster.client(node.endpoint))
            await client.status(node.endpoint)
        await watched.fires("RaftdConnectionsRefused", "RaftdConnectionsNearBound")
    await watched.clears("RaftdConnectionsRefused", "RaftdConnectionsNearBound")


async def _sessions_leases_and_watches(watched: Watched) -> None:
    """Each comes near its bound, and more watches are wanted than there may be."""
    node = watched.cluster.nodes[3]

    async def read(client: AsyncClient, number: int) -> None:
        with suppress(LimitReached):
            async for _ in client.watch(f"watched-{number}"):
                pass

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(watched.cluster.client(node.endpoint)) for _ in range(NEAR_BOUND)]
        for number, client in enumerate(clients):
            await client.put(f"session-{number}", "x")
        leases = [await clients[0].grant_lease(60.0) for _ in range(NEAR_BOUND)]
        watches = [asyncio.create_task(read(clients[0], number)) for number in range(2 * BOUND)]
        near = ("RaftdSessionsNearBound", "RaftdLeasesNearBound", "RaftdWatchesNearBound", "RaftdWatchesEnded")
        await watched.fires(*near)
        for lease in leases:
            await clients[0].revoke_lease(lease.id)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    await watched.clears(*near)


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


async def _certificates(watched: Watched, own: Path) -> None:
    """Some end soon, some at once, and a second authority is trusted."""
    node, authority = watched.cluster.nodes[1], own / "peer-ca.crt"
    one = authority.read_text()
    create_authorities(own / "other", CLUSTER_NAME)
    authority.write_text(one + (own / "other" / "peer-ca.crt").read_text())
    await _issued_for(node, own, days=20)
    await watched.fires("RaftdCertificateExpires", "RaftdBackupNone", "RaftdOldAuthorityTrusted")
    authority.write_text(one)
    await _issued_for(node, own, days=5)
    await watched.fires("RaftdCertificateExpiresNow")
    await _issued_for(node, own, days=90)
    await watched.clears("RaftdCertificateExpires", "RaftdCertificateExpiresNow", "RaftdOldAuthorityTrusted")


async def _files(watched: Watched) -> None:
    """They cannot be used, wait for a restart, or name other nodes than there are; and a log takes no lines."""
    cluster, node, talker = watched.cluster, watched.cluster.nodes[1], watched.cluster.nodes[2]
    good = node.settings.read_text()
    node.settings.write_text(f"{good}\nno_such_setting: 1\n")
    node.signal(signal.SIGHUP)
    watched.faults({talker.id: {"log_stalled": True}})
    async with cluster.client() as client:
        for _ in range(RELOADS):
            await client.reload(talker.endpoint)
    await watched.fires("RaftdReloadRefused", "RaftdLogLinesLost")
    watched.faults({})
    moved = dataclasses.replace(cluster.document.nodes[-1], http_address=next_address())
    other = dataclasses.replace(cluster.document, limits=OTHER_LIMITS, nodes=(*cluster.document.nodes[:-1], moved))
    node.settings.write_text(render(other))
    node.signal(signal.SIGHUP)
    of_settings = ("RaftdRestartWanted", "RaftdSettingsDiffer", "RaftdMembershipDiffers")
    await watched.fires(*of_settings)
    node.settings.write_text(good)
    node.signal(signal.SIGHUP)
    await watched.clears("RaftdReloadRefused", "RaftdLogLinesLost", *of_settings)


async def _backups(watched: Watched) -> None:
    """There is none, an old one, one that fails, and a good one."""
    node, other = watched.cluster.nodes[1], watched.cluster.nodes[2]
    async with watched.cluster.client() as client:
        now_ms = time.time_ns() // 1_000_000
        await client.report_backup(node.endpoint, now_ms - 27 * 3_600_000)
        await watched.clears("RaftdBackupNone")
        await watched.fires("RaftdBackupOld")
        await client.report_backup(node.endpoint, now_ms)
        await watched.clears("RaftdBackupOld")
        await client.report_backup(node.endpoint, None)
        await watched.fires("RaftdBackupFailed")
        await client.report_backup(other.endpoint, time.time_ns() // 1_000_000)
        await watched.clears("RaftdBackupFailed")


def _moved(files: TlsTemplate, old: Path, new: Path) -> TlsTemplate:
    return TlsTemplate(*(str(path).replace(str(old), str(new)) for path in dataclasses.astuple(files)))


async def _issued_for(node: NodeProcess, pki: Path, *, days: int) -> None:
    """Give the node certificates that hold so long, and have it read them."""
    issue_node(pki, node.id, [own_address()], days=days, overwrite=True)
    node.signal(signal.SIGHUP)


async def _two_leaders(watched: Watched) -> None:
    """A target beside the cluster says what would be a bug of raftd: that it leads, too, in the leader's term."""
    puppet = Puppet()
    labels = {"cluster": watched.cluster.document.cluster.name, "node": "puppet"}
    term = await watched.cluster.term()
    with puppet.served():
        watched.prometheus.scrape([*nodes_of(watched.cluster), Target(str(puppet.address), labels)])
        puppet.say({"raftd_is_leader": 1, "raftd_term": term})
        await watched.fires("RaftdTwoLeadersInTerm")
        puppet.say({"raftd_is_leader": 0, "raftd_term": term})
        await watched.clears("RaftdTwoLeadersInTerm")
        watched.prometheus.scrape(nodes_of(watched.cluster))
