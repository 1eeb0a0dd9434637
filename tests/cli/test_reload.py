import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftd.errors import ExitCode
from tests.cli.conftest import Raftctl


def test_a_node_says_what_has_changed(
    raftctl: Raftctl, raftctl_json: Callable[..., Any], cluster_directory: Path
) -> None:
    """What counts now, and what waits for a restart; a bad file leaves everything as it was, with exit code 1."""
    settings = cluster_directory / "raftd.yaml"
    before = settings.read_text()
    try:
        settings.write_text(before + "log: {level: warning, format: json}\n")
        (row,) = raftctl_json("reload")
        assert (row["node"], row["result"]) == (1, "reloaded")
        assert (row["changed"], row["waiting"]) == (["log.level"], ["log.format"])
        shown = raftctl("reload", "--node", "1").decode().splitlines()[1].split()
        assert shown[-2:] == ["-", "log.format"]
        settings.write_text(before + "colour: blue\n")
        raftctl("reload", code=ExitCode.ERROR)
        raftctl("reload", "--node", "1", "-o", "json", code=ExitCode.ERROR)
        raftctl("set", "raftd", "ready")
    finally:
        settings.write_text(before)
        (row,) = raftctl_json("reload")
    assert (row["changed"], row["waiting"]) == (["log.level"], [])


def test_who_cannot_be_told_is_shown(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """A node that is not there, one that does not answer, a user who may not, and what is no node."""
    assert b"no node 7 answers" in raftctl("reload", "--node", "7", code=ExitCode.UNAVAILABLE)
    for node in ("x", "0", "-1", "9" * 5000):
        assert b"neither a node's id nor `all`" in raftctl("reload", "--node", node, code=ExitCode.USAGE)
    raftctl("--endpoints", "127.0.0.1:1", "reload", code=ExitCode.UNAVAILABLE)
    (status,) = raftctl_json("status")
    endpoints = f"{status['endpoint']},127.0.0.1:1"
    raftctl("--endpoints", endpoints, "reload", "-o", "json", code=ExitCode.UNAVAILABLE)


def test_only_administrators_reload(run: Raftctl, raftctl: Raftctl, cluster_directory: Path) -> None:
    """A user who may read is denied."""
    raftctl("status")
    config, pki = cluster_directory / "raftctl.yaml", cluster_directory / "pki"
    reader = ("--config", str(config), "--cert", str(pki / "user-reader.crt"), "--key", str(pki / "user-reader.key"))
    assert run(*reader, "reload", code=ExitCode.ERROR) == b""
    (row,) = json.loads(raftctl("status", "-o", "json"))
    assert row["healthy"]
