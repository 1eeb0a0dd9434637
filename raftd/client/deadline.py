"""How long one call may take."""

import asyncio
from types import TracebackType

from raftd.client.retry import Attempts


class Deadline:
    """Ends what is done inside of it after `seconds`, in the error that the attempts have earned by then.

    Written out instead of made by contextlib: every call enters one, and this costs a third.
    """

    __slots__ = ("_attempts", "_seconds", "_timeout")

    def __init__(self, seconds: float, attempts: Attempts) -> None:
        self._seconds = seconds
        self._attempts = attempts
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._attempts.given_up(f"not done within {self._seconds:g} s") from None
