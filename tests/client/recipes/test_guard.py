import asyncio

import pytest

from raftd.client import AsyncClient, LockLost
from raftd.client.recipes.guard import Guard
from tests.client.fake import FakeCluster, Pki
from tests.client.playing import play


def test_another_s_cancellation_is_kept(pki: Pki) -> None:
    """If the task is cancelled by somebody else at the same time, it ends as cancelled, and not as LockLost."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        async def guarded() -> None:
            lease = await client.grant_lease(20)
            guard = Guard(lease)
            try:
                started.set_result(lease)
                await asyncio.sleep(60)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await guard.end(type(error), error, None)
                raise

        started = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(guarded())
        (await started).abandon()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(pki, scenario)


def test_a_time_limit_inside_and_outside(pki: Pki) -> None:
    """Time limits of the block and around it go on working; the loss is told through them."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), client.lock("l"):
                await asyncio.sleep(60)
        async with client.lock("l"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.sleep(60)
        with pytest.raises(LockLost):  # noqa: PT012 - the block is what is tested
            async with asyncio.timeout(30), client.lock("l"), asyncio.timeout(30):
                await client.revoke_lease((await client.leases())[0].id)
                await asyncio.sleep(60)

    play(pki, scenario)


def test_not_outside_of_a_task() -> None:
    """Where nothing can be cancelled there is nothing to guard."""
    with pytest.raises(RuntimeError):
        Guard(None)  # type: ignore[arg-type]  # wrong on purpose
