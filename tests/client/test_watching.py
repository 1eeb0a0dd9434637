"""Watches over a real connection: what they show, and that nothing that happens to connections and nodes shows."""

import asyncio
from collections.abc import Callable

import pytest

from raftd.client import (
    AsyncClient,
    Change,
    ClientError,
    Compacted,
    Denied,
    FutureRevision,
    InvalidRequest,
    LimitReached,
    Progress,
    Put,
    Unavailable,
    watching,
)
from raftd.client.watching import Watch
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.wire.client import Refusal, RefusalCode, RequestKind, ResponseKind
from raftd.wire.frames import LENGTH_BYTES, encode_frame
from raftd.wire.watch import WatchEndReason, WatchFlag, WatchRequest, encode_watch_ended
from tests.client.fake import Cut, FakeCluster, Pki, Reaction, Refuse, Say, Silent, Wait
from tests.client.fake_watches import ALL_CHANGES, FakeWatch
from tests.client.playing import play, until


async def take(watch: Watch, count: int) -> list[Change]:
    changes: list[Change] = []
    async with asyncio.timeout(10):
        while len(changes) < count:
            item = await anext(watch)
            assert isinstance(item, Change)
            changes.append(item)
    return changes


def told(changes: list[Change]) -> list[tuple[str, bytes, bytes | None, int]]:
    return [(change.kind, change.key, change.value, change.revision) for change in changes]


def watch_requests(cluster: FakeCluster) -> int:
    return sum(kind is RequestKind.WATCH for node in cluster.nodes for kind, _ in node.requests)


def test_what_a_watch_shows(pki: Pki) -> None:
    """From now on, each change of a key of the range, with who, when and what was there before."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.wall_clock_ms = 5000
        await client.put("a1", "old")
        async with client.watch(prefix="a", previous=True) as watch:
            assert watch.revision == 1
            await client.put("a1", "new")
            await client.put("b", "other")
            await client.delete("a1")
            changes = await take(watch, 2)
        assert told(changes) == [("put", b"a1", b"new", 2), ("delete", b"a1", None, 4)]
        put, deletion = changes
        assert put.previous is not None
        assert (put.previous.value, put.previous.modify_revision) == (b"old", 1)
        assert (put.user, put.address, put.wall_clock, put.version) == ("alice", "10.0.0.1:5", 5.0, 2)
        assert (deletion.create_revision, deletion.version, deletion.by_lease) == (1, 2, False)
        assert watch.revision == 4

    play(pki, scenario)


def test_filters(pki: Pki) -> None:
    """One key, only writes, only deletions, or no values."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        async with (
            client.watch("a") as one_key,
            client.watch(low="b", high="c", puts=False) as deletions,
            client.watch(deletes=False, keys_only=True) as keys,
        ):
            for key in ("a", "aa", "b"):
                await client.put(key, "1")
            await client.delete("b")
            await client.delete("a")
            assert told(await take(one_key, 2)) == [("put", b"a", b"1", 1), ("delete", b"a", None, 5)]
            assert told(await take(deletions, 1)) == [("delete", b"b", None, 4)]
            assert told(await take(keys, 3)) == [
                (("put", key, None, n)) for n, key in enumerate((b"a", b"aa", b"b"), 1)
            ]

    play(pki, scenario)


def test_from_a_revision(pki: Pki) -> None:
    """What happened from then on comes first; one beyond the next one is an error, and one that is gone is told."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.machine.become(StateMachine(Limits(history_changes_max=10)))
        for number in range(20):
            await client.put("a", f"{number}")
        async with client.watch("a", revision=18) as watch:
            assert [change.value for change in await take(watch, 3)] == [b"17", b"18", b"19"]
        async with client.watch(revision=21) as watch:
            await client.put("a", "next")
            assert told(await take(watch, 1)) == [("put", b"a", b"next", 21)]
        with pytest.raises(FutureRevision, match="newest revision is 21"):
            await anext(client.watch(revision=23))
        with pytest.raises(Compacted) as caught:
            await anext(client.watch(revision=2))
        assert caught.value.compacted_revision == cluster.machine.history.compacted_revision

    play(pki, scenario)


def test_the_end_of_a_lease_is_one_revision(pki: Pki) -> None:
    """The keys of a lease go in one step, in byte order, and it shows why."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        lease = await client.grant_lease(60)
        for key in "bca":
            await client.put(key, "1", lease=lease.id)
        async with client.watch(puts=False) as watch:
            cluster.expire_leases()
            changes = await take(watch, 3)
        assert [(change.key, change.revision, change.by_lease) for change in changes] == [
            (key, 4, True) for key in (b"a", b"b", b"c")
        ]

    play(pki, scenario)


@pytest.mark.parametrize("frames_left", range(8))
@pytest.mark.parametrize("changes_per_frame", [1, 2])
def test_cut_after_any_frame(pki: Pki, frames_left: int, changes_per_frame: int) -> None:
    """Connections that break after each few frames, in the middle of a revision too: no gap and no duplicate."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.changes_per_frame = changes_per_frame
            node.frames_left = frames_left
        async with AsyncClient(cluster.endpoints, tls=pki.user) as writer, client.watch(prefix="k") as watch:
            for number in range(4):
                puts = [Put(f"k{number}/{part}", f"{number}") for part in range(3)]
                await writer.transaction().then(*puts).commit()
                await writer.put("other", "1")
            # A connection that is made from now on may tell twice as much: so it ends.
            changes: list[Change] = []
            while len(changes) < 12:
                try:
                    async with asyncio.timeout(0.1):
                        changes += await take(watch, 1)
                except TimeoutError:
                    for node in cluster.nodes:
                        node.frames_left = (node.frames_left or 0) + 3
                        for connection in list(node.connections):
                            connection.cut()
            assert [(change.key, change.revision) for change in changes] == [
                (b"k%d/%d" % (number, part), 2 * number + 1) for number in range(4) for part in range(3)
            ]

    play(pki, scenario)


@pytest.mark.parametrize(
    "reactions",
    [
        [Refuse(Refusal(RefusalCode.NO_LEADER)), Refuse(Refusal(RefusalCode.STOPPING))],
        [Refuse(Refusal(RefusalCode.OVERLOADED))],
        [Cut(0, apply=False), Cut(5)],
        [Say(lambda request_id: encode_watch_ended(request_id, WatchEndReason.NODE_STOPPING, 0))],
        [Say(lambda request_id: encode_frame(b"\5" + request_id.to_bytes(8, "little") + b"cut"))],
        [Say(lambda request_id: encode_frame(b"\5" + request_id.to_bytes(8, "little") + b"\x63" + bytes(7)))],
        [Say(lambda request_id: encode_frame(b"\4" + request_id.to_bytes(8, "little")))],
        [Say(lambda _: b"\xff" * 20)],
    ],
)
def test_whatever_answers_a_watch(pki: Pki, reactions: list[Reaction]) -> None:
    """A node that refuses, goes away or talks nonsense is left for another, and the watch begins where it was to."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for number in range(3):
            await client.put("a", f"{number}")
        for node in cluster.nodes:
            node.plan_for = lambda kind, _: kind is RequestKind.WATCH
        # One for each node, in the order in which they are tried.
        for node, reaction in zip(cluster.nodes, reactions, strict=False):
            node.plan.append(reaction)
        async with client.watch("a", revision=2) as watch:
            assert [change.value for change in await take(watch, 2)] == [b"1", b"2"]
        assert watch_requests(cluster) > len(reactions)

    play(pki, scenario)


def broken(request_id: int, body: bytes) -> bytes:
    return encode_frame(b"\6" + request_id.to_bytes(8, "little") + body)


@pytest.mark.parametrize(
    "frame",
    [
        lambda request_id: broken(request_id, b"cut"),
        lambda request_id: broken(request_id, bytes(12) + b"\xff"),
        lambda request_id: broken(request_id, bytes(8) + b"\0" + b"\1\0\0\0" + b"\xff" * 60),
        lambda request_id: broken(request_id, bytes(13) + b"more"),
        lambda request_id: encode_frame(b"\4" + request_id.to_bytes(8, "little")),
        lambda request_id: encode_watch_ended(request_id, WatchEndReason.NODE_STOPPING, 1),
        lambda request_id: encode_frame(b"\7" + request_id.to_bytes(8, "little") + b"\xee" * 9),
    ],
)
def test_whatever_comes_in_the_middle(pki: Pki, frame: Callable[[int], bytes]) -> None:
    """A node that ends a watch, or says what cannot be read, is left, and the watch goes on without it."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.watch("a") as watch:
            await client.put("a", "1")
            await take(watch, 1)
            (connection,) = (one for node in cluster.nodes for one in node.connections if one.watches.watches)
            (request_id,) = connection.watches.watches
            connection.watches.watches.clear()
            connection.write(frame(request_id))
            await client.put("a", "2")
            assert [change.value for change in await take(watch, 1)] == [b"2"]

    play(pki, scenario)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (WatchEndReason.COMPACTED, Compacted),
        (WatchEndReason.FUTURE_REVISION, FutureRevision),
        (WatchEndReason.TOO_MANY, LimitReached),
        (WatchEndReason.DENIED, Denied),
    ],
)
@pytest.mark.parametrize("in_the_middle", [False, True])
def test_ends_that_are_told(pki: Pki, reason: WatchEndReason, error: type[ClientError], in_the_middle: bool) -> None:
    """What another node could not do better ends in an error; what came before it is delivered first."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        if not in_the_middle:
            cluster.nodes[0].plan.append(Say(lambda request_id: encode_watch_ended(request_id, reason, 7)))
            with pytest.raises(error):
                await anext(client.watch("a"))
            return
        async with client.watch("a") as watch:
            await client.put("a", "1")
            (connection,) = (one for node in cluster.nodes for one in node.connections if one.watches.watches)
            (request_id,) = connection.watches.watches
            await until(lambda: bool(watch.subscription._unread))
            connection.write(connection.watches.end(request_id, reason))
            await until(lambda: len(watch.subscription._unread) == 2)
            await take(watch, 1)
            with pytest.raises(error):
                await anext(watch)

    play(pki, scenario)


def test_a_frozen_node(pki: Pki) -> None:
    """A node that says nothing any more is asked, and left when it does not answer, though nothing is owed."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        async with client.watch("a") as watch:
            cluster.nodes[0].frozen = True
            cluster.leader = cluster.nodes[1]
            async with AsyncClient(cluster.endpoints[1:], tls=pki.user) as other:
                await other.put("a", "2")
            assert [change.value for change in await take(watch, 1)] == [b"2"]

    play(pki, scenario, dead_after=0.2)


def test_many_watches_on_one_connection(pki: Pki) -> None:
    """They are started together, share a connection with the requests, and take none of its slots."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.requests_in_flight_max = 4
        await client.put("a", "1")  # so that it is known who leads
        watches = [client.watch(f"k{number}") for number in range(200)]
        await asyncio.gather(*(watch.__aenter__() for watch in watches))
        await asyncio.gather(*(client.put(f"k{number}", f"{number}") for number in range(200)))
        changes = await asyncio.gather(*(take(watch, 1) for watch in watches))
        assert [change.value for (change,) in changes] == [b"%d" % number for number in range(200)]
        assert sum(node.accepted_total for node in cluster.nodes) == 1
        await asyncio.gather(*(watch.close() for watch in watches))
        (connection,) = cluster.nodes[0].connections
        await until(lambda: not connection.watches.watches)

    play(pki, scenario)


def test_waiting_with_a_time_limit_loses_nothing(pki: Pki) -> None:
    """Giving up to wait, however often and when, leaves the item for the next time."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        changes: list[Change] = []
        watch = client.watch("a", revision=1)
        writing = asyncio.create_task(_put_slowly(client))
        while len(changes) < 20:
            try:
                async with asyncio.timeout(0.0007):
                    changes += await take(watch, 1)
            except TimeoutError:
                continue
        await writing
        await watch.close()
        assert [change.value for change in changes] == [b"%d" % number for number in range(20)]

    play(pki, scenario)


async def _give_up_while_it_begins(cluster: FakeCluster, watch: Watch) -> None:
    """Wait for an item until a node was asked to begin, and for it no longer."""
    waiting = asyncio.create_task(watch.__anext__())
    await until(lambda: watch_requests(cluster) == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("end", ["compacted", "closed"])
def test_waiting_again_while_it_begins(pki: Pki, end: str) -> None:
    """Who gave up to wait, and waits again before a node has answered, is told that there is nothing to wait for."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.machine.become(StateMachine(Limits(history_changes_max=10)))
        for number in range(20):
            await client.put("a", f"{number}")
        held = Wait()
        cluster.nodes[0].plan.append(held)
        watch = client.watch("a", revision=1)
        await _give_up_while_it_begins(cluster, watch)
        waiting = asyncio.create_task(watch.__anext__())
        await asyncio.sleep(0)
        if end == "compacted":
            held.until.set()
            with pytest.raises(Compacted):
                await asyncio.wait_for(waiting, 5)
        else:
            await client.close()
            with pytest.raises(Unavailable, match="closed"):
                await asyncio.wait_for(waiting, 5)

    play(pki, scenario)


def test_a_change_that_comes_with_the_beginning(pki: Pki) -> None:
    """Who waits again in the moment in which both have come takes the change behind the beginning, and once."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.nodes[0].plan.append(Silent())
        watch = client.watch("a", revision=1)
        await _give_up_while_it_begins(cluster, watch)
        node = FakeWatch(1, WatchRequest(WatchFlag(0), 1, b"a", b"b"), cluster.machine)
        watch.subscription.received(ResponseKind.WATCHING, node.begin()[0][LENGTH_BYTES:])
        watch.subscription.received(ResponseKind.CHANGES, node.frames(ALL_CHANGES)[0][LENGTH_BYTES:])
        assert told(await take(watch, 1)) == [("put", b"a", b"1", 1)]
        await client.put("a", "2")
        assert cluster.nodes[0].accepted_total == 1

    play(pki, scenario)


async def _put_slowly(client: AsyncClient) -> None:
    for number in range(20):
        await client.put("a", f"{number}")
        await asyncio.sleep(0.001)


def test_a_slow_consumer_is_bounded(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too much unread the node is told to stop, and when all is read the watch goes on behind it."""
    monkeypatch.setattr(watching, "UNREAD_BYTES_MAX", 20_000)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.watch("a") as watch:
            for number in range(100):
                await client.put("a", f"{number}" + 1000 * ".")
            assert sum(len(frame) for frame in watch.subscription._unread) < 25_000
            assert not any(one.watches.watches for node in cluster.nodes for one in node.connections)
            changes = await take(watch, 100)
            assert [change.value for change in changes] == [b"%d" % number + 1000 * b"." for number in range(100)]
            assert watch_requests(cluster) > 1

    play(pki, scenario)


def test_a_consumer_that_is_slower_than_the_history(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told so, after what it had been sent, and may read what there is now and watch from there."""
    monkeypatch.setattr(watching, "UNREAD_BYTES_MAX", 20_000)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.machine.become(StateMachine(Limits(history_changes_max=10)))
        async with client.watch("a") as watch:
            for number in range(100):
                await client.put("a", f"{number}" + 1000 * ".")
            seen = []
            with pytest.raises(Compacted):  # noqa: PT012 - the block is what is tested
                while True:
                    seen += await take(watch, 1)
            assert 10 < len(seen) < 30
        found = await client.get("a")
        assert found is not None
        async with client.watch("a", revision=found.revision + 1) as watch:
            await client.put("a", "last")
            assert (await take(watch, 1))[0].value == b"last"

    play(pki, scenario)


def test_progress(pki: Pki) -> None:
    """Marks are asked of the node always, since an idle watch goes on from there; and shown on request."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.watch("a", progress=True) as watch, client.watch("a") as silent:
            await client.put("b", "1")
            (connection,) = cluster.nodes[0].connections
            for one in connection.watches.watches.values():
                connection.write(one.mark())
            assert await anext(watch) == Progress(1)
            await client.put("a", "1")
            assert (await take(silent, 1))[0].revision == 2
            assert silent.revision == 2

    play(pki, scenario)


def test_closing(pki: Pki) -> None:
    """Who waits is told that it is over; the node is told too; and the client's end ends its watches."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        watch = client.watch("a")
        await watch.__aenter__()
        waiting = asyncio.create_task(_all_of(watch))
        await asyncio.sleep(0)
        await watch.close()
        await watch.close()
        assert await waiting == []
        (connection,) = cluster.nodes[0].connections
        await until(lambda: not connection.watches.watches)
        async with client.watch("a") as other:
            waiting = asyncio.create_task(_all_of(other))
            await asyncio.sleep(0.01)
            await client.close()
            with pytest.raises(ClientError, match="closed"):
                await waiting

    play(pki, scenario)


async def _all_of(watch: Watch) -> list[Change | Progress]:
    return [item async for item in watch]


@pytest.mark.parametrize("reaction", [Silent(), Silent(apply=True)])
def test_closing_while_it_begins(pki: Pki, reaction: Silent) -> None:
    """A watch that is closed, or whose beginning is cancelled, before a node has answered leaves nothing behind."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].plan.append(reaction)
        beginning = asyncio.create_task(client.watch("a").__aenter__())
        await until(lambda: not cluster.nodes[0].plan)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await client.put("a", "1")
        (connection,) = cluster.nodes[0].connections
        await until(lambda: not connection.watches.watches)

    play(pki, scenario)


def test_the_loop_ends_while_a_watch_is_taken_up_again(pki: Pki) -> None:
    """Whoever waits is cancelled with everything else: the end of a program does not wait for a node."""
    too_late: list[bool] = []

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            watch = AsyncClient(cluster.endpoints, tls=pki.user).watch("a")
            await watch.__aenter__()
            waiting = asyncio.create_task(watch.__anext__())
            started = watch.subscription._starting
        await until(lambda: watch.subscription._starting is not started)

        def give_up() -> None:
            too_late.append(True)
            waiting.cancel()

        asyncio.get_running_loop().call_later(5, give_up)

    asyncio.run(scenario())
    assert not too_late


def test_nobody_is_there(pki: Pki) -> None:
    """The beginning has the client's timeout; a watch that has begun waits as long as it takes."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.watch("a") as watch:
            for node in cluster.nodes:
                await node.stop()
            with pytest.raises(Unavailable, match="not done within"):
                await client.watch("a").__aenter__()
            waiting = asyncio.create_task(take(watch, 1))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            for node in cluster.nodes:
                await cluster.restart(node)
            await client.put("a", "1")
            assert len(await waiting) == 1

    play(pki, scenario, timeout=0.3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": "a", "prefix": "b"},
        {"key": "a", "low": "b"},
        {"prefix": "a", "high": "b"},
        {"key": ""},
        {"puts": False, "deletes": False},
        {"revision": 0},
        {"revision": -1},
    ],
)
def test_nonsense(pki: Pki, arguments: dict[str, object]) -> None:
    """A watch that could see nothing is refused when it is asked for."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(InvalidRequest):
            client.watch(**arguments)  # type: ignore[arg-type]  # wrong on purpose

    play(pki, scenario)
