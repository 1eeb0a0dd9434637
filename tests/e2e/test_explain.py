"""Where one write's time went, in a real cluster: each node tells of its own disk."""

import asyncio

import pytest

from raftd.client import Explanation
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e


def test_a_write_is_explained_by_all_nodes(make_cluster: MakeCluster) -> None:
    """Every member stored it, with an fdatasync that fits into the time until the leader knew; after a kill two do."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        told: list[Explanation | None] = []
        async with cluster.client() as client:
            for number in range(5):
                await client.put("key", str(number), explain=told.append)
            await cluster.until_proven()
            victim = next(node for node in cluster.nodes.values() if node.id != leader.id)
            victim.kill()
            await client.put("key", "last", explain=told.append)
        *all_there, last = told
        for explanation in all_there:
            assert explanation is not None
            assert [node.node_id for node in explanation.nodes] == [1, 2, 3]
            for node in explanation.nodes:
                assert node.sync_seconds is not None
                assert node.stored_seconds is not None
                assert 0 < node.sync_seconds < node.stored_seconds
            stored = sorted(node.stored_seconds or 0.0 for node in explanation.nodes)
            assert stored[1] <= explanation.commit_seconds < explanation.total_seconds
        assert last is not None
        assert [node.node_id for node in last.nodes if node.stored_seconds is None] == [victim.id]

    asyncio.run(scenario())
