import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.cli import debug
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]
CANARIES = ("canary-value-7f3a", "canary-key-91bc", "canary-previous-55d0", "canary-environment-2e8c")


def contents(path: Path) -> dict[str, bytes]:
    """The files of an archive, by their names below its directory."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read()
    return found


@pytest.fixture
def archived(raftctl: Raftctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What is gathered of a cluster in which secrets are planted wherever users can put something."""
    value, key, previous, environment = CANARIES
    monkeypatch.setenv("RAFTD_CANARY", environment)
    raftctl("set", key, previous)
    raftctl("set", key, value, "--previous")
    raftctl("get", key, code=ExitCode.OK)
    raftctl("set", f"{key}/binary\udcff", value)
    raftctl("del", f"{key}/", "--prefix")
    raftctl("incr", f"{key}/count")
    txn = tmp_path / "txn"
    txn.write_text(f"if\n  exists {key}\nthen\n  put {key} {value}\nelse\n")
    raftctl("txn", str(txn))
    raftctl("--namespace", key, "set", "inside", value)
    path = tmp_path / "report.tar.gz"
    assert raftctl("debug", "--file", str(path)).decode() == f"{path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    return contents(path)


def test_everything_is_in_it(archived: dict[str, bytes]) -> None:
    """As its README says."""
    expected = {
        "README.txt", "doctor.json", "machine.json", "status.json",
        "node-1/events.json", "node-1/log.json", "node-1/metrics.txt", "node-1/settings.json",
    }  # fmt: skip
    assert archived.keys() - {"journal.txt"} == expected
    for name in archived.keys() - {"README.txt"}:
        assert name.replace("node-1", "node-N") in archived["README.txt"].decode()
    assert json.loads(archived["status.json"])[0]["status"]["role"] == "leader"
    assert json.loads(archived["node-1/settings.json"])["settings"]["timing"]
    assert any(event["name"] == "leader_elected" for event in json.loads(archived["node-1/events.json"]))
    assert b"raftd_log_sync_duration_seconds_count" in archived["node-1/metrics.txt"]
    assert any(entry.get("command") == "put" for entry in json.loads(archived["node-1/log.json"]))
    assert any(finding["check"] == "node" for finding in json.loads(archived["doctor.json"]))


def test_no_secret_and_no_value_is_in_it(archived: dict[str, bytes], cluster_directory: Path) -> None:
    """Neither what users have stored or named, nor a private key or certificate, nor the environment."""
    keys = [path.read_text().splitlines()[1] for path in (cluster_directory / "pki").glob("*.key")]
    assert keys
    for name, content in archived.items():
        for secret in (*CANARIES, *keys, "-----BEGIN"):
            assert secret.encode() not in content, f"{secret} is in {name}"
            assert secret.encode().hex().encode() not in content, f"{secret} is in {name}, in hexadecimal"


def test_the_file_has_a_name_of_its_own(raftctl: Raftctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster's and the moment's, in the directory that one is in; it never replaces another."""
    monkeypatch.chdir(tmp_path)
    name = raftctl("debug").decode().strip()
    assert name.startswith("raftd-debug-test-")
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - the bare names are what matters
    assert b"File exists" in raftctl("debug", "--file", name, code=ExitCode.ERROR)


def test_nobody_answers(raftctl: Raftctl, tmp_path: Path) -> None:
    """Why not is in the archive, and the exit code says so."""
    path = tmp_path / "report.tar.gz"
    raftctl("--endpoints", "127.0.0.1:1", "debug", "--file", str(path), code=ExitCode.UNAVAILABLE)
    assert b"refused" in contents(path)["status.json"]


def test_the_journal_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is asked for raftd's own lines; one that is not there, fails or hangs is left out."""
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert b"--unit=raftd@*.service" in debug._journal()

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("journalctl", 1)

    monkeypatch.setattr(subprocess, "run", hang)
    assert debug._journal() == b""
    monkeypatch.setenv("PATH", str(tmp_path / "absent"))
    assert debug._journal() == b""
