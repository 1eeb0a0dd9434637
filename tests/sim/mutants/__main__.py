"""Put each bug back in, and see in how many seeds the simulator finds it."""

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

from tests.sim.mutants.catalogue import MUTANTS
from tests.sim.mutants.mutant import Mutant

_ROOT: Final = Path(__file__).parents[3]
SECONDS_MAX: Final = 1800.0
"""For one mutant."""
_SOURCES: Final = ("raftd", "tests/sim", "tests/linearizability")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    seeds: int
    """How many were needed, or were to be tried."""
    seconds: float
    found: str
    """What gave it away; empty if nothing did."""
    is_cut: bool = False
    """Whether the time was over before all seeds were tried."""

    @property
    def row(self) -> str:
        """A row of the table."""
        unfound = f"**not found in {self.seconds:.0f} s**" if self.is_cut else "**survived**"
        mutant = self.mutant
        return f"| {mutant.name} | {mutant.what} | {self.seeds} | {self.seconds:.1f} | {self.found or unfound} |"


def hunt(sources: Path, mutant: Mutant, first: int, seeds: int, *, seconds_max: float = SECONDS_MAX) -> Verdict:
    """Run a copy of `sources` with the bug in it until a seed fails, or the time is over.

    Raises:
        LookupError: the mutant does not apply.
        RuntimeError: the run came to nothing.
    """
    with tempfile.TemporaryDirectory(prefix="raftd-mutant-") as name:
        place = Path(name)
        # With what is compiled already: only the module that is broken is compiled anew.
        shutil.copytree(sources, place, dirs_exist_ok=True)
        mutant.apply(place / "raftd")
        command = [sys.executable, "-m", "tests.sim", "--until-failure", "--first", str(first), "--seeds", str(seeds)]
        if mutant.focus:
            command += ["--focus", mutant.focus]
        started = time.monotonic()
        try:
            done = subprocess.run(
                command,
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(place)},
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds_max,
            )
        except subprocess.TimeoutExpired:
            return Verdict(mutant, seeds, time.monotonic() - started, "", is_cut=True)
    seconds = time.monotonic() - started
    words = done.stdout.strip().splitlines()[-1].split(maxsplit=1) if done.stdout.strip() else []
    if done.returncode not in {0, 1} or not words:
        raise RuntimeError(f"mutant {mutant.name} could not be run:\n{done.stderr}")
    return Verdict(mutant, int(words[0]), seconds, words[1] if done.returncode == 1 else "")


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants", description="Hunt bugs that were put back in.")
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--seeds", type=int, default=400, help="give a mutant up after so many")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    print("| mutant | what | seeds | seconds | found by |\n|---|---|---:|---:|---|")
    unfound = []
    with (
        tempfile.TemporaryDirectory(prefix="raftd-mutants-") as name,
        ThreadPoolExecutor(options.processes) as pool,
    ):
        sources = Path(name)
        for source in _SOURCES:
            shutil.copytree(_ROOT / source, sources / source, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(sources, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        for verdict in pool.map(lambda mutant: hunt(sources, mutant, options.first, options.seeds), chosen):
            print(verdict.row, flush=True)
            if not verdict.found:
                unfound.append(verdict.mutant.name)
    print(f"\n{len(chosen)} mutants, {len(unfound)} not found{': ' + ', '.join(unfound) if unfound else ''}")
    return 1 if unfound else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LookupError, RuntimeError) as error:
        sys.exit(str(error))
