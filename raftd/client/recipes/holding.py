"""What one lock or candidate holds: at most one place in its queue, for one holder at a time.

The place is asked for in one step and there only after many. So what says that the object is in use is set before the
first of them: two who shared it would else both believe in the place that came last.
"""

from typing import TYPE_CHECKING

from raftd.client.errors import InvalidRequest, LockLost
from raftd.client.recipes.queue import Place, give_up

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient


class Holding:
    """The place of one object, if it has one.

    Args:
        client: whose public calls are used.
        name: of the queue.
        value: as of `Place.take`.
        ttl: as of `Place.take`, and so is `wait`.
        wait: see `ttl`.
        absent: what `LockLost` says where there is no place.
    """

    def __init__(
        self,
        client: "AsyncClient",
        name: bytes | str,
        value: bytes | str,
        *,
        ttl: float,
        wait: float | None,
        absent: str,
    ) -> None:
        self.value = value
        """What others see of the next place."""
        self._client = client
        self._name = name
        self._ttl = ttl
        self._wait = wait
        self._absent = absent
        self._taking = False
        self._place: Place | None = None
        self._place_of_block: Place | None = None

    @property
    def place(self) -> Place:
        """What is held, or was until it was lost. Raises: LockLost: nothing is."""
        # Threads of a blocking client ask too, while their client's own may give it up: so it is looked up once.
        place = self._place
        if place is None:
            raise LockLost(self._absent)
        return place

    @property
    def lost(self) -> bool:
        """Whether nothing is held, or may not be."""
        place = self._place
        return place is None or place.lease.lost

    async def wait_lost(self, seconds: float | None) -> bool:
        """Wait until it is lost; whether it is, when `seconds` are over."""
        place = self._place
        return place is None or await place.lease.wait_lost(seconds)

    async def take(self) -> Place:
        """Queue up and wait until it is the first place; what was held before, and is lost, is given up first.

        Raises:
            InvalidRequest: another uses this object; nothing was done.
            ClientError: as `Place.take`.
        """
        if self._taking or not self.lost or self._place_of_block is not None:
            raise InvalidRequest("this object is in use: each is for one holder at a time, so make another one")
        self._taking = True
        try:
            before, self._place = self._place, None
            if before is not None:
                # The cluster may have it still, and then it is first.
                await give_up(before.lease)
            self._place = await Place.take(self._client, self._name, self.value, ttl=self._ttl, wait=self._wait)
        finally:
            self._taking = False
        return self._place

    async def give_up(self) -> None:
        """Leave the queue. Raises: LockLost: nothing is held, or it was lost before."""
        place, self._place = self.place, None
        await place.give_up()

    async def enter(self) -> Place:
        """As `take`, for a block: until `leave` nobody else can use the object, whatever becomes of the place."""
        self._place_of_block = await self.take()
        return self._place_of_block

    async def leave(self) -> None:
        """Give up what the block was entered with. Raises: LockLost: it is not held any more, or was lost before."""
        place, self._place_of_block = self._place_of_block, None
        if place is not None and self._place is place:
            await self.give_up()
        else:
            raise LockLost(self._absent)

    async def take_back(self, place: Place) -> None:
        """Give up what `take` or `enter` gave and nobody was told of."""
        if self._place is place:
            self._place = None
        if self._place_of_block is place:
            self._place_of_block = None
        await give_up(place.lease)
