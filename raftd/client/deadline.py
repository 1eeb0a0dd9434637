"""How long one call may take."""

from types import TracebackType

from raftd.client.retry import Attempts
from raftd.client.time_limit import TimeLimit


class Deadline:
    """Ends what is done inside of it after `seconds`, in the error that the attempts have earned by then.

    Written out instead of made by contextlib: every call enters one, and this costs a third.
    """

    __slots__ = ("_attempts", "_limit", "_seconds")

    def __init__(self, seconds: float, attempts: Attempts) -> None:
        self._seconds = seconds
        self._attempts = attempts
        self._limit = TimeLimit(seconds)

    async def __aenter__(self) -> None:
        self._limit.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._limit.__exit__(kind, error, trace)
        except TimeoutError:
            raise self._attempts.given_up(f"not done within {self._seconds:g} s") from None
