"""How a node that was told to stop spends the time that it has left."""

import asyncio
import contextlib
from typing import Protocol


class Draining(Protocol):
    """The part of the driver that has to come to an end."""

    def idle(self) -> asyncio.Future[None]:
        """As `raftd.node.driver.Driver.idle`."""

    async def hand_over(self) -> None:
        """As `raftd.node.driver.Driver.hand_over`."""


async def drain(driver: Draining, seconds: float) -> None:
    """Wait until nothing is owed, then let another node lead; end after `seconds`, whatever is left.

    Waiting takes half of the time at most: with much to apply there would be none left to hand over in, and the others
    would have to elect somebody.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds / 2):
                    await driver.idle()
            await driver.hand_over()
