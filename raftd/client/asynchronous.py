"""The asyncio client: what it offers, and the objects of which it is made; each has a module of its own."""

import asyncio
import math
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from raftd.client.administration import Administration
from raftd.client.asking import Asker
from raftd.client.config import DEFAULT_TIMEOUT_SECONDS, ClientConfig
from raftd.client.errors import InvalidRequest
from raftd.client.explaining import Explain
from raftd.client.keys import Keys
from raftd.client.leases import HeldLease, Lease, Leases
from raftd.client.members import Members
from raftd.client.namespace import Namespace
from raftd.client.reading import Reader
from raftd.client.recipes.barrier import Barrier
from raftd.client.recipes.double_barrier import DoubleBarrier
from raftd.client.recipes.election import Election
from raftd.client.recipes.lock import Lock
from raftd.client.results import (
    Backup,
    BackupHistory,
    Change,
    DeleteRangeResult,
    DeleteResult,
    Fence,
    IncrementResult,
    KeyValue,
    LeaseInfo,
    LeaseSummary,
    Page,
    PutResult,
    TransactionResult,
)
from raftd.client.retry import Random
from raftd.client.tls import ClientTls, keeping_the_last
from raftd.client.transactions import Transaction
from raftd.client.watching import Watch, Watches
from raftd.client.writing import Writer
from raftd.wire.administration import ChangeKind

Tls: TypeAlias = ClientTls | Callable[[], ssl.SSLContext]
"""How to reach nodes: the files, or what makes a context that presents a certificate and demands one."""

DEFAULT_SESSION_TTL_SECONDS: Final = 60.0
DEFAULT_DEAD_AFTER_SECONDS: Final = 2.0
DEFAULT_LOCK_TTL_SECONDS: Final = 10.0


class AsyncClient:
    """A client of a cluster, for one event loop.

    Keys and values are bytes; `str` is taken too, as its UTF-8. What comes back is bytes. Any number of tasks may use
    one client, and should: their requests travel side by side on one connection.

    Each call ends within `timeout` seconds, in a result or a `ClientError`, but for those that are several requests
    (docs/client.md, "When something fails"): each of these has as long. A write is exactly once: it is repeated until
    it is answered, applied at most once, and only when no answer came does it end in `OutcomeUnknown`. Cancelling a
    call gives it up: a write may then have happened or not.

    Every call may raise `Unavailable`, `Denied`, `TooLarge`, `InvalidRequest` or `TlsError`, and then nothing was
    written; every write may raise `OutcomeUnknown`. What else a call raises, it says.

    Where a range is asked for, it is that of all keys from `low` on and below `high` (empty: to the end), or that of
    all keys that begin with `prefix`.

    Args:
        endpoints: `host:port` of nodes, one or more; those that are missing are found by redirection.
        tls: this client's certificate, and how to know a node.
        timeout: seconds that one request may take, with all its repetitions.
        session_ttl: seconds after which the cluster forgets this client's unanswered writes if nothing is heard of it.
        dead_after: seconds of silence, while it owes an answer, after which a node is taken for dead.
        namespace: put before every key that is given, and taken off every key that comes back.
        jitter: where the jitter of pauses comes from.

    Raises:
        ConfigurationError: no endpoint, or one that is not `host:port`.
        TlsError: a file cannot be used.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Tls,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        session_ttl: float = DEFAULT_SESSION_TTL_SECONDS,
        dead_after: float = DEFAULT_DEAD_AFTER_SECONDS,
        namespace: bytes | str = b"",
        jitter: Random | None = None,
    ) -> None:
        if isinstance(endpoints, str) or not endpoints:
            raise InvalidRequest("endpoints is a list of host:port, and has at least one")
        if not (0 < timeout < math.inf and 0 < dead_after < math.inf and 0 < session_ttl * 1000 < 1 << 32):
            raise InvalidRequest("timeout, session_ttl and dead_after are seconds, and more than 0")
        make_context = keeping_the_last(tls.context) if isinstance(tls, ClientTls) else tls
        make_context()  # a file that cannot be used shows here, and not in the first call
        self._namespace = Namespace(namespace)
        self._asker = Asker(
            endpoints, make_context, timeout=timeout, dead_after=dead_after, random=jitter or random.SystemRandom()
        )
        self._writer = Writer(self._asker, max(1, round(session_ttl * 1000)))
        self._reader = Reader(self._asker, self._namespace)
        self._keys = Keys(self._writer, self._namespace)
        self._leases = Leases(self._asker, self._writer, self._namespace)
        self._watches = Watches(self._asker, self._namespace)
        self._administration = Administration(self._asker)
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig) -> "AsyncClient":
        """Make a client from a configuration file. Raises: ConfigurationError, TlsError."""
        if not isinstance(config, ClientConfig):
            config = ClientConfig.load(config)
        return cls(config.endpoints, tls=config.tls, timeout=config.timeout, namespace=config.namespace)

    # Reads.

    async def get(self, key: bytes | str, *, stale: bool = False) -> KeyValue | None:
        """Read a key; None when there is none.

        Args:
            key: 1 to 4096 bytes.
            stale: ask any node and take what it has, however old. Otherwise the answer sees every write that was
                answered, to whomever, before this call.
        """
        return await self._reader.get(key, stale=stale)

    async def range(
        self,
        low: bytes | str = b"",
        high: bytes | str = b"",
        *,
        prefix: bytes | str | None = None,
        limit: int | None = None,
        keys_only: bool = False,
        revision: int | None = None,
        page: str | None = None,
        stale: bool = False,
    ) -> Page:
        """Read the first keys of a range, in byte order: at most 1,000, or 512 KiB.

        Args:
            low: the first key.
            high: the first key that does not belong to it.
            prefix: instead of both.
            limit: at most so many; None: as many as fit.
            keys_only: without values.
            revision: as they were then; None: as they are now, or as the earlier page was.
            page: `next_page` of an earlier page of the same range, to go on behind it.
            stale: as of `get`.

        Raises:
            Compacted: that revision is held no longer.
            FutureRevision: there has been no such revision yet.
        """
        return await self._reader.range(
            low,
            high,
            prefix,
            limit=limit,
            revision=revision,
            page=page,
            keys_only=keys_only,
            stale=stale,
        )

    async def items(
        self,
        low: bytes | str = b"",
        high: bytes | str = b"",
        *,
        prefix: bytes | str | None = None,
        keys_only: bool = False,
        page_size: int | None = None,
    ) -> AsyncGenerator[KeyValue, None]:
        """Iterate over all keys of a range, as they all were at one revision; pages are fetched ahead.

        Args:
            low: as of `range`, and so are `high`, `prefix` and `keys_only`.
            high: see `low`.
            prefix: see `low`.
            keys_only: see `low`.
            page_size: how many keys are fetched at once; None: as many as fit.

        Raises:
            Compacted: that revision was given up meanwhile. Revisions are never mixed.
        """
        pages = self._reader.pages(low, high, prefix, page_size, keys_only=keys_only)
        try:
            while page := await pages.next():
                for item in page:
                    yield item
        finally:
            await pages.close()

    async def count(
        self,
        low: bytes | str = b"",
        high: bytes | str = b"",
        *,
        prefix: bytes | str | None = None,
        stale: bool = False,
    ) -> int:
        """How many keys a range has; see `range`."""
        return await self._reader.count(low, high, prefix, stale=stale)

    async def history(
        self, key: bytes | str, *, limit: int = 100, before: int | None = None, values: bool = False
    ) -> list[Change]:
        """The changes of a key that are held still, newest first.

        Args:
            key: the key.
            limit: at most so many.
            before: only those of revisions below.
            values: with what was written, and what was there before.
        """
        return await self._reader.history(key, limit, before, values=values)

    def watch(
        self,
        key: bytes | str | None = None,
        *,
        low: bytes | str = b"",
        high: bytes | str = b"",
        prefix: bytes | str | None = None,
        revision: int | None = None,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        progress: bool = False,
        keys_only: bool = False,
    ) -> Watch:
        """See changes as they happen: iterate over what this returns.

        Nothing is missed and nothing comes twice, whatever becomes of connections and nodes. A consumer that is slow
        loses nothing either, as long as the cluster holds what it has not read.

        Args:
            key: the one key to watch; without it, a range as of `range`, all keys if that says nothing.
            low: see `key`.
            high: see `key`.
            prefix: see `key`.
            revision: the first revision whose changes are wanted; None: from now on. To go on after a read, it is the
                read's `revision + 1`.
            previous: tell what was there before each change.
            puts: tell of writes.
            deletes: tell of deletions.
            progress: give a `Progress` too now and then, when revisions passed without a change.
            keys_only: tell no values.

        Raises:
            Compacted: while iterating: changes that were not delivered are held no longer. Read what there is now, and
                watch from there.
            FutureRevision: while iterating: the revision is above the next one.
            LimitReached: while iterating: the cluster has as many watches as it may have.
        """
        return self._watches.watch(
            key,
            low,
            high,
            prefix,
            revision,
            previous=previous,
            puts=puts,
            deletes=deletes,
            progress=progress,
            keys_only=keys_only,
        )

    # Writes.

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        expected_revision: int | None = None,
        expected_value: bytes | str | None = None,
        lease: int | None = None,
        fence: Fence | None = None,
        previous: bool = False,
        explain: Explain | None = None,
    ) -> PutResult:
        """Write a key, exactly once.

        Args:
            key: 1 to 4096 bytes.
            value: 0 bytes to 1 MiB.
            expected_revision: write only if the key's modify revision is this; 0: only if there is no such key.
            expected_value: write only if the key is there with this value.
            lease: the id of a lease: the key is deleted when that ends. Without it, the key has none afterwards.
            fence: write only while this lock or leadership is held.
            previous: tell what was there before.
            explain: is told where the time of this write went, before this returns; it takes some more requests.

        Raises:
            CompareFailed: it is another; nothing was written.
            Fenced: it is held no longer; nothing was written.
            LeaseNotFound: there is no such lease; nothing was written.
            LimitReached: the lease has as many keys as it may have, or the cluster; nothing was written.
        """
        return await self._keys.put(
            key,
            value,
            expected_revision=expected_revision,
            expected_value=expected_value,
            lease=lease,
            fence=fence,
            previous=previous,
            explain=explain,
        )

    async def delete(
        self,
        key: bytes | str,
        *,
        expected_revision: int | None = None,
        expected_value: bytes | str | None = None,
        fence: Fence | None = None,
        previous: bool = False,
    ) -> DeleteResult:
        """Delete a key, exactly once; a key that is absent is no error, unless something is expected of it.

        Args and Raises: as of `put`.
        """
        return await self._keys.delete(key, expected_revision, expected_value, fence, previous=previous)

    async def increment(
        self,
        key: bytes | str,
        delta: int = 1,
        *,
        expected_revision: int | None = None,
        fence: Fence | None = None,
    ) -> IncrementResult:
        """Add to a number, exactly once; the key's value is the number in decimal, and an absent key counts as 0.

        The key keeps its lease.

        Args:
            key: as of `put`, and so are `expected_revision` and `fence`.
            delta: what to add, which may be negative.
            expected_revision: see `key`.
            fence: see `key`.

        Raises:
            NotANumber: the value is none; nothing was written.
            OutOfRange: the sum does not fit into 64 bits; nothing was written.
            ClientError: as `put`.
        """
        return await self._keys.increment(key, delta, expected_revision, fence)

    async def delete_range(
        self,
        low: bytes | str = b"",
        high: bytes | str = b"",
        *,
        prefix: bytes | str | None = None,
        limit: int | None = None,
        fence: Fence | None = None,
        previous: bool = False,
    ) -> DeleteRangeResult:
        """Delete the first keys of a range in one step, exactly once; see `range`.

        Args:
            low: as of `range`, and so are `high` and `prefix`.
            high: see `low`.
            prefix: see `low`.
            limit: at most so many, 10,000 or fewer; the result tells whether keys are left.
            fence: as of `put`.
            previous: tell what was there.

        Raises:
            LimitReached: what was there is too much to be told; nothing was deleted.
            ClientError: as `put`.
        """
        return await self._keys.delete_range(low, high, prefix, limit, fence, previous=previous)

    def transaction(self) -> Transaction[Awaitable[TransactionResult]]:
        """Build a transaction: `when`, `then`, `otherwise`, and at last `commit`, which is to be awaited."""
        return Transaction(self._keys.transact)

    # Leases.

    async def grant_lease(self, ttl: float, *, keep_alive: bool = False) -> Lease:
        """Have a lease granted: keys that are put with it are deleted when it ends.

        Args:
            ttl: seconds that it lives if it is not kept alive; the cluster takes 1 second to 7 days, and what it
                granted is in the lease.
            keep_alive: keep it alive in the background, until it is revoked or this client is closed.

        Raises:
            LimitReached: there are as many as there may be.
        """
        return await self._leases.grant(ttl, keep_alive=keep_alive)

    def lease(self, ttl: float) -> HeldLease:
        """A lease for a `with` block: granted at its beginning, kept alive, and revoked at its end."""
        return HeldLease(self._leases, ttl)

    async def keep_lease_alive(self, lease_id: int) -> float:
        """Give a lease of this user its full time again, once; returns the seconds that it has.

        Raises:
            LeaseNotFound: there is no such lease, or it is another user's.
        """
        return await self._leases.keep_alive(lease_id)

    async def revoke_lease(self, lease_id: int) -> int:
        """End a lease and delete its keys, in one step; returns how many there were.

        Raises:
            LeaseNotFound: there is no such lease, or it is another user's.
        """
        return await self._leases.revoke(lease_id)

    async def lease_info(self, lease_id: int) -> LeaseInfo:
        """What the leader knows about a lease.

        Raises:
            LeaseNotFound: there is no such lease, or it is another user's.
        """
        return await self._leases.info(lease_id)

    async def leases(self) -> list[LeaseSummary]:
        """This user's leases, in the order in which they were granted; an administrator sees all."""
        return await self._leases.all()

    # Recipes: made of the calls above.

    def lock(self, name: bytes | str, *, ttl: float = DEFAULT_LOCK_TTL_SECONDS, wait: float | None = None) -> Lock:
        """A lock for a `with` block; whoever asks first gets it first.

        Args:
            name: where it is: below the key `name/`.
            ttl: seconds after which it is free again if nothing is heard of its holder.
            wait: seconds to wait for others; 0: not at all; None: as long as it takes.
        """
        return Lock(self, name, ttl=ttl, wait=wait)

    def election(
        self,
        name: bytes | str,
        value: bytes | str = b"",
        *,
        ttl: float = DEFAULT_LOCK_TTL_SECONDS,
        wait: float | None = None,
    ) -> Election:
        """An election: a `with` block is entered by whoever is elected, and anybody may look who is.

        Args:
            name: where it is: below the key `name/`.
            value: what the others see of this candidate.
            ttl: as of `lock`, and so is `wait`.
            wait: see `ttl`.
        """
        return Election(self, name, value, ttl=ttl, wait=wait)

    def barrier(self, name: bytes | str) -> Barrier:
        """A barrier: while the key `name` is there, everybody waits."""
        return Barrier(self, name)

    def double_barrier(self, name: bytes | str, count: int, *, ttl: float = DEFAULT_LOCK_TTL_SECONDS) -> DoubleBarrier:
        """A barrier for a `with` block that begins when `count` are there and ends when all are done.

        Args:
            name: where it is: below the key `name/`.
            count: how many take part.
            ttl: seconds after which one of whom nothing is heard is no longer there.
        """
        return DoubleBarrier(self, name, count, ttl=ttl)

    # The cluster.

    async def status(self, endpoint: str) -> dict[str, Any]:
        """What one node says of itself. Raises: Unavailable, Denied or TlsError; there is one attempt only."""
        return await self._administration.status(endpoint)

    async def log(self, endpoint: str, last: int = 10) -> dict[str, Any]:
        """The `last` entries of one node's log, newest first. Raises: as `status`."""
        return await self._administration.log(endpoint, last)

    async def diagnostics(self, endpoint: str) -> dict[str, Any]:
        """One node's settings, metrics and recent events, for checks and reports. Raises: as `status`."""
        return await self._administration.diagnostics(endpoint)

    async def reload(self, endpoint: str) -> dict[str, Any]:
        """Make one node read its settings, certificates and keys anew; what has changed, and what waits for a restart.

        Raises:
            NotPossible: a file cannot be used, and the message says which; nothing has changed.
            OutcomeUnknown: no answer came; it may have done so or not.
            ClientError: as `status`.
        """
        return await self._administration.reload(endpoint)

    async def ping(self, endpoint: str) -> float:
        """Seconds that one node's connection took to answer; proves neither leader nor quorum. Raises: as `status`."""
        return await self._administration.ping(endpoint)

    async def members(self) -> Members:
        """Who belongs to the cluster, by the leader's word; of another node, if no leader can be had.

        Raises:
            ClientError: `Unavailable`, `Denied` (it takes an administrator) or `TlsError`.
        """
        return await self._administration.members()

    async def change_membership(
        self, change: ChangeKind, node_id: int, *, old_node_id: int = 0, address: str = ""
    ) -> int:
        """Begin to change who is a member; returns where that stands in the leader's log.

        It is decided once that index is committed, and an added node has to catch up before it votes: `members` shows
        how far it is. To ask again for what is so, or under way, changes nothing.

        Args:
            change: what is to become of the node.
            node_id: which one.
            old_node_id: with REPLACE, the voter whose place it takes.
            address: where it is, `client=HOST:PORT,peer=HOST:PORT,http=HOST:PORT`; not with PROMOTE and REMOVE.

        Raises:
            NotPossible: the cluster as it is does not allow it; nothing was changed.
            OutcomeUnknown: no answer came; it may have begun or not.
        """
        return await self._administration.change_membership(change, node_id, old_node_id, address)

    async def transfer_leadership(self, target: int | None = None) -> int:
        """Tell the leader to hand over; returns to whom it tries to.

        Args:
            target: a voter; None: whoever is best prepared.

        Raises: as `change_membership`.
        """
        return await self._administration.transfer_leadership(target)

    async def begin_backup(self, endpoint: str, *, stale: bool = False) -> Backup:
        """Have a node hold its state ready, as a file; it takes a user who may do everything.

        Args:
            endpoint: of the node.
            stale: take what the node has, without asking whether that is all; also where there is no quorum.

        Raises: as `status`, but it may take minutes.
        """
        return await self._administration.begin_backup(endpoint, stale=stale)

    async def read_backup(self, backup: Backup, offset: int) -> bytes:
        """The file's next bytes from `offset` on; none at its end. Raises: as `status`; then there is no going on."""
        return await self._administration.read_backup(backup, offset)

    async def report_backup(self, endpoint: str, verified_ms: int | None) -> BackupHistory:
        """Tell a node that the backup of that time (None: a backup) was verified (failed). Raises: as `reload`."""
        return await self._administration.report_backup(endpoint, verified_ms)

    async def find_leader(self) -> str:
        """Where the leader listens, proven by a command of this client that it has just had committed.

        Raises:
            ClientError: `Unavailable`, `TlsError`.
        """
        return await self._writer.find_leader()

    async def close(self) -> None:
        """Close session and connections. Calls that still wait end in an error; closing twice is allowed.

        Leases are kept alive no longer, and end by themselves. Once begun it goes on to its end, in a second or two,
        also when the caller is cancelled meanwhile.
        """
        if self._closing is None:
            self._asker.closing = True
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._leases.close()
        await self._watches.close()
        await self._writer.close()
        await self._asker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
