import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raftd.client import AsyncClient, Client, Fenced, InvalidRequest, Leader, LockHeld, LockLost
from raftd.client.recipes.queue import place_key
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.kv.types import LeaseId
from raftd.wire.client import RequestKind
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play, until


def test_one_leads(pki: Pki) -> None:
    """Who campaigns first leads first, what it says of itself is seen, and the next follows when it resigns."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        observer = client.election("e")
        assert await observer.leader() is None
        async with client.election("e", "one") as one:
            assert await observer.leader() == Leader(b"one", one.token)
            two = client.election("e", "two")
            campaign = asyncio.create_task(two.campaign())
            with pytest.raises(LockHeld):
                await client.election("e", "three", wait=0.05).campaign()
            await one.proclaim("one, busy")
            assert await observer.leader() == Leader(b"one, busy", one.token)
            await client.put("a", "1", fence=one.fence)
            fence = one.fence
        await campaign
        assert await observer.leader() == Leader(b"two", two.token)
        with pytest.raises(Fenced):
            await client.put("a", "1", fence=fence)
        await two.resign()
        assert await observer.leader() is None

    play(pki, scenario)


def test_observing(pki: Pki) -> None:
    """An observer sees who leads, then each change of it, over a lost connection too, and nothing twice."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        seen: list[bytes | None] = []

        async def observe() -> None:
            async for leader in client.election("e").observe():
                seen.append(None if leader is None else leader.value)  # noqa: PERF401 - others look at it meanwhile

        observing = asyncio.create_task(observe())
        await until(lambda: seen == [None])
        async with client.election("e", "one") as one:
            waiting = asyncio.create_task(client.election("e", "two").campaign())
            await until(lambda: seen == [None, b"one"])
            await one.proclaim("busy")
            await until(lambda: cluster.machine.key_count == 2)
            for node in cluster.nodes:
                for connection in list(node.connections):
                    connection.cut()
        await waiting
        await until(lambda: len(seen) == 4)
        cluster.expire_leases()
        await until(lambda: len(seen) == 5)
        assert seen == [None, b"one", b"busy", b"two", None]
        observing.cancel()
        await asyncio.gather(observing, return_exceptions=True)

    play(pki, scenario)


def test_those_who_end_together_lead_one_after_the_other_for_no_moment(pki: Pki) -> None:
    """Leases that end in one revision take the leader and the next in line away at once: the third one leads."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        leases = [await client.grant_lease(60) for _ in range(3)]
        for lease, value in zip(leases, ("one", "two", "three"), strict=True):
            await client.put(place_key(b"e", lease.id), value, lease=lease.id)
        observed = client.election("e").observe()
        leader = await anext(observed)
        assert leader is not None
        assert leader.value == b"one"
        following = asyncio.create_task(anext(observed))
        await until(lambda: any(kind is RequestKind.WATCH for node in cluster.nodes for kind, _ in node.requests))
        cluster.expire_leases(LeaseId(leases[0].id), LeaseId(leases[1].id))
        leader = await following
        assert leader is not None
        assert leader.value == b"three"
        await observed.aclose()

    play(pki, scenario)


def test_an_observer_that_is_too_slow(pki: Pki) -> None:
    """Where the history is gone, the observer goes on with who leads now."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.machine.become(StateMachine(Limits(history_changes_max=4)))
        observed = client.election("e").observe()
        assert await anext(observed) is None
        for node in cluster.nodes:
            for connection in list(node.connections):
                connection.cut()
        async with client.election("e", "one") as one:
            for number in range(20):
                await one.proclaim(f"{number}")
            async with asyncio.timeout(5):
                while (leader := await anext(observed)) is None or leader.value != b"19":
                    pass
        await observed.aclose()

    play(pki, scenario)


def test_a_leader_that_is_deposed(pki: Pki) -> None:
    """Its block is cancelled with LockLost, and what it proclaims is refused."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(LockLost):  # noqa: PT012 - the block is what is tested
            async with client.election("e", "one", ttl=1):
                cluster.expire_leases()
                await asyncio.sleep(60)
        election = client.election("e", "one", ttl=1)
        assert election.lost
        assert await election.wait_lost()
        with pytest.raises(LockLost):
            await election.proclaim("two")
        await election.campaign()
        with pytest.raises(InvalidRequest):
            await election.campaign()
        cluster.expire_leases()
        with pytest.raises(LockLost):
            await election.proclaim("two")
        await election.wait_lost()
        await election.campaign()
        cluster.expire_leases()
        with pytest.raises(LockLost):
            await election.resign()

    play(pki, scenario)


def test_one_object_for_two_candidates(pki: Pki) -> None:
    """The second is refused at once, and the first goes on."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async def lead() -> None:
            async with election:
                await client.put("a", "1", fence=election.fence)
                await asyncio.sleep(0.02)

        election = client.election("e", "one")
        async with asyncio.timeout(5):
            ends = await asyncio.gather(lead(), lead(), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["InvalidRequest", "NoneType"]
        assert cluster.machine.key_count == 1

    play(pki, scenario)


def test_the_blocking_election(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """The same, blocking."""
    with Client(cluster_in_thread.endpoints, tls=pki.user) as client:
        seen = client.election("e").observe()
        assert next(seen) is None
        with client.election("e", "one") as one:
            assert next(seen) == Leader(b"one", one.token)
            one.proclaim("two")
            assert next(seen) == Leader(b"two", one.token)
            assert client.election("e").leader() == Leader(b"two", one.token)
            assert not one.lost
            assert not one.wait_lost(0.01)
            client.put("a", "1", fence=one.fence)
        assert next(seen) is None
        seen.close()
        with pytest.raises(LockLost), client.election("e"):
            client.revoke_lease(client.leases()[0].id)


def test_ctrl_c_while_observing(config_path: Path, cluster_in_thread: FakeCluster) -> None:
    """It ends the observation, and nothing else: the client goes on."""
    del cluster_in_thread
    program = (
        "from raftd.client import Client\n"
        f"client = Client.from_config({str(config_path)!r})\n"
        "observed = client.election('e').observe()\n"
        "try:\n    print(next(observed), flush=True)\n    next(observed)\n"
        "except KeyboardInterrupt:\n    print(client.put('a', '1').version)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "None\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("1\n", "")
