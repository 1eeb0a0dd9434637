"""The lease table: leases, whose they are, and the keys that end with them.

A lease ends by a logged command only: LEASE_REVOKE of its owner, or EXPIRE_LEASES of a leader that has kept its
deadline. No deadline is in here, since none is replicated: each leader counts anew.

Which keys a lease has is said by the keys' records; the sets here are those turned round, and are in no snapshot.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from raftd.kv.letting_go import drop_all, drop_items
from raftd.kv.limits import Limits
from raftd.kv.types import LeaseId

_GONE_PART: Final = 8
_GONE_SLACK: Final = 256


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


class _LeasesById:
    """Some leases, found from any id on.

    `ids` ascend, with some that are over: ids only ever grow, so a new one comes last, and taking one out of the middle
    would move all behind it. Whoever goes over them passes over an eighth of the leases and `_GONE_SLACK` at most.
    """

    __slots__ = ("ids", "leases")

    def __init__(self) -> None:
        self.leases: dict[LeaseId, Lease] = {}
        self.ids: list[LeaseId] = []

    def add(self, lease: Lease) -> None:
        """Add one whose id is above all others."""
        self.leases[lease.lease_id] = lease
        self.ids.append(lease.lease_id)

    def remove(self, lease_id: LeaseId) -> None:
        """Remove one that is there."""
        leases = self.leases
        del leases[lease_id]
        if len(self.ids) > len(leases) + len(leases) // _GONE_PART + _GONE_SLACK:
            self.ids = list(leases)

    def ids_after(self, lease_id: int) -> Iterator[LeaseId]:
        """See `LeaseTable.ids_after`."""
        ids, leases = self.ids, self.leases
        return (ids[at] for at in range(bisect_right(ids, lease_id), len(ids)) if ids[at] in leases)


class LeaseTable:
    """All leases by id, and those of each user."""

    __slots__ = ("_all", "_leases", "_leases_of", "_limits", "key_total")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = _LeasesById()
        self._leases = self._all.leases
        self._leases_of: dict[bytes, _LeasesById] = {}
        """Those of a user; whoever has none is not there."""
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

    def ids_after(self, lease_id: int, user: bytes | None = None) -> Iterator[LeaseId]:
        """The ids above `lease_id`, ascending, of a user's leases or all; nothing may change meanwhile.

        To find the first costs nothing that counts, whatever others have.
        """
        leases = self._all if user is None else self._leases_of.get(user)
        return iter(()) if leases is None else leases.ids_after(lease_id)

    def grant(self, lease_id: LeaseId, user: bytes, ttl_ms: int) -> Lease | None:
        """Grant a lease of `ttl_ms` (0: the default), brought into bounds; None if there are too many.

        `lease_id` is above all ids before.
        """
        limits = self._limits
        own = self._leases_of.get(user)
        if len(self._leases) >= limits.leases_max or (own and len(own.leases) >= limits.leases_per_user_max):
            return None
        granted_ms = max(limits.lease_ttl_ms_min, min(ttl_ms or limits.lease_ttl_ms_default, limits.lease_ttl_ms_max))
        return self.restore(lease_id, user, granted_ms)

    def restore(self, lease_id: LeaseId, user: bytes, ttl_ms: int) -> Lease:
        """Put back what a snapshot has shown; ids come ascending."""
        lease = Lease(lease_id, ttl_ms, user)
        self._all.add(lease)
        own = self._leases_of.get(user)
        if own is None:
            own = self._leases_of[user] = _LeasesById()
        own.add(lease)
        return lease

    def remove(self, lease: Lease) -> None:
        """End a lease whose keys are gone."""
        self._all.remove(lease.lease_id)
        own = self._leases_of[lease.user]
        own.remove(lease.lease_id)
        if not own.leases:
            del self._leases_of[lease.user]

    def let_go(self) -> Iterator[int]:
        """Give up all leases, as `raftd.kv.letting_go` has it."""
        while self._leases:
            keys = self._leases.popitem()[1].keys
            yield 1 + len(keys)
            keys.clear()
        yield from drop_all(self._all.ids)
        while self._leases_of:
            own = self._leases_of.popitem()[1]
            yield from drop_items(own.leases)
            yield from drop_all(own.ids)

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
