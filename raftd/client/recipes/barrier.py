"""A barrier: while it is held, everybody waits."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from raftd.client.errors import Compacted
from raftd.client.time_limit import TimeLimit

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient


class Barrier:
    """A key for whose absence others wait; made by `AsyncClient.barrier`."""

    def __init__(self, client: "AsyncClient", name: bytes | str) -> None:
        self._client = client
        self._name = name

    async def hold(self, *, lease: int | None = None) -> None:
        """Have everybody wait.

        Args:
            lease: the id of a lease, which releases the barrier when it ends; without it, only `release` does.

        Raises:
            CompareFailed: it is held already.
        """
        await self._client.put(self._name, b"", expected_revision=0, lease=lease)

    async def release(self) -> bool:
        """Let everybody go on; whether it was held."""
        return (await self._client.delete(self._name)).deleted

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the blocking one has it too
        """Wait until it is not held; whether that is so, when `timeout` seconds are over.

        To look first whether it is held may take as long as a `get`, also with a `timeout` that is shorter, or 0.

        Raises:
            ClientError: nobody could say whether it is held.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        found = await self._client.get(self._name)
        left = None if timeout is None else timeout - (loop.time() - start)
        if found is None or (left is not None and left <= 0):
            return found is None
        # One wait for all that is left, since to look again is a wait too.
        try:
            with TimeLimit(left):
                while found is not None:
                    with contextlib.suppress(Compacted):  # then look again
                        async with self._client.watch(
                            self._name, revision=found.revision + 1, puts=False, keys_only=True
                        ) as watch:
                            await anext(watch)
                            return True
                    found = await self._client.get(self._name)
        except TimeoutError:
            return False
        return True
