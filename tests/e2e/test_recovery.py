"""A majority is lost for ever: one node goes on, and the lost ones cannot come back into what it became."""

import asyncio
import subprocess
import sys

import pytest

from raftd.errors import ExitCode
from tests.e2e.cluster import Cluster, NodeProcess
from tests.e2e.conftest import MakeCluster

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


@pytest.mark.timeout(120)
def test_the_most_complete_survivor_goes_on_alone(make_cluster: MakeCluster) -> None:
    """It has every acknowledged write, since a majority had; the lost nodes neither disturb it nor follow it."""

    async def scenario() -> None:
        cluster: Cluster = make_cluster()
        await cluster.start()
        async with cluster.client() as client:
            for number in range(50):
                await client.put(f"key/{number}", str(number))
            running = recover(cluster.nodes[1])
            assert running.returncode == ExitCode.CONFIGURATION
            assert "in use by another process" in running.stderr
        cluster.kill()
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
            for number in range(50):
                found = await client.get(f"key/{number}")
                assert found is not None
                assert found.value == str(number).encode()
            await client.put("after", "recovery")
            members = await client.members()
            assert (members.all, members.node_id) == (frozenset({survivor.id}), survivor.id)
        for node_id, status in (await cluster.statuses()).items():
            assert (status["leader_id"] == survivor.id) == (node_id == survivor.id)

    asyncio.run(scenario())
