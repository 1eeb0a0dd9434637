"""`raftd demo`, as somebody who tries raftd for the first time meets it, and `raftctl` against it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from raftd.errors import ExitCode
from tests.e2e.cluster import command_that_dies_with_us, until

pytestmark = pytest.mark.e2e

_RAFTCTL = (sys.executable, "-c", "from raftd.cli.raftctl import main; main()")
_PORTS_NEEDED = 23
"""Three nodes, each ten further on, with three ports each."""


def free_base_port() -> int:
    """Where a demo's ports are free: below those that outgoing connections take."""

    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return True
        return False

    first = os.getpid() % 100
    for place in range(100):
        base = 10_000 + (first + place) % 100 * 200
        if all(is_free(port) for port in range(base, base + _PORTS_NEEDED)):
            return base
    raise AssertionError("no free ports")


def processes_of(directory: Path) -> list[int]:
    """The processes that have a directory in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.fsencode(directory) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


class Demo:
    """A demo that runs, and what it has printed."""

    def __init__(self, directory: Path, base_port: int, output: Path) -> None:
        self.directory = directory
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                command_that_dies_with_us(
                    *(sys.executable, "-m", "raftd", "demo", "--dir", str(directory), "--base-port", str(base_port))
                ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._output.read_text()

    async def ready(self) -> None:
        """Wait for the line that says so."""
        await until(
            lambda: any(line.startswith("ready") for line in self.printed.splitlines()) or self.process.poll(), "ready"
        )
        assert self.process.poll() is None, self.printed

    async def ended(self) -> int:
        """Wait for the end of the demo, and of all of its nodes."""
        await until(lambda: self.process.poll() is not None, "the demo ends")
        await until(lambda: not processes_of(self.directory), "no node is left")
        assert self.process.returncode is not None
        assert "Traceback" not in self.printed
        return self.process.returncode

    def raftctl(self, *arguments: str) -> tuple[int, str]:
        """Run a command against it; returns exit code and output, after a look that errors are one line."""
        done = subprocess.run(
            [*_RAFTCTL, "--config", str(self.directory / "raftctl.yaml"), "--timeout", "3s", *arguments],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert len(done.stderr.splitlines()) <= 1, done.stderr
        return done.returncode, done.stdout


@asynccontextmanager
async def demo(directory: Path, base_port: int) -> AsyncIterator[Demo]:
    """A demo; if it still runs after the block, it is killed, and so are its nodes."""
    running = Demo(directory, base_port, directory.parent / f"{directory.name}.out")
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        print(running.printed)
        await until(lambda: not processes_of(directory), "no node is left")


def test_the_five_minutes_tour(tmp_path: Path) -> None:
    """It says ready, serves raftctl with the documented exit codes, ends by Ctrl-C, and goes on with its data."""
    base_port, directory = free_base_port(), tmp_path / "here" / "demo"
    directory.parent.mkdir()

    async def scenario() -> None:
        async with demo(directory, base_port) as running:
            await running.ready()
            assert running.raftctl("set", "greeting", "hello")[0] == ExitCode.OK
            assert running.raftctl("get", "greeting") == (ExitCode.OK, "hello\n")
            assert running.raftctl("get", "nothing")[0] == ExitCode.NOT_FOUND
            assert running.raftctl("set", "greeting", "hi", "--if-revision", "0")[0] == ExitCode.COMPARE_FAILED
            assert running.raftctl("set", "gone", "soon")[0] == ExitCode.OK
            assert running.raftctl("del", "gone")[0] == ExitCode.OK
            assert running.raftctl("del", "gone")[0] == ExitCode.NOT_FOUND
            code, status = running.raftctl("status", "-o", "json")
            assert code == ExitCode.OK
            assert sorted(row["role"] for row in json.loads(status)) == ["follower", "follower", "leader"]
            code, log = running.raftctl("log", "--last", "5")
            assert code == ExitCode.OK
            assert "gone" in log
            running.process.send_signal(signal.SIGINT)
            assert await running.ended() == ExitCode.OK
            assert running.raftctl("get", "greeting")[0] == ExitCode.UNAVAILABLE
        assert {path.name for path in directory.parent.iterdir()} == {"demo", "demo.out"}
        async with demo(directory, base_port) as again:
            await again.ready()
            assert again.raftctl("get", "greeting") == (ExitCode.OK, "hello\n")

    asyncio.run(scenario())


def test_a_port_in_use_is_told_in_plain_words(tmp_path: Path) -> None:
    """Whoever has the port keeps it; the demo says which node could not start, and the node says why, in one line."""
    base_port, directory = free_base_port(), tmp_path / "demo"

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", base_port)):
            async with demo(directory, base_port) as running:
                await until(lambda: "node 1 has ended" in running.printed, "the demo tells of the node")
                log = (directory / "node-1.log").read_text()
                (line,) = [line for line in log.splitlines() if "cannot listen" in line]
                assert f"127.0.0.1:{base_port}" in line
                assert "Traceback" not in running.printed + log

    asyncio.run(scenario())


def test_a_killed_demo_leaves_no_node_behind(tmp_path: Path) -> None:
    """SIGKILL gives it no time to stop its nodes; the kernel does."""

    async def scenario() -> None:
        async with demo(tmp_path / "demo", free_base_port()) as running:
            await running.ready()
            running.process.kill()
            assert await running.ended() == -signal.SIGKILL

    asyncio.run(scenario())
