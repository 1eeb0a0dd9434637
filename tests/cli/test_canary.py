import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftd.cli import canary
from raftd.cli.output import OutputFormat
from raftd.client.canary import CanaryReport
from raftd.errors import ExitCode
from tests.cli.conftest import Raftctl
from tests.daemon.process import Daemon


def test_a_short_flight(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """All writes acknowledged, and no keys left behind."""
    report = raftctl_json("canary", "--seconds", "0.5", "--rate", "100")
    assert report["tried"] == report["acknowledged"] == 50
    assert (report["missing"], report["failed"], report["errors"]) == (0, 0, {})
    shown = raftctl("canary", "--seconds", "0.2", "--key-prefix", "other/").decode()
    assert "longest stall" in shown
    assert "p99" in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("node")
def test_a_signal_ends_it_with_its_report(cluster_directory: Path, number: signal.Signals) -> None:
    """A playbook stops it when its own work is done."""
    command = (
        *(sys.executable, "-u", "-c", "from raftd.cli.raftctl import main; main()"),
        *("--config", str(cluster_directory / "raftctl.yaml"), "canary", "-o", "json"),
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAFTCTL_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        wait_until_it_listens(process.pid)
        process.send_signal(number)
        output, said = process.communicate(timeout=20)
    assert process.returncode == ExitCode.OK, said
    report = json.loads(output)
    assert report["acknowledged"] == report["tried"]


def wait_until_it_listens(process_id: int) -> None:
    """Until it catches the signal itself (proc(5), SigCgt): before, it would simply end."""
    bit = 1 << (signal.SIGTERM - 1)
    while True:
        for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "SigCgt" and int(value, 16) & bit:
                return


def test_what_is_missing_is_an_error(raftctl: Raftctl, node: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and what is missing; 5 where nothing was acknowledged at all."""
    del node
    reports = [
        CanaryReport(tried=5, acknowledged=5, missing=1, complaints=["k: gone"]),
        CanaryReport(tried=5, failed=5),
    ]

    async def run(*_: object) -> CanaryReport:
        return reports.pop(0)

    monkeypatch.setattr(canary, "run_canary", run)
    assert b"k: gone" in raftctl("canary", code=ExitCode.ERROR)
    raftctl("canary", code=ExitCode.UNAVAILABLE)


@pytest.mark.parametrize(("acknowledged", "latency"), [(0, None), (1, "p50 2.0 ms, p99 3.0 ms, max 4.0 ms")])
def test_latencies_are_of_acknowledged_writes(acknowledged: int, latency: str | None) -> None:
    """Without one there are none, rather than none that took any time."""
    report = CanaryReport(acknowledged=acknowledged, p50_seconds=0.002, p99_seconds=0.003, max_seconds=0.004)
    assert canary._record(report, OutputFormat.TABLE)["latency"] == latency


def test_who_may_not_write_is_told(run: Raftctl, raftctl: Raftctl, cluster_directory: Path) -> None:
    """One line, and no report."""
    raftctl("status")
    config, pki = cluster_directory / "raftctl.yaml", cluster_directory / "pki"
    reader = ("--config", str(config), "--cert", str(pki / "user-reader.crt"), "--key", str(pki / "user-reader.key"))
    assert run(*reader, "canary", code=ExitCode.ERROR).count(b"\n") == 1
