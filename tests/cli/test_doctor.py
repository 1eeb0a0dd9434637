import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftd.cli.output import run_main
from raftd.cli.raftctl import group
from raftd.errors import ExitCode
from tests.daemon.process import Daemon

Raftctl = Callable[..., bytes]
Doctor = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def doctor(node: Daemon, cluster_directory: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Doctor:  # noqa: ARG001 - the node must run
    """Its findings; the disk of a machine that runs tests may be as bad as it likes."""

    def examine(*arguments: str) -> list[dict[str, Any]]:
        config = str(cluster_directory / "raftctl.yaml")
        ended_with = run_main(group, "raftctl", ["--config", config, "doctor", "-o", "json", *arguments])
        findings: list[dict[str, Any]] = json.loads(capfdbinary.readouterr().out)
        is_bad = any(finding["result"] == "bad" for finding in findings)
        assert ended_with == (ExitCode.UNHEALTHY if is_bad else ExitCode.OK)
        return [finding for finding in findings if finding["check"] != "disk" or finding["result"] != "bad"]

    return examine


def test_a_cluster_is_examined(doctor: Doctor) -> None:
    """Each question is answered, of a real node; a single voter is a warning, and not unhealthy."""
    findings = doctor()
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        by_check.setdefault(finding["check"], []).append(finding)
    assert {"node", "quorum", "round trip", "timeouts", "clock", "certificates", "versions"} <= by_check.keys()
    assert by_check["node"][0]["found"] == "answers, and is well"
    assert by_check["quorum"][0]["result"] == "warning"
    assert by_check["clock"][0]["result"] == "ok"


def test_only_problems(doctor: Doctor) -> None:
    """What is ok is left out, and the rest says what to do."""
    findings = doctor("--problems")
    assert findings
    assert all(finding["result"] != "ok" and finding["advice"] for finding in findings)


def test_no_problems(raftctl: Raftctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of nothing would leave in doubt whether that is good; a program sees an empty list."""
    monkeypatch.setattr("raftd.cli.doctor.examine", lambda _: [])
    assert raftctl("doctor", "--problems") == b"nothing is wrong\n"
    assert raftctl("doctor", "--problems", "-o", "json") == b"[]\n"


def test_the_host_of_a_node(doctor: Doctor, cluster_directory: Path) -> None:
    """With --node its disk is measured, and its files are looked at."""
    findings = doctor("--node", "1", "--settings", str(cluster_directory / "raftd.yaml"))
    assert not any("cannot write to" in finding["found"] for finding in findings)
    assert any(finding["check"] == "files" and finding["result"] == "ok" for finding in findings)


def test_what_is_bad_has_an_exit_code(raftctl: Raftctl, cluster_directory: Path) -> None:
    """8, here for a key that others may read."""
    key = next((cluster_directory / "pki").glob("node-1.client.key"))
    key.chmod(0o644)
    try:
        arguments = ("doctor", "--node", "1", "--settings", str(cluster_directory / "raftd.yaml"))
        raftctl(*arguments, code=ExitCode.UNHEALTHY)
    finally:
        key.chmod(0o600)


def test_nobody_answers(raftctl: Raftctl) -> None:
    """5, as everywhere."""
    raftctl("--endpoints", "127.0.0.1:1", "doctor", code=ExitCode.UNAVAILABLE)


def test_settings_that_are_not_there(raftctl: Raftctl, tmp_path: Path) -> None:
    """One line, and the exit code of settings."""
    arguments = ("doctor", "--node", "1", "--settings", str(tmp_path / "absent.yaml"))
    assert b"absent.yaml" in raftctl(*arguments, code=ExitCode.CONFIGURATION)


@pytest.mark.parametrize("node", ["0", "x"])
def test_a_node_is_a_number(raftctl: Raftctl, node: str) -> None:
    """From 1 on."""
    raftctl("doctor", "--node", node, code=ExitCode.USAGE)
