import asyncio

import pytest

from raftd.client import AsyncClient, LockLost, Unavailable
from raftd.client.recipes.waiting import unless_lost
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play


def test_whatever_comes_first(pki: Pki) -> None:
    """What is wanted, its error, the loss or the end of the time: whichever comes first; nothing goes on behind it."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        async def fail() -> None:
            raise Unavailable("nobody is there")

        lease = await client.grant_lease(20)
        tasks = len(asyncio.all_tasks())
        assert await unless_lost(lease, asyncio.sleep(0, "wanted")) == "wanted"
        with pytest.raises(Unavailable):
            await unless_lost(lease, fail())
        with pytest.raises(TimeoutError):
            await unless_lost(lease, asyncio.sleep(60), 0.01)
        asyncio.get_running_loop().call_later(0.01, lease.abandon)
        with pytest.raises(LockLost):
            await unless_lost(lease, asyncio.sleep(60))
        assert len(asyncio.all_tasks()) == tasks

    play(pki, scenario)
