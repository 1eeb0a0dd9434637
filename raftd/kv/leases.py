"""The lease table: leases, whose they are, and the keys that end with them.

A lease ends by a logged command only: LEASE_REVOKE of its owner, or EXPIRE_LEASES of a leader that has kept its
deadline. No deadline is in here, since none is replicated: each leader counts anew.

Which keys a lease has is said by the keys' records; the sets here are those turned round, and are in no snapshot.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from raftd.kv.limits import Limits
from raftd.kv.types import LeaseId

_IDS_SLACK: Final = 64


class Lease:
    """One lease. Fields are the table's to change."""

    __slots__ = ("keys", "lease_id", "ttl_ms", "user")

    def __init__(self, lease_id: LeaseId, ttl_ms: int, user: bytes) -> None:
        self.lease_id = lease_id
        self.ttl_ms = ttl_ms
        """As granted."""
        self.user = user
        """Who it was granted to; nobody else may put keys on it, keep it alive, or revoke it."""
        self.keys: set[bytes] = set()


class LeaseTable:
    """All leases by id."""

    __slots__ = ("_ids", "_leases", "_leases_of", "_limits", "key_total")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._leases: dict[LeaseId, Lease] = {}
        # Ascending, with some that are over: ids only ever grow, so a new one comes last, and taking one out of the
        # middle would move all behind it.
        self._ids: list[LeaseId] = []
        self._leases_of: dict[bytes, int] = {}
        """How many a user has; none is not there."""
        self.key_total = 0
        """Keys that are on a lease."""

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        """All leases by id; nothing may change meanwhile."""
        return iter(self._leases.values())

    def get(self, lease_id: LeaseId) -> Lease | None:
        """The lease, or None if there is none."""
        return self._leases.get(lease_id)

    def of_user(self, lease_id: LeaseId, user: bytes) -> Lease | None:
        """The lease; None if there is none or it is another user's, which nobody can tell apart."""
        lease = self._leases.get(lease_id)
        return lease if lease is not None and lease.user == user else None

    def ids_after(self, lease_id: int) -> Iterator[LeaseId]:
        """The ids above `lease_id`, ascending; nothing may change meanwhile. To find it costs nothing that counts."""
        ids, leases = self._ids, self._leases
        return (ids[at] for at in range(bisect_right(ids, lease_id), len(ids)) if ids[at] in leases)

    def grant(self, lease_id: LeaseId, user: bytes, ttl_ms: int) -> Lease | None:
        """Grant a lease of `ttl_ms` (0: the default), brought into bounds; None if there are too many.

        `lease_id` is above all ids before.
        """
        limits = self._limits
        if len(self._leases) >= limits.leases_max or self._leases_of.get(user, 0) >= limits.leases_per_user_max:
            return None
        granted_ms = max(limits.lease_ttl_ms_min, min(ttl_ms or limits.lease_ttl_ms_default, limits.lease_ttl_ms_max))
        return self.restore(lease_id, user, granted_ms)

    def restore(self, lease_id: LeaseId, user: bytes, ttl_ms: int) -> Lease:
        """Put back what a snapshot has shown; ids come ascending."""
        lease = self._leases[lease_id] = Lease(lease_id, ttl_ms, user)
        self._ids.append(lease_id)
        self._leases_of[user] = self._leases_of.get(user, 0) + 1
        return lease

    def remove(self, lease: Lease) -> None:
        """End a lease whose keys are gone."""
        del self._leases[lease.lease_id]
        self._leases_of[lease.user] -= 1
        if not self._leases_of[lease.user]:
            del self._leases_of[lease.user]
        if len(self._ids) > 2 * len(self._leases) + _IDS_SLACK:
            self._ids = list(self._leases)

    def has_room(self, lease: Lease, more: int) -> bool:
        """Whether `more` keys may be put on the lease."""
        return len(lease.keys) + more <= self._limits.keys_per_lease_max

    def attach(self, lease_id: LeaseId, key: bytes) -> None:
        """Note that the record of `key` has the lease now, which is there."""
        self._leases[lease_id].keys.add(key)
        self.key_total += 1

    def detach(self, lease_id: LeaseId, key: bytes) -> None:
        """Note that it has it no more."""
        self._leases[lease_id].keys.remove(key)
        self.key_total -= 1
