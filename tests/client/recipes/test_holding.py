"""What one object holds; what others see of the queue is in test_queue.py."""

import asyncio

import pytest

from raftd.client import AsyncClient, InvalidRequest, LockHeld, LockLost
from raftd.client.recipes.holding import Holding
from raftd.client.recipes.queue import Place
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play, until


def holding_of(client: AsyncClient, wait: float | None = None) -> Holding:
    return Holding(client, "h", b"", ttl=60, wait=wait, absent="not held")


def test_taken_and_given_up(pki: Pki) -> None:
    """It has a place from when that is the first one until it is given up, and then may have another one."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        holding = holding_of(client)
        assert holding.lost
        assert await holding.wait_lost(None)
        for _ in range(2):
            place = await holding.take()
            assert holding.place is place
            assert not holding.lost
            assert not await holding.wait_lost(0.01)
            await holding.give_up()
            assert cluster.machine.key_count == 0
            for call in (holding.give_up, holding.leave):
                with pytest.raises(LockLost, match="not held"):
                    await call()

    play(pki, scenario)


class GivenUpAtOnce(Holding):
    """Something whose place another thread gives up as soon as it has been looked at."""

    _seen: Place | None = None

    @property
    def _place(self) -> Place | None:
        place, self._seen = self._seen, None
        return place

    @_place.setter
    def _place(self, place: Place | None) -> None:
        self._seen = place


def test_given_up_while_another_thread_looks(pki: Pki) -> None:
    """Whoever looks at it sees what there was a moment ago, or that there is nothing."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        place = await holding_of(client).take()
        holding = GivenUpAtOnce(client, "h", b"", ttl=60, wait=None, absent="not held")
        holding._place = place
        assert not holding.lost
        assert holding.lost
        holding._place = place
        assert holding.place is place
        with pytest.raises(LockLost):
            _ = holding.place
        holding._place = place
        assert not await holding.wait_lost(0)
        assert await holding.wait_lost(0)

    play(pki, scenario)


def test_one_holder_at_a_time(pki: Pki) -> None:
    """While one waits for its place nobody else can ask for one, nor while it has it."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        other, holding = holding_of(client), holding_of(client)
        await other.take()
        taking = asyncio.create_task(holding.take())
        await until(lambda: cluster.machine.key_count == 2)
        for call in (holding.take, holding.enter):
            with pytest.raises(InvalidRequest, match="one holder at a time"):
                await call()
        await other.give_up()
        assert await taking is holding.place
        with pytest.raises(InvalidRequest):
            await holding.take()
        assert cluster.machine.key_count == 1

    play(pki, scenario)


def test_what_was_not_taken_can_be_asked_for_again(pki: Pki) -> None:
    """One who waited in vain, or gave up waiting, leaves the object free."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        other, holding = holding_of(client), holding_of(client, wait=0.01)
        await other.take()
        for _ in range(2):
            with pytest.raises(LockHeld):
                await holding.take()
        holding = holding_of(client)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(holding.enter(), 0.01)
        assert cluster.machine.key_count == 1
        await other.give_up()
        await holding.enter()
        await holding.leave()

    play(pki, scenario)


def test_taken_again_after_a_loss(pki: Pki) -> None:
    """What is lost is no hindrance, whether the cluster has ended it or has it still."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        holding = Holding(client, "h", b"", ttl=1, wait=5, absent="not held")
        first = await holding.take()
        cluster.expire_leases()
        assert await holding.wait_lost(5)
        second = await holding.take()
        leader, cluster.leader = cluster.leader, None
        assert await holding.wait_lost(5)
        cluster.leader = leader
        assert cluster.machine.key_count == 1
        third = await holding.take()
        assert first.token < second.token < third.token
        assert holding.place is third
        assert cluster.machine.key_count == 1

    play(pki, scenario)


def test_a_block_gives_up_what_it_took(pki: Pki) -> None:
    """Until the block ends nobody else can use the object, even if what it took is lost or was given up inside."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        holding = holding_of(client)
        await holding.enter()
        await holding.give_up()
        with pytest.raises(InvalidRequest):
            await holding.take()
        with pytest.raises(LockLost, match="not held"):
            await holding.leave()
        await holding.enter()
        cluster.expire_leases()
        with pytest.raises(InvalidRequest):
            await holding.enter()
        with pytest.raises(LockLost, match="before"):
            await holding.leave()
        await holding.take()

    play(pki, scenario)


def test_taken_back(pki: Pki) -> None:
    """A place that nobody was told of is given up, and one that came after it is not."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        holding = holding_of(client)
        place = await holding.enter()
        await holding.take_back(place)
        assert holding.lost
        assert cluster.machine.key_count == 0
        other = await holding.enter()
        await holding.take_back(place)
        assert holding.place is other
        await holding.leave()

    play(pki, scenario)
