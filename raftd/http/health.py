"""Is the node alive, is it ready: decided by pure functions, so that each answer can be explained.

Alive asks whether this process can do its work, and never whether the others can: a supervisor that restarted a node
for want of a quorum would take away the next one. Ready asks whether a client should be sent here.
"""

from dataclasses import dataclass

from raftd.http.view import NodeStatus


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """From where on a node is called unwell."""

    loop_lag_seconds_max: float = 5.0
    """An event loop this late has hung: heartbeats left too late for any election timeout."""
    storing_seconds_max: float = 10.0
    """A log write this old is a disk that hangs rather than one that is slow."""
    apply_lag_entries_max: int = 4096
    """Committed and not yet applied entries above which reads here would wait noticeably."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer: `failure` is None where all is well, else why not, in a few words."""

    name: str
    failure: str | None


def liveness(status: NodeStatus, limits: HealthLimits) -> tuple[Check, ...]:
    """Whether the process can work at all; independent of every other node."""
    late = status.loop_lag_seconds > limits.loop_lag_seconds_max
    hung = status.storing_seconds > limits.storing_seconds_max
    return (
        Check("loop", f"the event loop was {status.loop_lag_seconds:.1f} s late" if late else None),
        Check("disk", f"a log write has been waiting for {status.storing_seconds:.1f} s" if hung else None),
    )


def readiness(status: NodeStatus, limits: HealthLimits) -> tuple[Check, ...]:
    """Whether clients are served well here: alive, caught up, with a leader, and not about to stop.

    A leader counts as one with a quorum: it steps down by itself within an election timeout of losing it (thesis §6.2).
    """
    behind = status.commit_index - status.last_applied
    return (
        *liveness(status, limits),
        Check("replay", None if status.replayed else "the log has not been replayed yet"),
        Check("leader", "no leader is known" if status.leader_id is None else None),
        Check("apply", f"{behind} committed entries wait" if behind > limits.apply_lag_entries_max else None),
        Check("drain", "the node is stopping" if status.draining else None),
    )


def explain(name: str, checks: tuple[Check, ...]) -> str:
    """One line for each check, `[+]name ok` or `[-]name failed: why`, and a last one with the sum."""
    lines = [
        f"[+]{check.name} ok" if check.failure is None else f"[-]{check.name} failed: {check.failure}"
        for check in checks
    ]
    passed = all(check.failure is None for check in checks)
    return "\n".join([*lines, f"{name} check {'passed' if passed else 'failed'}"])


def summarize(checks: tuple[Check, ...]) -> str:
    """`ok`, or the failures in one line."""
    return "; ".join(f"{check.name}: {check.failure}" for check in checks if check.failure is not None) or "ok"
