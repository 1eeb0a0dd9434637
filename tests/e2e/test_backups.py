"""Backups and restores of real processes, under a load of writes, and with nodes that are killed meanwhile."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raftd.cli.backup_file import load
from raftd.cli.merging import MARKER
from raftd.client import AsyncClient, Change, Increment, Put
from raftd.daemon.founding import GAP
from raftd.errors import ExitCode
from tests.e2e.cluster import CLUSTER_NAME, PATIENCE_SECONDS, Cluster, command_that_dies_with_us, until
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e

_PROGRAM = (sys.executable, "-c", "from raftd.cli.raftctl import main; main()")
_OWNER = ("--owner", "root") if os.geteuid() == 0 else ()


def ignore(_: int) -> None:
    """Progress is of no interest."""


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


class Raftctl:
    """`raftctl` in processes of its own, as the cluster's administrator."""

    def __init__(self, cluster: Cluster) -> None:
        tls = cluster.tls
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAFTCTL_")},
            "RAFTCTL_ENDPOINTS": ",".join(cluster.endpoints),
            "RAFTCTL_CACERT": str(tls.cacert),
            "RAFTCTL_CERT": str(tls.cert),
            "RAFTCTL_KEY": str(tls.key),
        }

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        command = command_that_dies_with_us(*_PROGRAM, *arguments)
        return await asyncio.create_subprocess_exec(
            *command, env=self._environment, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    async def __call__(self, *arguments: str, code: int = ExitCode.OK) -> str:
        """Run it to its end; what it wrote to standard output, or to standard error if it was to fail."""
        process = await self.begin(*arguments)
        output, said = await asyncio.wait_for(process.communicate(), 3 * PATIENCE_SECONDS)
        assert process.returncode == code, said
        assert b"Traceback" not in said
        return (said if code else output).decode()

    async def json(self, *arguments: str) -> Any:
        """What it prints with `-o json`."""
        return json.loads(await self(*arguments, "-o", "json"))


@asynccontextmanager
async def pairs_written(client: AsyncClient) -> AsyncIterator[list[int]]:
    """Add one to a pair of counters, far apart in the order of keys, in one transaction after the other.

    Gives a list with the last count that was acknowledged.
    """
    acknowledged = [0]

    async def write() -> None:
        while True:
            await client.transaction().then(Increment("a/count"), Increment("z/count")).commit()
            acknowledged[0] += 1

    async with asyncio.TaskGroup() as group:
        writer = group.create_task(write())
        await until(lambda: acknowledged[0] > 3, "some pairs are written")
        yield acknowledged
        assert not writer.done(), "the load has failed"
        writer.cancel()


async def fill(client: AsyncClient, count: int = 400, value_bytes: int = 2000) -> dict[str, bytes]:
    """So many keys, in between the two counters."""
    values = {f"m/{number:05}": os.urandom(value_bytes) for number in range(count)}
    await asyncio.gather(*(client.put(key, value) for key, value in values.items()))
    return values


def test_a_backup_under_load_is_of_one_moment(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """From every node: both counters are the same in it, no acknowledged write is missing, and no write fails."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        raftctl = Raftctl(cluster)
        async with cluster.client() as client:
            await fill(client)
            async with pairs_written(client) as acknowledged:
                for node_id in cluster.nodes:
                    before = acknowledged[0]
                    path = tmp_path / f"{node_id}.backup"
                    record = await raftctl.json("snapshot", "save", str(path), "--node", str(node_id))
                    header, machine = load(path, ignore, thorough=True)
                    assert record["node"] == header.node_id == node_id
                    count = machine.get(b"a/count")
                    assert count == machine.get(b"z/count")
                    assert count is not None
                    assert before <= int(count) <= acknowledged[0] + 1
                    assert machine.key_count == 402
            assert await client.find_leader() == leader.endpoint

    asyncio.run(scenario())


def test_a_follower_is_asked_unless_one_says_otherwise(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The leader has enough to do."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        await cluster.agreement()
        record = await Raftctl(cluster).json("snapshot", "save", str(tmp_path / "x"))
        assert record["node"] != leader.id

    asyncio.run(scenario())


def test_a_node_alone_gives_what_it_has(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Without a quorum only with --stale; and nothing is left of what was refused."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        async with cluster.client() as client:
            await client.put("key", "value")
        await cluster.agreement()
        cluster.kill(2, 3)
        raftctl = Raftctl(cluster)
        path = tmp_path / "x"
        said = await raftctl("snapshot", "save", str(path), "--node", "1", code=ExitCode.UNAVAILABLE)
        # Whether the node has noticed yet that its leader is gone: only then there is something to say of waiting.
        *waits, error = said.splitlines()
        assert all("knows no leader: the backup begins once it has caught up" in line for line in waits), said
        assert len(waits) <= 1
        assert error.startswith("raftctl: ")
        assert names(tmp_path) == []
        await raftctl("snapshot", "save", str(path), "--node", "1", "--stale")
        assert load(path, ignore)[1].get(b"key") == b"value"

    asyncio.run(scenario())


def test_a_node_that_is_killed_leaves_no_file(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """In the middle of what it sends: one line that names it, and not even a part is left."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        async with cluster.client() as client:
            # At 32 MiB a second that takes a second: time enough to see that it has begun.
            await fill(client, 40, 1 << 20)
        await cluster.agreement()
        process = await Raftctl(cluster).begin("snapshot", "save", str(tmp_path / "x"), "--node", "2")
        await until((tmp_path / "x.part").exists, "the backup is being written")
        cluster.kill(2)
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode == ExitCode.UNAVAILABLE
        assert cluster.nodes[2].endpoint in said.decode()
        assert said.count(b"\n") == 1
        assert names(tmp_path) == []

    asyncio.run(scenario())


def test_success_and_failure_are_remembered_over_a_restart(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """By the node that was asked."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        await cluster.leader()
        await Raftctl(cluster)("snapshot", "save", str(tmp_path / "x"))
        before = (await cluster.statuses())[1]["backup"]
        assert before["success_ms"] == load(tmp_path / "x", ignore)[0].wall_clock_ms
        cluster.kill(1)
        await cluster.start()
        assert (await cluster.statuses())[1]["backup"] == before

    asyncio.run(scenario())


def test_a_new_cluster_has_every_key(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """On three new nodes, which agree; writes go on, further on, and one that lags is sent the state as ever."""

    async def scenario() -> None:
        old = make_cluster()
        await old.start()
        await old.leader()
        path = tmp_path / "x.backup"
        async with old.client() as client:
            values = await fill(client)
            lease = await client.grant_lease(600)
            await client.put("held", "by a lease", lease=lease.id)
            await Raftctl(old)("snapshot", "save", str(path))
        old.close()
        new = make_cluster()
        for node in new.nodes.values():
            data = new.directory / "data" / str(node.id)
            arguments = ("--data-dir", str(data), "--config", str(node.settings), "--node", str(node.id), *_OWNER)
            await Raftctl(new)("snapshot", "restore", str(path), *arguments)
        await new.start()
        await new.leader()
        async with new.client() as client:
            found = {item.key.decode(): item.value async for item in client.items()}
            assert found == {**values, "held": b"by a lease"}
            assert (await client.put("new", "value")).revision == GAP + len(values) + 2
            assert [lease.key_count for lease in await client.leases()] == [1]
        assert (await new.agreement())["last_applied"] > GAP

    asyncio.run(scenario())


def test_a_running_cluster_gets_the_keys_back(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """By several transactions: watches are told, and the marker is there from before the first to the last."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        path = tmp_path / "x.backup"
        raftctl = Raftctl(cluster)
        async with cluster.client() as client:
            values = await fill(client, 400, 10)
            await raftctl("snapshot", "save", str(path))
            await client.delete_range(prefix="m/")
            revision = (await client.put("m/extra", "later")).revision
            async with client.watch() as watch:
                record = await raftctl.json("snapshot", "restore", str(path), "--yes", CLUSTER_NAME)
                told = [await anext(watch) for _ in range(403)]
            changes = [change for change in told if isinstance(change, Change)]
            assert (record["written"], record["deleted"]) == (400, 1)
            assert changes[0].key == changes[-1].key == MARKER
            assert [change.kind for change in changes].count("delete") == 2
            assert min(change.revision for change in changes) > revision
            assert {item.key.decode(): item.value async for item in client.items()} == values

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_restore_is_finished_by_another(
    make_cluster: MakeCluster, tmp_path: Path, number: signal.Signals
) -> None:
    """The marker tells everybody of it, until the same command has come to its end."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        await cluster.leader()
        path = tmp_path / "x.backup"
        raftctl = Raftctl(cluster)
        async with cluster.client() as client:
            values = await fill(client, 3000, 10)
            await raftctl("snapshot", "save", str(path))
            await client.delete_range(prefix="m/")
            process = await raftctl.begin("snapshot", "restore", str(path), "--yes", CLUSTER_NAME)
            async with client.watch(MARKER) as watch:
                begun = await asyncio.wait_for(anext(watch), PATIENCE_SECONDS)
            assert isinstance(begun, Change)
            process.send_signal(number)
            await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
            was_interrupted = await client.get(MARKER) is not None
            record = await raftctl.json("snapshot", "restore", str(path), "--yes", CLUSTER_NAME)
            assert await client.get(MARKER) is None
            assert {item.key.decode(): item.value async for item in client.items()} == values
            assert record["written"] + record["unchanged"] == 3000
            assert (record["written"] > 0) == was_interrupted

    asyncio.run(scenario())


def test_a_leader_is_killed_in_the_middle_of_a_restore(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The next one takes it over: each step happens once, and the command ends well."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        path = tmp_path / "x.backup"
        raftctl = Raftctl(cluster)
        async with cluster.client() as client:
            values = await fill(client, 2000, 10)
            await raftctl("snapshot", "save", str(path))
            await client.transaction().then(Put("m/extra", "later")).commit()
            await client.delete_range(prefix="m/0")
            process = await raftctl.begin("snapshot", "restore", str(path), "--yes", CLUSTER_NAME)
            async with client.watch(MARKER) as watch:
                await asyncio.wait_for(anext(watch), PATIENCE_SECONDS)
            leader.kill()
            _, said = await asyncio.wait_for(process.communicate(), 3 * PATIENCE_SECONDS)
            assert process.returncode in {ExitCode.OK, ExitCode.UNAVAILABLE, ExitCode.OUTCOME_UNKNOWN}, said
            if process.returncode:
                await raftctl("snapshot", "restore", str(path), "--yes", CLUSTER_NAME)
            assert await client.get(MARKER) is None
            assert {item.key.decode(): item.value async for item in client.items()} == values

    asyncio.run(scenario())
