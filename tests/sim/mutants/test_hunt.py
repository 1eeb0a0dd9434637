"""Hunting one mutant, with a simulator that does what the test wants."""

import dataclasses
from pathlib import Path

import pytest

from tests.sim.mutants.__main__ import hunt
from tests.sim.mutants.mutant import Mutant

MUTANT = Mutant("it", "a bug", "code.py", "right", "wrong")


def sources(place: Path, simulator: str) -> Path:
    """A package to break, and a simulator that looks at it."""
    (place / "raftd").mkdir()
    (place / "raftd" / "__init__.py").touch()
    (place / "raftd" / "code.py").write_text("RIGHT = 'right'\n")
    (place / "tests" / "sim").mkdir(parents=True)
    (place / "tests" / "sim" / "__main__.py").write_text(simulator)
    return place


def test_what_gave_it_away(tmp_path: Path) -> None:
    """The simulator sees the broken copy; how many seeds it took and what it found are in the row."""
    simulator = "import raftd.code, sys\nprint(7, raftd.code.RIGHT)\nsys.exit(1)\n"
    verdict = hunt(sources(tmp_path, simulator), MUTANT, 1, 400)
    assert (verdict.seeds, verdict.found) == (7, "wrong")
    assert verdict.row.startswith("| it | a bug | 7 |")
    assert verdict.row.endswith("| wrong |")


def test_one_that_few_seeds_find_is_hunted_in_those(tmp_path: Path) -> None:
    """The simulator is asked for seeds with that group of faults."""
    mutant = dataclasses.replace(MUTANT, focus="departures")
    simulator = "import sys\nprint(7, *sys.argv[1:])\nsys.exit(1)\n"
    verdict = hunt(sources(tmp_path, simulator), mutant, 1, 400)
    assert verdict.found.endswith("--first 1 --seeds 400 --focus departures")


def test_a_survivor(tmp_path: Path) -> None:
    """Seeds that find nothing leave it alive."""
    verdict = hunt(sources(tmp_path, "print(400, 'seeds found nothing')\n"), MUTANT, 1, 400)
    assert not verdict.found
    assert "**survived**" in verdict.row


def test_one_that_takes_too_long_ends_no_other_hunt(tmp_path: Path) -> None:
    """When the time is over that is a row like any other, and says so."""
    verdict = hunt(sources(tmp_path, "import threading\nthreading.Event().wait()\n"), MUTANT, 1, 400, seconds_max=0.2)
    assert not verdict.found
    assert "**not found in " in verdict.row


def test_a_simulator_that_does_not_run(tmp_path: Path) -> None:
    """That is no verdict about the mutant."""
    with pytest.raises(RuntimeError, match="mutant it could not be run"):
        hunt(sources(tmp_path, "raise SystemExit(3)\n"), MUTANT, 1, 400)
