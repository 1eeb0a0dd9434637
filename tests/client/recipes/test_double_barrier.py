import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftd.client import AsyncClient, Client, Denied, InvalidRequest, LockLost
from raftd.kv.commands import Opcode
from raftd.wire.client import Refusal, RefusalCode, RequestKind
from tests.client.fake import FakeCluster, Pki, Refuse
from tests.client.playing import play, until


@pytest.mark.parametrize("count", [1, 2, 5])
def test_together_in_and_together_out(pki: Pki, count: int) -> None:
    """Nobody is in before all are there, and nobody is out before all are done; round after round."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        arrived, done, rounds = 0, 0, 4

        async def take_part(number: int) -> None:
            nonlocal arrived, done
            for round_number in range(rounds):
                await asyncio.sleep(0.003 * ((number + round_number) % count))
                arrived += 1
                async with client.double_barrier("d", count):
                    assert arrived == count * (round_number + 1)
                    done += 1
                assert done == count * (round_number + 1)

        await asyncio.gather(*(take_part(number) for number in range(count)))
        assert (cluster.machine.key_count, len(cluster.machine.leases)) == (0, 0)

    play(pki, scenario)


def test_who_is_fast_does_not_leave_the_slow_behind(pki: Pki) -> None:
    """One that looks only after the others have left again has still seen all of them."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        slow, fast = client.double_barrier("d", 2), client.double_barrier("d", 2)
        async with AsyncClient(cluster.endpoints, tls=pki.user) as slow_client:
            slow = slow_client.double_barrier("d", 2)
            looked, may_look = asyncio.Event(), asyncio.Event()
            look = slow._until

            async def look_late(*arguments: object) -> None:
                looked.set()
                await may_look.wait()
                await look(*arguments)  # type: ignore[arg-type]  # passed on

            slow._until = look_late  # type: ignore[method-assign, assignment]  # on purpose
            entering = asyncio.create_task(slow.enter())
            await looked.wait()
            await fast.enter()
            leaving = asyncio.create_task(fast.leave())
            await until(lambda: cluster.machine.key_count == 1)
            may_look.set()
            await entering
            slow._until = look  # type: ignore[method-assign]  # as it was
            await slow.leave()
            await leaving

    play(pki, scenario)


def test_who_dies_is_not_waited_for_at_the_end(pki: Pki) -> None:
    """A participant that is gone, or whose block fails, does not hold up the others."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        one, two, three = (client.double_barrier("d", 3) for _ in range(3))
        await asyncio.gather(*(each.enter() for each in (one, two, three)))
        leaving = asyncio.create_task(one.leave())
        await two.__aexit__(KeyError, KeyError("own"), None)
        await client.revoke_lease((await client.leases())[-1].id)
        await leaving
        with pytest.raises(LockLost):
            await three.leave()

    play(pki, scenario)


def test_who_fails_to_leave_is_not_waited_for(pki: Pki) -> None:
    """When a participant cannot say that it leaves, or gives up waiting for the others, nobody waits for it."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two, three = (client.double_barrier("d", 3) for _ in range(3))
        await asyncio.gather(*(each.enter() for each in (one, two, three)))
        node = cluster.nodes[0]
        node.plan_for = lambda kind, body: kind is RequestKind.WRITE and body[0] == Opcode.DELETE
        node.plan.append(Refuse(Refusal(RefusalCode.DENIED, "no")))
        with pytest.raises(Denied):
            await one.leave()
        assert cluster.machine.key_count == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(two.leave(), 0.05)
        async with asyncio.timeout(5):
            await three.leave()
        assert (cluster.machine.key_count, len(cluster.machine.leases)) == (0, 0)

    play(pki, scenario)


def test_one_object_for_two_participants(pki: Pki) -> None:
    """The second is refused while the first one waits."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        shared = client.double_barrier("d", 2)
        entering = asyncio.create_task(shared.enter())
        await until(lambda: cluster.machine.key_count == 1)
        async with asyncio.timeout(5):
            with pytest.raises(InvalidRequest):
                await shared.enter()
            await client.double_barrier("d", 2).enter()
            await entering

    play(pki, scenario)


def test_given_up_while_entering(pki: Pki) -> None:
    """Who does not wait any longer leaves nothing behind; who is cut off is told."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), client.double_barrier("d", 2):
                pass
        assert (cluster.machine.key_count, len(cluster.machine.leases)) == (0, 0)
        entering = asyncio.create_task(client.double_barrier("d", 2).enter())
        await until(lambda: any(c.watches.watches for n in cluster.nodes for c in n.connections))
        cluster.expire_leases()
        with pytest.raises(LockLost):
            await entering

    play(pki, scenario)


def test_nonsense(pki: Pki) -> None:
    """It is entered once and left once, by at least one."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(InvalidRequest):
            client.double_barrier("d", 0)
        alone = client.double_barrier("d", 1)
        with pytest.raises(InvalidRequest):
            await alone.leave()
        await alone.enter()
        with pytest.raises(InvalidRequest):
            await alone.enter()
        await alone.leave()

    play(pki, scenario)


def test_the_blocking_double_barrier(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """The same, blocking."""
    with Client(cluster_in_thread.endpoints, tls=pki.user) as client, ThreadPoolExecutor(3) as pool:

        def take_part(_: int) -> int:
            with client.double_barrier("d", 3):
                return 1

        assert sum(pool.map(take_part, range(3))) == 3
        barrier = client.double_barrier("d", 1)
        barrier.enter()
        barrier.leave()
