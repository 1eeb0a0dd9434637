"""Elections: one of many candidates leads, the others wait in a queue, and everybody may look who it is."""

import contextlib
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from raftd.client.errors import Compacted, Fenced, LeaseNotFound, LockLost
from raftd.client.namespace import to_bytes
from raftd.client.recipes.guard import Guard
from raftd.client.recipes.holding import Holding
from raftd.client.recipes.queue import first_of, is_place, list_places, places_prefix
from raftd.client.results import Change, Fence, KeyValue, Progress

if TYPE_CHECKING:
    from raftd.client.asynchronous import AsyncClient


class Leader(NamedTuple):
    """Who leads."""

    value: bytes
    """What the candidate says of itself."""
    token: int
    """Greater than that of every earlier leader."""


class Election:
    """An election; made by `AsyncClient.election`.

    A `with` block is entered when this candidate is elected, and it resigns at the end. When the leadership is lost, or
    may be since the cluster could not be reached in time, the block is cancelled, and `LockLost` is raised from it.
    `leader` and `observe` are for everybody, candidate or not. One such object is for one candidate at a time: tasks or
    threads that stand for the same election make one each.
    """

    def __init__(
        self, client: "AsyncClient", name: bytes | str, value: bytes | str, *, ttl: float, wait: float | None
    ) -> None:
        self._client = client
        self._name = to_bytes(name, "a name")
        absent = "this candidate does not lead"
        self.holding = Holding(client, self._name, to_bytes(value, "a value"), ttl=ttl, wait=wait, absent=absent)
        self._guard: Guard | None = None

    @property
    def token(self) -> int:
        """Greater than that of every earlier leader. Raises: LockLost: this candidate does not lead."""
        return self.holding.place.token

    @property
    def fence(self) -> Fence:
        """What a write is given that must not happen once another leads. Raises: LockLost: as `token`."""
        return self.holding.place.fence

    @property
    def lost(self) -> bool:
        """Whether this candidate does not lead, or may not."""
        return self.holding.lost

    async def campaign(self) -> None:
        """Wait until elected; also again, after the leadership was lost.

        Raises:
            InvalidRequest: this object leads, or waits for it, already.
            LockHeld: the time to wait is over.
            LockLost: the cluster could not be reached for so long that the place in the queue may be lost.
            ClientError: what else may befall a write.
        """
        await self.holding.take()

    async def resign(self) -> None:
        """Let another lead. Raises: LockLost: the leadership was lost before that."""
        await self.holding.give_up()

    async def proclaim(self, value: bytes | str) -> None:
        """Say something else of oneself, as leader.

        Raises:
            LockLost: this candidate does not lead any more; nothing was said.
            ClientError: what may befall a write.
        """
        place = self.holding.place
        try:
            await place.change_value(value)
        except (Fenced, LeaseNotFound):
            raise LockLost("the leadership was lost") from None
        self.holding.value = to_bytes(value, "a value")

    async def leader(self) -> Leader | None:
        """Who leads now; None: nobody."""
        places, _ = await list_places(self._client, self._name, keys_only=False)
        return _leader(first_of(places))

    async def observe(self) -> AsyncGenerator[Leader | None, None]:
        """Iterate over who leads, from now on: each change of the leader, and of what it says of itself.

        Where the cluster holds the changes no longer that a slow observer has not seen, those are left out.
        """
        seen: list[Leader | None] = []
        while True:
            places, revision = await list_places(self._client, self._name, keys_only=False)
            standing = {place.key: place for place in places}
            if (found := _leader(first_of(standing.values()))) not in seen:
                yield found
                seen = [found]
            prefix = places_prefix(self._name)
            with contextlib.suppress(Compacted):  # then look again
                async with self._client.watch(prefix=prefix, revision=revision + 1) as watch:
                    async for change in watch:
                        # Places that go in one revision go together: nobody leads in between.
                        is_over = change.revision > revision
                        if is_over and (found := _leader(first_of(standing.values()))) not in seen:
                            yield found
                            seen = [found]
                        self._follow(standing, change)
                        revision = change.revision
                        is_over = revision <= (watch.revision or 0)
                        if is_over and (found := _leader(first_of(standing.values()))) not in seen:
                            yield found
                            seen = [found]

    async def wait_lost(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the blocking one has it too
        """Wait until the leadership is lost; whether it is, when `timeout` seconds are over."""
        return await self.holding.wait_lost(timeout)

    async def __aenter__(self) -> Self:
        self._guard = Guard((await self.holding.enter()).lease)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard, self._guard = self._guard, None
        try:
            if guard is not None:
                await guard.end(kind, error, trace)
        finally:
            # What the block has raised says more than that the leadership was lost too.
            with contextlib.suppress(LockLost) if error is not None else contextlib.nullcontext():
                await self.holding.leave()

    def _follow(self, standing: dict[bytes, KeyValue], change: Change | Progress) -> None:
        if isinstance(change, Progress) or not is_place(self._name, change.key):
            return
        if change.kind == "delete":
            standing.pop(change.key, None)
        else:
            standing[change.key] = KeyValue(
                change.key,
                change.value or b"",
                change.create_revision,
                change.revision,
                change.version,
                change.revision,
                change.lease,
                change.user,
            )


def _leader(place: KeyValue | None) -> Leader | None:
    return None if place is None else Leader(place.value, place.create_revision)
