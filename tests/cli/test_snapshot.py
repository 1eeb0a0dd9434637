"""`raftctl snapshot inspect | verify`."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from raftd.errors import ExitCode
from tests.cli.backups import backup_of, machine_of, write_backup

Raftctl = Callable[..., bytes]


def test_inspect_shows_header_and_counts(run: Raftctl, tmp_path: Path) -> None:
    """As a table, JSON and YAML, with the same names; no cluster has to be named."""
    path = str(write_backup(tmp_path / "x"))
    table = dict(line.split(maxsplit=1) for line in run("snapshot", "inspect", path).decode().splitlines())
    as_json = json.loads(run("snapshot", "inspect", path, "-o", "json"))
    assert as_json == yaml.safe_load(run("snapshot", "inspect", path, "-o", "yaml"))
    assert table.keys() == as_json.keys()
    assert (as_json["cluster"], as_json["node"], as_json["keys"], as_json["leases"]) == ("test", 2, 3, 1)


def test_verify_says_so(run: Raftctl, tmp_path: Path) -> None:
    """Only of a file that can be loaded."""
    path = str(write_backup(tmp_path / "x"))
    assert json.loads(run("snapshot", "verify", path, "-o", "json"))["verified"] is True


def test_what_is_damaged_is_told_in_one_line(run: Raftctl, tmp_path: Path) -> None:
    """With the offset, and exit code 1; inspect looks at the beginning and the length only."""
    path = tmp_path / "x"
    data = bytearray(backup_of(machine_of({b"a": bytes(200_000)})))
    data[-600] ^= 1
    path.write_bytes(data)
    said = run("snapshot", "verify", str(path), code=ExitCode.ERROR).decode()
    assert said.startswith(f"raftctl: {path}: byte ")
    assert said.count("\n") == 1
    run("snapshot", "inspect", str(path))
    path.write_bytes(data[:-1])
    said = run("snapshot", "inspect", str(path), code=ExitCode.ERROR).decode()
    assert "1 are missing: it was cut" in said


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_one_that_comes_through_a_pipe(
    run: Raftctl, stdin: Callable[[bytes], io.BytesIO], tmp_path: Path, command: str
) -> None:
    """As standard input, or by a pipe's name: it is what it would be as a file."""
    data = write_backup(tmp_path / "x").read_bytes()
    shown = run("snapshot", command, str(tmp_path / "x"))
    stdin(data)
    assert run("snapshot", command, "-") == shown
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as stream:
        stream.write(data)
        stream.close()
        assert run("snapshot", command, f"/dev/fd/{reading}") == shown
    stdin(data[:-1])
    said = run("snapshot", command, "-", code=ExitCode.ERROR).decode()
    assert said.startswith("raftctl: standard input: byte ")
    assert "1 are missing: it was cut" in said
