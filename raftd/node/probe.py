"""Does a quorum confirm who leads, and how far is the cluster? Health checks ask that, as clients' reads do.

A probe is a ReadIndex (thesis §6.4): a quorum, or the leader's lease, confirms who leads, and says which entries had
been committed when it was asked. All who ask while one is under way share it, and what it said serves for as long as
the asker finds it new enough and nothing of term, leader or role has changed.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from raftd.consensus.types import LogIndex, NodeId, ProposalRefused, ReadId, Role, Term

PATIENCE_SECONDS: Final = 1.0
"""Then a probe counts as refused, whatever becomes of it."""

_Standing: TypeAlias = tuple[Role, Term, NodeId | None]


class Leadership(Protocol):
    """What must be known of consensus, and done with it."""

    @property
    def role(self) -> Role:
        """This node's role."""
        ...

    @property
    def current_term(self) -> Term:
        """This node's term."""
        ...

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads, if known."""
        ...

    def request_read(self, overdue_ticks: int = 0, *, by_quorum: bool = False) -> ReadId:
        """Ask which entries were committed. Raises: ProposalRefused."""
        ...


class Probe:
    """Asks at most one ReadIndex at a time."""

    def __init__(
        self,
        leadership: Leadership,
        *,
        overdue_ticks: Callable[[], int],
        now: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        """`overdue_ticks` is as `Raft.request_read` has it, `now` monotonic; `wake` makes the driver take a turn."""
        self._leadership = leadership
        self._overdue_ticks = overdue_ticks
        self._now = now
        self._wake = wake
        self._asked_at = 0.0
        self._confirmed: tuple[LogIndex, float, _Standing] | None = None
        """What was said last: the read index, when it was asked for, and what this node was then."""
        self._answer: asyncio.Future[LogIndex | None] | None = None
        """Of the one under way."""
        self.read_id: ReadId | None = None
        """Which ReadIndex is under way."""

    async def read_index(self, max_age_seconds: float) -> LogIndex | None:
        """Entries up to there had been committed when that was asked, at most so long ago; None: nobody confirmed it.

        It takes `PATIENCE_SECONDS` at most.
        """
        confirmed = self._confirmed
        if confirmed is not None:
            index, asked_at, standing = confirmed
            if standing == self._standing() and self._now() - asked_at <= max_age_seconds:
                return index
        answer = self._answer
        if answer is None or answer.done():
            try:
                self.read_id = self._leadership.request_read(self._overdue_ticks())
            except ProposalRefused:
                return None
            self._asked_at = self._now()
            answer = self._answer = asyncio.get_running_loop().create_future()
            self._wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(answer)
        return None

    def confirmed(self, read_index: LogIndex) -> None:
        """`read_id` is confirmed."""
        self._confirmed = read_index, self._asked_at, self._standing()
        self._settle(read_index)

    def refused(self) -> None:
        """`read_id` will not be confirmed."""
        self._settle(None)

    def _settle(self, index: LogIndex | None) -> None:
        self.read_id = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(index)

    def _standing(self) -> _Standing:
        leadership = self._leadership
        return leadership.role, leadership.current_term, leadership.leader_id
