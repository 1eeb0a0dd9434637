import asyncio
import threading
from collections.abc import Callable

import pytest

from raftd.node.background import BackgroundThread

PATIENCE_SECONDS = 10.0


class Loop:
    """What reports are handed to: keeps them until they are asked for."""

    def __init__(self) -> None:
        self.reports: list[Callable[[], None]] = []
        self._reported = threading.Semaphore(0)

    def call_soon_threadsafe(self, report: Callable[[], None]) -> None:
        self.reports.append(report)
        self._reported.release()

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self._reported.acquire(timeout=PATIENCE_SECONDS)


def unexpected(result: object) -> None:
    raise AssertionError(result)


def test_work_is_done_in_another_thread_and_reported_on_the_loop() -> None:
    """The loop's thread neither does the work nor waits for it, and hears of the result itself."""
    heard: list[tuple[int, int]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def done(worker: int) -> None:
            heard.append((worker, threading.get_ident()))
            ended.set_result(None)

        background = BackgroundThread(loop.call_soon_threadsafe)
        background.run(threading.get_ident, done, unexpected)
        assert not heard
        await asyncio.wait_for(ended, PATIENCE_SECONDS)
        background.close(PATIENCE_SECONDS)

    asyncio.run(scenario())
    ((worker, reporter),) = heard
    assert worker != reporter == threading.get_ident()


def test_work_is_done_in_order() -> None:
    """One after the other, as it was asked for; so are the reports."""
    loop, done = Loop(), list[int]()
    background = BackgroundThread(loop.call_soon_threadsafe)
    for number in range(100):
        background.run(lambda number=number: number, done.append, unexpected)  # type: ignore[misc]  # bound for the loop
    loop.wait(100)
    assert not done
    for report in loop.reports:
        report()
    assert done == list(range(100))
    background.close(PATIENCE_SECONDS)


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("bug"), MemoryError()])
def test_whatever_fails_is_reported_and_the_next_work_done(error: Exception) -> None:
    """What an exception means is for the loop to judge; the thread outlives it."""
    loop, failed, done = Loop(), list[Exception](), list[str]()
    background = BackgroundThread(loop.call_soon_threadsafe)

    def fail() -> None:
        raise error

    background.run(fail, unexpected, failed.append)
    background.run(lambda: "next", done.append, unexpected)
    loop.wait(2)
    for report in loop.reports:
        report()
    assert (failed, done) == ([error], ["next"])
    background.close(PATIENCE_SECONDS)


def test_close_waits_for_the_work_under_way_and_drops_the_rest() -> None:
    """What runs comes to its end and is reported; what is queued behind it is not begun, then or later."""
    loop, began, proceed = Loop(), threading.Event(), threading.Event()
    background = BackgroundThread(loop.call_soon_threadsafe)

    def work() -> str:
        began.set()
        assert proceed.wait(PATIENCE_SECONDS)
        return "under way"

    done: list[str] = []
    background.run(work, done.append, unexpected)
    background.run(lambda: "queued", unexpected, unexpected)
    assert began.wait(PATIENCE_SECONDS)
    background.close(0.01)  # It gives up waiting, but not what it was told.
    proceed.set()
    background.close(PATIENCE_SECONDS)
    background.run(lambda: "late", unexpected, unexpected)
    background.close(PATIENCE_SECONDS)
    for report in loop.reports:
        report()
    assert done == ["under way"]
    assert not any(thread.name == "background" and thread.is_alive() for thread in threading.enumerate())
