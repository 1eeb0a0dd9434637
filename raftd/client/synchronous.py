"""The blocking client: the asynchronous one, run by an event loop in a thread of its own."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from raftd.client.asynchronous import DEFAULT_SESSION_TTL_SECONDS, AsyncClient, Tls
from raftd.client.config import DEFAULT_TIMEOUT_SECONDS, ClientConfig
from raftd.client.errors import ClientError
from raftd.client.members import Members
from raftd.client.results import DeleteResult, KeyValue, PutResult
from raftd.wire.administration import ChangeKind

T = TypeVar("T")
_STOP_SECONDS: Final = 5.0
"""How long `close` waits for the thread; the client inside bounds its own good-byes well below that."""


class Client:
    """A client of a cluster: every method blocks until there is an answer, or raises before `timeout` is over.

    Takes and gives what `AsyncClient` does. Many threads may share one client, and should: their requests travel side
    by side on one connection. Ctrl-C in a waiting thread gives that request up. Not usable in a forked child: make a
    new one there.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Tls,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        session_ttl: float = DEFAULT_SESSION_TTL_SECONDS,
    ) -> None:
        self._loop_thread = _LoopThread(
            lambda: AsyncClient(endpoints, tls=tls, timeout=timeout, session_ttl=session_ttl)
        )
        self._client = self._loop_thread.client

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig) -> "Client":
        """Make a client from a configuration file. Raises: ConfigurationError, TlsError."""
        if not isinstance(config, ClientConfig):
            config = ClientConfig.load(config)
        return cls(config.endpoints, tls=config.tls, timeout=config.timeout)

    def get(self, key: bytes | str, *, stale: bool = False) -> KeyValue | None:
        """As `AsyncClient.get`."""
        return self._run(self._client.get(key, stale=stale))

    def put(self, key: bytes | str, value: bytes | str, *, expected_revision: int | None = None) -> PutResult:
        """As `AsyncClient.put`."""
        return self._run(self._client.put(key, value, expected_revision=expected_revision))

    def delete(self, key: bytes | str, *, expected_revision: int | None = None) -> DeleteResult:
        """As `AsyncClient.delete`."""
        return self._run(self._client.delete(key, expected_revision=expected_revision))

    def status(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.status`."""
        return self._run(self._client.status(endpoint))

    def log(self, endpoint: str, last: int = 10) -> dict[str, Any]:
        """As `AsyncClient.log`."""
        return self._run(self._client.log(endpoint, last))

    def members(self) -> Members:
        """As `AsyncClient.members`."""
        return self._run(self._client.members())

    def change_membership(self, change: ChangeKind, node_id: int, *, old_node_id: int = 0, address: str = "") -> int:
        """As `AsyncClient.change_membership`."""
        return self._run(self._client.change_membership(change, node_id, old_node_id=old_node_id, address=address))

    def transfer_leadership(self, target: int | None = None) -> int:
        """As `AsyncClient.transfer_leadership`."""
        return self._run(self._client.transfer_leadership(target))

    def find_leader(self) -> str:
        """As `AsyncClient.find_leader`."""
        return self._run(self._client.find_leader())

    def reload(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.reload`."""
        return self._run(self._client.reload(endpoint))

    def ping(self, endpoint: str) -> float:
        """As `AsyncClient.ping`."""
        return self._run(self._client.ping(endpoint))

    def close(self) -> None:
        """Close session and connections; calls that still wait raise. Closing twice is allowed."""
        self._loop_thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, request: Coroutine[Any, Any, T]) -> T:
        return self._loop_thread.run(request)


class _LoopThread:
    """One daemon thread, one event loop in it, one `AsyncClient` in that.

    It ends by `stop`, by garbage collection of this object, or at the interpreter's exit, whichever comes first; the
    thread itself holds no reference to this object.
    """

    def __init__(self, make_client: Callable[[], AsyncClient]) -> None:
        started: concurrent.futures.Future[_Running] = concurrent.futures.Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(_serve(make_client, started)), name="raftd-client", daemon=True
        )
        thread.start()
        try:
            running = started.result()
        except BaseException:
            thread.join()
            raise
        self.client = running.client
        self._loop = running.loop
        self._process_id = os.getpid()
        self._finalizer = weakref.finalize(self, _stop, running, thread)

    def run(self, request: Coroutine[Any, Any, T]) -> T:
        """Wait for a request in the thread.

        Raises:
            ClientError: the client is closed, or belongs to another process; else what the request raises.
        """
        if os.getpid() != self._process_id:
            request.close()
            raise ClientError("this client belongs to the process before the fork; make a new one")
        if threading.current_thread().name == "raftd-client" and asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - as asyncio itself asks
            request.close()
            raise ClientError("a blocking call inside the client's own thread would wait for itself")
        try:
            waiting = asyncio.run_coroutine_threadsafe(request, self._loop)
        except RuntimeError:  # the loop is closed
            request.close()
            raise ClientError("the client is closed") from None
        try:
            return waiting.result()
        except concurrent.futures.CancelledError:
            raise ClientError("the client was closed while a request was waiting") from None
        except BaseException:
            waiting.cancel()  # Ctrl-C: nobody waits for the answer any more
            raise

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._finalizer()


class _Running:
    """What the thread hands out once it runs."""

    __slots__ = ("client", "loop", "stopping")

    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
        self.client = client
        self.loop = loop
        self.stopping = stopping


async def _serve(make_client: Callable[[], AsyncClient], started: "concurrent.futures.Future[_Running]") -> None:
    try:
        client = make_client()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
        started.set_exception(error)
        return
    stopping = asyncio.Event()
    started.set_result(_Running(client, asyncio.get_running_loop(), stopping))
    async with client:
        await stopping.wait()
    # asyncio.run cancels what is left, so that no thread waits for ever.


def _stop(running: _Running, thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        running.loop.call_soon_threadsafe(running.stopping.set)
    # Garbage collection may call this from the thread itself.
    if threading.current_thread() is not thread:
        thread.join(_STOP_SECONDS)
