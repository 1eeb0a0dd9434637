"""Leases: granted, kept alive in the background, and known to be lost before the cluster can have ended them.

All leases that one client keeps alive go in one request, as often as the shortest of them needs it
(`raftd.client.lease_time`).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from itertools import islice
from types import TracebackType
from typing import Final, TypeVar

from raftd.client.asking import Asker
from raftd.client.clock import lease_clock
from raftd.client.errors import ClientError, InvalidRequest, LeaseNotFound
from raftd.client.lease_time import LeaseTime
from raftd.client.namespace import Namespace
from raftd.client.operations import to_lease
from raftd.client.outcomes import require_ok
from raftd.client.results import LeaseInfo, LeaseSummary
from raftd.client.retry import Attempts
from raftd.client.time_limit import TimeLimit
from raftd.client.writing import Writer
from raftd.errors import RemoteProtocolError
from raftd.kv import answers, commands
from raftd.kv.answers import Answer
from raftd.kv.pages import LeasesPage, decode_lease, decode_leases
from raftd.kv.queries import LeaseQuery, LeasesQuery, Query, encode_query
from raftd.kv.types import LeaseId
from raftd.wire.client import Consistency, RequestKind, encode_read_body
from raftd.wire.watch import LEASES_KEPT_ALIVE_MAX, decode_keep_alive_answer, encode_keep_alive_body

T = TypeVar("T")

TTL_SECONDS_MAX: Final = (1 << 32) // 1000
"""A request has 32 bits for the milliseconds."""
_PAUSE_SECONDS: Final = 0.1
"""After a keep-alive that came to nothing: the time that a lease has is not to be spent on asking without a pause."""
_LOOK_SECONDS: Final = 1.0
"""How long one who waits for a loss may not look at the clock: the loop's own timers do not run while the machine is
suspended (`raftd.client.clock`)."""
_log: Final = logging.getLogger("raftd.client")


class Lease:
    """A lease of this client: keys that are put with it are deleted when it ends.

    Made by `grant_lease`, and by `lease` for a `with` block. Its time is counted so that it is never too long, as
    `raftd.client.lease_time` says.
    """

    def __init__(self, leases: "Leases", lease_id: int, time: LeaseTime) -> None:
        self.id = lease_id
        """Names it for ever: what `lease=` of a put takes."""
        self.time = time
        self._leases = leases
        self._ended = asyncio.Event()

    @property
    def ttl(self) -> float:
        """Seconds that it lives without being kept alive, as the cluster granted."""
        return self.time.ttl

    @property
    def lost(self) -> bool:
        """Whether it has ended, or may have, as no keep-alive was confirmed in time. Once so, it stays so."""
        return self.time.lost(lease_clock())

    def remaining(self) -> float:
        """Seconds for which it certainly lives, without a further keep-alive."""
        return self.time.remaining(lease_clock())

    async def wait_lost(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the blocking one has it too
        """Wait until it is lost; whether it is, when `timeout` seconds are over."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while not self.lost:
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            certain = min(max(self.remaining(), 0.001), _LOOK_SECONDS)
            with contextlib.suppress(TimeoutError), TimeLimit(certain if left is None else min(left, certain)):
                await self._ended.wait()
        return True

    async def keep_alive(self) -> None:
        """Give it its full time again, once.

        Raises:
            LeaseNotFound: it has ended.
            ClientError: it could not be confirmed; or it was, too late: a lease that was lost here stays lost.
        """
        (remaining_ms,) = await self._leases.keep_alive_once([self])
        if not remaining_ms:
            raise LeaseNotFound("the lease has ended")
        if self.lost:
            raise ClientError("the cluster has the lease still, but here it counts as lost, and stays so")

    async def revoke(self) -> int:
        """End it now, with its keys; returns how many were deleted.

        Raises:
            LeaseNotFound: it has ended before.
            ClientError: as for a write.
        """
        self.abandon()
        return await self._leases.revoke(self.id)

    def abandon(self) -> None:
        """Keep it alive no longer, and do not count on it: it ends by itself."""
        self._leases.drop(self)
        self.end()

    def end(self) -> None:
        """Note that it is over."""
        self.time.end()
        self._ended.set()


class HeldLease:
    """A lease for the length of a `with` block: granted at its beginning, kept alive, and revoked at its end."""

    def __init__(self, leases: "Leases", ttl: float) -> None:
        self._leases = leases
        self._ttl = ttl
        self._lease: Lease | None = None

    async def __aenter__(self) -> Lease:
        if self._lease is not None:
            raise InvalidRequest("one such lease is for one block")
        self._lease = await self._leases.grant(self._ttl, keep_alive=True)
        return self._lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                await lease.revoke()
            except ClientError as failure:
                # It is not kept alive any more, so it ends in any case.
                _log.debug("lease %d could not be revoked: %s", lease.id, failure)


class Leases:
    """The leases of one client."""

    def __init__(self, asker: Asker, writer: Writer, namespace: Namespace) -> None:
        self._asker = asker
        self._writer = writer
        self._namespace = namespace
        self._kept: dict[int, Lease] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def grant(self, ttl: float, *, keep_alive: bool) -> Lease:
        """As `AsyncClient.grant_lease`."""
        if not 0 < ttl <= TTL_SECONDS_MAX:
            raise InvalidRequest(
                f"a lease's time to live is more than 0 and at most {TTL_SECONDS_MAX} seconds (49.7 days)"
            )
        ttl_ms = max(1, round(ttl * 1000))
        # Counted from before the first sending: that may be the one that was done, whichever was answered.
        sent_at = lease_clock()

        def interpret(answer: Answer) -> Lease:
            require_ok(answer)
            granted = answers.decode_lease_grant(answer.body)
            return Lease(self, granted.lease, LeaseTime(granted.ttl_ms / 1000, sent_at))

        lease = await self._writer.write(
            lambda session, sequence, first: commands.lease_grant(session, sequence, first, ttl_ms), interpret
        )
        if keep_alive:
            self._keep(lease)
        return lease

    async def revoke(self, lease_id: int) -> int:
        """As `AsyncClient.revoke_lease`."""
        lease = to_lease(lease_id)
        if (kept := self._kept.get(lease)) is not None:
            kept.abandon()

        def interpret(answer: Answer) -> int:
            require_ok(answer)
            return answers.decode_lease_revoke(answer.body)

        return await self._writer.write(
            lambda session, sequence, first: commands.lease_revoke(session, sequence, first, lease), interpret
        )

    async def keep_alive(self, lease_id: int) -> float:
        """As `AsyncClient.keep_lease_alive`."""
        (remaining_ms,) = await self._send_keep_alive([to_lease(lease_id)])
        if not remaining_ms:
            raise LeaseNotFound("there is no such lease, or it is another user's")
        return remaining_ms / 1000

    async def info(self, lease_id: int) -> LeaseInfo:
        """As `AsyncClient.lease_info`."""
        lease = to_lease(lease_id)

        def interpret(answer: Answer) -> LeaseInfo:
            require_ok(answer)
            found = decode_lease(answer.body)
            return LeaseInfo(
                lease,
                found.ttl_ms / 1000,
                found.remaining_ms / 1000,
                found.user.decode(errors="replace"),
                # A lease is the cluster's: keys of any namespace may end with it.
                [self._namespace.strip(key) for key in found.keys if self._namespace.has(key)],
            )

        return await self._query(LeaseQuery(lease), interpret)

    async def all(self) -> list[LeaseSummary]:
        """As `AsyncClient.leases`."""

        def interpret(answer: Answer) -> LeasesPage:
            require_ok(answer)
            return decode_leases(answer.body)

        found: list[LeaseSummary] = []
        more = True
        while more:
            after = LeaseId(found[-1].id if found else 0)
            more, listed = await self._query(LeasesQuery(after), interpret)
            found += [
                LeaseSummary(lease, ttl_ms / 1000, user.decode(errors="replace"), key_count)
                for lease, ttl_ms, key_count, user in listed
            ]
            more = more and bool(listed)
        return found

    def drop(self, lease: Lease) -> None:
        """Keep a lease alive no longer."""
        self._kept.pop(lease.id, None)

    async def keep_alive_once(self, leases: Sequence[Lease]) -> Sequence[int]:
        """Give leases their full time again; those that are gone are told so.

        Returns:
            For each lease how many milliseconds it has left at the cluster; 0: it is gone.

        Raises:
            ClientError: the cluster did not say.
        """
        sent_at = lease_clock()
        remaining = await self._send_keep_alive([LeaseId(lease.id) for lease in leases])
        now = lease_clock()
        for lease, remaining_ms in zip(leases, remaining, strict=True):
            if remaining_ms:
                lease.time.confirmed(sent_at, now)
            else:
                lease.abandon()
        return remaining

    async def close(self) -> None:
        """Keep none alive any more: each ends by itself."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for lease in self._kept.values():
            lease.end()
        self._kept.clear()

    def _keep(self, lease: Lease) -> None:
        if self._asker.closing:  # as `close` does with those that there were
            lease.end()
            return
        self._kept[lease.id] = lease
        self._changed.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        """Keep alive what is held, until there is nothing; an error only means that it is tried again."""
        while self._kept:
            for lost in [lease for lease in self._kept.values() if lease.lost]:
                lost.abandon()
            wait = min((lease.time.due_at for lease in self._kept.values()), default=0.0) - lease_clock()
            if wait > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError), TimeLimit(wait):
                    await self._changed.wait()
                continue
            await self._keep_all_alive()

    async def _keep_all_alive(self) -> None:
        leases = iter(list(self._kept.values()))
        while chunk := list(islice(leases, LEASES_KEPT_ALIVE_MAX)):
            try:
                # Asked anew, it may be that all of the time since this sending is won.
                with TimeLimit(min(lease.ttl for lease in chunk) / 3):
                    await self.keep_alive_once(chunk)
            except (ClientError, TimeoutError) as error:
                _log.debug("%d leases could not be kept alive: %s", len(chunk), error)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _send_keep_alive(self, leases: Sequence[LeaseId]) -> Sequence[int]:
        def interpret(answer: Answer) -> Sequence[int]:
            require_ok(answer)
            remaining_ms = decode_keep_alive_answer(answer.body)
            if len(remaining_ms) != len(leases):
                raise RemoteProtocolError(f"{len(remaining_ms)} times came, of {len(leases)} leases")
            return remaining_ms

        attempts = Attempts(self._asker.to_leader, is_write=False)
        async with self._asker.deadline(attempts):
            body = encode_keep_alive_body(leases)
            return await self._asker.answer(RequestKind.LEASE_KEEP_ALIVE, body, attempts, interpret)

    async def _query(self, query: Query, interpret: Callable[[Answer], T]) -> T:
        attempts = Attempts(self._asker.to_leader, is_write=False)
        async with self._asker.deadline(attempts):
            body = encode_read_body(Consistency.LINEARIZABLE, *encode_query(query))
            return await self._asker.answer(RequestKind.READ, body, attempts, interpret)
