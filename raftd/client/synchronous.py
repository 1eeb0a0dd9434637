"""The blocking client: the asynchronous one, run by an event loop in a thread of its own."""

import contextlib
from collections.abc import Callable, Coroutine, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from raftd.client import blocking
from raftd.client.asynchronous import (
    DEFAULT_DEAD_AFTER_SECONDS,
    DEFAULT_LOCK_TTL_SECONDS,
    DEFAULT_SESSION_TTL_SECONDS,
    AsyncClient,
    Tls,
)
from raftd.client.config import DEFAULT_TIMEOUT_SECONDS, ClientConfig
from raftd.client.errors import ClientError
from raftd.client.explaining import Explain
from raftd.client.loop_thread import LoopThread
from raftd.client.members import Members
from raftd.client.recipes.queue import give_up
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
from raftd.client.transactions import Transaction
from raftd.wire.administration import ChangeKind

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """A client of a cluster: every method blocks until there is an answer, or its time is over.

    Takes and gives what `AsyncClient` does, in as much time. Many threads may share one client, and should: their
    requests travel side by side on one connection. Ctrl-C in a waiting thread gives that request up. Not usable in a
    forked child: make a new one there.
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
        self._thread = LoopThread(
            lambda: AsyncClient(
                endpoints,
                tls=tls,
                timeout=timeout,
                session_ttl=session_ttl,
                dead_after=dead_after,
                namespace=namespace,
                jitter=jitter,
            )
        )
        self._client = self._thread.client

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig) -> "Client":
        """Make a client from a configuration file. Raises: ConfigurationError, TlsError."""
        if not isinstance(config, ClientConfig):
            config = ClientConfig.load(config)
        return cls(config.endpoints, tls=config.tls, timeout=config.timeout, namespace=config.namespace)

    def get(self, key: bytes | str, *, stale: bool = False) -> KeyValue | None:
        """As `AsyncClient.get`."""
        return self._run(self._client.get, key, stale=stale)

    def range(
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
        """As `AsyncClient.range`."""
        return self._run(
            self._client.range,
            low,
            high,
            prefix=prefix,
            limit=limit,
            keys_only=keys_only,
            revision=revision,
            page=page,
            stale=stale,
        )

    def items(
        self,
        low: bytes | str = b"",
        high: bytes | str = b"",
        *,
        prefix: bytes | str | None = None,
        keys_only: bool = False,
        page_size: int | None = None,
    ) -> Generator[KeyValue, None, None]:
        """As `AsyncClient.items`."""
        pages = self._client._reader.pages(low, high, prefix, page_size, keys_only=keys_only)  # noqa: SLF001 - what the other half is made of
        try:
            while page := self._run(pages.next):
                yield from page
        finally:
            with contextlib.suppress(ClientError):  # it is closed already
                self._run(pages.close)

    def count(
        self, low: bytes | str = b"", high: bytes | str = b"", *, prefix: bytes | str | None = None, stale: bool = False
    ) -> int:
        """As `AsyncClient.count`."""
        return self._run(self._client.count, low, high, prefix=prefix, stale=stale)

    def history(
        self, key: bytes | str, *, limit: int = 100, before: int | None = None, values: bool = False
    ) -> list[Change]:
        """As `AsyncClient.history`."""
        return self._run(self._client.history, key, limit=limit, before=before, values=values)

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
    ) -> blocking.Watch:
        """As `AsyncClient.watch`."""
        return blocking.Watch(
            self._thread,
            self._client.watch(
                key,
                low=low,
                high=high,
                prefix=prefix,
                revision=revision,
                previous=previous,
                puts=puts,
                deletes=deletes,
                progress=progress,
                keys_only=keys_only,
            ),
        )

    def put(
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
        """As `AsyncClient.put`."""
        return self._run(
            self._client.put,
            key,
            value,
            expected_revision=expected_revision,
            expected_value=expected_value,
            lease=lease,
            fence=fence,
            previous=previous,
            explain=explain,
        )

    def delete(
        self,
        key: bytes | str,
        *,
        expected_revision: int | None = None,
        expected_value: bytes | str | None = None,
        fence: Fence | None = None,
        previous: bool = False,
    ) -> DeleteResult:
        """As `AsyncClient.delete`."""
        return self._run(
            self._client.delete,
            key,
            expected_revision=expected_revision,
            expected_value=expected_value,
            fence=fence,
            previous=previous,
        )

    def increment(
        self, key: bytes | str, delta: int = 1, *, expected_revision: int | None = None, fence: Fence | None = None
    ) -> IncrementResult:
        """As `AsyncClient.increment`."""
        return self._run(self._client.increment, key, delta, expected_revision=expected_revision, fence=fence)

    def delete_range(
        self,
        low: bytes | str = b"",
        high: bytes | str = b"",
        *,
        prefix: bytes | str | None = None,
        limit: int | None = None,
        fence: Fence | None = None,
        previous: bool = False,
    ) -> DeleteRangeResult:
        """As `AsyncClient.delete_range`."""
        return self._run(
            self._client.delete_range, low, high, prefix=prefix, limit=limit, fence=fence, previous=previous
        )

    def transaction(self) -> Transaction[TransactionResult]:
        """As `AsyncClient.transaction`."""
        return Transaction(lambda plan, fence: self._run(self._client._keys.transact, plan, fence))  # noqa: SLF001 - what the other half is made of

    def grant_lease(self, ttl: float, *, keep_alive: bool = False) -> blocking.Lease:
        """As `AsyncClient.grant_lease`."""
        granting = self._thread.request(give_up, self._client.grant_lease, ttl, keep_alive=keep_alive)
        try:
            return blocking.Lease(self._thread, self._thread.wait(granting))
        except BaseException:
            self._thread.abandon(granting)
            raise

    def lease(self, ttl: float) -> blocking.HeldLease:
        """As `AsyncClient.lease`."""
        return blocking.HeldLease(self._thread, self._client.lease(ttl))

    def keep_lease_alive(self, lease_id: int) -> float:
        """As `AsyncClient.keep_lease_alive`."""
        return self._run(self._client.keep_lease_alive, lease_id)

    def revoke_lease(self, lease_id: int) -> int:
        """As `AsyncClient.revoke_lease`."""
        return self._run(self._client.revoke_lease, lease_id)

    def lease_info(self, lease_id: int) -> LeaseInfo:
        """As `AsyncClient.lease_info`."""
        return self._run(self._client.lease_info, lease_id)

    def leases(self) -> list[LeaseSummary]:
        """As `AsyncClient.leases`."""
        return self._run(self._client.leases)

    def lock(
        self, name: bytes | str, *, ttl: float = DEFAULT_LOCK_TTL_SECONDS, wait: float | None = None
    ) -> blocking.Lock:
        """As `AsyncClient.lock`."""
        return blocking.Lock(self._thread, self._client.lock(name, ttl=ttl, wait=wait))

    def election(
        self,
        name: bytes | str,
        value: bytes | str = b"",
        *,
        ttl: float = DEFAULT_LOCK_TTL_SECONDS,
        wait: float | None = None,
    ) -> blocking.Election:
        """As `AsyncClient.election`."""
        return blocking.Election(self._thread, self._client.election(name, value, ttl=ttl, wait=wait))

    def barrier(self, name: bytes | str) -> blocking.Barrier:
        """As `AsyncClient.barrier`."""
        return blocking.Barrier(self._thread, self._client.barrier(name))

    def double_barrier(
        self, name: bytes | str, count: int, *, ttl: float = DEFAULT_LOCK_TTL_SECONDS
    ) -> blocking.DoubleBarrier:
        """As `AsyncClient.double_barrier`."""
        return blocking.DoubleBarrier(self._thread, self._client.double_barrier(name, count, ttl=ttl))

    def status(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.status`."""
        return self._run(self._client.status, endpoint)

    def log(self, endpoint: str, last: int = 10) -> dict[str, Any]:
        """As `AsyncClient.log`."""
        return self._run(self._client.log, endpoint, last)

    def diagnostics(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.diagnostics`."""
        return self._run(self._client.diagnostics, endpoint)

    def reload(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.reload`."""
        return self._run(self._client.reload, endpoint)

    def ping(self, endpoint: str) -> float:
        """As `AsyncClient.ping`."""
        return self._run(self._client.ping, endpoint)

    def members(self) -> Members:
        """As `AsyncClient.members`."""
        return self._run(self._client.members)

    def change_membership(self, change: ChangeKind, node_id: int, *, old_node_id: int = 0, address: str = "") -> int:
        """As `AsyncClient.change_membership`."""
        return self._run(self._client.change_membership, change, node_id, old_node_id=old_node_id, address=address)

    def transfer_leadership(self, target: int | None = None) -> int:
        """As `AsyncClient.transfer_leadership`."""
        return self._run(self._client.transfer_leadership, target)

    def begin_backup(self, endpoint: str, *, stale: bool = False) -> Backup:
        """As `AsyncClient.begin_backup`."""
        return self._run(self._client.begin_backup, endpoint, stale=stale)

    def read_backup(self, backup: Backup, offset: int) -> bytes:
        """As `AsyncClient.read_backup`."""
        return self._run(self._client.read_backup, backup, offset)

    def report_backup(self, endpoint: str, verified_ms: int | None) -> BackupHistory:
        """As `AsyncClient.report_backup`."""
        return self._run(self._client.report_backup, endpoint, verified_ms)

    def find_leader(self) -> str:
        """As `AsyncClient.find_leader`."""
        return self._run(self._client.find_leader)

    def close(self) -> None:
        """Close session and connections; calls that still wait raise. Closing twice is allowed."""
        self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, request: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.run(request, *args, **kwargs)
