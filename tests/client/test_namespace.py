"""A namespace is unseen: with it, a client behaves as on a cluster that has nothing else."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raftd.client import AsyncClient, Change, CompareFailed, Delete, Get, InvalidRequest, Put, Range, TooLarge, version
from raftd.client.namespace import Namespace, to_revision, to_value
from raftd.client.results import DeleteResult, Page
from raftd.kv.ranges import is_in_range
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play

KEYS = st.binary(min_size=1, max_size=4)
BOUNDS = st.binary(max_size=4)


@given(st.binary(max_size=4), KEYS, BOUNDS, BOUNDS, KEYS)
@example(b"app/", b"a", b"", b"", b"app/")
def test_ranges_stay_inside(prefix: bytes, key: bytes, low: bytes, high: bytes, foreign: bytes) -> None:
    """A range has the keys that it would have without a namespace, and none from outside, whatever the bytes."""
    namespace = Namespace(prefix)
    assert namespace.strip(namespace.key(key)) == key
    assert namespace.has(namespace.key(key))
    assert namespace.has(foreign) == (foreign != prefix and foreign.startswith(prefix))
    bounds = namespace.bounds(low, high)
    assert is_in_range(namespace.key(key), *bounds) == is_in_range(key, low, high)
    if foreign == prefix or not foreign.startswith(prefix):
        assert not is_in_range(foreign, *bounds)
    of_prefix = namespace.bounds(prefix=low)
    assert is_in_range(namespace.key(key), *of_prefix) == key.startswith(low)
    if foreign == prefix or not foreign.startswith(prefix):
        assert not is_in_range(foreign, *of_prefix)


def test_bounds_of_keys() -> None:
    """The namespace takes room of the key; what is said of it does not show the namespace."""
    namespace = Namespace("secret/")
    assert len(namespace.key(bytes(4089))) == 4096
    with pytest.raises(TooLarge, match="at most 4089 bytes, and this one has 4090") as caught:
        namespace.key(bytes(4090))
    assert "secret" not in str(caught.value)
    namespace.bounds(bytes(4090))
    with pytest.raises(TooLarge):
        namespace.bounds(bytes(4091))
    with pytest.raises(TooLarge):
        Namespace(bytes(4096))
    with pytest.raises(InvalidRequest):
        namespace.key("")
    with pytest.raises(InvalidRequest):
        namespace.bounds(low="a", prefix="b")
    for call in (Namespace, namespace.key, namespace.bounds, to_value):
        with pytest.raises(InvalidRequest, match="is UTF-8, and this one is not"):
            call("a\ud800")
    with pytest.raises(TypeError):
        Namespace(5)  # type: ignore[arg-type]  # wrong on purpose


def test_values_and_revisions() -> None:
    """Text becomes its UTF-8, and what is out of bounds is refused."""
    assert to_value("ü") == b"\xc3\xbc"
    with pytest.raises(TooLarge):
        to_value(bytes((1 << 20) + 1))
    with pytest.raises(TypeError):
        to_value(5)  # type: ignore[arg-type]  # wrong on purpose
    for revision in (-1, 1 << 64):
        with pytest.raises(InvalidRequest):
            to_revision(revision)


def test_nothing_shows_it(pki: Pki) -> None:
    """No call, result or error has a key with the namespace in it, or a key from outside."""

    async def scenario(cluster: FakeCluster, outside: AsyncClient) -> None:
        for key in ("a", "app", "app/", "app0", "zz"):
            await outside.put(key, "outside")
        async with AsyncClient(cluster.endpoints, tls=pki.user, namespace="app/") as client:
            watch = client.watch(revision=1, previous=True)
            lease = await client.grant_lease(30)
            first = await client.put("a", "1", previous=True)
            assert first.previous is None
            second = await client.put("a", "2", lease=lease.id, previous=True)
            assert second.previous is not None
            assert second.previous.key == b"a"
            with pytest.raises(CompareFailed):
                await client.put("a", "3", expected_revision=0)
            found = await client.get("a")
            assert found is not None
            assert found.key == b"a"
            await client.put("b", "1")
            page = await client.range(limit=1)
            assert ([item.key for item in page.items], page.count) == ([b"a"], 2)
            assert page.next_page is not None
            rest = await client.range(page=page.next_page)
            assert [item.key for item in rest.items] == [b"b"]
            assert [item.key async for item in client.items()] == [b"a", b"b"]
            assert await client.count("b") == 1
            for key in ("app/", "outside"):
                await outside.put(key, "outside", lease=lease.id)
            assert (await client.lease_info(lease.id)).keys == [b"a"]
            assert [change.key for change in await client.history("a")] == [b"a", b"a"]
            done = await (
                client.transaction()
                .when(version("b") == 1)
                .then(Get("a"), Range(), Delete("b", previous=True), Put("c", "1"))
                .commit()
            )
            got, ranged, deleted, _ = done.results
            assert getattr(got, "key", None) == b"a"
            assert isinstance(ranged, Page)
            assert [item.key for item in ranged.items] == [b"a", b"b"]
            assert isinstance(deleted, DeleteResult)
            assert deleted.previous is not None
            assert deleted.previous.key == b"b"
            seen: list[bytes] = []
            async with asyncio.timeout(5):
                while len(seen) < 5:
                    change = await anext(watch)
                    assert isinstance(change, Change)
                    seen.append(change.key)
            assert set(seen) == {b"a", b"b", b"c"}
            await watch.close()
            async with client.lock("a") as lock:
                assert lock.fence.key.startswith(b"a/")
                await client.put("c", "2", fence=lock.fence)
            deletion = await client.delete_range(previous=True)
            assert [item.key for item in deletion.previous] == [b"a", b"c"]
        assert await outside.count() == 6

    play(pki, scenario)
