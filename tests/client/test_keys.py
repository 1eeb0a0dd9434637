"""The writes: what each does, and that each is done once whatever becomes of its answer."""

from collections.abc import Awaitable, Callable

import pytest

from raftd.client import (
    AsyncClient,
    CompareFailed,
    Delete,
    DeleteRange,
    Fence,
    Fenced,
    Get,
    Increment,
    InvalidRequest,
    LeaseNotFound,
    LimitReached,
    NotANumber,
    OutOfRange,
    Put,
    Range,
    TooLarge,
    value,
    version,
)
from raftd.client.results import (
    DeleteResult,
    IncrementResult,
    KeyValue,
    Page,
    PutResult,
    TransactionResult,
)
from raftd.wire.client import Refusal, RefusalCode
from tests.client.fake import Cut, FakeCluster, Pki, Refuse
from tests.client.playing import play

WRITES: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
    "put with all": lambda client: client.put("n", "6", expected_value="5", previous=True),
    "delete": lambda client: client.delete("n", previous=True),
    "delete by value": lambda client: client.delete("n", expected_value="5"),
    "increment": lambda client: client.increment("n", 3),
    "delete range": lambda client: client.delete_range(prefix="n", previous=True),
    "transaction": lambda client: (
        client.transaction().when(value("n") == "5").then(Increment("n"), Put("a", "1"), Get("n")).commit()
    ),
    "grant": lambda client: client.revoke_lease(3),
}


def test_what_was_there_before(pki: Pki) -> None:
    """With `previous`, a write tells what it has replaced or deleted; without, it does not."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        assert (await client.put("a", "1", previous=True)).previous is None
        put = await client.put("a", "2", previous=True)
        assert put.previous is not None
        assert (put.previous.key, put.previous.value, put.previous.user) == (b"a", b"1", "alice")
        assert (put.revision, put.version, put.create_revision) == (2, 2, 1)
        assert (await client.put("a", "3")).previous is None
        deleted = await client.delete("a", previous=True)
        assert deleted.previous is not None
        assert deleted.previous.value == b"3"
        assert await client.delete("a", previous=True) == DeleteResult(revision=4, deleted=False)

    play(pki, scenario)


def test_expected_values(pki: Pki) -> None:
    """A write with an expected value happens if the key has it, and else says at which revision it is."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(CompareFailed) as caught:
            await client.put("a", "2", expected_value="1")
        assert caught.value.current_revision == 0
        await client.put("a", "1")
        await client.put("a", "2", expected_value="1")
        with pytest.raises(CompareFailed) as caught:
            await client.delete("a", expected_value="1")
        assert caught.value.current_revision == 2
        assert (await client.delete("a", expected_value=b"2")).deleted

    play(pki, scenario)


def test_increments(pki: Pki) -> None:
    """Numbers grow and shrink from 0 on; what is no number, or would be too large, is left as it is."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        assert await client.increment("n") == IncrementResult(1, 1, 1, 1)
        assert await client.increment("n", -5, expected_revision=1) == IncrementResult(2, -4, 2, 1)
        found = await client.get("n")
        assert found is not None
        assert found.value == b"-4"
        await client.put("n", str((1 << 63) - 1))
        with pytest.raises(OutOfRange):
            await client.increment("n")
        await client.put("n", "four")
        with pytest.raises(NotANumber):
            await client.increment("n")
        with pytest.raises(CompareFailed):
            await client.increment("n", expected_revision=1)

    play(pki, scenario)


def test_deleting_ranges(pki: Pki) -> None:
    """The first keys of a range go in one step, and it is told what they were and whether some are left."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        for key in ("a", "b1", "b2", "b3", "c"):
            await client.put(key, key.upper())
        first = await client.delete_range(prefix="b", limit=2, previous=True)
        assert (first.revision, first.deleted, first.more) == (6, 2, True)
        assert [(item.key, item.value) for item in first.previous] == [(b"b1", b"B1"), (b"b2", b"B2")]
        rest = await client.delete_range("b", "c")
        assert (rest.deleted, rest.more, rest.previous) == (1, False, [])
        assert (await client.delete_range("b", "c")).deleted == 0
        assert (await client.delete_range()).deleted == 2

    play(pki, scenario)


def test_fences(pki: Pki) -> None:
    """A write with a fence happens while the fence's key has the revision at which it was created, in each form."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        held = await client.put("lock", "me")
        fence = Fence(b"lock", held.create_revision)
        await client.put("lock", "still me")
        await client.put("a", "1", fence=fence)
        await client.increment("n", fence=fence)
        await client.transaction().then(Put("b", "1")).commit(fence)
        await client.delete_range(prefix="b", fence=fence)
        await client.delete("a", fence=fence)
        await client.delete("lock")
        with pytest.raises(Fenced) as caught:
            await client.put("a", "1", fence=fence)
        assert caught.value.create_revision == 0
        again = await client.put("lock", "you")
        for write in (
            client.put("a", "1", fence=fence),
            client.increment("n", fence=fence),
            client.transaction().then(Put("b", "1")).commit(fence),
            client.delete_range(fence=fence),
            client.delete("n", fence=fence),
        ):
            with pytest.raises(Fenced) as caught:
                await write
            assert caught.value.create_revision == again.create_revision
        assert await client.count() == 2

    play(pki, scenario)


def test_transactions(pki: Pki) -> None:
    """All of one list is done in one step, and each operation says what came of it, seeing those before it."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        done = await (
            client.transaction()
            .when(version("a") == 0)
            .then(Put("a", "1"), Put("b", "2", previous=True), Get("a"), Delete("none"), Get("none"))
            .otherwise(Get("a"))
            .commit()
        )
        assert done == TransactionResult(
            1,
            True,
            [
                PutResult(1, 1, 1),
                PutResult(1, 1, 1),
                KeyValue(b"a", b"1", 1, 1, 1, 1, 0, "alice"),
                DeleteResult(1, False),
                None,
            ],
        )
        nested = client.transaction().when(value("b") == "2").then(Increment("b", 3)).otherwise(Delete("b"))
        done = await (
            client.transaction()
            .when(version("a") == 0)
            .otherwise(nested, Range(prefix="", limit=1), DeleteRange(prefix="b", previous=True))
            .commit()
        )
        assert (done.succeeded, done.revision) == (False, 2)
        inner, page, deletion = done.results
        assert inner == TransactionResult(2, True, [IncrementResult(2, 5, 2, 1)])
        assert isinstance(page, Page)
        assert ([item.key for item in page.items], page.count, page.more, page.next_page) == ([b"a"], 2, True, None)
        assert getattr(deletion, "deleted", None) == 1
        assert await client.get("b") is None

    play(pki, scenario)


def test_all_or_nothing(pki: Pki) -> None:
    """If one operation cannot be done, none is, and the whole ends in that error."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("n", "many")
        with pytest.raises(NotANumber):
            await client.transaction().then(Put("a", "1"), Increment("n")).commit()
        with pytest.raises(LeaseNotFound):
            await client.transaction().then(Put("a", "1"), Put("b", "1", lease=99)).commit()
        assert cluster.machine.revision == 1

    play(pki, scenario)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("cuts", [[Cut(0)], [Cut(0, apply=False)], [Cut(20)], [Cut(0), Cut(0, apply=False), Cut(3)]])
def test_each_write_is_done_once(pki: Pki, write: Callable[[AsyncClient], Awaitable[object]], cuts: list[Cut]) -> None:
    """Whatever becomes of sendings and answers, it is done once, and the caller gets the first answer."""
    outcomes = []
    for reactions in ([], cuts):

        async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
            await client.put("n", "5")
            lease = await client.grant_lease(60)
            assert lease.id == 3
            await client.put("leased", "1", lease=lease.id)
            cluster.nodes[0].plan.extend(reactions)  # noqa: B023 - played at once
            result = await write(client)
            assert not cluster.nodes[0].plan
            items = [item async for item in client.items()]
            outcomes.append((result, cluster.machine.revision, [(item.key, item.value) for item in items]))

        play(pki, scenario)
    assert outcomes[0] == outcomes[1]


def test_the_cluster_is_full(pki: Pki) -> None:
    """A write that the soft bound forbids ends at once, with the node's words."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].plan.append(Refuse(Refusal(RefusalCode.FULL, "there are 5 keys")))
        with pytest.raises(LimitReached, match="there are 5 keys"):
            await client.put("a", "1")

    play(pki, scenario)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.increment("a", 1 << 63), InvalidRequest),
        (lambda client: client.put("a", "1", lease=0), InvalidRequest),
        (lambda client: client.put("a", "1", fence=Fence(b"", 1)), InvalidRequest),
        (lambda client: client.put("a", "1", fence=Fence(b"a", -1)), InvalidRequest),
        (lambda client: client.delete_range(limit=10_001), InvalidRequest),
        (lambda client: client.delete_range(limit=0), InvalidRequest),
        (lambda client: client.delete_range("a", prefix="b"), InvalidRequest),
        (lambda client: client.delete_range(bytes(5000)), TooLarge),
        (lambda client: client.transaction().then(*[Get("a")] * 129).commit(), InvalidRequest),
        (lambda client: client.transaction().when(*[version("a") == 0] * 129).commit(), InvalidRequest),
        (lambda client: client.transaction().then(Put("a", 5)).commit(), TypeError),  # type: ignore[arg-type]  # wrong on purpose
        (lambda client: client.put("a", "1", expected_value=5), TypeError),
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


def test_a_transaction_that_is_too_large(pki: Pki) -> None:
    """A command over 2 MiB is refused before it is sent, and the session goes on."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(TooLarge):
            await client.transaction().then(*[Put(f"k{number}", bytes(1 << 20)) for number in range(2)]).commit()
        await client.put("a", "1")
        assert cluster.machine.revision == 1

    play(pki, scenario)
