"""A lock that at most one holds at a time, as far as a lease goes; what must be certain uses its fence.

No lock of a distributed system can promise that its holder knows in time when it is lost: a process may be stopped for
a minute in the middle of a write. So each holder has a token, and a write that is given `fence` happens only while the
holder's key is there: the cluster itself checks it, in the same step.
"""

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self

from raftd.client.errors import LockLost
from raftd.client.recipes.guard import Guard
from raftd.client.recipes.holding import Holding
from raftd.client.results import Fence

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient


class Lock:
    """A lock, to be held for the length of a `with` block; made by `AsyncClient.lock`.

    When the lock is lost, or may be since the cluster could not be reached in time, the block is cancelled, and
    `LockLost` is raised from it. That is before the cluster can have given the lock to another.

    One such object is for one holder at a time: tasks or threads that want the same lock make one each.
    """

    def __init__(self, client: "AsyncClient", name: bytes | str, *, ttl: float, wait: float | None) -> None:
        self.holding = Holding(client, name, b"", ttl=ttl, wait=wait, absent="the lock is not held")
        self._guard: Guard | None = None

    @property
    def token(self) -> int:
        """Greater than that of every earlier holder. Raises: LockLost: it is not held."""
        return self.holding.place.token

    @property
    def fence(self) -> Fence:
        """What a write is given that must not happen without the lock. Raises: LockLost: it is not held."""
        return self.holding.place.fence

    @property
    def lost(self) -> bool:
        """Whether it is not held, or may not be."""
        return self.holding.lost

    async def acquire(self) -> None:
        """Take the lock; also again, after it was lost.

        Raises:
            InvalidRequest: this object holds it, or waits for it, already.
            LockHeld: the time to wait is over.
            LockLost: the cluster could not be reached for so long that the place in the queue may be lost.
            ClientError: what else may befall a write.
        """
        await self.holding.take()

    async def release(self) -> None:
        """Give it back. Raises: LockLost: it was lost before that."""
        await self.holding.give_up()

    async def wait_lost(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the blocking one has it too
        """Wait until it is lost; whether it is, when `timeout` seconds are over."""
        return await self.holding.wait_lost(timeout)

    async def __aenter__(self) -> Self:
        self._guard = Guard((await self.holding.enter()).lease)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard, self._guard = self._guard, None
        try:
            if guard is not None:
                await guard.end(kind, error, trace)
        finally:
            # What the block has raised says more than that the lock was lost too.
            with contextlib.suppress(LockLost) if error is not None else contextlib.nullcontext():
                await self.holding.leave()
