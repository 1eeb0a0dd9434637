"""Members and leaders of a running cluster are changed from a shell, under writing clients."""

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from raftd.errors import ExitCode
from raftd.settings import Document
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e


def with_joining(_: int, document: Document) -> Document:
    """Nodes 4 and 5 wait to be added."""
    return replace(document, nodes=tuple(replace(node, joins=node.id > 3) for node in document.nodes))


def with_one_founder(_: int, document: Document) -> Document:
    """All but the first wait to be added."""
    return replace(document, nodes=tuple(replace(node, joins=node.id > 1) for node in document.nodes))


def with_more_joining(_: int, document: Document) -> Document:
    """All but the first two wait to be added."""
    return replace(document, nodes=tuple(replace(node, joins=node.id > 2) for node in document.nodes))


async def raftctl(cluster: Cluster, *arguments: str, code: int = ExitCode.OK) -> Any:
    """Run it as an operator does; what it prints as JSON, or its one line of error."""
    tls = cluster.tls
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from raftd.cli.raftctl import main; main()"),
        *("--endpoints", ",".join(cluster.endpoints)),
        *("--cacert", str(tls.cacert), "--cert", str(tls.cert), "--key", str(tls.key)),
        *(*arguments, "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, said = await process.communicate()
    assert process.returncode == code, said.decode()
    if code != ExitCode.OK:
        assert said.count(b"\n") == 1, said
        return said.decode()
    return json.loads(output)


def addresses(cluster: Cluster, node_id: int) -> list[str]:
    node = cluster.nodes[node_id].addresses
    return [
        *("--client-address", str(node.client_address)),
        *("--peer-address", str(node.peer_address)),
        *("--http-address", str(node.http_address)),
    ]


@pytest.mark.timeout(180)
def test_nodes_come_and_go_under_load(make_cluster: MakeCluster) -> None:
    """One is added, one replaced, the leader removed and leadership handed over; no write is lost or done twice.

    Who is removed, follower or leader, ends by itself and says why.
    """

    async def scenario() -> None:
        cluster = make_cluster(5, changes=with_joining)
        await cluster.start()
        async with writing(cluster) as writers:
            await cluster.leader()
            assert (await raftctl(cluster, "member", "add", "4", *addresses(cluster, 4)))["done"]
            again = await raftctl(cluster, "member", "add", "4", *addresses(cluster, 4))
            assert again["done"]
            refused = await raftctl(cluster, "member", "add", "5", *addresses(cluster, 4), code=ExitCode.ERROR)
            assert "is node 4's" in refused
            assert (await raftctl(cluster, "member", "replace", "2", "5", *addresses(cluster, 5)))["done"]
            assert await cluster.nodes[2].ended() == ExitCode.REMOVED
            leader = (await raftctl(cluster, "transfer-leader", "4"))["leader"]
            assert leader == 4
            assert (await raftctl(cluster, "member", "remove", "4"))["done"]
            assert await cluster.nodes[4].ended() == ExitCode.REMOVED
            rows = {row["node"]: row["role"] for row in await raftctl(cluster, "member", "list")}
            assert {node for node, role in rows.items() if "voter" in role} == {1, 3, 5}
            # It knows that by itself from then on, whoever else may have forgotten it.
            cluster.nodes[2].start()
            assert await cluster.nodes[2].ended() == ExitCode.REMOVED
        await check_exactly_once(cluster, writers)

    asyncio.run(scenario())


@pytest.mark.timeout(240)
def test_one_node_grows_to_five_and_shrinks_to_one_under_load(make_cluster: MakeCluster) -> None:
    """One voter at a time, and back by the removal of whoever leads, the first node included."""

    async def scenario() -> None:
        cluster = make_cluster(5, changes=with_one_founder)
        await cluster.start()
        async with writing(cluster) as writers:
            for new in range(2, 6):
                assert (await raftctl(cluster, "member", "add", str(new), *addresses(cluster, new)))["done"]
                await more_writes(writers, 50)
            left = set(cluster.nodes)
            await raftctl(cluster, "transfer-leader", "1")
            while len(left) > 1:
                leader = (await cluster.leader()).id
                assert (await raftctl(cluster, "member", "remove", str(leader)))["done"]
                assert await cluster.nodes[leader].ended() == ExitCode.REMOVED
                left.remove(leader)
                await more_writes(writers, 50)
            assert 1 not in left
            (last,) = left
            rows = {row["node"]: row["role"] for row in await raftctl(cluster, "member", "list")}
            assert {node for node, role in rows.items() if "voter" in role} == {last}
        await check_exactly_once(cluster, writers)

    asyncio.run(scenario())


@pytest.mark.timeout(180)
def test_a_new_node_catches_up_with_a_leader_that_came_late(make_cluster: MakeCluster) -> None:
    """Its log begins with members of long ago, which the leader is not among: it answers that leader all the same.

    It is sent more than may be under way without an answer, in an idle cluster.
    """

    async def scenario() -> None:
        cluster = make_cluster(5, changes=with_more_joining)
        await cluster.start(1, 2, 3, 4)
        await cluster.leader()
        await raftctl(cluster, "member", "add", "3", *addresses(cluster, 3))
        async with cluster.client() as client:
            for first in range(0, 6000, 500):
                await asyncio.gather(*(client.put(f"key-{number}", "value") for number in range(first, first + 500)))
            await raftctl(cluster, "member", "replace", "1", "4", *addresses(cluster, 4))
            await raftctl(cluster, "transfer-leader", "4")
            await cluster.start(5)
            added = await raftctl(cluster, "member", "add", "5", *addresses(cluster, 5), "--wait-timeout", "60s")
        assert added["done"]

    asyncio.run(scenario())
