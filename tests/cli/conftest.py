"""A real node of a cluster of one, and `raftctl` in this process."""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raftd.cli.output import run_main
from raftd.cli.raftctl import group
from raftd.client import Client
from raftd.errors import ExitCode
from tests.client.conftest import (  # noqa: F401 - fixtures: a cluster that does what it is told
    cluster_in_thread,
    config_path,
    make_pki,
    pki,
    pki_and_directory,
)
from tests.daemon.process import Daemon, document_of, running, write_files

Raftctl = Callable[..., bytes]
Spawn = Callable[..., "subprocess.Popen[bytes]"]
PROGRAM = (sys.executable, "-c", "from raftd.cli.raftctl import main; main()")
PATIENCE_SECONDS = 20.0


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
    for name in ("CONFIG", "ENDPOINTS", "CACERT", "CERT", "KEY", "TIMEOUT", "NAMESPACE", "FENCE", "FENCE_KEY"):
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


@pytest.fixture
def client(node: Daemon, cluster_directory: Path) -> Iterator[Client]:  # noqa: ARG001 - the node must run
    """The administrator's client."""
    with Client.from_config(cluster_directory / "raftctl.yaml") as made:
        yield made


@pytest.fixture
def spawn(node: Daemon, cluster_directory: Path) -> Iterator[Spawn]:  # noqa: ARG001 - the node must run
    """Start `raftctl` in a process of its own, as the administrator; what is left of it and its commands is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, config: Path | None = None, **options: Any) -> "subprocess.Popen[bytes]":
        path = config or cluster_directory / "raftctl.yaml"
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [*PROGRAM, "--config", str(path), *arguments], **{**pipes, "start_new_session": True, **options}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # A command that raftctl runs holds its pipes: they would not end while it goes on.
        for pid in (process.pid, *_session(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def _session(leader: int) -> list[int]:
    """The processes of a session (proc(5): the fourth field after the name)."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                members.append(int(stat.parent.name))
    return members


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], io.BytesIO]:
    """Give standard input."""

    def give(data: bytes) -> io.BytesIO:
        stream = io.BytesIO(data)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        return stream

    return give


@pytest.fixture
def on_terminal(spawn: Spawn) -> Callable[..., bytes]:
    """Run `raftctl` to its end with one of its streams on a terminal; what came there."""

    def run_there(stream: str, *arguments: str, **options: Any) -> bytes:
        master, slave = pty.openpty()
        with open(master, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor has no path
            process = spawn(*arguments, **{stream: slave}, **options)
            os.close(slave)
            shown = b""
            try:
                while piece := terminal.read(1 << 16):
                    shown += piece
            except OSError:  # Linux says so when nobody has the other side open any more
                pass
            assert process.wait(PATIENCE_SECONDS) == 0
        return shown

    return run_there


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for what tells nobody when it happens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS:g} s"
        threading.Event().wait(0.01)
