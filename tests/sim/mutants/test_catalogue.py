"""The mutants still fit the code that they break."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.sim.mutants.catalogue import MUTANTS
from tests.sim.mutants.mutant import Mutant

PACKAGE = Path(__file__).parents[3] / "raftd"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_is_still_python(mutant: Mutant, tmp_path: Path) -> None:
    """Its text is there exactly once, and what comes out differs and can be parsed."""
    copy = tmp_path / mutant.path
    copy.parent.mkdir(parents=True)
    shutil.copy(PACKAGE / mutant.path, copy)
    before = copy.read_text()
    mutant.apply(tmp_path)
    assert copy.read_text() != before
    ast.parse(copy.read_text())


def test_names_are_unique() -> None:
    """A name in a table means one bug."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_table_has_each_mutant() -> None:
    """What `make mutants` found is written down, of each with the words of the catalogue."""
    table = Path(__file__).with_name("README.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) \| (.+?) \| \d+ \| [\d.]+ \|", table, re.MULTILINE))
    assert rows == {mutant.name: mutant.what for mutant in MUTANTS}


def test_a_mutant_that_does_not_apply_says_so(tmp_path: Path) -> None:
    """A mutant that changes nothing would pass for one that nothing finds."""
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("x = 2", "x = 1"):
        with pytest.raises(LookupError, match="does not apply"):
            Mutant("m", "w", "a.py", old, "y").apply(tmp_path)
