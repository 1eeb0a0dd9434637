"""A time limit that holds in every task, also in one that was cancelled before.

`asyncio.timeout` as Debian 12 has it, in Python 3.11.2, ends in CancelledError in a task that has been cancelled and
goes on nevertheless, as one does that says good-bye: it takes the earlier cancellation for one of now.

A loop that stood still, with its machine or in a blocking call, finds the time over and what came meanwhile at once. So
a limit lets the loop go around before it strikes: an answer that has come counts, however late it is looked at.
"""

import asyncio
from types import TracebackType
from typing import Final

_ROUNDS: Final = 3
"""How often the loop goes around between the end of the time and the strike. One round reads what has come; in the next
one runs who waited for it. The third is for loops that have found the time over without a look at what has come: uvloop
does that, and asyncio where SIGSTOP interrupted epoll_wait(2)."""


class TimeLimit:
    """Ends what is done inside of it in TimeoutError after so many seconds; None: never.

    If somebody else cancels the task meanwhile, that is what it ends in. To be entered once.
    """

    __slots__ = ("_cancelling", "_seconds", "_struck", "_task", "_timer")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._struck = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit is for code that runs in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer: asyncio.Handle | None = (
            None if self._seconds is None else asyncio.get_running_loop().call_later(self._seconds, self._strike)
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Only as many cancellations as there were before: the one that ends it is this limit's.
        if self._struck and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _strike(self, rounds: int = _ROUNDS) -> None:
        if rounds:
            self._timer = asyncio.get_running_loop().call_soon(self._strike, rounds - 1)
            return
        self._struck = True
        self._task.cancel()
