"""A barrier: while it is held, everybody waits."""

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
        """Wait until it is not held; whether that is so, when `timeout` seconds are over."""
        # One wait for all of it, since to look is a wait too.
        try:
            with TimeLimit(timeout):
                while (found := await self._client.get(self._name)) is not None:
                    with contextlib.suppress(Compacted):  # then look again
                        async with self._client.watch(
                            self._name, revision=found.revision + 1, puts=False, keys_only=True
                        ) as watch:
                            await anext(watch)
                            return True
        except TimeoutError:
            return False
        return True
