"""A lock that at most one holds at a time, as far as a lease goes; what must be certain uses its fence.

No lock of a distributed system can promise that its holder knows in time when it is lost: a process may be stopped for
a minute in the middle of a write. So each holder has a token, and a write that is given `fence` happens only while the
holder's key is there: the cluster itself checks it, in the same step.
"""

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self

from raftd.client.errors import InvalidRequest, LockLost
from raftd.client.recipes.guard import Guard
from raftd.client.recipes.queue import Place
from raftd.client.results import Fence

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient


class Lock:
    """A lock, to be held for the length of a `with` block; made by `AsyncClient.lock`.

    When the lock is lost, or may be since the cluster could not be reached in time, the block is cancelled, and
    `LockLost` is raised from it. That is before the cluster can have given the lock to another.
    """

    def __init__(self, client: "AsyncClient", name: bytes | str, *, ttl: float, wait: float | None) -> None:
        self._client = client
        self._name = name
        self._ttl = ttl
        self._wait = wait
        self._place: Place | None = None
        self._guard: Guard | None = None

    @property
    def token(self) -> int:
        """Greater than that of every earlier holder. Raises: LockLost: it is not held."""
        return self._held().token

    @property
    def fence(self) -> Fence:
        """What a write is given that must not happen without the lock. Raises: LockLost: it is not held."""
        return self._held().fence

    @property
    def lost(self) -> bool:
        """Whether it is not held, or may not be."""
        return self._place is None or self._place.lease.lost

    async def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockHeld: the time to wait is over.
            LockLost: the cluster could not be reached for so long that the place in the queue may be lost.
            ClientError: what else may befall a write.
        """
        if self._place is not None:
            raise InvalidRequest("the lock is held already")
        self._place = await Place.take(self._client, self._name, b"", ttl=self._ttl, wait=self._wait)

    async def release(self) -> None:
        """Give it back. Raises: LockLost: it was lost before that."""
        place, self._place = self._held(), None
        await place.give_up()

    async def wait_lost(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the blocking one has it too
        """Wait until it is lost; whether it is, when `timeout` seconds are over."""
        return self._place is None or await self._place.lease.wait_lost(timeout)

    async def __aenter__(self) -> Self:
        await self.acquire()
        self._guard = Guard(self._held().lease)
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
                await self.release()

    def _held(self) -> Place:
        if self._place is None:
            raise LockLost("the lock is not held")
        return self._place
