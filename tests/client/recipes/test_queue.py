"""Who is first and for whom one waits, without a network; and places that are taken and given up."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.client import AsyncClient, KeyValue, LockHeld, LockLost
from raftd.client.recipes.queue import Place, first_of, is_place, list_places, place_before, place_key
from raftd.wire.client import RequestKind
from tests.client.fake import Cut, FakeCluster, Pki, Reaction, Silent
from tests.client.playing import play, until


def place(name: bytes, lease_id: int, revision: int) -> KeyValue:
    return KeyValue(place_key(name, lease_id), b"", revision, revision, 1, 99, lease_id, "alice")


@given(st.binary(min_size=1, max_size=6), st.binary(min_size=1, max_size=6), st.integers(1, (1 << 64) - 1))
def test_places_of_other_queues(name: bytes, other: bytes, lease_id: int) -> None:
    """A place belongs to the queue of its name and to none else, not even where one name begins with another."""
    assert is_place(name, place_key(name, lease_id))
    for foreign in (name + b"/" + other, name + other, other + name):
        if foreign != name:
            assert not is_place(name, place_key(foreign, lease_id))
    assert not is_place(name, name + b"/")
    assert not is_place(name, place_key(name, lease_id) + b"0")


@given(st.permutations(range(1, 8)))
def test_who_came_first(order: list[int]) -> None:
    """Each waits for the one that came just before, by the cluster's order and not by the ids of leases."""
    places = [place(b"q", lease_id, revision) for revision, lease_id in enumerate(order, 10)]
    listed = sorted(places)
    first = first_of(listed)
    assert first == places[0]
    for before, one in zip([None, *places], places, strict=False):
        assert place_before(listed, one.key) == before


def test_nobody() -> None:
    """An empty queue has no first; and one's own place must be there."""
    assert first_of([]) is None
    with pytest.raises(LookupError):
        place_before([place(b"q", 1, 1)], place_key(b"q", 2))


async def take(client: AsyncClient, name: str = "q", wait: float | None = None) -> Place:
    return await Place.take(client, name, b"", ttl=20, wait=wait)


def left_behind(cluster: FakeCluster) -> tuple[int, int]:
    return cluster.machine.key_count, len(cluster.machine.leases)


def test_in_the_order_of_coming(pki: Pki) -> None:
    """Each gets it when the one before is gone, and tokens grow."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        order: list[int] = []
        tokens: list[int] = []

        async def hold(number: int) -> None:
            held = await take(client)
            order.append(number)
            tokens.append(held.token)
            await asyncio.sleep(0.002)
            await held.give_up()

        tasks = []
        for number in range(8):
            tasks.append(asyncio.create_task(hold(number)))
            await until(lambda: cluster.machine.key_count + len(order) > number)  # noqa: B023 - waited for at once
        await asyncio.gather(*tasks)
        assert order == list(range(8))
        assert tokens == sorted(tokens)
        assert left_behind(cluster) == (0, 0)

    play(pki, scenario)


def test_one_is_woken(pki: Pki) -> None:
    """Who waits watches the one place before its own, so that giving up one wakes one."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        held = await take(client)
        tasks = []
        for number in range(5):
            tasks.append(asyncio.create_task(take(client)))
            await until(lambda: sum(len(c.watches.watches) for c in cluster.nodes[0].connections) > number)  # noqa: B023 - waited for at once
        lows = {w.request.low for c in cluster.nodes[0].connections for w in c.watches.watches.values()}
        assert len(lows) == 5
        # One in the middle gives up: the one behind it waits for the one before it, and nobody is first.
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        await asyncio.sleep(0.05)
        assert not any(task.done() for number, task in enumerate(tasks) if number != 2)
        await held.give_up()
        for number in (0, 1, 3, 4):
            await (await tasks[number]).give_up()
        assert left_behind(cluster) == (0, 0)

    play(pki, scenario)


def test_waiting_has_an_end(pki: Pki) -> None:
    """Who will not wait, or no longer, is told so and leaves nothing behind."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        held = await take(client, wait=0)
        for wait in (0, 0.05):
            with pytest.raises(LockHeld):
                await take(client, wait=wait)
            assert left_behind(cluster) == (1, 1)
        assert (await take(client, "other", wait=0)).token > held.token

    play(pki, scenario)


@pytest.mark.parametrize("step", ["grant", "put", "range", "watch", "waiting"])
@pytest.mark.parametrize("apply", [False, True])
def test_cancelled_anywhere(pki: Pki, step: str, apply: bool) -> None:
    """Cancelling one who queues up, at any step, leaves no key, and no lease that is kept alive."""
    opcodes = {"grant": 21, "put": 16}

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        held = await take(client)
        before = left_behind(cluster)
        node = cluster.nodes[0]
        if step in opcodes:
            node.plan_for = lambda kind, body: kind is RequestKind.WRITE and body[0] == opcodes[step]
        else:
            node.plan_for = lambda kind, _: kind is (RequestKind.WATCH if step == "watch" else RequestKind.READ)
        if step != "waiting":
            node.plan.append(Silent(apply=apply))
        queueing = asyncio.create_task(take(client))
        if step == "waiting":
            await until(lambda: any(c.watches.watches for c in node.connections))
        else:
            await until(lambda: not node.plan)
        queueing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queueing
        keys, leases = left_behind(cluster)
        assert keys == before[0]
        # Whose id the client never heard is not kept alive, and so it ends; no key is on it.
        assert leases == before[1] + (step == "grant" and apply)
        assert set(client._leases._kept) == {held.lease.id}

    play(pki, scenario)


@pytest.mark.parametrize("step", ["grant", "put", "range", "watch"])
@pytest.mark.parametrize("reactions", [[Cut(0)], [Cut(0, apply=False)], [Cut(6)]])
def test_connections_lost_anywhere(pki: Pki, step: str, reactions: list[Reaction]) -> None:
    """A connection that is lost at any step does not show: each gets its turn, once."""
    opcodes = {"grant": 21, "put": 16}

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        held = await take(client)
        node = cluster.nodes[0]
        if step in opcodes:
            node.plan_for = lambda kind, body: kind is RequestKind.WRITE and body[0] == opcodes[step]
        else:
            node.plan_for = lambda kind, _: kind is (RequestKind.WATCH if step == "watch" else RequestKind.READ)
        node.plan.extend(reactions)
        queueing = asyncio.create_task(take(client))
        await until(lambda: not node.plan and any(c.watches.watches for n in cluster.nodes for c in n.connections))
        assert left_behind(cluster) == (2, 2)
        await held.give_up()
        await (await queueing).give_up()
        assert left_behind(cluster) == (0, 0)

    play(pki, scenario)


def test_a_holder_that_dies(pki: Pki) -> None:
    """When the lease of the first ends, the next is first; and the first is told when it gives up."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        held = await take(client)
        queueing = asyncio.create_task(take(client))
        await until(lambda: any(c.watches.watches for c in cluster.nodes[0].connections))
        await client.revoke_lease(held.lease.id)
        second = await queueing
        assert held.lease.lost
        with pytest.raises(LockLost):
            await held.give_up()
        await second.give_up()

    play(pki, scenario)


def test_losing_a_place_while_waiting(pki: Pki) -> None:
    """Who is cut off for too long while it waits is told that its place is lost."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await take(client)
        queueing = asyncio.create_task(Place.take(client, "q", b"", ttl=1, wait=None))
        await until(lambda: any(c.watches.watches for c in cluster.nodes[0].connections))
        cluster.leader = None
        with pytest.raises(LockLost):
            await queueing

    play(pki, scenario)


def test_listing_places(pki: Pki) -> None:
    """Only the places of this queue, whatever else has keys that begin like it; with their values on request."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        assert cluster.machine.revision == 0
        for key in ("q", "q/", "q/other", "q/0123456789abcdef/0123456789abcdef", "q0/0123456789abcdef"):
            await client.put(key, "")
        assert await list_places(client, b"q") == ([], 5)
        held = await Place.take(client, "q", "me", ttl=20, wait=0)
        places, revision = await list_places(client, b"q", keys_only=False)
        assert ([item.value for item in places], revision) == ([b"me"], 6)
        await held.change_value("you")
        places, _ = await list_places(client, b"q", keys_only=False)
        assert [(item.value, item.create_revision, item.lease) for item in places] == [
            (b"you", held.token, held.lease.id)
        ]
        assert (await list_places(client, b"q", revision=5))[0] == []

    play(pki, scenario)
