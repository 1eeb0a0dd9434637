"""Committed entries on their way into the state machine, so many of them in each turn of the loop.

Entries are not alike. One that deletes ten thousand keys, or a transaction of a hundred writes, takes as long as
thousands that write one key, and clients may have any number of them committed at the same time. So what one turn
applies is bounded by time, and the rest waits for the next turns, with heartbeats and everybody else's requests in
between. Reads wait for their index; and since keep-alives are reads, the time of leases stands still while something is
left over (`raftd.node.lease_keeper`).
"""

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from raftd.consensus.types import Entry, EntryKind, LogIndex
from raftd.kv.audit import AUDIT_ENTRIES
from raftd.kv.machine import StateMachine
from raftd.node.comparison import StateComparison
from raftd.node.requests import Requests
from raftd.node.tracing import Tracer

ObserveCommand: TypeAlias = Callable[[LogIndex, bytes, bytes, float], None]
"""(index, data, answer, seconds)."""

APPLY_SECONDS_MAX: Final = 0.01
"""Spent on applying in one turn, and what the last entry takes."""

BEHIND_ENTRIES: Final = 8192
"""With more entries than this that wait, a turn applies for longer: the log is not compacted before it is applied."""
BEHIND_SECONDS_MAX: Final = 0.1
"""How long then; so a node that is slower than its leader slows it down, and still answers heartbeats in time."""

MEASURED_ENTRIES: Final = AUDIT_ENTRIES // 8
"""A command is measured by itself if its index is a multiple of this: each of them would cost a put a tenth more."""

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_COMMAND: Final = EntryKind.COMMAND


class Applier:
    """Applies what consensus hands out, in order.

    Args:
        machine: Where it goes.
        requests: Who waits for answers.
        tracer: Is told when entries were committed, and applied.
        stopwatch: Gives monotonic seconds.
        observe: Hears how many seconds each piece took.
        observe_command: Hears how many seconds one command took, of those that are measured; with its index, the
            entry's data and the answer.
    """

    __slots__ = (
        "_end",
        "_machine",
        "_observe",
        "_observe_command",
        "_requests",
        "_stopwatch",
        "_tracer",
        "_waiting",
        "comparison",
    )

    def __init__(
        self,
        machine: StateMachine,
        requests: Requests,
        tracer: Tracer,
        stopwatch: Callable[[], float],
        *,
        observe: Callable[[float], None] | None,
        observe_command: ObserveCommand | None = None,
    ) -> None:
        self._machine = machine
        self._requests = requests
        self.comparison = StateComparison()
        """Is told what this node's state is, every so many entries."""
        self._tracer = tracer
        self._stopwatch = stopwatch
        self._observe = observe
        self._observe_command = observe_command
        self._waiting: deque[Entry] = deque()
        """Handed out by consensus; what a snapshot has brought since is passed over."""
        self._end: float | None = None
        """Until when this turn may apply; None: it has not begun to."""

    @property
    def is_behind(self) -> bool:
        """Whether there is something left for a further turn."""
        return bool(self._waiting)

    def begin_turn(self) -> None:
        """A turn begins, with all of its time."""
        self._end = None

    def take(self, committed: tuple[Entry, ...]) -> None:
        """Take the next committed entries."""
        if committed:
            self._waiting += committed
            if self._tracer.is_active:
                self._tracer.committed(committed[-1][0])

    def apply(self) -> LogIndex | None:
        """Apply what waits, for as long as this turn may.

        Returns:
            Up to where all is applied now; None: as far as before.
        """
        machine, requests, waiting = self._machine, self._requests, self._waiting
        while waiting and waiting[0][0] <= machine.last_applied:
            waiting.popleft()
        if not waiting:
            return None
        stopwatch = self._stopwatch
        began = stopwatch()
        if self._end is None:
            self._end = began + (APPLY_SECONDS_MAX if len(waiting) <= BEHIND_ENTRIES else BEHIND_SECONDS_MAX)
        elif began >= self._end:
            return None
        now, end, observe_command = began, self._end, self._observe_command
        while waiting and now < end:
            index, term, kind, data = waiting.popleft()
            if kind is _COMMAND:
                answer = machine.apply(index, term, data)
                if observe_command is not None and not index % MEASURED_ENTRIES:
                    observe_command(index, data, answer, stopwatch() - now)
                requests.applied(index, term, answer)
            else:
                machine.skip(index)
            if not index % AUDIT_ENTRIES:
                self.comparison.audited(index, machine.audit(), machine.key_count)
            now = stopwatch()
        if self._tracer.is_active:
            self._tracer.applied(machine.last_applied)
        if self._observe is not None:
            self._observe(now - began)
        return machine.last_applied
