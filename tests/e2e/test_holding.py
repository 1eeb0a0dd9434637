"""What a client holds while leaders die: a watch, a lock, a leadership and a lease go on as if nothing had been."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from raftd.client import AsyncClient, Change, Fenced, LockLost, Put
from tests.e2e.cluster import Cluster, NodeProcess, until
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e

DISTURBANCES = 3


@dataclass
class Written:
    """What was written, in order, and what a watch has seen of it."""

    revisions: list[int] = field(default_factory=list)
    seen: list[tuple[int, bytes]] = field(default_factory=list)
    fenced_writes: int = 0


async def write(client: AsyncClient, written: Written) -> None:
    """Changes of one key, and of five in one revision."""
    number = 0
    while True:
        number += 1
        done = await client.transaction().then(*[Put(f"k/{part}", f"{number}") for part in range(5)]).commit()
        written.revisions += [done.revision] * 5
        written.revisions.append((await client.put("k/one", f"{number}")).revision)


async def watch(client: AsyncClient, written: Written, start_revision: int) -> None:
    async with client.watch(prefix="k/", revision=start_revision) as changes:
        async for change in changes:
            assert isinstance(change, Change)
            written.seen.append((change.revision, change.key))


async def hold(client: AsyncClient, written: Written, stop: asyncio.Event) -> None:
    """Hold a lock, a leadership and a lease, and use each again and again."""
    async with (
        client.lock("lock", ttl=6) as lock,
        client.election("election", "me", ttl=6) as election,
        client.lease(ttl=6) as lease,
    ):
        await client.put("leased", "1", lease=lease.id)
        while not stop.is_set():
            await client.put("fenced", "1", fence=lock.fence)
            await client.put("led", "1", fence=election.fence)
            assert await client.get("leased") is not None
            assert not any((lock.lost, election.lost, lease.lost))
            written.fenced_writes += 1
            await asyncio.sleep(0.05)


async def disturb_and_look(
    cluster: Cluster,
    disturb: Callable[[NodeProcess], None],
    mend: Callable[[NodeProcess], Awaitable[None]],
    client: AsyncClient,
) -> None:
    """Everything is held and written while leaders are disturbed; then see that nothing was lost or seen twice."""
    written, stop = Written(), asyncio.Event()
    start_revision = (await client.range(limit=1)).revision + 1
    async with cluster.client() as watcher, cluster.client() as holder:
        writing = asyncio.create_task(write(client, written))
        watching = asyncio.create_task(watch(watcher, written, start_revision))
        holding = asyncio.create_task(hold(holder, written, stop))
        for _ in range(DISTURBANCES):
            goal = written.fenced_writes + 10
            await until(lambda: written.fenced_writes >= goal, "the lock is used")  # noqa: B023 - waited for at once
            leader, term = await cluster.leader(), await cluster.term()
            disturb(leader)
            await cluster.leader(above_term=term)
            goal = len(written.revisions) + 30
            await until(lambda: len(written.revisions) >= goal, "writes go on")  # noqa: B023 - waited for at once
            await mend(leader)
        stop.set()
        await holding
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await client.put("k/last", "1")
        await until(lambda: written.seen and written.seen[-1][1] == b"k/last", "the watch has seen the last write")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert len(written.seen) == len(set(written.seen))
    revisions = [revision for revision, _ in written.seen[:-1]]
    # The write that was cancelled may have been done.
    assert revisions[: len(written.revisions)] == written.revisions
    assert len(revisions) - len(written.revisions) in (0, 1, 5)
    assert await client.get("leased") is None
    assert await client.count(prefix="lock/") == await client.count(prefix="election/") == 0
    print(f"{len(written.seen)} changes were seen, and the lock was used {written.fenced_writes} times")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["kill", "pause"])
def test_holding_on_while_leaders_die(make_cluster: MakeCluster, how: str) -> None:
    """Leaders that are killed, or hang with their connections open, take away no change, lock, leadership or lease."""

    async def scenario() -> None:
        cluster = make_cluster()

        async def mend(node: NodeProcess) -> None:
            if how == "kill":
                await cluster.start(node.id)
            else:
                node.resume()

        await cluster.start()
        async with cluster.client() as client:
            await disturb_and_look(cluster, NodeProcess.kill if how == "kill" else NodeProcess.pause, mend, client)

    asyncio.run(scenario())


@pytest.mark.timeout(120)
def test_cut_off_from_the_majority(make_cluster: MakeCluster) -> None:
    """Who holds a lock when the cluster is gone is told in time, and the next holder's fence shuts its writes out."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        async with cluster.client(timeout=5.0) as first, cluster.client() as second:
            time = asyncio.get_running_loop().time
            with pytest.raises(LockLost):  # noqa: PT012 - the block is what is tested
                async with first.lock("lock", ttl=3) as lock:
                    fence, token, start = lock.fence, lock.token, time()
                    cluster.kill(1, 2)
                    try:
                        await asyncio.sleep(60)
                    finally:
                        seconds = time() - start
            assert seconds < 3
            await cluster.start(1, 2)
            async with second.lock("lock") as lock:
                assert lock.token > token
                with pytest.raises(Fenced):
                    await first.put("a", "1", fence=fence)
                await second.put("a", "1", fence=lock.fence)

    asyncio.run(scenario())
