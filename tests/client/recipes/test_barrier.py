import asyncio

import pytest

from raftd.client import AsyncClient, Client, CompareFailed, Unavailable
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play, until


def test_while_it_is_held_all_wait(pki: Pki) -> None:
    """Who comes while it is held goes on when it is released; who comes before or after does not wait."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        barrier = client.barrier("b")
        assert await barrier.wait()
        await barrier.hold()
        with pytest.raises(CompareFailed):
            await barrier.hold()
        assert not await barrier.wait(0.05)
        waiting = [asyncio.create_task(client.barrier("b").wait()) for _ in range(10)]
        await until(lambda: sum(len(c.watches.watches) for n in cluster.nodes for c in n.connections) == 10)
        assert await barrier.release()
        assert all(await asyncio.gather(*waiting))
        assert not await barrier.release()

    play(pki, scenario)


def test_no_time_to_wait(pki: Pki) -> None:
    """Who does not wait, or less than an answer takes, is told how it stands, if anybody can say."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        barrier = client.barrier("b")
        for timeout in (0, -1, 0.000001):
            assert await barrier.wait(timeout)
        await barrier.hold()
        for timeout in (0, -1, 0.000001):
            assert not await barrier.wait(timeout)
        await barrier.release()
        cluster.leader = None
        with pytest.raises(Unavailable):
            await barrier.wait(0.01)

    play(pki, scenario, timeout=1)


def test_held_on_a_lease(pki: Pki) -> None:
    """Whoever holds it and dies releases it."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.lease(ttl=20) as lease:
            await client.barrier("b").hold(lease=lease.id)
            waiting = asyncio.create_task(client.barrier("b").wait())
            await until(lambda: any(c.watches.watches for n in cluster.nodes for c in n.connections))
            cluster.expire_leases()
            assert await waiting

    play(pki, scenario)


def test_the_blocking_barrier(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """The same, blocking."""
    with Client(cluster_in_thread.endpoints, tls=pki.user) as client:
        barrier = client.barrier("b")
        barrier.hold()
        assert not barrier.wait(0.01)
        assert barrier.release()
        assert barrier.wait()
