"""A fair queue: whoever took a place first is first, and who is gone, by whatever cause, does not hold up the others.

A place is the key `NAME/LEASE`, LEASE being the id of a lease in 16 hexadecimal digits: it is deleted when its holder
is not heard of any more. Its create revision says who came first, and is the token that others can check: it grows from
holder to holder, and the cluster refuses a write with the fence of a place that is gone.

Whoever is not first waits for the deletion of the one place before its own. So a place that is given up wakes one.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from raftd.client.errors import ClientError, Compacted, LeaseNotFound, LockHeld, LockLost
from raftd.client.leases import Lease
from raftd.client.namespace import to_bytes
from raftd.client.recipes.waiting import unless_lost
from raftd.client.results import Fence, KeyValue
from raftd.client.time_limit import TimeLimit

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient

_PLACE: Final = re.compile(rb"/[0-9a-f]{16}")
_GIVE_UP_SECONDS: Final = 1.0
"""How long one who gives up tries to tell the cluster; the lease ends by itself in any case."""
_log: Final = logging.getLogger("raftd.client")


def places_prefix(name: bytes) -> bytes:
    """What all places of a queue begin with."""
    return name + b"/"


def place_key(name: bytes, lease_id: int) -> bytes:
    """The key of a place."""
    return b"%s/%016x" % (name, lease_id)


def is_place(name: bytes, key: bytes) -> bool:
    """Whether a key is a place of this queue, and not of another one whose name begins with this one's and a slash."""
    return key.startswith(name) and _PLACE.fullmatch(key, len(name)) is not None


def place_before(places: Iterable[KeyValue], own_key: bytes) -> KeyValue | None:
    """The place before one's own; None: one is first.

    Raises:
        LookupError: one's own is not among them.
    """
    ordered = sorted(places, key=lambda place: place.create_revision)
    for before, place in zip((None, *ordered), ordered, strict=False):
        if place.key == own_key:
            return before
    raise LookupError("it is not in the queue")


def first_of(places: Iterable[KeyValue]) -> KeyValue | None:
    """The place that is first; None: there is none."""
    return min(places, key=lambda place: place.create_revision, default=None)


async def list_places(
    client: "AsyncClient", name: bytes, *, revision: int | None = None, keys_only: bool = True
) -> tuple[list[KeyValue], int]:
    """The places of a queue, and the revision at which they were.

    Args:
        client: whose public calls are used.
        name: of the queue.
        revision: as it was then; None: now.
        keys_only: without values.

    Raises:
        Compacted: that revision is held no longer.
        ClientError: what else may befall a read.
    """
    places: list[KeyValue] = []
    next_page: str | None = None
    while True:
        at_revision = revision if next_page is None else None
        try:
            page = await client.range(
                prefix=places_prefix(name), keys_only=keys_only, revision=at_revision, page=next_page
            )
        except Compacted:
            if revision is not None:
                raise
            next_page = None  # it took long enough for that: begin again
            places.clear()
            continue
        places += [item for item in page.items if is_place(name, item.key)]
        next_page = page.next_page
        if next_page is None:
            return places, page.revision


class Place:
    """One place in a queue, from when it is taken until it is given up. Nothing of it is left behind on any way out.

    Args:
        client: whose public calls are used.
        name: of the queue.
        value: of the key: what others see.
        lease: what it hangs on, kept alive.
        token: the create revision of the key.
    """

    def __init__(self, client: "AsyncClient", name: bytes, value: bytes, lease: Lease, token: int) -> None:
        self.lease = lease
        self.token = token
        self._client = client
        self._name = name
        self._key = place_key(name, lease.id)
        self._value = value

    @property
    def fence(self) -> Fence:
        """What a write is given that must not happen once this place is gone."""
        return Fence(self._key, self.token)

    @classmethod
    async def take(
        cls, client: "AsyncClient", name: bytes | str, value: bytes | str, *, ttl: float, wait: float | None
    ) -> "Place":
        """Queue up and wait until it is the first place.

        Args:
            client: see `Place`.
            name: of the queue.
            value: see `Place`.
            ttl: seconds after which the place is gone if nothing is heard of this client.
            wait: seconds to wait for others; 0: not at all; None: as long as it takes.

        Raises:
            LockHeld: another is first still.
            LockLost: the cluster could not be reached for so long that the place may be gone.
            ClientError: what the calls raise.
        """
        loop = asyncio.get_running_loop()
        end = None if wait is None else loop.time() + wait
        queue = to_bytes(name, "a name")
        lease = await client.grant_lease(ttl, keep_alive=True)
        try:
            put = await client.put(place_key(queue, lease.id), value, expected_revision=0, lease=lease.id)
            place = cls(client, queue, to_bytes(value, "a value"), lease, put.create_revision)
            while (behind := await place._look()) is not None:
                left = None if end is None else end - loop.time()
                if left is not None and left <= 0:
                    raise TimeoutError  # noqa: TRY301 - as if it were over while waiting
                with contextlib.suppress(Compacted):  # then look again
                    await unless_lost(lease, place._until_gone(*behind), left)
        except BaseException as error:
            await give_up(lease)
            if isinstance(error, TimeoutError):
                raise LockHeld("another holds it") from None
            if isinstance(error, LeaseNotFound):
                raise LockLost("the lease ended while it was waited for") from None
            raise
        return place

    async def change_value(self, value: bytes | str) -> None:
        """Have others see another value. Raises: LockLost, ClientError."""
        encoded = to_bytes(value, "a value")
        await self._client.put(self._key, encoded, lease=self.lease.id, fence=self.fence)
        self._value = encoded

    async def give_up(self) -> None:
        """Leave the queue.

        Raises:
            LockLost: it was lost before.
        """
        if self.lease.lost:
            await give_up(self.lease)
            raise LockLost("it was lost before it was given up")
        try:
            await self.lease.revoke()
        except LeaseNotFound:
            raise LockLost("it was lost before it was given up") from None
        except ClientError as error:
            # It is not kept alive any more, so it ends in any case.
            _log.debug("lease %d could not be revoked: %s", self.lease.id, error)

    async def _look(self) -> tuple[bytes, int] | None:
        """The key of the place before this one, and the revision at which it was; None: this one is first."""
        places, revision = await list_places(self._client, self._name)
        try:
            before = place_before(places, self._key)
        except LookupError:
            raise LockLost("the lease ended while it was waited for") from None
        return None if before is None else (before.key, revision)

    async def _until_gone(self, key: bytes, revision: int) -> None:
        """Wait for the deletion of a key that was there at a revision."""
        async with self._client.watch(key, revision=revision + 1, puts=False, keys_only=True) as watch:
            await anext(watch)


async def give_up(lease: Lease) -> None:
    """Let a lease go, whatever else happens; if the cluster can be reached, at once."""
    lease.abandon()
    with contextlib.suppress(ClientError, TimeoutError), TimeLimit(_GIVE_UP_SECONDS):
        await lease.revoke()
