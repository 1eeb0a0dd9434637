"""An asynchronous client in a thread of its own, for those who block."""

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, ParamSpec, TypeVar

from raftd.client.asynchronous import AsyncClient
from raftd.client.errors import ClientError

P = ParamSpec("P")
T = TypeVar("T")
_GIVE_UP_SECONDS: Final = 2.0
"""How long requests that were given up may take to end, before the client is closed."""
_LOOK_SECONDS: Final = 1.0
"""So often a thread that waits for an answer runs the handlers of signals that did not wake it."""
_STOP_SECONDS: Final = 5.0
"""How long `stop` waits for the thread; the client inside bounds its own good-byes well below that."""


class LoopThread:
    """One daemon thread, one event loop in it, one `AsyncClient` in that.

    It ends by `stop`, by garbage collection of this object, or at the interpreter's exit, whichever comes first; the
    thread itself holds no reference to this object.
    """

    def __init__(self, make_client: Callable[[], AsyncClient]) -> None:
        """Raises: ClientError: there is no event loop to be had; else what `make_client` raises."""
        started: concurrent.futures.Future[_Running] = concurrent.futures.Future()
        waiting = self._waiting = set[Waiting[Any]]()
        undoing = self._undoing = set[asyncio.Task[object]]()
        thread = threading.Thread(
            target=lambda: _run(make_client, started, waiting, undoing), name="raftd-client", daemon=True
        )
        try:
            thread.start()
            running = _result(started)
            self.client = running.client
            self._loop = running.loop
            self._process_id = os.getpid()
            self._finalizer = weakref.finalize(self, _stop, running, thread)
        except BaseException:
            # Ctrl-C, if no client could be made: the thread serves nobody, as soon as it serves.
            started.add_done_callback(_stop_serving)
            with contextlib.suppress(RuntimeError):  # it was not started
                thread.join(_STOP_SECONDS)
            raise

    def run(self, request: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for what `request(*args, **kwargs)` gives in the thread.

        It is called there too: Ctrl-C may come between any two steps of the thread that waits, and would leave a
        coroutine that was made here, and is awaited by nobody.

        Raises:
            ClientError: the client is closed, or belongs to another process; else what the request raises.
        """
        return self.wait(Waiting(functools.partial(request, *args, **kwargs)))

    def request(
        self,
        undo: Callable[[T], Coroutine[Any, Any, object]],
        request: Callable[P, Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "Waiting[T]":
        """What `run` begins with, of a request whose result must not be left to nobody; it begins with `wait`.

        Ctrl-C may come when there is a result already, and before the user has it. So whoever waits for such a request
        calls `abandon` on any way out but that with the result, and then the thread awaits `undo(result)`.
        """
        return Waiting(functools.partial(request, *args, **kwargs), undo, self._undoing)

    def wait(self, waiting: "Waiting[T]") -> T:
        """Begin a request and wait for its result. Raises: as `run`."""
        if os.getpid() != self._process_id:
            raise ClientError("this client belongs to the process before the fork; make a new one")
        if threading.current_thread().name == "raftd-client" and asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - as asyncio itself asks
            raise ClientError("a blocking call inside the client's own thread would wait for itself")
        try:
            self._waiting.add(waiting)
            self._begin(waiting)
            return _result(waiting.answer)
        except concurrent.futures.CancelledError:
            raise ClientError("the client was closed while a request was waiting") from None
        except BaseException:
            if not waiting.answer.done():  # Ctrl-C: nobody waits for the answer any more
                self.abandon(waiting)
            raise
        finally:
            self._waiting.discard(waiting)

    def _begin(self, waiting: "Waiting[Any]") -> None:
        try:
            self._loop.call_soon_threadsafe(waiting.begin)
        except RuntimeError as error:
            # The loop says it by no class of its own. A signal's handler may raise one of those, too.
            if type(error) is RuntimeError and self._loop.is_closed():
                raise ClientError("the client is closed") from None
            raise

    def abandon(self, waiting: "Waiting[Any]") -> None:
        """Give a request up whose result, if there is one, nobody has been told."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is kept alive any more
            self._loop.call_soon_threadsafe(waiting.give_up)

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._finalizer()


def _result(answer: "concurrent.futures.Future[T]") -> T:
    """Wait for an answer, so that a signal is handled soon.

    One that comes in the last step before the wait, or that the kernel gives to another thread, does not end the wait,
    and Python runs its handler afterwards: Ctrl-C would do nothing.
    """
    while True:
        try:
            return answer.result(_LOOK_SECONDS)
        except TimeoutError:
            if answer.done():  # then it may be the answer's own
                return answer.result()


class Waiting(Generic[T]):
    """A request, and the thread that waits for its answer. All but `answer` is the loop's alone."""

    __slots__ = ("_given_up", "_request", "_task", "_undo", "_undoing", "answer")

    def __init__(
        self,
        request: Callable[[], Coroutine[Any, Any, T]],
        undo: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        undoing: "set[asyncio.Task[object]] | None" = None,
    ) -> None:
        self.answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._request = request
        self._undo = undo
        self._undoing = undoing
        self._task: asyncio.Task[T] | None = None
        self._given_up = False

    def begin(self) -> None:
        """Have it done."""
        try:
            self._task = asyncio.ensure_future(self._request())
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            self.answer.set_exception(error)
            return
        self._task.add_done_callback(self._ended)

    def give_up(self) -> None:
        """Have it end, or what it did undone."""
        # Once only: a second cancellation would break off what the request gives back after the first.
        if self._given_up or self._task is None:
            return
        self._given_up = True
        if self._task.done():
            self._take_back(self._task)
        else:
            self._task.cancel()

    def _ended(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self.answer.cancel()
        elif (error := task.exception()) is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())
        if self._given_up:
            self._take_back(task)

    def _take_back(self, task: "asyncio.Task[T]") -> None:
        undo, self._undo = self._undo, None
        if undo is None or self._undoing is None or task.cancelled() or task.exception() is not None:
            return
        taking_back: asyncio.Task[object] = asyncio.ensure_future(undo(task.result()))
        self._undoing.add(taking_back)
        taking_back.add_done_callback(self._undoing.discard)


class _Running:
    """What the thread hands out once it runs."""

    __slots__ = ("client", "loop", "stopping")

    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
        self.client = client
        self.loop = loop
        self.stopping = stopping


def _run(
    make_client: Callable[[], AsyncClient],
    started: "concurrent.futures.Future[_Running]",
    waiting: set[Waiting[Any]],
    undoing: "set[asyncio.Task[object]]",
) -> None:
    try:
        # The coroutine is made where there is a loop: else nobody would await it.
        with asyncio.Runner() as runner:
            runner.run(_serve(make_client, started, undoing))
    except BaseException as error:
        if started.done():
            raise
        # No loop, as where there are no descriptors left. The thread that waits for the client raises it.
        started.set_exception(
            ClientError(f"no event loop can be made: {error}") if isinstance(error, OSError) else error
        )
    finally:
        # What came too late for the loop's last round is in none of its tasks, and nobody else would end the wait.
        for each in tuple(waiting):
            each.answer.cancel()


async def _serve(
    make_client: Callable[[], AsyncClient],
    started: "concurrent.futures.Future[_Running]",
    undoing: "set[asyncio.Task[object]]",
) -> None:
    try:
        client = make_client()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
        started.set_exception(error)
        return
    stopping = asyncio.Event()
    started.set_result(_Running(client, asyncio.get_running_loop(), stopping))
    async with client:
        await stopping.wait()
        # A request that was given up, by Ctrl-C, may hold something: a place in a lock's queue. It needs the client
        # to give that back.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                while given_up := undoing.union(task for task in asyncio.all_tasks() if task.cancelling()):
                    await asyncio.wait(given_up)
    # asyncio.run cancels what is left, so that no thread waits for ever.


def _stop_serving(started: "concurrent.futures.Future[_Running]") -> None:
    if started.exception() is None:
        running = started.result()
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            running.loop.call_soon_threadsafe(running.stopping.set)


def _stop(running: _Running, thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        running.loop.call_soon_threadsafe(running.stopping.set)
    # Garbage collection may call this from the thread itself.
    if threading.current_thread() is not thread:
        thread.join(_STOP_SECONDS)
