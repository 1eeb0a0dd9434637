"""How fast a demo cluster on this machine is: `make bench`, or `python -m tests.bench --help`.

Puts and gets, at growing loads, in rounds that are interleaved: a machine that is busy for a while then slows down all
loads alike, and the median of the rounds passes over it. With --floor, a bare replication without Raft, storage or a
state machine is measured in the same rounds, and the puts are set against it.
"""

import contextlib
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click

from raftd.cli.output import OutputFormat, format_option, run_main, show_rows, warn
from raftd.errors import RaftdError

PATIENCE_SECONDS: Final = 60.0
NODES: Final = 3
FLOOR_FIRST_PEER_PORT: Final = 7100
_FLOOR_LINE: Final = re.compile(r"(?P<rate>\d+) puts/s, p50 (?P<p50>[\d.]+) ms, p99 (?P<p99>[\d.]+) ms")


class BenchError(RaftdError):
    """Something that was to be measured does not run."""


class Load(NamedTuple):
    """So many requests under way on each of so many connections."""

    connections: int
    pipeline: int


LOADS: Final = (Load(1, 1), Load(10, 1), Load(100, 1), Load(100, 10))


@dataclass(frozen=True, slots=True)
class Measured:
    """One load, once."""

    per_second: float
    p50_ms: float
    p99_ms: float


Subject = Callable[[Load], Measured]
"""What can be put under a load."""


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is measured.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="How long, each time.")
@click.option("--base-port", type=click.IntRange(1024, 65_000), default=7500, show_default=True, help="Of the cluster.")
@click.option(
    "--floor",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory with floor.py and load.c, to compare with; needs cc, libssl-dev and openssl.",
)
@format_option
def bench(rounds: int, seconds: float, base_port: int, floor: Path | None, output_format: OutputFormat) -> None:
    """Start a cluster in a temporary directory, put it under load, and print the medians."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raftd-bench-")))
        config = stack.enter_context(demo(directory / "demo", base_port))
        subjects: dict[str, Subject] = {mode: partial(raftctl_bench, config, mode, seconds) for mode in ("put", "get")}
        if floor is not None:
            (directory / "floor").mkdir()
            subjects["floor"] = stack.enter_context(floor_cluster(floor, directory / "floor", seconds))
        measured = measure(subjects, rounds)
    show_rows(rows_of(measured), columns_of(measured), output_format)


def measure(subjects: dict[str, Subject], rounds: int) -> dict[tuple[str, Load], list[Measured]]:
    """Every subject under every load, round after round."""
    measured: dict[tuple[str, Load], list[Measured]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for load in LOADS:
            for name, subject in subjects.items():
                measured[name, load].append(subject(load))
        warn("bench", f"round {number} of {rounds} is done")
    return measured


def rows_of(measured: dict[tuple[str, Load], list[Measured]]) -> list[dict[str, object]]:
    """The median of each load's rounds; a put's ratio to the floor where that was measured too."""
    medians = {
        key: Measured(*(statistics.median(getattr(each, name) for each in runs) for name in Measured.__slots__))
        for key, runs in measured.items()
    }
    rows: list[dict[str, object]] = []
    for (name, load), median in sorted(medians.items(), key=lambda item: ("put", "get", "floor").index(item[0][0])):
        row: dict[str, object] = {
            "what": name,
            "connections": load.connections,
            "pipeline": load.pipeline,
            "per_second": round(median.per_second),
            "p50_ms": round(median.p50_ms, 3),
            "p99_ms": round(median.p99_ms, 3),
        }
        if name == "put" and ("floor", load) in medians:
            row["of_floor"] = round(median.per_second / medians["floor", load].per_second, 2)
        rows.append(row)
    return rows


def columns_of(measured: dict[tuple[str, Load], list[Measured]]) -> tuple[str, ...]:
    """What there is to show."""
    columns = ("what", "connections", "pipeline", "per_second", "p50_ms", "p99_ms")
    return (*columns, "of_floor") if any(name == "floor" for name, _ in measured) else columns


@contextlib.contextmanager
def demo(directory: Path, base_port: int) -> Iterator[Path]:
    """A demo cluster; gives its `raftctl.yaml`."""
    command = [
        sys.executable,
        "-m",
        "raftd",
        "demo",
        f"--dir={directory}",
        f"--nodes={NODES}",
        f"--base-port={base_port}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not process.stdout.readline().startswith("ready"):
                raise BenchError("the demo cluster did not start")
            yield directory / "raftctl.yaml"
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_SECONDS)


def raftctl_bench(config: Path, mode: str, seconds: float, load: Load) -> Measured:
    """One `raftctl bench`, in a process of its own as a user would have it."""
    program = [sys.executable, "-c", "from raftd.cli.raftctl import main; main()", f"--config={config}"]
    options = [f"--mode={mode}", f"--connections={load.connections}", f"--pipeline={load.pipeline}"]
    output = _run([*program, "bench", *options, f"--seconds={seconds}", "-o", "json"])
    report = json.loads(output)
    return Measured(report["per_second"], report["p50_seconds"] * 1e3, report["p99_seconds"] * 1e3)


@contextlib.contextmanager
def floor_cluster(source: Path, directory: Path, seconds: float) -> Iterator[Subject]:
    """The bare replication of `source`, three processes of it; gives what puts it under load."""
    load_program, certificate, key = directory / "load", directory / "cert.pem", directory / "key.pem"
    for tool in ("cc", "openssl"):
        if shutil.which(tool) is None:
            raise BenchError(f"--floor needs {tool}")
    _run(["cc", "-O2", "-o", str(load_program), str(source / "load.c"), "-lssl", "-lcrypto"])
    subject = [
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=floor",
        "-days",
        "2",
    ]
    _run(["openssl", "req", *subject, "-keyout", str(key), "-out", str(certificate)])

    def put(load: Load) -> Measured:
        # It takes a number of requests and no time: a short run says how many fill the time.
        def run(requests: int) -> Measured:
            numbers = [str(each) for each in (requests, load.connections, load.pipeline)]
            line = _FLOOR_LINE.search(_run([str(load_program), str(certificate), str(key), *numbers]))
            if line is None:
                raise BenchError("load.c has printed no rate")
            return Measured(*(float(line[name]) for name in ("rate", "p50", "p99")))

        trial = run(200 * load.connections)
        return run(max(200 * load.connections, round(trial.per_second * seconds)))

    with contextlib.ExitStack() as stack:
        for node in (1, 2, 0):  # the leader dials the followers, so it comes last
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(source / "floor.py"), str(node), str(directory)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            _wait_until_it_listens(node, process)
        yield put


def _wait_until_it_listens(node: int, process: "subprocess.Popen[str]") -> None:
    """Followers listen in silence; the leader says that it is ready, if it found them."""
    if node == 0:
        if process.stdout is None or not process.stdout.readline().startswith("ready"):
            raise BenchError("the floor did not start")
        return
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    while True:
        try:
            socket.create_connection(("127.0.0.1", FLOOR_FIRST_PEER_PORT + node)).close()
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("the floor did not start") from None
            pause.wait(0.05)
        else:
            return


def _run(command: list[str]) -> str:
    """Run a command to its end; what it printed."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * PATIENCE_SECONDS)
    if ended.returncode != 0:
        raise BenchError(f"{command[0]} ended with exit code {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
