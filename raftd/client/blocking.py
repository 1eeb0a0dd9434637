"""What `Client` gives out: each blocks where its counterpart of `AsyncClient` is awaited, and is else the same."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Final, Self, TypeVar

from raftd.client import leases, watching
from raftd.client.errors import ClientError
from raftd.client.loop_thread import LoopThread
from raftd.client.recipes import barrier, double_barrier, election, lock
from raftd.client.recipes.election import Leader
from raftd.client.results import Change, Fence, Progress

T = TypeVar("T")
_LOOK_SECONDS: Final = 0.001


class Watch:
    """As `raftd.client.watching.Watch`: an iterator, and a context manager that ends it. One thread at a time waits."""

    def __init__(self, thread: LoopThread, watch: watching.Watch) -> None:
        self._thread = thread
        self._watch = watch

    @property
    def revision(self) -> int | None:
        """Everything up to this revision was delivered; None: it has not begun."""
        return self._watch.revision

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change | Progress:
        subscription = self._watch.subscription
        while (item := subscription.position.next()) is None:
            if subscription.closed:
                raise StopIteration
            self._thread.run(subscription.ready)
        return item

    def close(self) -> None:
        """End it; closing twice is allowed, and so is closing in another thread than the one that waits."""
        self._thread.run(self._watch.close)

    def __enter__(self) -> Self:
        self._thread.run(self._watch.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _unless_raised(error):
            self.close()


class Lease:
    """As `raftd.client.leases.Lease`."""

    def __init__(self, thread: LoopThread, lease: leases.Lease) -> None:
        self._thread = thread
        self._lease = lease

    @property
    def id(self) -> int:
        """Names it for ever: what `lease=` of a put takes."""
        return self._lease.id

    @property
    def ttl(self) -> float:
        """Seconds that it lives without being kept alive, as the cluster granted."""
        return self._lease.ttl

    @property
    def lost(self) -> bool:
        """Whether it has ended, or may have, as no keep-alive was confirmed in time. Once so, it stays so."""
        return self._lease.lost

    def remaining(self) -> float:
        """Seconds for which it certainly lives, without a further keep-alive."""
        return self._lease.remaining()

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until it is lost; whether it is, when `timeout` seconds are over."""
        return self._thread.run(self._lease.wait_lost, timeout)

    def keep_alive(self) -> None:
        """As `raftd.client.leases.Lease.keep_alive`."""
        self._thread.run(self._lease.keep_alive)

    def revoke(self) -> int:
        """As `raftd.client.leases.Lease.revoke`."""
        return self._thread.run(self._lease.revoke)


class HeldLease:
    """As `raftd.client.leases.HeldLease`: a lease for the length of a `with` block."""

    def __init__(self, thread: LoopThread, held: leases.HeldLease) -> None:
        self._thread = thread
        self._held = held

    def __enter__(self) -> Lease:
        granting = self._thread.request(self._give_up, self._held.__aenter__)
        try:
            return Lease(self._thread, self._thread.wait(granting))
        except BaseException:
            self._thread.abandon(granting)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _unless_raised(error):
            self._thread.run(self._held.__aexit__, kind, error, trace)

    async def _give_up(self, _lease: leases.Lease) -> None:
        await self._held.__aexit__(None, None, None)


class Lock:
    """As `raftd.client.recipes.lock.Lock`; but nothing interrupts the block when the lock is lost.

    Ask `lost` in it, and give `fence` to its writes; `LockLost` is raised at its end.
    """

    def __init__(self, thread: LoopThread, inner: lock.Lock) -> None:
        self._thread = thread
        self._inner = inner

    @property
    def token(self) -> int:
        """Greater than that of every earlier holder. Raises: LockLost: it is not held."""
        return self._inner.token

    @property
    def fence(self) -> Fence:
        """What a write is given that must not happen without the lock. Raises: LockLost: it is not held."""
        return self._inner.fence

    @property
    def lost(self) -> bool:
        """Whether it is not held, or may not be."""
        return self._inner.lost

    def acquire(self) -> None:
        """As `raftd.client.recipes.lock.Lock.acquire`."""
        taking = self._thread.request(self._inner.holding.take_back, self._inner.holding.take)
        try:
            self._thread.wait(taking)
        except BaseException:
            self._thread.abandon(taking)
            raise

    def release(self) -> None:
        """Give it back. Raises: LockLost: it was lost before that."""
        self._thread.run(self._inner.release)

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until it is lost; whether it is, when `timeout` seconds are over."""
        return self._thread.run(self._inner.wait_lost, timeout)

    def __enter__(self) -> Self:
        entering = self._thread.request(self._inner.holding.take_back, self._inner.holding.enter)
        try:
            self._thread.wait(entering)
            return self  # noqa: TRY300 - the block does not begin before this step is done
        except BaseException:
            self._thread.abandon(entering)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _unless_raised(error):
            self._thread.run(self._inner.holding.leave)


class Election:
    """As `raftd.client.recipes.election.Election`; but nothing interrupts the block when the leadership is lost.

    Ask `lost` in it, and give `fence` to its writes; `LockLost` is raised at its end.
    """

    def __init__(self, thread: LoopThread, inner: election.Election) -> None:
        self._thread = thread
        self._inner = inner

    @property
    def token(self) -> int:
        """Greater than that of every earlier leader. Raises: LockLost: this candidate does not lead."""
        return self._inner.token

    @property
    def fence(self) -> Fence:
        """What a write is given that must not happen once another leads. Raises: LockLost: as `token`."""
        return self._inner.fence

    @property
    def lost(self) -> bool:
        """Whether this candidate does not lead, or may not."""
        return self._inner.lost

    def campaign(self) -> None:
        """As `raftd.client.recipes.election.Election.campaign`."""
        taking = self._thread.request(self._inner.holding.take_back, self._inner.holding.take)
        try:
            self._thread.wait(taking)
        except BaseException:
            self._thread.abandon(taking)
            raise

    def resign(self) -> None:
        """Let another lead. Raises: LockLost: the leadership was lost before that."""
        self._thread.run(self._inner.resign)

    def proclaim(self, value: bytes | str) -> None:
        """As `raftd.client.recipes.election.Election.proclaim`."""
        self._thread.run(self._inner.proclaim, value)

    def leader(self) -> Leader | None:
        """Who leads now; None: nobody."""
        return self._thread.run(self._inner.leader)

    def observe(self) -> Generator[Leader | None, None, None]:
        """As `raftd.client.recipes.election.Election.observe`."""
        observed = self._inner.observe()
        try:
            while True:
                yield self._thread.run(_next_of, observed)
        finally:
            with contextlib.suppress(ClientError):  # it is closed already
                self._thread.run(_close, observed)

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the leadership is lost; whether it is, when `timeout` seconds are over."""
        return self._thread.run(self._inner.wait_lost, timeout)

    def __enter__(self) -> Self:
        entering = self._thread.request(self._inner.holding.take_back, self._inner.holding.enter)
        try:
            self._thread.wait(entering)
            return self  # noqa: TRY300 - the block does not begin before this step is done
        except BaseException:
            self._thread.abandon(entering)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _unless_raised(error):
            self._thread.run(self._inner.holding.leave)


class Barrier:
    """As `raftd.client.recipes.barrier.Barrier`."""

    def __init__(self, thread: LoopThread, inner: barrier.Barrier) -> None:
        self._thread = thread
        self._inner = inner

    def hold(self, *, lease: int | None = None) -> None:
        """As `raftd.client.recipes.barrier.Barrier.hold`."""
        self._thread.run(self._inner.hold, lease=lease)

    def release(self) -> bool:
        """Let everybody go on; whether it was held."""
        return self._thread.run(self._inner.release)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is not held; whether that is so, when `timeout` seconds are over."""
        return self._thread.run(self._inner.wait, timeout)


class DoubleBarrier:
    """As `raftd.client.recipes.double_barrier.DoubleBarrier`."""

    def __init__(self, thread: LoopThread, inner: double_barrier.DoubleBarrier) -> None:
        self._thread = thread
        self._inner = inner

    def enter(self) -> None:
        """As `raftd.client.recipes.double_barrier.DoubleBarrier.enter`."""
        entering = self._thread.request(self._give_up, self._inner.enter)
        try:
            self._thread.wait(entering)
        except BaseException:
            self._thread.abandon(entering)
            raise

    def leave(self) -> None:
        """As `raftd.client.recipes.double_barrier.DoubleBarrier.leave`."""
        self._thread.run(self._inner.leave)

    def __enter__(self) -> Self:
        entering = self._thread.request(self._give_up, self._inner.enter)
        try:
            self._thread.wait(entering)
            return self  # noqa: TRY300 - the block does not begin before this step is done
        except BaseException:
            self._thread.abandon(entering)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _unless_raised(error):
            self._thread.run(self._inner.__aexit__, kind, error, trace)

    async def _give_up(self, _entered: None) -> None:
        await self._inner.give_up()


def _unless_raised(error: BaseException | None) -> contextlib.AbstractContextManager[None]:
    """Around the end of a block: what the block has raised says more than that its end failed too."""
    return contextlib.nullcontext() if error is None else contextlib.suppress(ClientError)


async def _next_of(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)


async def _close(source: AsyncGenerator[T, None]) -> None:
    # Ctrl-C gave up waiting for the next one, and that is about to end.
    while getattr(source, "ag_running", False):  # noqa: ASYNC110 - no event says it
        await asyncio.sleep(_LOOK_SECONDS)
    await source.aclose()
