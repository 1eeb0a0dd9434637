import asyncio

from raftd.client import AsyncClient
from tests.client.fake import Pki


def test_put_get_delete(pki: Pki) -> None:
    """What was put is got, until it is deleted; bytes and str are the same key."""

    async def scenario() -> None:
        async with pki.cluster() as cluster, AsyncClient(cluster.endpoints, tls=pki.user) as client:
            put = await client.put("a", b"1")
            assert (put.revision, put.version) == (1, 1)
            found = await client.get(b"a")
            assert found is not None
            assert (found.key, found.value, found.modify_revision, found.version) == (b"a", b"1", 1, 1)
            assert (await client.delete("a")).deleted
            assert not (await client.delete("a")).deleted
            assert await client.get("a") is None

    asyncio.run(scenario())
