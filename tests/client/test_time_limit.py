import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from raftd import event_loop
from raftd.client.time_limit import TimeLimit


def test_it_ends_what_takes_longer() -> None:
    """In TimeoutError, at once if no time is left; and the task is as if it had never been cancelled."""

    async def scenario() -> None:
        for seconds in (0.01, 0, -1):
            with pytest.raises(TimeoutError), TimeLimit(seconds):
                await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [None, 60])
def test_it_is_not_there_for_what_is_done_in_time(seconds: float | None) -> None:
    """Results and errors pass through, and no timer is left behind."""

    async def scenario() -> None:
        limit = TimeLimit(seconds)
        with limit:
            await asyncio.sleep(0)
        assert limit._timer is None or limit._timer.cancelled()
        with pytest.raises(KeyError), TimeLimit(seconds):
            raise KeyError

    asyncio.run(scenario())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, event_loop.new_event_loop])
@pytest.mark.parametrize("in_timer", [False, True])
def test_what_came_in_time_counts_however_late_the_loop_goes_on(
    new_loop: Callable[[], asyncio.AbstractEventLoop], in_timer: bool
) -> None:
    """A loop that stood still, be it in a timer, before it looks at sockets, gives what came meanwhile."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()

        def stand_still() -> None:
            theirs.send(b"x")
            threading.Event().wait(0.03)

        with ours, theirs:
            ours.setblocking(False)
            with TimeLimit(0.02):
                if in_timer:
                    loop.call_later(0.001, stand_still)
                else:
                    loop.call_soon(stand_still)
                assert await loop.sock_recv(ours, 1) == b"x"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


def test_an_interrupted_look_at_what_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGSTOP: Python ends the wait with nothing, since its time is over, though something is there."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        selector = loop._selector  # type: ignore[attr-defined]  # where a wait can be interrupted
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)

            def select_in_vain(seconds: float | None) -> list[object]:
                monkeypatch.undo()
                theirs.send(b"x")
                threading.Event().wait(seconds)
                return []

            with TimeLimit(0.01):
                receiving = loop.sock_recv(ours, 1)
                monkeypatch.setattr(selector, "select", select_in_vain)
                assert await receiving == b"x"

    asyncio.run(scenario())


def test_a_task_that_was_cancelled_before() -> None:
    """Who was cancelled, and still has something to do, is held to the limit and to nothing else."""
    ended: list[type[BaseException]] = []

    async def say_good_bye() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            try:
                with TimeLimit(0.01):
                    await asyncio.sleep(60)
            except BaseException as error:  # noqa: BLE001 - which one is what is tested
                ended.append(type(error))

    async def scenario() -> None:
        task = asyncio.create_task(say_good_bye())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert ended == [TimeoutError]


async def wait_in(limit: TimeLimit) -> None:
    with limit:
        await asyncio.sleep(60)


def test_a_cancellation_counts_more() -> None:
    """Whoever is cancelled by another ends in that, also in the moment in which the time is over."""

    async def scenario() -> None:
        for strikes in (False, True):
            limit = TimeLimit(60)
            task = asyncio.create_task(wait_in(limit))
            await asyncio.sleep(0)
            if strikes:
                limit._strike(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())


def test_one_inside_of_another() -> None:
    """Each ends its own block, and where both are over the inner one leaves it to the outer one."""

    async def scenario() -> None:
        with pytest.raises(TimeoutError), TimeLimit(0.01):
            await wait_in(TimeLimit(60))
        inner, outer = TimeLimit(60), TimeLimit(60)
        for limit in (inner, outer):
            asyncio.get_running_loop().call_soon(limit._strike, 0)
        with pytest.raises(TimeoutError) as ended, outer:
            await wait_in(inner)
        assert isinstance(ended.value.__cause__, asyncio.CancelledError)

    asyncio.run(scenario())


def test_it_needs_a_task() -> None:
    """There is nothing that it could end elsewhere."""

    async def scenario() -> None:
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        def enter() -> None:
            try:
                TimeLimit(1).__enter__()
            except RuntimeError as error:
                failed.set_result(error)

        asyncio.get_running_loop().call_soon(enter)
        assert "in a task" in str(await failed)

    asyncio.run(scenario())
