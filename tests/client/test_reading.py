"""The reads: pages, counts, listings at one revision, histories."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftd.client import (
    AsyncClient,
    Compacted,
    FutureRevision,
    InvalidRequest,
    TooLarge,
)
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.wire.client import RequestKind
from tests.client.fake import Cut, FakeCluster, Pki
from tests.client.playing import play


async def put_keys(client: AsyncClient, prefix: str, count: int) -> None:
    await asyncio.gather(*(client.put(f"{prefix}{number:04}", f"{number}") for number in range(count)))


def test_a_page(pki: Pki) -> None:
    """A range is half-open and in byte order, and says at which revision it is and how many keys there are."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        for key in ("b", "a", "c", b"\xff\xff", "aa"):
            await client.put(key, b"v")
        page = await client.range("a", "c")
        assert [item.key for item in page.items] == [b"a", b"aa", b"b"]
        assert (page.revision, page.count, page.next_page, page.more) == (5, 3, None, False)
        assert page.items[0].user == "alice"
        assert [item.key for item in (await client.range(prefix=b"\xff")).items] == [b"\xff\xff"]
        keys = (await client.range(limit=2, keys_only=True)).items
        assert [(item.key, item.value, item.modify_revision) for item in keys] == [(b"a", b"", 2), (b"aa", b"", 5)]
        assert (await client.range("c", "b")).count == 0
        assert [await client.count(), await client.count(prefix="a"), await client.count("b", "b")] == [5, 2, 0]
        assert await client.count(stale=True) == 5

    play(pki, scenario)


def test_pages_are_of_one_revision(pki: Pki) -> None:
    """The token of a page leads to what followed it then, whatever was written since."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        await put_keys(client, "k", 10)
        first = await client.range(prefix="k", limit=4)
        assert first.next_page is not None
        assert first.next_page.isascii()
        await client.put("k0005", "new")
        await client.delete("k0006")
        await client.put("k00055", "new")
        rest = await client.range(prefix="k", page=first.next_page)
        assert [item.value for item in (*first.items, *rest.items)] == [b"%d" % number for number in range(10)]
        assert (rest.revision, rest.next_page) == (first.revision, None)
        assert (await client.range(prefix="k", revision=first.revision)).items == [*first.items, *rest.items]
        with pytest.raises(InvalidRequest, match="another range"):
            await client.range(prefix="x", page=first.next_page)
        with pytest.raises(InvalidRequest, match="another range"):
            await client.range(prefix="k", page=first.next_page, revision=1)
        with pytest.raises(FutureRevision, match="newest revision is 13"):
            await client.range(revision=14)

    play(pki, scenario)


@pytest.mark.parametrize("page_size", [None, 1, 7, 1000])
def test_all_items(pki: Pki, page_size: int | None) -> None:
    """Iterating gives each key of the range once, however many pages it takes."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        await put_keys(client, "k", 50)
        await client.put("l", "other")
        found = [item async for item in client.items(prefix="k", page_size=page_size)]
        assert [(item.key, item.value) for item in found] == [
            (b"k%04d" % number, b"%d" % number) for number in range(50)
        ]
        assert [item.key async for item in client.items("k0048", keys_only=True)] == [b"k0048", b"k0049", b"l"]
        assert [item async for item in client.items(prefix="none")] == []

    play(pki, scenario)


def test_items_do_not_mind_writes(pki: Pki) -> None:
    """What is written while one iterates does not show."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        await put_keys(client, "k", 30)
        seen: list[bytes] = []
        async for item in client.items(prefix="k", page_size=3):
            await client.put(item.key, "seen")
            await client.delete("k0029")
            await client.put(f"k9{len(seen)}", "new")
            seen.append(item.value)
        assert seen == [b"%d" % number for number in range(30)]

    play(pki, scenario)


def test_items_of_a_revision_that_is_given_up(pki: Pki) -> None:
    """When the cluster gives up the revision in between, iterating ends in Compacted, and never mixes two states."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.machine.become(StateMachine(Limits(history_changes_max=5)))
        await put_keys(client, "k", 30)
        seen = []
        with pytest.raises(Compacted) as caught:  # noqa: PT012 - the block is what is tested
            async for item in client.items(prefix="k", page_size=3):
                await client.put(item.key, "seen")
                seen.append(item.value)
        assert 3 <= len(seen) < 30
        assert seen == [b"%d" % number for number in range(len(seen))]
        assert caught.value.compacted_revision >= 30

    play(pki, scenario)


def test_items_over_lost_connections(pki: Pki) -> None:
    """A connection that is lost in the middle of a listing does not show."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await put_keys(client, "k", 30)
        cluster.nodes[0].plan.extend([Cut(0), Cut(40)])
        found = [item.value async for item in client.items(prefix="k", page_size=10)]
        assert found == [b"%d" % number for number in range(30)]

    play(pki, scenario)


def test_iterating_that_is_given_up(pki: Pki) -> None:
    """Leaving a listing early fetches no page any more, and nothing complains."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await put_keys(client, "k", 30)
        items = client.items(prefix="k", page_size=3)
        async for _ in items:
            break
        await items.aclose()
        reads = sum(kind is RequestKind.READ for kind, _ in cluster.nodes[0].requests)
        assert reads <= 2

    play(pki, scenario)


def test_stale_pages_of_nodes_that_lag(pki: Pki) -> None:
    """A node that has not come to the revision of an earlier page is passed over for one that has."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await put_keys(client, "k", 10)
        first = await client.range(limit=5, stale=True)
        cluster.nodes[1].lags = cluster.nodes[2].lags = True
        for _ in range(3):
            rest = await client.range(page=first.next_page, stale=True)
            assert len(rest.items) == 5
        cluster.nodes[0].lags = True
        with pytest.raises(FutureRevision):
            await client.range(page=first.next_page, stale=True)

    play(pki, scenario)


def test_history(pki: Pki) -> None:
    """The changes of a key, newest first: when, who, from where, and if asked for what."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.wall_clock_ms = 1_700_000_000_250
        await client.put("a", "1")
        await client.put("b", "x")
        await client.put("a", "2")
        await client.delete("a")
        changes = await client.history("a")
        assert [(change.kind, change.revision, change.value) for change in changes] == [
            ("delete", 4, None),
            ("put", 3, None),
            ("put", 1, None),
        ]
        newest = changes[0]
        assert (newest.user, newest.address, newest.wall_clock) == ("alice", "10.0.0.1:5", 1_700_000_000.25)
        shown = await client.history("a", values=True, limit=2)
        assert [change.value for change in shown] == [None, b"2"]
        assert shown[1].previous is not None
        assert (shown[1].previous.value, shown[1].previous.modify_revision) == (b"1", 1)
        assert [change.revision for change in await client.history("a", before=3)] == [1]
        assert await client.history("a", before=0) == []
        assert await client.history("none") == []

    play(pki, scenario)


def test_a_history_of_many_pages(pki: Pki) -> None:
    """As many changes come as were asked for, in whatever pieces the cluster gives them."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        await asyncio.gather(*(client.put("a", bytes(20_000)) for _ in range(60)))
        changes = await client.history("a", values=True)
        assert [change.revision for change in changes] == list(range(60, 0, -1))
        assert len(await client.history("a", values=True, limit=31)) == 31

    play(pki, scenario)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.range("a", prefix="b"), InvalidRequest),
        (lambda client: client.range(limit=0), InvalidRequest),
        (lambda client: client.range(revision=-1), InvalidRequest),
        (lambda client: client.range(page="no token"), InvalidRequest),
        (lambda client: client.range(bytes(5000)), TooLarge),
        (lambda client: client.range(5), TypeError),
        (lambda client: client.count(prefix=5), TypeError),
        (lambda client: client.history(""), InvalidRequest),
        (lambda client: client.history("a", limit=0), InvalidRequest),
        (lambda client: client.history("a", before=-1), InvalidRequest),
        (lambda client: anext(client.items("a", prefix="b")), InvalidRequest),
    ],
)
def test_nonsense_is_never_sent(
    pki: Pki, call: Callable[[AsyncClient], Awaitable[object]], error: type[Exception]
) -> None:
    """What cannot be right is refused before anything is dialled."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(error):
            await call(client)
        assert not any(node.accepted_total for node in cluster.nodes)

    play(pki, scenario)
