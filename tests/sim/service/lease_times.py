"""That no lease ends before its time, by a reckoning of our own.

Whoever proposes that a lease has expired leads, and by its own clock the whole time to live has passed, without pauses
of its process, since it began to lead, since it applied the entry that granted the lease, and since it last confirmed a
keep-alive. And no lease expires while its holder, who counts as raftd's client does, may believe in it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tests.sim.plan import TICK_SECONDS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_ERROR_SECONDS = 1e-3
UNNOTICED_PAUSE_SECONDS = 0.1 + 2 * TICK_SECONDS
"""A shorter pause of a process looks like a busy loop, and a longer one is seen with a tick's precision."""


class _Moment(NamedTuple):
    """Of one process."""

    local_time: float
    stood_still: float
    """Seconds by its clock that it has stood still, since it was made."""


class LeaseTimes:
    """When leases may expire."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._led_since: dict[tuple[int, int], _Moment] = {}
        """(node, term) -> when it began to lead."""
        self._confirmed: dict[tuple[int, int, int], _Moment] = {}
        """(node, life, lease) -> when it last applied its grant or confirmed a keep-alive."""
        self._promised: dict[int, float] = {}
        """Leases -> until when their holders believe in them, by the right clock."""
        self._expired: dict[int, float] = {}
        """Leases that have expired -> when that was proposed."""
        self._granted: dict[int, tuple[int, float]] = {}
        """Leases -> the terms of the entries that granted them, and how many seconds these give."""

    # The leader's clock.

    def leads(self, process: "Process") -> None:
        """A node has just begun to lead its term."""
        self._led_since[process.node_id, process.raft.current_term] = _now(process)

    def exists(self, lease: int, term: int, ttl_ms: int) -> None:
        """An entry of `term` has granted a lease."""
        self._granted[lease] = term, ttl_ms / 1000

    def applied(self, process: "Process", index: int) -> None:
        """A node has applied an entry, perhaps one that grants a lease."""
        if index in self._granted:
            self._confirmed[process.node_id, process.life, index] = _now(process)

    def kept_alive(self, process: "Process", lease: int) -> None:
        """A leader confirms a keep-alive."""
        self._confirmed[process.node_id, process.life, lease] = _now(process)

    def proposed(self, process: "Process", term: int, leases: Sequence[int]) -> None:
        """A leader proposes that leases have expired."""
        now = _now(process)
        began = self._led_since[process.node_id, term]
        for lease in leases:
            ttl = self._granted[lease][1]
            confirmed = self._confirmed.get((process.node_id, process.life, lease), began)
            for since, what in ((began, "it began to lead"), (confirmed, "it granted it or kept it alive")):
                passed = now.local_time - since.local_time - (now.stood_still - since.stood_still)
                if passed < ttl - _ERROR_SECONDS:
                    self._world.oracle.fail(
                        f"leader {process.node_id} lets lease {lease} of {ttl} s expire, {passed:.3f} s after {what}"
                    )

    # The holders' clock.

    def promised(self, lease: int, until: float) -> None:
        """The holder of a lease may believe in it until then."""
        self._promised[lease] = max(until, self._promised.get(lease, until))
        self._check(lease)

    def given_up(self, lease: int) -> None:
        """Its holder wants to have it revoked."""
        self._promised.pop(lease, None)

    def expired(self, lease: int, proposed_at: float, term: int) -> None:
        """A lease has expired: an entry says so that was proposed then."""
        self._expired[lease] = proposed_at
        self._world.sometimes("lease_expired")
        if term > self._granted[lease][0]:
            self._world.sometimes("lease_expired_after_leader_change")
        self._check(lease)

    def _check(self, lease: int) -> None:
        until, at = self._promised.get(lease), self._expired.get(lease)
        if until is not None and at is not None and at < until:
            self._world.oracle.fail(f"lease {lease} expires at {at:.3f}, and its holder counts on it until {until:.3f}")


def _now(process: "Process") -> _Moment:
    return _Moment(process.local_time(), process.stood_still)
