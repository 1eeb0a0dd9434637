"""An asynchronous client in a thread of its own, for those who block."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from raftd.client.asynchronous import AsyncClient
from raftd.client.errors import ClientError

T = TypeVar("T")
_STOP_SECONDS: Final = 5.0
"""How long `stop` waits for the thread; the client inside bounds its own good-byes well below that."""


class LoopThread:
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
