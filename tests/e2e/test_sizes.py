"""Clusters of every size: they come up, and acknowledge exactly what a majority has."""

import asyncio

import pytest

from raftd.client import OutcomeUnknown, Unavailable
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_a_cluster_of_any_size_takes_writes_exactly_while_it_has_a_majority(
    make_cluster: MakeCluster, size: int
) -> None:
    """With as many dead as a majority can spare it goes on; with one more nothing is acknowledged until it is back.

    Those killed are followers, so that the leader has its own copy: two copies of four are no majority.
    """

    async def scenario() -> None:
        cluster = make_cluster(size)
        await cluster.start()
        leader = await cluster.leader()
        followers = [node for node in cluster.nodes.values() if node is not leader]
        spare = (size - 1) // 2
        async with cluster.client() as client:
            await client.put("key", "of all")
            await cluster.until_proven()
            for follower in followers[:spare]:
                follower.kill()
            assert (await client.put("key", "of a majority")).version == 2
            if size > 1:
                followers[spare].kill()
                await check_nothing_is_acknowledged(cluster)
                await cluster.start(followers[spare].id)
            assert (await client.put("key", "of a majority again")).version == 3
            found = await client.get("key")
        assert found is not None
        assert found.value == b"of a majority again"

    asyncio.run(scenario())


async def check_nothing_is_acknowledged(cluster: Cluster) -> None:
    """Neither writes nor linearizable reads have an answer; reads that may be stale do."""
    async with cluster.client(timeout=1.0) as client:
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await client.put("minority", "must not be acknowledged")
        with pytest.raises(Unavailable):
            await client.get("key")
        stale = await client.get("key", stale=True)
    assert stale is not None
    assert stale.value == b"of a majority"


def test_a_node_that_is_alone_keeps_what_it_acknowledged(make_cluster: MakeCluster) -> None:
    """A cluster of one that is killed again and again in the middle of writing has every acknowledged write, once."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        async with writing(cluster, 4) as writers:
            for _ in range(5):
                await more_writes(writers, 100)
                cluster.kill()
                await cluster.start()
        await check_exactly_once(cluster, writers)

    asyncio.run(scenario())
