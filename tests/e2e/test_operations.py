"""What an operator asks before and after touching a node, and the canary that flies meanwhile."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raftd.errors import ExitCode
from tests.e2e.cluster import Cluster, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.test_membership import addresses, raftctl, with_joining

pytestmark = pytest.mark.e2e


async def judged(cluster: Cluster, node_id: int) -> dict[str, Any]:
    """What `raftctl can-stop` says, after its exit code was compared with it."""
    tls = cluster.tls
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from raftd.cli.raftctl import main; main()"),
        *("--endpoints", ",".join(cluster.endpoints[:3])),
        *("--cacert", str(tls.cacert), "--cert", str(tls.cert), "--key", str(tls.key)),
        *("can-stop", str(node_id), "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    verdict: dict[str, Any] = json.loads(output)
    assert process.returncode == (ExitCode.OK if verdict["can_stop"] else ExitCode.UNHEALTHY)
    assert verdict["can_stop"] == (not verdict["reasons"])
    return verdict


async def until_stoppable(cluster: Cluster, node_id: int) -> None:
    async def find() -> bool:
        return bool((await judged(cluster, node_id))["can_stop"])

    await until_found(find, f"node {node_id} can be stopped")


@pytest.mark.timeout(120)
def test_a_node_is_stopped_only_when_the_others_can_do_without_it(make_cluster: MakeCluster) -> None:
    """Each kind of trouble is a reason: a voter that is down, hangs, or starts, and a change that is under way."""

    async def scenario() -> None:
        cluster = make_cluster(5, changes=with_joining)
        await cluster.start(1, 2, 3)
        leader = await cluster.leader()
        follower, other = (node for node in list(cluster.nodes.values())[:3] if node is not leader)
        await until_stoppable(cluster, leader.id)
        assert (await judged(cluster, leader.id))["is_leader"]
        before = await judged(cluster, follower.id)
        assert (before["can_stop"], before["is_leader"], before["voters"]) == (True, False, [1, 2, 3])

        follower.kill()
        for node in (leader, other):
            reasons = (await judged(cluster, node.id))["reasons"]
            assert reasons[0] == "the quorum would be lost: 1 voters would be left, and 2 are needed"
            assert f"node {follower.id} does not answer" in reasons
        async with cluster.client() as client:
            await client.put("key", "value")
        await cluster.start(follower.id)
        ready = await raftctl(
            cluster, "wait-ready", str(follower.id), "--commit-index", str(before["commit_index"] + 1)
        )
        assert ready["voters"] == 3
        await until_stoppable(cluster, leader.id)

        other.pause()
        reasons = (await judged(cluster, follower.id))["reasons"]
        assert f"node {other.id} does not answer" in reasons
        waiting = await raftctl(cluster, "wait-ready", str(other.id), "--timeout", "500ms", code=ExitCode.UNHEALTHY)
        assert f"node {other.id} is not ready within 0.5 s: it does not answer" in waiting
        other.resume()
        await until_stoppable(cluster, follower.id)

        await raftctl(cluster, "member", "add", "4", *addresses(cluster, 4), "--no-wait")
        assert "a change of members is under way" in (await judged(cluster, other.id))["reasons"]
        await raftctl(cluster, "member", "remove", "4")
        await until_stoppable(cluster, other.id)
        assert not (await judged(cluster, 4))["can_stop"]

    asyncio.run(scenario())


@asynccontextmanager
async def canary(cluster: Cluster, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """`raftctl canary` during the block; its report is there after it."""
    tls = cluster.tls
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from raftd.cli.raftctl import main; main()"),
        *("--endpoints", ",".join(cluster.endpoints), "--timeout", "20s"),
        *("--cacert", str(tls.cacert), "--cert", str(tls.cert), "--key", str(tls.key)),
        *("canary", "-o", "json", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    report: dict[str, Any] = {}
    try:
        yield report
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
        report |= json.loads(output)
        report["exit code"] = process.returncode
    finally:
        if process.returncode is None:
            process.kill()


def test_a_canary_flies_through_the_loss_of_a_leader(make_cluster: MakeCluster) -> None:
    """No write fails or is lost, and the report has the stall; it leaves no key behind."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        async with canary(cluster, "--rate", "100") as report:

            async def keys() -> int:
                return max((int(status["keys"]) for status in (await cluster.statuses()).values()), default=0)

            async def has_begun() -> bool:
                return await keys() > 1

            await until_found(has_begun, "the canary writes")
            term = await cluster.term()
            leader.kill()
            await cluster.leader(above_term=term)
            revision = max(int(status["revision"]) for status in (await cluster.statuses()).values())

            async def goes_on() -> bool:
                return any(int(each["revision"]) > revision + 50 for each in (await cluster.statuses()).values())

            await until_found(goes_on, "writes go on")
        assert report["exit code"] == ExitCode.OK
        assert (report["failed"], report["unknown"], report["missing"], report["unverified"]) == (0, 0, 0, 0)
        assert report["tried"] == report["acknowledged"] > 50
        assert 0.2 < report["longest_stall_seconds"] < 10
        print(f"longest stall {report['longest_stall_seconds']:.3f} s, p99 {report['p99_seconds']:.3f} s")
        assert await keys() == 0

    asyncio.run(scenario())
