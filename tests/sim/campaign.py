"""Many runs: one seed each, over several processes, with what came of them."""

import contextlib
import gc
import itertools
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.sim import sometimes
from tests.sim.plan import focus_of
from tests.sim.world import build

SECONDS = 20.0
"""Virtual time for which faults go on, unless told otherwise."""

_REPORT_SECONDS = 60.0
"""So often a campaign that nobody watches says how far it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    trace_hash: str
    events: int
    counts: Counter[str]
    failure: str = ""
    """What does not hold; empty if all does."""
    details: str = ""


@dataclass(slots=True)
class Tally:
    """What came of several."""

    seeds: int = 0
    events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seeds_with: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.seeds += 1
        self.events += outcome.events
        self.counts.update(outcome.counts)
        self.seeds_with.update(outcome.counts.keys())
        if outcome.failure:
            self.failures.append(outcome)


def choose_seeds(first: int, count: int, focus: str = "") -> list[int]:
    """`count` seeds from `first` on; of those only that have this focus, if one is named."""
    every = itertools.count(first)
    return list(itertools.islice((seed for seed in every if focus in {"", focus_of(seed)}), count))


def run_seed(seed: int, seconds: float = SECONDS) -> Outcome:
    """Run one seed to its end or to the first promise that does not hold."""
    world = build(seed, seconds)
    failure = details = ""
    # A run makes few cycles and lives a second: collecting in between costs a tenth and finds nothing.
    gc.disable()
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - whatever ends a run is its outcome
        failure = f"{type(error).__name__}: {error}"
        details = traceback.format_exc()
    finally:
        gc.enable()
    return Outcome(seed, world.trace.hash(), world.timeline.events_total, world.sometimes.counts, failure, details)


def run_seeds(seeds: Iterable[int], seconds: float, processes: int) -> Iterator[Outcome]:
    """Run seeds, and yield what came of each, in their order."""
    if processes == 1:
        for seed in seeds:
            yield run_seed(seed, seconds)
        return
    # An interrupt is for the campaign, which tells of what was done until then.
    ignore_interrupts = signal.SIGINT, signal.SIG_IGN
    with ProcessPoolExecutor(processes, initializer=signal.signal, initargs=ignore_interrupts) as pool:
        yield from pool.map(run_seed, seeds, _endless(seconds), chunksize=4)


def _endless(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def replay_command(seed: int, seconds: float) -> str:
    """What to type to see a seed again."""
    return f"python -m tests.sim --seed {seed} --seconds {seconds:g} --trace"


def run_campaign(seeds: Sequence[int], seconds: float, processes: int) -> Tally:
    """Run many seeds with a progress bar, and tell of each that fails at once; an interrupt ends it early."""
    tally, count = Tally(), len(seeds)
    started = time.monotonic()
    reported = 0.0
    with contextlib.suppress(KeyboardInterrupt):
        for outcome in run_seeds(seeds, seconds, processes):
            tally.add(outcome)
            if outcome.failure:
                _clear()
                replay = replay_command(outcome.seed, seconds)
                print(f"seed {outcome.seed}: {outcome.failure}\n    replay: {replay}", flush=True)
            elapsed = time.monotonic() - started
            if sys.stderr.isatty():
                _draw_progress(tally, count, elapsed)
            elif elapsed - reported >= _REPORT_SECONDS:
                reported = elapsed
                print(_progress(tally, count, elapsed), file=sys.stderr, flush=True)
    _clear()
    elapsed = time.monotonic() - started
    rate = tally.seeds / elapsed
    print(
        f"{tally.seeds} seeds of {seconds:g} virtual seconds in {elapsed:.1f} s: {rate:.2f} seeds/s, "
        f"{rate * 3600:.0f} an hour, {tally.events / elapsed:.0f} events/s; {len(tally.failures)} failed"
    )
    print(sometimes.table(tally.seeds_with, tally.counts, tally.seeds))
    return tally


def _progress(tally: Tally, count: int, elapsed: float) -> str:
    rate = tally.seeds / elapsed if elapsed else 0.0
    return f"{tally.seeds}/{count}  {rate:.1f} seeds/s  {len(tally.failures)} failed"


def _draw_progress(tally: Tally, count: int, elapsed: float) -> None:
    done = 40 * tally.seeds // count
    bar = f"\r[{'#' * done}{'.' * (40 - done)}] {_progress(tally, count, elapsed)} "
    print(bar, end="", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * 100 + "\r", end="", file=sys.stderr, flush=True)
