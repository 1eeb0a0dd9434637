"""Health checks as those use them who balance load, and what a scrape costs: on a real cluster."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGTERM
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from raftd.client import AsyncClient, ClientError
from tests.e2e.balancer import Balancer
from tests.e2e.cluster import Cluster, NodeProcess, until_found
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e

HAPROXY = Path("/usr/sbin/haproxy")


@contextmanager
def balanced(cluster: Cluster) -> Iterator[Balancer]:
    with closing(Balancer(cluster.directory, cluster.nodes.values())) as balancer:
        try:
            yield balancer
        finally:
            print(balancer.log.read_text(errors="replace"))


def page_of(node: NodeProcess, path: str) -> tuple[int, str]:
    """Status and text of a node's page."""
    try:
        with urlopen(f"http://{node.addresses.http_address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


async def who_answers(client: AsyncClient, endpoint: str) -> tuple[int, str] | None:
    """Id and role of the node behind a balancer's address; None if nobody is there."""
    try:
        status = await client.status(endpoint)
    except ClientError:
        return None
    return status["node_id"], status["role"]


async def until_behind(cluster: Cluster, endpoint: str, wanted: int) -> float:
    """Wait until this node answers there; returns how many seconds that took."""
    began = asyncio.get_running_loop().time()
    async with cluster.client(endpoint, timeout=2.0) as client:

        async def find() -> bool | None:
            answers = await who_answers(client, endpoint)
            return True if answers is not None and answers[0] == wanted else None

        await until_found(find, f"node {wanted} is behind {endpoint}")
    return asyncio.get_running_loop().time() - began


@pytest.mark.skipif(not HAPROXY.exists(), reason="haproxy is not installed; on Debian: apt install haproxy")
def test_a_balancer_follows_the_leader_through_a_kill(make_cluster: MakeCluster) -> None:
    """HAProxy, by /leader and /follower, sends writes to whoever leads, and reads to the others, before and after."""

    async def scenario() -> float:
        cluster = make_cluster()
        await cluster.start()
        with balanced(cluster) as balancer:
            leader = await cluster.leader()
            writes, reads = str(balancer.writes), str(balancer.reads)
            await until_behind(cluster, writes, leader.id)
            async with cluster.client(writes) as client:
                await client.put(b"before", b"1")
            async with cluster.client(reads) as client:
                roles = [await who_answers(client, reads) for _ in range(6)]
            assert {role for _, role in filter(None, roles)} == {"follower"}
            term = await cluster.term()
            leader.kill()
            began = asyncio.get_running_loop().time()
            successor = await cluster.leader(above_term=term)
            await until_behind(cluster, writes, successor.id)
            seconds = asyncio.get_running_loop().time() - began
            async with cluster.client(writes) as client:
                await client.put(b"after", b"2")
                found = await client.get(b"before")
                assert found is not None
                assert found.value == b"1"
            (left,) = set(cluster.nodes) - {leader.id, successor.id}
            await until_behind(cluster, reads, left)
        return seconds

    print(f"the balancer had the new leader {asyncio.run(scenario()):.2f} s after the kill")


def test_a_leader_without_a_quorum_is_none(make_cluster: MakeCluster) -> None:
    """With both followers paused the leader stops to be one for /leader and /readyz, and lives."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        assert await asyncio.to_thread(page_of, leader, "/leader") == (200, "ok\n")
        others = [node for node in cluster.nodes.values() if node is not leader]
        for node in others:
            node.pause()
        status, text = await asyncio.to_thread(page_of, leader, "/leader?verbose")
        assert status == 503, text
        assert "[-]quorum failed" in text or "[-]role failed" in text
        assert (await asyncio.to_thread(page_of, leader, "/livez"))[0] == 200
        for node in others:
            node.resume()
        await cluster.leader()

    asyncio.run(scenario())


def test_every_member_is_discovered(make_cluster: MakeCluster) -> None:
    """Any node's /sd names all of them, in the form that Prometheus' http_sd_configs reads."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        wanted = [
            {"targets": [str(node.addresses.http_address)], "labels": {"cluster": "e2e", "node": str(node.id)}}
            for node in cluster.nodes.values()
        ]
        for node in cluster.nodes.values():
            status, text = await asyncio.to_thread(page_of, node, "/sd")
            assert (status, json.loads(text)) == (200, wanted)

    asyncio.run(scenario())


def test_a_node_that_stops_is_unready_before_it_is_gone(make_cluster: MakeCluster) -> None:
    """From SIGTERM on no health check but /livez passes, for as long as there is anybody to answer."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        leader.signal(SIGTERM)
        answers: list[tuple[int, str]] = []

        async def find() -> bool | None:
            try:
                answers.append(await asyncio.to_thread(page_of, leader, "/readyz"))
            except OSError:
                return True
            return None

        await until_found(find, "the node has stopped", every=0.005)
        assert await leader.ended() == 0
        assert all(status == 503 and "drain: the node is stopping" in text for status, text in answers[1:])

    asyncio.run(scenario())
