"""Whole clusters from fixed and from fresh seeds. A failure says which seed it was and how to see it again.

No clock but their own matters to them, so they run beside the tests of real processes and take the time that those
leave over.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from raftd.version import checkout_commit
from tests.sim.campaign import SECONDS, replay_command, run_seed

pytestmark = [pytest.mark.seeds, pytest.mark.timeout(900)]

_ROOT = Path(__file__).parents[2]
_BLOCK = 25
_FIXED_BLOCKS = 32
_FRESH_BLOCKS = 8

REGRESSIONS = {
    14: "the answer to an old term's heartbeat confirmed a round of the new term",
    45: "the refusal of an old term's append was taken for a broken peer's",
    79: "a frozen process woke up: a mistake of the simulator",
    1237: "a node that was added later lost its disk, and voted as if it were one of two",
    1795451058: "the same, by another way",
    1800002975: "a node on a new disk confirmed the reads of a leader that it had helped to replace",
    1800012351: "a follower that took in an old snapshot was sent the new one only after a long silence",
    1900000418: "a node with the beginning of its log, from when it voted alone, elected itself",
    1900000091: "the same as 1800002975, with a leader that had never had an answer of that node",
    1940000030: "a watch at a node that had not heard of its removal was expected to be told of changes",
    49886300185: "a heartbeat of before a link was lost reached a process that began anew: the simulator's mistake",
    1004579: "a new node became a voter while its leader counted nothing that it said, and one of three was down",
    1005535: "a node that crashed before its first entry was expected not to look like one that lost its disk",
    1007008: "clients were not expected to ask a node that had just replaced another one, and led",
    2600000096: "a node that became leader while it took in a snapshot told itself that it has it",
    1575347471725: "a node that had not heard of its removal from two voters led by the forgotten vote of the other",
    738210465202: "a node removed before it had caught up was elected by a new disk, as one of two by half a log",
    3000002443: "a new disk was elected by a voter that was left behind, with half a log in which that was to go",
    5000000060: "a node that stood still for good was stopped and started again: a mistake of the simulator",
    6000004239: "a leader that stood still added a node, on a new disk, that a newer one had added before",
    7000003391: "a learner had the newest log, and whoever needed its vote could not have it",
    552: "nobody asked for anything, and that was taken for a cluster that does not answer",
}
"""Seeds that found something when they were new; later changes of the simulator may have made other runs of them."""


def _step_back() -> None:
    """Let other processes go first, and leave an interrupt to the tests."""
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """A process for each processor."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context, _step_back) as pool:
        yield pool


def run(pool: ProcessPoolExecutor, seeds: Iterable[int]) -> None:
    for outcome in pool.map(run_seed, seeds):
        replay = f"replay: {replay_command(outcome.seed, SECONDS)}"
        assert not outcome.failure, f"{outcome.failure}\n{replay}\n{outcome.details}"


@pytest.mark.parametrize("block", range(_FIXED_BLOCKS))
def test_fixed_seeds(pool: ProcessPoolExecutor, block: int) -> None:
    """The same runs each time: what passed once passes again."""
    run(pool, range(1 + block * _BLOCK, 1 + (block + 1) * _BLOCK))


@pytest.fixture(scope="session")
def fresh_base() -> int:
    """A base for seeds that no other commit has: a failure comes back, whoever repeats the tests of that commit.

    RAFTD_SIM_FRESH asks for another one; outside of a checkout it changes with each hour.
    """
    if given := os.environ.get("RAFTD_SIM_FRESH"):
        return int(given)
    commit = checkout_commit(_ROOT)
    return int(commit[:10], 16) * 100 if commit else int(time.time()) // 3600 * 100_000


@pytest.mark.parametrize("block", range(_FRESH_BLOCKS))
def test_fresh_seeds(pool: ProcessPoolExecutor, block: int, fresh_base: int) -> None:
    """New runs with each commit: what nobody has tried yet."""
    first = fresh_base + block * _BLOCK
    print(f"fresh seeds {first} to {first + _BLOCK - 1}")
    run(pool, range(first, first + _BLOCK))


def test_seeds_that_found_something(pool: ProcessPoolExecutor) -> None:
    """A seed that failed once is run for ever."""
    run(pool, REGRESSIONS)
