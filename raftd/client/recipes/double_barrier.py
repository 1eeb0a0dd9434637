"""A double barrier: a fixed number of participants begin together and end together.

Each has a key of its own, on a lease. Who enters looks at who is there *at the revision of its own key* and sees every
change from there on, in the cluster's order. So it cannot miss the moment at which all were there, however fast the
others are gone again; and so it is at the end with the moment at which all are gone.
"""

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self

from raftd.client.errors import ClientError, InvalidRequest, LeaseNotFound, LockLost
from raftd.client.leases import Lease
from raftd.client.namespace import to_bytes
from raftd.client.recipes.queue import give_up, is_place, list_places, place_key, places_prefix
from raftd.client.recipes.waiting import unless_lost
from raftd.client.results import Progress

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient


class DoubleBarrier:
    """One participant's view of a double barrier; made by `AsyncClient.double_barrier`.

    A `with` block begins when all are there, and is left when all have come to its end, or are gone. One such object is
    for one participant at a time.
    """

    def __init__(self, client: "AsyncClient", name: bytes | str, count: int, *, ttl: float) -> None:
        if count < 1:
            raise InvalidRequest("a double barrier has at least one participant")
        self._client = client
        self._name = to_bytes(name, "a name")
        self._count = count
        self._ttl = ttl
        self._lease: Lease | None = None
        self._entering = False

    async def enter(self) -> None:
        """Wait until all are there.

        Raises:
            InvalidRequest: this object has entered, or waits to, already.
            LockLost: the cluster could not be reached for so long that this participant may count as gone.
            Compacted: it took so long that the cluster does not know any more who was there.
            ClientError: what else may befall a write.
        """
        if self._entering or self._lease is not None:
            raise InvalidRequest("this participant has entered already")
        self._entering = True
        try:
            self._lease = await self._enter()
        finally:
            self._entering = False

    async def leave(self) -> None:
        """Wait until all have left.

        Whoever fails here, or gives up waiting, has left nevertheless: the others wait for it no longer than `ttl`.

        Raises:
            LockLost: this participant may have counted as gone before.
            ClientError: what else may befall a write.
        """
        lease, self._lease = self._lease, None
        if lease is None:
            raise InvalidRequest("this participant has not entered")
        lost = lease.lost
        try:
            deletion = await self._client.delete(place_key(self._name, lease.id))
            with contextlib.suppress(ClientError):
                await lease.revoke()
            await self._until(deletion.revision, 0, None)
        except BaseException:
            # It may be there still, and would be kept alive.
            await give_up(lease)
            raise
        if lost or not deletion.deleted:
            raise LockLost("this participant may have counted as gone before it left")

    async def __aenter__(self) -> Self:
        await self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.leave()
            return
        # Who fails does not wait for the others, and does not hold them up.
        await self.give_up()

    async def give_up(self) -> None:
        """Leave without waiting for the others, if it has entered; whatever becomes of that."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await give_up(lease)

    async def _enter(self) -> Lease:
        lease = await self._client.grant_lease(self._ttl, keep_alive=True)
        try:
            put = await self._client.put(place_key(self._name, lease.id), b"", expected_revision=0, lease=lease.id)
            await unless_lost(lease, self._until(put.revision, self._count, lease))
        except BaseException as error:
            await give_up(lease)
            if isinstance(error, LeaseNotFound):
                raise LockLost("the lease ended while it was waited for") from None
            raise
        return lease

    async def _until(self, revision: int, count: int, lease: Lease | None) -> None:
        """Wait until so many are there, or none if `count` is 0, beginning with how it was at a revision."""
        places, _ = await list_places(self._client, self._name, revision=revision)
        present = {place.key for place in places}
        if len(present) >= count if count else not present:
            return
        async with self._client.watch(prefix=places_prefix(self._name), revision=revision + 1, keys_only=True) as watch:
            async for change in watch:
                if isinstance(change, Progress) or not is_place(self._name, change.key):
                    continue
                if change.kind == "put":
                    present.add(change.key)
                else:
                    present.discard(change.key)
                if len(present) >= count if count else not present:
                    return
                if lease is not None and place_key(self._name, lease.id) not in present:
                    raise LockLost("this participant counts as gone")
