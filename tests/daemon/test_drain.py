"""How a node that was told to stop spends its time; by a clock that jumps to what is due next."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from raftd.daemon.drain import drain

SECONDS = 10.0
NEVER = 1000.0


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: its clock stands, or goes on to the next call that is due."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]  # asyncio's own, of which there is no type
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]  # asyncio's own, of which there is no type
        super()._run_once()  # type: ignore[misc]  # as above


class Node:
    """A driver that needs so many seconds for each."""

    def __init__(self, idle_after: float, handed_over_after: float) -> None:
        self.idle_after, self.handed_over_after = idle_after, handed_over_after
        self.asked_at: float | None = None
        self.handed_over_at: float | None = None

    def idle(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not done.done():
                done.set_result(None)

        loop.call_later(self.idle_after, end)
        return done

    async def hand_over(self) -> None:
        loop = asyncio.get_running_loop()
        self.asked_at = loop.time()
        await asyncio.sleep(self.handed_over_after)
        self.handed_over_at = loop.time()


def seconds_of(work: Coroutine[Any, Any, None]) -> float:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        loop = runner.get_loop()
        started = loop.time()
        runner.run(work)
        return loop.time() - started


@pytest.mark.parametrize(
    ("idle_after", "handed_over_after", "taken", "is_handed_over"),
    [
        (1.0, 0.5, 1.5, True),
        (4.9, 5.0, 9.9, True),
        # What is owed takes for ever: the other half is for handing over.
        (NEVER, 0.5, 5.5, True),
        (NEVER, NEVER, SECONDS, False),
        (1.0, NEVER, SECONDS, False),
    ],
)
def test_half_of_the_time_is_for_handing_over(
    idle_after: float, handed_over_after: float, taken: float, is_handed_over: bool
) -> None:
    """Whatever is owed; and all of it is over in time."""
    node = Node(idle_after, handed_over_after)
    assert seconds_of(drain(node, SECONDS)) == pytest.approx(taken)
    assert node.asked_at is not None
    assert (node.handed_over_at is not None) == is_handed_over
