"""A real node of a cluster of one, and `raftctl` in this process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftd.cli.output import run_main
from raftd.cli.raftctl import group
from raftd.client import Client
from raftd.errors import ExitCode
from tests.daemon.process import Daemon, document_of, running, write_files

Raftctl = Callable[..., bytes]


@pytest.fixture(scope="session")
def cluster_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `raftd.yaml`, `raftctl.yaml` and `pki` of a cluster of one node are."""
    directory = tmp_path_factory.mktemp("cluster")
    write_files(directory, document_of())
    return directory


@pytest.fixture(scope="session")
def node(cluster_directory: Path) -> Iterator[Daemon]:
    """That cluster, running, with a key `raftd` in it."""
    with running(cluster_directory / "raftd.yaml") as daemon:
        daemon.ready()
        with Client.from_config(cluster_directory / "raftctl.yaml") as client:
            client.put("raftd", "ready")
        yield daemon


@pytest.fixture(autouse=True)
def _no_settings_of_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the environment or the home of whoever runs the tests makes no difference."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "ENDPOINTS", "CACERT", "CERT", "KEY", "TIMEOUT"):
        monkeypatch.delenv(f"RAFTCTL_{name}", raising=False)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Raftctl:
    """Run `raftctl`; what it wrote to standard output, or to standard error if it was to fail."""

    def command(*arguments: str, code: int = ExitCode.OK) -> bytes:
        ended_with = run_main(group, "raftctl", arguments)
        output = capfdbinary.readouterr()
        assert ended_with == code, output
        assert b"Traceback" not in output.err
        return output.out if code == ExitCode.OK else output.err

    return command


@pytest.fixture
def raftctl(run: Raftctl, node: Daemon, cluster_directory: Path) -> Raftctl:  # noqa: ARG001 - the node must run
    """`run`, as the cluster's administrator."""

    def command(*arguments: str, code: int = ExitCode.OK) -> bytes:
        return run("--config", str(cluster_directory / "raftctl.yaml"), *arguments, code=code)

    return command


@pytest.fixture
def raftctl_json(raftctl: Raftctl) -> Callable[..., Any]:
    """What a command prints with `-o json`."""

    def command(*arguments: str) -> Any:
        return json.loads(raftctl(*arguments, "-o", "json"))

    return command
