import asyncio

import pytest

from raftd.client.deadline import Deadline
from raftd.client.errors import OutcomeUnknown, Unavailable
from raftd.client.retry import Attempts, Route


@pytest.mark.parametrize(("sent", "error"), [(False, Unavailable), (True, OutcomeUnknown)])
def test_what_was_earned_by_then(sent: bool, error: type[Exception]) -> None:
    """When the time is over, the call ends in what its attempts say."""

    async def scenario() -> None:
        attempts = Attempts(Route(["a:1"]), is_write=True)
        if sent:
            attempts.sent()
        with pytest.raises(error, match=r"not done within 0\.01 s"):
            async with Deadline(0.01, attempts):
                await asyncio.sleep(60)

    asyncio.run(scenario())


def test_in_a_task_that_was_cancelled_before() -> None:
    """Who writes one last thing when it is cancelled is told what became of it."""
    ended: list[BaseException] = []

    async def write_at_the_end() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            try:
                async with Deadline(0.01, Attempts(Route(["a:1"]), is_write=True)):
                    await asyncio.sleep(60)
            except BaseException as error:  # noqa: BLE001 - which one is what is tested
                ended.append(error)

    async def scenario() -> None:
        task = asyncio.create_task(write_at_the_end())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert [type(error) for error in ended] == [Unavailable]


def test_what_else_ends_a_call() -> None:
    """Results, errors and cancellations pass through."""

    async def scenario() -> None:
        attempts = Attempts(Route(["a:1"]), is_write=False)
        async with Deadline(5, attempts):
            pass
        with pytest.raises(KeyError):
            async with Deadline(5, attempts):
                raise KeyError

        async def wait() -> None:
            async with Deadline(5, attempts):
                await asyncio.sleep(60)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
