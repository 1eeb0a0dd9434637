import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftd import settings as settings_package
from raftd.cli import demo
from raftd.cli.demo import DemoError
from raftd.client import Client, Unavailable
from raftd.errors import ExitCode, SettingsError
from tests.e2e.cluster import command_that_dies_with_us

PATIENCE_SECONDS = 30.0


class Demo:
    """A `raftd demo` process."""

    def __init__(self, directory: Path, nodes: int, port: int) -> None:
        self.directory = directory
        options = ["--dir", str(directory), "--nodes", str(nodes), "--base-port", str(port)]
        self.process = subprocess.Popen(
            command_that_dies_with_us(sys.executable, "-m", "raftd", "demo", *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_said(self, start: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        raise AssertionError(f"it ended without {start!r}: {self.end(None)}")

    def end(self, number: signal.Signals | None) -> tuple[int, str, str]:
        """Send a signal; exit code, and what else it said."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(PATIENCE_SECONDS), out, err

    def node_processes(self) -> list[int]:
        """The nodes that run, by their process ids."""
        pattern = f"{self.directory}/raftd.yaml\0--node"
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _command_line(entry).find(pattern) > 0
        ]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def free_port(count: int) -> int:
    """The first of `count` times ten ports on 127.0.0.1 of which those that a demo takes are free."""
    for port in range(30_000 + os.getpid() % 1000 * 20, 60_000, 50):
        taken = [port + 10 * node + offset for node in range(count) for offset in range(3)]
        try:
            for each in taken:
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos that end with the test."""
    demos: list[Demo] = []

    def run(name: str = "demo", *, nodes: int = 1, port: int) -> Demo:
        demos.append(Demo(tmp_path / name, nodes, port))
        return demos[-1]

    yield run
    for each in demos:
        with each.process as process:
            process.kill()


def test_a_cluster_in_one_command(start: Callable[..., Demo]) -> None:
    """It says that it is ready when it is, shows how to use it, ends by Ctrl-C, and leaves nothing but DIR."""
    running = start(nodes=3, port=free_port(3))
    assert running.until_said("ready").endswith(f"are in {running.directory}\n")
    running.until_said("NODE")
    with Client.from_config(running.directory / "raftctl.yaml") as client:
        client.put("a", "1")
    assert len(running.node_processes()) == 3
    code, out, err = running.end(signal.SIGINT)
    assert (code, err) == (ExitCode.OK, "")
    assert out.count(" ok\n") == 3
    assert re.search(r"raftctl --config \S+/raftctl.yaml set greeting hello", out)
    assert out.endswith("\nstopping\n")
    assert running.node_processes() == []
    assert sorted(path.name for path in running.directory.iterdir()) == [
        "data", "node-1.log", "node-2.log", "node-3.log", "pki", "raftctl.yaml", "raftd.yaml",
    ]  # fmt: skip


def test_it_goes_on_with_its_data_and_alone(start: Callable[..., Demo], tmp_path: Path) -> None:
    """A second one in the same directory is refused; after the first has ended, it finds what was written."""
    port = free_port(1)
    first = start(port=port)
    first.until_said("ready")
    with Client.from_config(first.directory / "raftctl.yaml") as client:
        client.put("kept", "1")
    code, _, err = start(port=port).end(None)
    assert (code, err) == (ExitCode.ERROR, f"raftd: a demo runs in {first.directory} already\n")
    code, _, err = start("other", port=port).end(None)
    assert code == ExitCode.ERROR
    assert "cannot listen on 127.0.0.1" in err
    assert first.end(signal.SIGTERM)[0] == ExitCode.OK
    again = start(port=port)
    again.until_said("ready")
    with Client.from_config(tmp_path / "demo" / "raftctl.yaml") as client:
        assert client.get("kept") is not None


def test_nodes_do_not_outlive_it(start: Callable[..., Demo]) -> None:
    """Not even when it is killed; and when the nodes are, it says so and ends."""
    running = start(port=free_port(1))
    running.until_said("Ctrl-C")
    (node,) = running.node_processes()
    os.kill(node, signal.SIGKILL)
    code, _, err = running.end(None)
    assert code == ExitCode.ERROR
    assert "node 1 has ended, by SIGKILL" in err
    again = start(port=free_port(1), name="again")
    again.until_said("Ctrl-C")
    (node,) = again.node_processes()
    ended = os.pidfd_open(node)
    again.process.kill()
    assert select.select([ended], [], [], PATIENCE_SECONDS)[0]
    os.close(ended)


def test_a_directory_is_used_again_or_left_alone(tmp_path: Path) -> None:
    """With the same nodes and ports, its certificates stay; with others, or when it is no demo, it is refused."""
    (tmp_path / "d").mkdir()
    settings = demo._prepare(tmp_path / "d", 3, 7400)
    assert demo._prepare(tmp_path / "d", 3, 7400) == settings
    for nodes, port in ((1, 7400), (3, 7500)):
        with pytest.raises(SettingsError, match="is of 3 nodes from port 7400 on"):
            demo._prepare(tmp_path / "d", nodes, port)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "thesis.odt").touch()
    with pytest.raises(SettingsError, match="is not empty, and holds no demo"):
        demo._prepare(tmp_path / "e", 3, 7400)
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["thesis.odt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_half_a_demo_is_taken_away(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C or a full disk while it is written: or the next try would find a directory that is not empty."""

    def fail(_: object) -> str:
        raise error

    monkeypatch.setattr(settings_package, "render", fail)
    with pytest.raises((KeyboardInterrupt, SettingsError)):
        demo._prepare(tmp_path, 1, 7400)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file"), demo._alone_in(tmp_path / "file" / "below"):
        pass


def test_the_directory_is_held_by_one(tmp_path: Path) -> None:
    """And is free again afterwards, with nothing in it."""
    with demo._alone_in(tmp_path / "d"), pytest.raises(DemoError, match="runs in"), demo._alone_in(tmp_path / "d"):
        pass
    with demo._alone_in(tmp_path / "d"):
        assert list((tmp_path / "d").iterdir()) == []


def test_whoever_waits_in_vain_is_told_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes run and nothing can be written: why, their logs say."""

    class Refused:
        def put(self, *_: object) -> None:
            raise Unavailable("127.0.0.1:7400: connection refused")

    class Alive:
        def poll(self) -> None:
            """It runs."""

    monkeypatch.setattr(demo, "_START_SECONDS", 0.0)
    processes = {1: Alive(), 2: Alive()}
    with pytest.raises(DemoError) as caught:
        demo._wait_for_quorum(Refused(), tmp_path, processes)  # type: ignore[arg-type]  # as much as it looks at
    assert str(caught.value).splitlines() == [
        "the nodes run, but nothing could be written for 0 s: 127.0.0.1:7400: connection refused",
        f"what they say is in node-1.log, node-2.log, in {tmp_path}",
    ]
