"""Golden transcripts: each file of `scenarios/` is run and compared, line by line.

`RAFTD_REWRITE=1 pytest tests/consensus/test_scenarios.py` writes what is seen into the files; read the difference then.
"""

import os
from pathlib import Path

import pytest

from tests.consensus.scenario import Scenario

DIRECTORY = Path(__file__).parent / "scenarios"
FILES = sorted(DIRECTORY.glob("*.txt"))
SEPARATOR = "----"


def play(text: str) -> str:
    """The scenario with what is seen now."""
    scenario = Scenario()
    played: list[str] = []
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        end = lines.index(SEPARATOR) if SEPARATOR in lines else len(lines)
        comments = [line for line in lines[:end] if line.startswith("#")]
        commands = [line for line in lines[:end] if not line.startswith("#")]
        played.extend(f"{line}\n" for line in comments)
        if commands:
            (command,) = commands
            played.append(f"{command}\n{SEPARATOR}\n{scenario.run(command)}")
        played.append("\n")
    scenario.cluster.check_log_matching()
    return "".join(played[:-1])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario(file: Path) -> None:
    """What is seen is what the file says."""
    text = file.read_text()
    played = play(text)
    if os.environ.get("RAFTD_REWRITE"):
        file.write_text(played)
    else:
        assert played == text


def test_there_are_scenarios_and_each_is_explained() -> None:
    """The table in README.md has each file, once, and no other."""
    table = (DIRECTORY.parent / "README.md").read_text()
    listed = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert listed == sorted(file.stem for file in FILES)
    assert len(listed) >= 60
