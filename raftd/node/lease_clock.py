"""When leases expire: deadlines, which only the leader has, and only for as long as it leads.

They are in no log and no snapshot. Whoever becomes leader gives each lease its full time to live from then on, once it
has applied an entry of its own term: before that it may not know of all leases, nor of all that were revoked. A
keep-alive moves a deadline; it is answered, like a read, only when a quorum has confirmed that this node still leads,
so a leader that was deposed without knowing it promises nothing.

When a deadline has passed nothing happens yet: again a quorum must confirm first that this node leads. What is still
due then is proposed, and from that moment on its keep-alives are answered as if it were gone, whatever becomes of the
proposal. Only the entry ends the lease, on all nodes at the same place in the log. It leaves those whose keys have
become too many for one step; they are due again once it is applied.

The time is the leader's monotonic clock without the pauses of its process: while it stood still it could take in no
keep-alive, so a pause counts for nobody.

Deadlines are kept in a heap that is mended lazily, as in `raftd.kv.sessions`: a keep-alive costs a dict lookup.
"""

import heapq
import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final, Protocol

from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, Term
from raftd.kv.types import LeaseId

FOUND_MAX: Final = 2000
"""New leases that are given a deadline in one go; a new leader finds all of them new."""

LOOKED_AT_MAX: Final = 4000
"""Deadlines that are looked at in one go: of leases that were granted together, all come up together."""

EXPIRED_MAX: Final = 1024
"""Leases of one EXPIRE_LEASES."""

NAMED_KEYS_MAX: Final = 4096
"""And keys that these have, unless it is one lease: their deletion is one step of the state machine. That one has a
bound of its own (`raftd.kv.limits.EXPIRED_KEYS_MAX`), since more keys may have come to them by then."""

_HEAP_SLACK: Final = 64


class Lease(Protocol):
    """What must be known of a lease."""

    @property
    def ttl_ms(self) -> int:
        """Its time to live."""
        ...

    @property
    def user(self) -> bytes:
        """Whose it is."""
        ...

    @property
    def keys(self) -> set[bytes]:
        """The keys that end with it."""
        ...


class Leases(Protocol):
    """The state machine's leases."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def get(self, lease_id: LeaseId, /) -> Lease | None:
        """The lease, if there is one."""
        ...

    def ids_after(self, lease_id: int, /) -> Iterator[LeaseId]:
        """Those above an id, ascending."""
        ...


class LeaseClock:
    """The deadlines of all leases, on the leader.

    `now` is always this node's monotonic clock in seconds, and `leases` the state machine's at that time: the clock
    keeps neither, for a snapshot may replace them.
    """

    __slots__ = ("_deadlines", "_expiring", "_heap", "_newest", "_paused_seconds", "_term", "expired_total")

    def __init__(self) -> None:
        self._term = NO_TERM
        self._deadlines: dict[LeaseId, float] = {}
        """Of leases that were there when they were last looked at."""
        self._heap: list[tuple[float, LeaseId]] = []
        """One item for each, which may be too early by now."""
        self._expiring: dict[LeaseId, LogIndex] = {}
        """Those whose expiry this node has proposed as the leader that it still is, and the entry that is to do it."""
        self._newest = LeaseId(0)
        """Leases up to this one were found."""
        self._paused_seconds = 0.0
        self.expired_total = 0
        """Leases whose expiry was proposed."""

    def pause(self, seconds: float) -> None:
        """This process stood still for so long: all deadlines are that much later."""
        self._paused_seconds += seconds

    def lead(self, leading_term: Term | None, leases: Leases, now: float) -> bool:
        """Note whether this node leads, and new leases if it does.

        `leading_term` is the term that it leads and of which it has applied an entry; None if there is no such term.

        Returns:
            Whether it leads.
        """
        if leading_term != self._term:
            self._term = leading_term or NO_TERM
            self._deadlines.clear()
            self._heap.clear()
            self._expiring.clear()
            self._newest = LeaseId(0)
        if leading_term is None:
            return False
        self._find(leases, now)
        return True

    def keep_alive(self, lease_id: LeaseId, user: bytes, leases: Leases, now: float) -> int:
        """Let a lease live on, of a leader that was confirmed just now.

        Returns:
            How many milliseconds it lives from now on; 0: the user has no such lease, or had it.
        """
        lease = leases.get(lease_id)
        if lease is None or lease.user != user or lease_id in self._expiring:
            return 0
        self._set(lease_id, lease.ttl_ms, now)
        return lease.ttl_ms

    def remaining_ms(self, lease_id: LeaseId, leases: Leases, now: float) -> int:
        """What is left of a lease; 0: it is over, or about to be."""
        lease = leases.get(lease_id)
        if lease is None or lease_id in self._expiring:
            return 0
        deadline = self._deadlines.get(lease_id)
        if deadline is None:
            return lease.ttl_ms
        return min(lease.ttl_ms, max(0, math.ceil((deadline - self._time(now)) * 1000)))

    def due(self, leases: Leases, now: float, last_applied: LogIndex) -> list[LeaseId]:
        """The leases whose time is up, as many as one command may end, ascending; they are still due afterwards.

        `last_applied` is the state machine's: a lease that an entry up to there was to end, and did not, is due again.
        """
        time, heap, deadlines = self._time(now), self._heap, self._deadlines
        found: list[tuple[float, LeaseId]] = []
        under_way: list[tuple[float, LeaseId]] = []
        keys = 0
        for _ in range(LOOKED_AT_MAX):
            if not heap or heap[0][0] > time or len(found) >= EXPIRED_MAX:
                break
            lease_id = heap[0][1]
            lease = leases.get(lease_id)
            if lease is None:
                heapq.heappop(heap)
                deadlines.pop(lease_id, None)
                continue
            if self._expiring.get(lease_id, NO_INDEX) > last_applied:
                under_way.append(heapq.heappop(heap))
                continue
            deadline = deadlines[lease_id]
            if deadline > time:
                heapq.heapreplace(heap, (deadline, lease_id))
                continue
            keys += len(lease.keys)
            if found and keys > NAMED_KEYS_MAX:
                break
            found.append(heapq.heappop(heap))
        for item in chain(found, under_way):
            heapq.heappush(heap, item)
        return sorted(lease_id for _, lease_id in found)

    def proposed(self, lease_ids: list[LeaseId], leases: Leases, index: LogIndex) -> None:
        """The expiry of these was proposed, as the entry at `index`."""
        self._expiring = {each: at for each, at in self._expiring.items() if leases.get(each) is not None}
        self._expiring.update(dict.fromkeys(lease_ids, index))
        self.expired_total += len(lease_ids)

    def _find(self, leases: Leases, now: float) -> None:
        """Give new leases their deadlines, and let go of what is no longer there when it has become too much."""
        for lease_id in islice(leases.ids_after(self._newest), FOUND_MAX):
            self._newest = lease_id
            lease = leases.get(lease_id)
            if lease is not None and lease_id not in self._deadlines:
                self._set(lease_id, lease.ttl_ms, now)
        if len(self._heap) > 2 * len(leases) + _HEAP_SLACK:
            self._deadlines = {
                lease_id: deadline for lease_id, deadline in self._deadlines.items() if leases.get(lease_id) is not None
            }
            self._heap = [(deadline, lease_id) for lease_id, deadline in self._deadlines.items()]
            heapq.heapify(self._heap)

    def _set(self, lease_id: LeaseId, ttl_ms: int, now: float) -> None:
        deadline = self._time(now) + ttl_ms / 1000
        if lease_id not in self._deadlines:
            heapq.heappush(self._heap, (deadline, lease_id))
        self._deadlines[lease_id] = deadline

    def _time(self, now: float) -> float:
        return now - self._paused_seconds
