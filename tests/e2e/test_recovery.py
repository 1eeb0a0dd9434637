"""A majority is lost for ever: one node goes on, and the lost ones cannot come back into what it became."""

import asyncio
import contextlib
import subprocess
import sys

import pytest

from raftd.client import ClientError
from raftd.errors import ExitCode
from tests.e2e.cluster import Cluster, NodeProcess
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import Writer, more_writes

pytestmark = pytest.mark.e2e


def recover(node: NodeProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raftd", "recover", "--config", str(node.settings), "--node", str(node.id)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def last_of(said: str) -> tuple[int, int]:
    """(last term, last index) as `raftd recover` shows them."""
    values = dict(line.rsplit(None, 1) for line in said.splitlines() if line.startswith(("last term", "last index")))
    return int(values["last term"]), int(values["last index"])


def renew(node: NodeProcess, old_id: str, new_id: str) -> None:
    """Edit the node's settings: another cluster."""
    node.settings.write_text(node.settings.read_text().replace(old_id, new_id))


async def write_until_the_end(writer: Writer) -> None:
    """Write as fast as the cluster answers, until it is gone."""
    with contextlib.suppress(ClientError):
        while True:
            await writer.put()


async def kill_under_load(cluster: Cluster, count: int) -> list[Writer]:
    """End all nodes at once while clients write; returns these, who know what was acknowledged."""
    writers = [Writer(cluster.client(timeout=2.0), f"writer-{number}") for number in range(count)]
    writing = [asyncio.create_task(write_until_the_end(writer)) for writer in writers]
    await more_writes(writers, 300)
    cluster.kill()
    await asyncio.gather(*writing)
    await asyncio.gather(*(writer.client.close() for writer in writers))
    return writers


@pytest.mark.timeout(120)
def test_the_most_complete_survivor_goes_on_alone(make_cluster: MakeCluster) -> None:
    """It has every acknowledged write, since a majority had, and none twice, though all died while clients wrote.

    The lost nodes neither disturb it nor follow it.
    """

    async def scenario() -> None:
        cluster: Cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        running = recover(cluster.nodes[1])
        assert running.returncode == ExitCode.CONFIGURATION
        assert "in use by another process" in running.stderr
        writers = await kill_under_load(cluster, 8)
        lasts = {node.id: last_of(recover(node).stdout) for node in cluster.nodes.values()}
        survivor = cluster.nodes[max(lasts, key=lambda node_id: lasts[node_id])]
        done = recover(survivor, "--force-new-cluster", "--yes", cluster.document.cluster.name)
        assert done.returncode == ExitCode.OK, done.stderr
        new_id = done.stdout.partition("set cluster.id to ")[2].partition("\n")[0]

        survivor.start()
        assert await survivor.ended() == ExitCode.CONFIGURATION  # the settings are still the old cluster's
        renew(survivor, str(cluster.document.cluster.id), new_id)
        await cluster.start()
        async with cluster.client(survivor.endpoint) as client:
            for writer in writers:
                found = await client.get(writer.key)
                assert found is not None
                # The last one may have been done without an answer.
                assert found.version in {writer.puts, writer.puts + 1}
                assert found.value.decode() == f"{writer.name} {found.version}"
            await client.put("after", "recovery")
            members = await client.members()
            assert (members.all, members.node_id) == (frozenset({survivor.id}), survivor.id)
        for node_id, status in (await cluster.statuses()).items():
            assert (status["leader_id"] == survivor.id) == (node_id == survivor.id)

    asyncio.run(scenario())
