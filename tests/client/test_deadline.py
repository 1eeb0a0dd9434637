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
