"""Tells, as events, what becomes of leadership, membership, disk and event loop: each once, and with its reason."""

import logging
from collections.abc import Callable
from typing import Final

from raftd import events
from raftd.consensus import Membership, RaftView
from raftd.consensus.abdication import Abdication, AbdicationReason
from raftd.consensus.types import LogIndex, NodeId, Role, Term
from raftd.errors import CorruptionError, DataDirectoryError, StorageError

logger = logging.getLogger(__name__)

_SLOW_SECONDS_MIN: Final = 0.5
"""However short the election timeout is, a write or tick that takes no longer is no news."""
_PAUSE_SECONDS: Final = 10.0
"""After one slow write, or late tick, further ones are no news for so long."""


class Narrator:
    """What one node has to tell while it runs."""

    def __init__(
        self,
        raft: RaftView,
        *,
        tick_seconds: float,
        election_timeout_seconds: float,
        busy_since: Callable[[], float | None],
        now: Callable[[], float],
    ) -> None:
        """`busy_since` says since when the log write that is under way has been so, by `now`; None if none is."""
        self._raft = raft
        self._tick_seconds = tick_seconds
        self._slow_seconds = max(_SLOW_SECONDS_MIN, election_timeout_seconds / 2)
        self._busy_since = busy_since
        self._now = now
        self._role = raft.role
        self._leader: NodeId | None = None
        self._led_term: Term | None = None
        """Of which the leader was told last."""
        self._quiet_until = {events.DISK_SLOW.name: 0.0, events.LOOP_LATE.name: 0.0}

    def leadership(self, role: Role, term: Term, leader_id: NodeId | None) -> None:
        """Role, term or leader have changed to these."""
        led, last_leader = self._role is Role.LEADER and role is not Role.LEADER, self._leader
        self._role, self._leader = role, leader_id
        abdication = self._raft.abdication
        if led and abdication is not None:
            events.LEADER_STEPPED_DOWN.log(logger, term=abdication.term, reason=self._why_stepped_down(abdication))
        elif last_leader is not None and leader_id is None:
            events.LEADER_LOST.log(logger, term=term, reason=self._why_lost(role, term, last_leader))
        if leader_id is not None and (leader_id, term) != (last_leader, self._led_term):
            self._led_term = term
            events.LEADER_ELECTED.log(logger, leader=leader_id, term=term)
        elif leader_id is None and role is Role.CANDIDATE and not (last_leader is not None and self._is_handed_over()):
            events.ELECTION_STARTED.log(logger, term=term)

    def membership(self, membership: Membership) -> None:
        """Another membership is in force, committed or not."""
        events.MEMBERSHIP_CHANGED.log(
            logger,
            voters=sorted(membership.voters),
            outgoing=sorted(membership.outgoing),
            learners=sorted(membership.learners),
        )

    def tick(self, late_seconds: float) -> None:
        """A tick has come, so late: look whether loop and disk keep up."""
        if late_seconds >= self._slow_seconds and self._is_news(events.LOOP_LATE):
            events.LOOP_LATE.log(logger, seconds=f"{late_seconds:.1f}")
        busy_since = self._busy_since()
        if busy_since is not None:
            seconds = self._now() - busy_since
            if seconds >= self._slow_seconds and self._is_news(events.DISK_SLOW):
                events.DISK_SLOW.log(logger, seconds=f"{seconds:.1f}")

    def _is_news(self, event: events.Event) -> bool:
        now = self._now()
        if now < self._quiet_until[event.name]:
            return False
        self._quiet_until[event.name] = now + _PAUSE_SECONDS
        return True

    def _why_stepped_down(self, abdication: Abdication) -> str:
        match abdication.reason:
            case AbdicationReason.NO_QUORUM:
                heard = sorted(abdication.silent_ticks.items(), key=lambda item: item[1])
                if not heard:
                    return "no quorum"
                # The one whose silence took the quorum away is in the middle of all, this node included.
                since = heard[(len(heard) + 1) // 2 - 1][1] * self._tick_seconds
                last = ", ".join(f"{peer}: {ticks * self._tick_seconds:.1f} s" for peer, ticks in heard)
                return f"no quorum since {since:.1f} s, last heard from {last} ago"
            case AbdicationReason.TRANSFER:
                return "leadership was handed over"
            case AbdicationReason.DISK:
                return "its disk stores nothing any more"
            case AbdicationReason.REMOVED:
                return "it is a voter no more"
            case AbdicationReason.NEWER_TERM:
                return f"another node has begun term {self._raft.current_term}"

    def _is_handed_over(self) -> bool:
        """Whether a node that gave up its leader just now was told to (TimeoutNow): it was not silent for that long."""
        return self._raft.leader_silent_ticks < self._raft.election_timeout_ticks_min

    def _why_lost(self, role: Role, term: Term, leader: NodeId) -> str:
        if role is Role.FOLLOWER:
            return f"another node than {leader} has begun term {term}"
        if self._is_handed_over():
            return f"node {leader} hands over to this one"
        return f"nothing was heard from node {leader} for {self._raft.leader_silent_ticks * self._tick_seconds:.1f} s"


def tell_failure(error: BaseException, stored_index: LogIndex | None = None) -> str:
    """Tell in one line why the process ends, and return the reason.

    `stored_index`, if it is the log writer that failed, is what was stored until then.
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, CorruptionError):
        events.LOG_DAMAGED.log(logger, reason=reason)
    elif isinstance(error, StorageError) and not isinstance(error, DataDirectoryError) and stored_index is not None:
        events.DISK_FAILED.log(logger, index=stored_index, reason=reason)
    else:
        events.NODE_FAILED.log(logger, reason=reason)
    return reason
