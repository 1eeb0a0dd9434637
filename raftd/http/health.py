"""Is the node alive, is it ready, does it lead, does it follow: pure functions, so that each answer can be explained.

Alive asks whether this process can do its work, and never whether the others can: a supervisor that restarted a node
for want of a quorum would take away the next one. Ready asks whether a client should be sent here. Leader and follower
are for those who balance load: writes go to the one, reads that may be a little old to the others.
"""

from dataclasses import dataclass
from typing import Final

from raftd.consensus.types import NO_INDEX, LogIndex, Role
from raftd.http.view import NodeStatus

UNCONFIRMED: Final = "no quorum has confirmed it in time"


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """From where on a node is called unwell."""

    loop_lag_seconds_max: float = 5.0
    """An event loop this late has hung: heartbeats left too late for any election timeout."""
    storing_seconds_max: float = 10.0
    """A log write this old is a disk that hangs rather than one that is slow."""
    apply_lag_entries_max: int = 4096
    """Committed and not yet applied entries above which reads here would wait noticeably."""
    confirmation_seconds_max: float = 1.0
    """A confirmation by a quorum this old still counts for readiness."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer: `failure` is None where all is well, else why not, in a few words."""

    name: str
    failure: str | None
    is_open: bool = False
    """Whether nobody was asked: where something else is wrong that would only take time."""


def liveness(status: NodeStatus, limits: HealthLimits) -> tuple[Check, ...]:
    """Whether the process can work at all; independent of every other node."""
    late = status.loop_lag_seconds > limits.loop_lag_seconds_max
    hung = status.storing_seconds > limits.storing_seconds_max
    return (
        Check("loop", f"the event loop was {status.loop_lag_seconds:.1f} s late" if late else None),
        Check("disk", f"a log write has been waiting for {status.storing_seconds:.1f} s" if hung else None),
    )


def readiness(status: NodeStatus, limits: HealthLimits, read_index: LogIndex | None = NO_INDEX) -> tuple[Check, ...]:
    """Whether clients are served well here: alive, caught up, a voter, with a leader that is confirmed, and staying.

    `read_index` is what a quorum or the leader's lease confirmed lately; None if neither did, 0 if nobody was asked.
    """
    return (
        *liveness(status, limits),
        Check("replay", None if status.replayed else "the log has not been replayed yet"),
        Check("voter", None if status.is_voter else _not_a_voter(status)),
        _knows_leader(status),
        _is_confirmed(read_index),
        _lag(status, read_index, limits.apply_lag_entries_max),
        _stays(status),
    )


def leadership(status: NodeStatus, limits: HealthLimits, read_index: LogIndex | None) -> tuple[Check, ...]:
    """Whether this node leads, by a quorum's word or its lease's, and goes on to."""
    leads = status.role is Role.LEADER
    return (
        *liveness(status, limits),
        Check("role", None if leads else f"the node is a {status.role.value}"),
        _is_confirmed(read_index if leads else NO_INDEX),
        _stays(status),
    )


def following(
    status: NodeStatus, limits: HealthLimits, read_index: LogIndex | None, lag_entries_max: int
) -> tuple[Check, ...]:
    """Whether this node follows a leader that answers, and lacks at most so many of its committed entries."""
    follows = status.role is Role.FOLLOWER
    return (
        *liveness(status, limits),
        Check("role", None if follows else f"the node is a {status.role.value}"),
        Check("replay", None if status.replayed else "the log has not been replayed yet"),
        _knows_leader(status),
        _is_confirmed(read_index if follows else NO_INDEX),
        _lag(status, read_index, lag_entries_max),
        _stays(status),
    )


def explain(name: str, checks: tuple[Check, ...]) -> str:
    """One line for each check, `[+]name ok`, `[-]name failed: why` or `[?]name not asked`; a last one with the sum."""
    lines = [_explain(check) for check in checks]
    passed = all(check.failure is None for check in checks)
    return "\n".join([*lines, f"{name} check {'passed' if passed else 'failed'}"])


def summarize(checks: tuple[Check, ...]) -> str:
    """`ok`, or the failures in one line."""
    return "; ".join(f"{check.name}: {check.failure}" for check in checks if check.failure is not None) or "ok"


def _explain(check: Check) -> str:
    if check.failure is not None:
        return f"[-]{check.name} failed: {check.failure}"
    return f"[?]{check.name} not asked" if check.is_open else f"[+]{check.name} ok"


def _is_confirmed(read_index: LogIndex | None) -> Check:
    return Check("quorum", UNCONFIRMED if read_index is None else None, is_open=read_index == NO_INDEX)


def _not_a_voter(status: NodeStatus) -> str:
    return "the node is a learner" if status.is_learner else "the node is no member"


def _knows_leader(status: NodeStatus) -> Check:
    return Check("leader", "no leader is known" if status.leader_id is None else None)


def _stays(status: NodeStatus) -> Check:
    return Check("drain", "the node is stopping" if status.draining else None)


def _lag(status: NodeStatus, read_index: LogIndex | None, entries_max: int) -> Check:
    behind = max(status.commit_index, read_index or NO_INDEX) - status.last_applied
    return Check("apply", f"{behind} committed entries wait" if behind > entries_max else None)
