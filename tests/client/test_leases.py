"""Leases: granted, kept alive in the background in one request for all, and lost in time."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from raftd.client import AsyncClient, ClientError, InvalidRequest, LeaseNotFound, LimitReached
from raftd.client import leases as module
from raftd.client.clock import lease_clock
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.wire.client import RequestKind, encode_answer
from tests.client.fake import Cut, FakeCluster, Pki, Say, Silent, Wait
from tests.client.playing import play, until


class Clock:
    """Seconds that pass when a test says so, on top of those that do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        monkeypatch.setattr(module, "lease_clock", lambda: lease_clock() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_what_a_lease_is(pki: Pki) -> None:
    """Keys that are put with it end with it; who has it may ask how it stands."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        lease = await client.grant_lease(30)
        assert (lease.ttl, lease.lost) == (30, False)
        assert 25 < lease.remaining() <= 27
        await client.put("b", "1", lease=lease.id)
        await client.put("a", "1", lease=lease.id)
        found = await client.get("a")
        assert found is not None
        assert found.lease == lease.id
        info = await client.lease_info(lease.id)
        assert (info.id, info.ttl, info.user, info.keys) == (lease.id, 30, "alice", [b"a", b"b"])
        assert 0 < info.remaining <= 30
        await lease.keep_alive()
        assert await client.keep_lease_alive(lease.id) == 30
        assert await lease.revoke() == 2
        assert (lease.lost, lease.remaining(), await client.count()) == (True, 0, 0)
        for call in (
            lease.keep_alive(),
            client.keep_lease_alive(lease.id),
            client.lease_info(lease.id),
            client.revoke_lease(lease.id),
            client.put("a", "1", lease=lease.id),
        ):
            with pytest.raises(LeaseNotFound):
                await call

    play(pki, scenario)


def test_what_was_granted_counts(pki: Pki) -> None:
    """The cluster brings a time to live into its bounds, and the lease has that one."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        assert (await client.grant_lease(0.001)).ttl == 1
        assert (await client.grant_lease(4_000_000)).ttl == 7 * 24 * 3600
        for ttl in (0, -1, 1 << 40, math.inf, math.nan):
            with pytest.raises(InvalidRequest, match="more than 0 and at most 4294967 seconds"):
                await client.grant_lease(ttl)

    play(pki, scenario)


def test_listing(pki: Pki) -> None:
    """All leases come, in however many pages, in the order in which they were granted."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        assert await client.leases() == []
        cluster.leases_per_page = 3
        granted = [await client.grant_lease(number + 10) for number in range(10)]
        await client.put("a", "1", lease=granted[4].id)
        listed = await client.leases()
        assert [lease.id for lease in listed] == [lease.id for lease in granted]
        assert (listed[4].ttl, listed[4].key_count, listed[4].user) == (14, 1, "alice")

    play(pki, scenario)


def test_too_many(pki: Pki) -> None:
    """At the cluster's bound there is an answer that says so."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.machine.become(StateMachine(Limits(leases_max=1, keys_per_lease_max=1)))
        lease = await client.grant_lease(30)
        with pytest.raises(LimitReached):
            await client.grant_lease(30)
        await client.put("a", "1", lease=lease.id)
        with pytest.raises(LimitReached):
            await client.put("b", "1", lease=lease.id)

    play(pki, scenario)


def test_one_request_keeps_all_alive(pki: Pki, clock: Clock) -> None:
    """As often as the shortest needs it; those that are not to be kept alive are left alone."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        kept = [await client.grant_lease(ttl, keep_alive=True) for ttl in (30, 60, 90)]
        await client.grant_lease(30)
        assert cluster.kept_alive == []
        clock.ahead = 11
        await client.grant_lease(1000, keep_alive=True)  # wakes the keeper, as its own timer would
        await until(lambda: len(cluster.kept_alive) == 1)
        assert cluster.kept_alive[0][:3] == tuple(lease.id for lease in kept)
        await until(lambda: kept[0].remaining() > 26)  # the answer is on its way back
        await kept[0].revoke()
        clock.ahead = 32
        await client.grant_lease(1000, keep_alive=True)
        await until(lambda: len(cluster.kept_alive) == 2)
        assert kept[0].id not in cluster.kept_alive[1]

    play(pki, scenario)


def test_kept_alive_for_long(pki: Pki) -> None:
    """A lease that is kept alive outlives its time to live by far."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.lease(ttl=1) as lease:
            await client.put("a", "1", lease=lease.id)
            assert not await lease.wait_lost(2.2)
            assert len(cluster.kept_alive) >= 5
            assert await client.get("a") is not None
        assert lease.lost
        assert await client.get("a") is None
        assert len(cluster.machine.leases) == 0

    play(pki, scenario)


def test_a_lease_that_comes_when_the_client_is_being_closed(pki: Pki) -> None:
    """Nobody keeps it alive, and it says so; nothing of the client goes on."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")  # so that there is a session, and closing it takes a while
        before = asyncio.all_tasks()
        held = Wait()
        cluster.nodes[0].plan.append(held)
        granting = asyncio.create_task(client.grant_lease(30, keep_alive=True))
        await until(lambda: not cluster.nodes[0].plan)
        held.until.set()
        await client.close()
        assert (await granting).lost
        assert asyncio.all_tasks() <= before

    play(pki, scenario)


def test_lost_when_the_cluster_says_so(pki: Pki) -> None:
    """A lease that has ended at the cluster is lost with the next keep-alive, and who waits for that is told."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.lease(ttl=1) as lease:
            waiting = asyncio.create_task(lease.wait_lost())
            cluster.expire_leases()
            async with asyncio.timeout(0.8):
                assert await waiting
            assert lease.lost

    play(pki, scenario)


def test_lost_when_nobody_answers(pki: Pki) -> None:
    """Without a confirmation it is lost before its time at the cluster is up, and stays lost when answers come."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        lease = await client.grant_lease(1, keep_alive=True)
        cluster.leader = None
        assert await lease.wait_lost(5)
        assert 0.85 < loop.time() - start < 1.0
        cluster.leader = cluster.nodes[0]
        await client.put("a", "1")
        assert lease.lost
        # It lives on at the cluster, and so it must not be said that it has ended.
        with pytest.raises(ClientError, match="has the lease still, but here it counts as lost") as raised:
            await lease.keep_alive()
        assert not isinstance(raised.value, LeaseNotFound)
        assert await client.keep_lease_alive(lease.id) == 1
        cluster.expire_leases()
        with pytest.raises(LeaseNotFound, match="has ended"):
            await lease.keep_alive()

    play(pki, scenario)


@pytest.mark.parametrize("reaction", [Cut(0), Cut(0, apply=False), Cut(7), Silent(), Silent(freeze=True)])
def test_a_keep_alive_that_goes_astray(pki: Pki, reaction: Cut | Silent) -> None:
    """One that is lost, or not answered, is sent again, elsewhere if need be, while there is time."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        lease = await client.grant_lease(2, keep_alive=True)
        cluster.nodes[0].plan_for = lambda kind, _: kind is RequestKind.LEASE_KEEP_ALIVE
        cluster.nodes[0].plan.append(reaction)
        await until(lambda: not cluster.nodes[0].plan)
        if isinstance(reaction, Silent) and reaction.freeze:
            cluster.leader = cluster.nodes[1]
        assert not await lease.wait_lost(2.5)
        assert lease.remaining() > 0.5

    play(pki, scenario, dead_after=0.4)


def test_a_node_that_miscounts(pki: Pki) -> None:
    """An answer about another number of leases is no answer, and the next node is asked."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        lease = await client.grant_lease(30)
        answer = cluster.keep_alive("alice", [lease.id, lease.id])
        cluster.nodes[0].plan.append(Say(lambda request_id: encode_answer(request_id, answer)))
        await lease.keep_alive()
        assert not cluster.nodes[0].plan

    play(pki, scenario)


def test_waiting_with_a_time_limit(pki: Pki) -> None:
    """It ends when the time is over, and says whether the lease is lost."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        lease = await client.grant_lease(30)
        assert not await lease.wait_lost(0)
        assert not await lease.wait_lost(0.05)
        waiting = asyncio.create_task(lease.wait_lost(20))
        await asyncio.sleep(0)
        await client.revoke_lease(lease.id)
        waiting.cancel()
        lease.abandon()
        assert await lease.wait_lost(20)

    play(pki, scenario)


def test_more_leases_than_one_request_may_name(pki: Pki, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """They go in as many requests as it takes."""
    monkeypatch.setattr(module, "LEASES_KEPT_ALIVE_MAX", 3)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        granted = [await client.grant_lease(30, keep_alive=True) for _ in range(7)]
        clock.ahead = 11
        await client.grant_lease(30, keep_alive=True)
        await until(lambda: len(cluster.kept_alive) == 3)
        assert {len(chunk) for chunk in cluster.kept_alive[:2]} == {3}
        assert {lease.id for lease in granted} <= {lease_id for chunk in cluster.kept_alive for lease_id in chunk}
        await until(lambda: granted[6].remaining() > 26)
        assert all(lease.remaining() > 26 for lease in granted)

    play(pki, scenario)


def test_closing_the_client(pki: Pki) -> None:
    """Leases that it kept alive are lost for whoever holds them, and nothing of them goes on."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        lease = await client.grant_lease(30, keep_alive=True)
        await client.close()
        assert lease.lost
        with pytest.raises(ClientError, match="closed"):
            await lease.revoke()
        assert len(cluster.machine.leases) == 1

    play(pki, scenario)


def test_a_block_is_left_whatever_becomes_of_the_lease(pki: Pki) -> None:
    """At its end a lease that is gone already, or a cluster that is, is no error; an own one goes through."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.lease(ttl=30):
            cluster.expire_leases()
        with pytest.raises(KeyError):
            async with client.lease(ttl=30):
                raise KeyError("own")
        assert len(cluster.machine.leases) == 0
        held = client.lease(ttl=30)
        async with held:
            with pytest.raises(InvalidRequest):
                await held.__aenter__()
            cluster.leader = None

    play(pki, scenario, timeout=0.3)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.keep_lease_alive(0),
        lambda client: client.revoke_lease(-1),
        lambda client: client.lease_info(1 << 64),
    ],
)
def test_nonsense_is_never_sent(pki: Pki, call: Callable[[AsyncClient], Awaitable[object]]) -> None:
    """What is no lease's id is refused before anything is dialled."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(InvalidRequest):
            await call(client)
        assert not any(node.accepted_total for node in cluster.nodes)

    play(pki, scenario)
