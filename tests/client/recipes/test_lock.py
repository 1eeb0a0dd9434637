import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftd.client import AsyncClient, Client, Fenced, InvalidRequest, LockHeld, LockLost
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play


def test_one_at_a_time(pki: Pki) -> None:
    """Of many that want it one is in the block, and all come in."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        inside, done = 0, 0

        async def work() -> None:
            nonlocal inside, done
            async with client.lock("l") as lock:
                inside += 1
                assert inside == 1
                await client.put("shared", "1", fence=lock.fence)
                inside -= 1
                done += 1

        await asyncio.gather(*(work() for _ in range(10)))
        assert done == 10
        assert (cluster.machine.key_count, len(cluster.machine.leases)) == (1, 0)

    play(pki, scenario)


@pytest.mark.parametrize("seed", range(4))
def test_one_at_a_time_on_bad_connections(pki: Pki, seed: int) -> None:
    """However often connections break, of several clients one is in the block, and what it writes is written once."""
    chance = random.Random(seed)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        inside, rounds = 0, 20

        async def break_connections() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.005, 0.04))
                connections = [connection for node in cluster.nodes for connection in node.connections]
                if connections:
                    chance.choice(connections).cut()

        async def work() -> None:
            nonlocal inside
            async with AsyncClient(cluster.endpoints, tls=pki.user, timeout=20) as own:
                for _ in range(rounds):
                    async with own.lock("l") as lock:
                        inside += 1
                        assert inside == 1
                        await own.increment("entered", fence=lock.fence)
                        inside -= 1

        breaking = asyncio.create_task(break_connections())
        await asyncio.gather(*(work() for _ in range(4)))
        breaking.cancel()
        found = await client.get("entered")
        assert found is not None
        assert found.value == b"%d" % (4 * rounds)
        assert (cluster.machine.key_count, len(cluster.machine.leases)) == (1, 0)

    play(pki, scenario)


def test_the_token_is_checked_by_the_cluster(pki: Pki) -> None:
    """A holder that has lost the lock without noticing cannot write with its fence."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        lock = client.lock("l")
        await lock.acquire()
        fence, token = lock.fence, lock.token
        await client.put("a", "1", fence=fence)
        cluster.expire_leases()
        async with client.lock("l") as second:
            assert second.token > token
            with pytest.raises(Fenced):
                await client.put("a", "2", fence=fence)
            await client.put("a", "3", fence=second.fence)
        with pytest.raises(LockLost):
            await lock.release()

    play(pki, scenario)


def test_lost_in_the_block(pki: Pki) -> None:
    """The block is cancelled in time, and LockLost is raised from it, which is no cancellation of the task."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(LockLost):  # noqa: PT012 - the block is what is tested
            async with client.lock("l", ttl=1) as lock:
                start = loop.time()
                cluster.leader = None
                try:
                    await asyncio.sleep(60)
                finally:
                    seconds = loop.time() - start
        assert seconds < 1.0
        assert lock.lost
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    play(pki, scenario, timeout=0.3)


def test_lost_without_being_noticed(pki: Pki) -> None:
    """A block that ends by itself after the lock was lost is told so; one with an error of its own keeps that."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(LockLost):
            async with client.lock("l"):
                cluster.expire_leases()
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
            async with client.lock("l"):
                cluster.expire_leases()
                raise KeyError

    play(pki, scenario)


def test_cancelled_in_the_block(pki: Pki) -> None:
    """A cancellation from outside is one, and the lock is free."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async def work() -> None:
            async with client.lock("l"):
                inside.set()
                await asyncio.sleep(60)

        inside = asyncio.Event()
        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cluster.machine.key_count == 0
        async with client.lock("l", wait=0):
            pass

    play(pki, scenario)


def test_acquired_again(pki: Pki) -> None:
    """One that works until the lock is lost takes it again, and its old fence is good for nothing."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        lock = client.lock("l", ttl=1, wait=5)
        await lock.acquire()
        fence = lock.fence
        cluster.expire_leases()
        assert await lock.wait_lost(5)
        await lock.acquire()
        with pytest.raises(Fenced):
            await client.put("a", "1", fence=fence)
        await client.put("a", "1", fence=lock.fence)
        await lock.release()

    play(pki, scenario)


def test_one_object_for_two_tasks(pki: Pki) -> None:
    """The second is refused at once: else it would hold the lock with the first one's block still open."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async def hold() -> int:
            async with lock:
                cluster.expire_leases()
                await client.put("a", "1", fence=lock.fence)
            raise AssertionError

        lock = client.lock("l")
        async with asyncio.timeout(5):
            ends = await asyncio.gather(hold(), hold(), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["Fenced", "InvalidRequest"]
        async with lock:
            assert cluster.machine.key_count == 1

    play(pki, scenario)


def test_what_is_not_held(pki: Pki) -> None:
    """Without being held it has neither token nor fence, and cannot be given back; and it is held once at a time."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        lock = client.lock("l")
        assert lock.lost
        assert await lock.wait_lost()
        with pytest.raises(LockLost):
            lock.token  # noqa: B018 - it raises
        with pytest.raises(LockLost):
            lock.fence  # noqa: B018 - it raises
        with pytest.raises(LockLost):
            await lock.release()
        async with lock:
            assert not lock.lost
            assert not await lock.wait_lost(0.01)
            with pytest.raises(InvalidRequest):
                await lock.acquire()
            with pytest.raises(LockHeld):
                await client.lock("l", wait=0).acquire()
        async with lock:
            pass

    play(pki, scenario)


def test_one_object_for_two_threads(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """The second is refused, also when the first one's lock is lost, which goes on to be without it."""
    with Client(cluster_in_thread.endpoints, tls=pki.user) as client, ThreadPoolExecutor(1) as pool:
        lock = client.lock("l")
        with pytest.raises(LockLost), lock:  # noqa: PT012 - the block is what is tested
            with pytest.raises(InvalidRequest, match="one holder at a time"):
                pool.submit(lock.__enter__).result(5)
            client.revoke_lease(client.leases()[0].id)
            with pytest.raises(InvalidRequest, match="one holder at a time"):
                pool.submit(lock.__enter__).result(5)
            assert lock.lost
            with pytest.raises(Fenced):
                client.put("a", "1", fence=lock.fence)
        with lock:
            pass


def test_the_blocking_lock(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """The same, blocking; a loss is raised at the end of the block."""
    with Client(cluster_in_thread.endpoints, tls=pki.user) as client:
        with client.lock("l", ttl=5) as lock:
            assert not lock.lost
            client.put("a", "1", fence=lock.fence)
            with pytest.raises(LockHeld), client.lock("l", wait=0):
                pass
        with pytest.raises(LockLost), client.lock("l") as lock:  # noqa: PT012 - the block is what is tested
            client.revoke_lease(client.leases()[0].id)
            assert lock.lost
        with pytest.raises(KeyError), client.lock("l"):  # noqa: PT012 - the block is what is tested
            client.revoke_lease(client.leases()[0].id)
            raise KeyError
