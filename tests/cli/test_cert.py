import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raftd.cli.output import run_main
from raftd.cli.raftctl import group
from raftd.errors import ExitCode
from raftd.pki import describe, issue_node
from tests.cli.conftest import Raftctl
from tests.daemon.process import document_of, write_files


def test_what_a_node_serves_is_shown(
    raftctl: Raftctl, raftctl_json: Callable[..., Any], cluster_directory: Path
) -> None:
    """Of both of its ports, as they are and not as some file is; a threshold beyond the end is a finding."""
    client, peer = raftctl_json("cert", "status")
    for row, name in ((client, "client"), (peer, "peer")):
        info = describe(cluster_directory / "pki" / f"node-1.{name}.crt")
        assert (row["node"], row["port"], row["subject"]) == (1, name, "raftd://test/node/1")
        assert (row["fingerprint"], row["not_after"]) == (info.fingerprint, info.not_after.isoformat())
        assert row["issuer"] == describe(cluster_directory / "pki" / f"{name}-ca.crt").fingerprint
        assert (row["days_left"], row["trusted"], row["ok"]) == (364, 1, True)
    assert len(raftctl("cert", "status").splitlines()) == 3
    raftctl("cert", "status", "--warn-days", "400", code=ExitCode.UNHEALTHY)


def test_a_cluster_that_does_not_answer_is_a_finding(raftctl: Raftctl) -> None:
    """There is no certificate to be had."""
    raftctl("--endpoints", "127.0.0.1:1", "cert", "status", code=ExitCode.UNHEALTHY)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return write_files(tmp_path, document_of())


def test_a_node_s_files_are_checked_without_it(run: Raftctl, settings: Path) -> None:
    """Nothing runs here. What cannot be used is a finding, with exit code 8."""
    check = ("cert", "check", "--settings", str(settings), "--node", "1")
    assert json.loads(run(*check, "-o", "json")) == {"node": 1, "ok": True, "findings": []}
    assert b"can be used" in run(*check)
    shutil.copy(settings.parent / "pki" / "user-admin.key", settings.parent / "pki" / "node-1.client.key")
    run(*check, code=ExitCode.UNHEALTHY)
    settings.write_text("nothing")
    run(*check, code=ExitCode.CONFIGURATION)


@pytest.mark.parametrize(
    ("days_ago", "named"),
    [(0, {"node-1.peer.crt expires in 19 days", "node-1.client.crt expires in 19 days"}),
     (30, {"node-1.peer.crt expired on", "node-1.client.crt expired on"})],
)  # fmt: skip
def test_each_finding_is_a_line_that_names_its_file(
    settings: Path, capsys: pytest.CaptureFixture[str], days_ago: int, named: set[str]
) -> None:
    """Told once: what has expired does not expire soon."""
    moment = datetime.now(UTC) - timedelta(days=days_ago)
    issue_node(settings.parent / "pki", 1, ["h"], days=20, overwrite=True, now=moment)
    code = run_main(group, "raftctl", ["cert", "check", "--settings", str(settings), "--node", "1"])
    assert code == ExitCode.UNHEALTHY
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(named)
    assert all(any(text in line for line in lines) for text in named)
