"""Waiting for two things at once: for what is wanted, and for the loss of what one has."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from raftd.client.errors import LockLost
from raftd.client.leases import Lease

T = TypeVar("T")


async def unless_lost(lease: Lease, wanted: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    """What is wanted, while the lease lives.

    Raises:
        LockLost: the lease is lost.
        TimeoutError: `seconds` are over.
    """
    waiting = asyncio.ensure_future(wanted)
    losing = asyncio.ensure_future(lease.wait_lost())
    try:
        await asyncio.wait((waiting, losing), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if losing.done():
            raise LockLost("the lease was lost while waiting")
        raise TimeoutError
    finally:
        waiting.cancel()
        losing.cancel()
        await asyncio.gather(waiting, losing, return_exceptions=True)
