"""The body of a `with` block that needs a lease: it is cancelled when the lease is lost."""

import asyncio
from types import TracebackType

from raftd.client.errors import LockLost
from raftd.client.leases import Lease


class Guard:
    """Cancels the task in which it was made as soon as the lease is lost, until it is ended."""

    def __init__(self, lease: Lease) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lock is for code that runs in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._struck = False
        self._watching = asyncio.create_task(self._watch(lease))

    async def end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Guard no longer.

        Raises:
            LockLost: the block ends since its lease was lost.
        """
        del kind, trace
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        # As in asyncio.timeout: if somebody else wants the task cancelled too, it is.
        if self._struck and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise LockLost("it was lost, or may be: the cluster could not be reached in time") from error

    async def _watch(self, lease: Lease) -> None:
        await lease.wait_lost()
        self._struck = True
        self._task.cancel()
