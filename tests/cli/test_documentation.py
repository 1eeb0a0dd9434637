"""docs/raftctl.md: its examples, run one after the other."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftd.cli.raftctl import group
from tests.cli.conftest import PROGRAM
from tests.daemon.process import document_of, running, write_files

DOCUMENT = Path(__file__).parents[2] / "docs" / "raftctl.md"
FILES = {"take-over.txn"}
FOLLOW = "revision|version|keys|key_bytes|leases|changes|value|written|deleted|unchanged|kept|leased"
AS_LETTERS = str.maketrans("0123456789", "abcdefghij")


def examples() -> list[tuple[str, str]]:
    """Each command line, and what is shown below it."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def shape(output: str) -> str:
    """What does not depend on when and where it was run; what follows from the examples before stays a number."""
    output = re.sub(
        rf"^({FOLLOW}) +(\d+)$", lambda line: f"{line[1]} {line[2].translate(AS_LETTERS)}", output, flags=re.MULTILINE
    )
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", output)
    output = re.sub(r"127[\d.]+:\d+", "ADDRESS", output)
    output = re.sub(r"--page \S+", "--page TOKEN", output)
    output = re.sub(r'"sha256": "[0-9a-f]+"', '"sha256": SUM', output)
    output = re.sub(r"^(cluster_id|state_hash) +[0-9a-f-]+$", r"\1 HEX", output, flags=re.MULTILINE)
    return re.sub(r" +", " ", re.sub(r"\d+(\.\d+)?", "N", output)).strip()


class Shell:
    """Runs the command lines of the document."""

    def __init__(self, directory: Path, cluster: Path) -> None:
        self._directory = directory
        (directory / "bin").mkdir()
        program = directory / "bin" / "raftctl"
        program.write_text(f"#!{PROGRAM[0]}\n{PROGRAM[2]}\n")
        program.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
            "RAFTCTL_CONFIG": str(cluster / "raftctl.yaml"),
        }

    def run(self, command: str) -> str:
        """What a command line prints, errors too."""
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=30,
            check=False,
        )
        if (granted := re.search(r"^lease +(\d+)\nttl", ended.stdout)) is not None:
            self._environment["LEASE"] = granted[1]
        return ended.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell beside a new cluster."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    write_files(directory, document_of())
    with running(directory / "raftd.yaml") as daemon:
        daemon.ready()
        yield Shell(tmp_path, directory)


def test_examples_print_what_is_shown(shell: Shell, tmp_path: Path) -> None:
    """Word for word, but for times, addresses, and numbers that do not follow from what the page has shown before."""
    shown = examples()
    assert len(shown) > 40
    for command, output in shown:
        if command.startswith("cat ") and (name := command.removeprefix("cat ")) in FILES:
            (tmp_path / name).write_text(output)
        assert shape(shell.run(command)) == shape(output), command


def test_every_command_is_named() -> None:
    """What raftctl has, the document tells of."""
    text = DOCUMENT.read_text()
    for name in {*group.commands, *getattr(group, "_commands_at")}:  # noqa: B009 - it is a LazyGroup's own
        assert re.search(rf"\b{name}\b", text), name
