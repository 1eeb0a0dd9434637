"""Run the simulator: one seed, to look at it, or many, to find one."""

import argparse
import logging
import sys
import time
import traceback
from collections.abc import Sequence

from tests.sim import sometimes
from tests.sim.campaign import SECONDS, choose_seeds, replay_command, run_campaign, run_seed
from tests.sim.plan import FOCUSES
from tests.sim.world import build

_SEEDS_THAT_MUST_COVER = 1000
"""A campaign of so many seeds or more has failed if one of the sometimes-events never happened."""


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulate raftd clusters.")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happens")
    parser.add_argument("--seeds", type=int, default=100, help="run so many")
    parser.add_argument("--first", type=int, help="begin with this seed; by default with one that the clock gives")
    parser.add_argument("--focus", choices=FOCUSES, default="", help="run only seeds with all faults of this group")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="virtual seconds of each run")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--until-failure", action="store_true", help="stop at the first seed that fails, and say which")
    options = parser.parse_args()
    # Simulated nodes log as real ones do, all at once and of faults that are meant: a trace tells more.
    logging.getLogger("raftd").addHandler(logging.NullHandler())
    if options.seed is not None:
        return _replay(options.seed, options.seconds, trace=options.trace)
    first = int(time.time()) * 1000 if options.first is None else options.first
    seeds = choose_seeds(first, options.seeds, options.focus)
    if options.until_failure:
        return _hunt(seeds, options.seconds)
    print(f"seeds {seeds[0]} to {seeds[-1]}")
    tally = run_campaign(seeds, options.seconds, options.processes)
    is_cut = tally.seeds < options.seeds
    if is_cut:
        print(f"interrupted after {tally.seeds} of {options.seeds} seeds")
    must_cover = options.seeds >= _SEEDS_THAT_MUST_COVER and not options.focus
    missing = sometimes.never_happened(tally.counts) if must_cover else []
    if missing:
        print(f"never happened: {', '.join(missing)}")
    return 1 if tally.failures or missing or is_cut else 0


def _hunt(seeds: Sequence[int], seconds: float) -> int:
    """Print how many seeds it took, and what the last one found, in one line."""
    for number, seed in enumerate(seeds, start=1):
        outcome = run_seed(seed, seconds)
        if outcome.failure:
            print(number, outcome.failure.splitlines()[0][:120])
            return 1
    print(len(seeds), "seeds found nothing")
    return 0


def _replay(seed: int, seconds: float, *, trace: bool) -> int:
    world = build(seed, seconds, sys.stdout if trace else None)
    try:
        world.run()
    except Exception:  # noqa: BLE001 - shown, whatever it is
        traceback.print_exc(file=sys.stdout)
        print(f"seed {seed} fails at {world.timeline.now:.6f} s; trace {world.trace.hash()}")
        print(f"replay: {replay_command(seed, seconds)}")
        return 1
    print(f"seed {seed}: trace {world.trace.hash()}, {world.timeline.events_total} events, {world.plan}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
