"""The floor of a machine: a bare replication without Raft, storage or a state machine, under the same loads.

Its source is not part of this tree: `floor.py`, of which three processes replicate, and `load.c`, which is their load.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.processes import PATIENCE_SECONDS, run_program
from tests.bench.subjects import BenchError, Load, Measured, Subject, with_cpu_time

FLOOR_FIRST_PEER_PORT: Final = 7100
_FLOOR_LINE: Final = re.compile(r"(?P<rate>\d+) puts/s, p50 (?P<p50>[\d.]+) ms, p99 (?P<p99>[\d.]+) ms")


@contextlib.contextmanager
def floor_cluster(source: Path, directory: Path, seconds: float) -> Iterator[Subject]:
    """Three processes of the bare replication in `source`; gives what puts a load on it, for about so many seconds."""
    load_program, certificate, key = directory / "load", directory / "cert.pem", directory / "key.pem"
    for tool in ("cc", "openssl"):
        if shutil.which(tool) is None:
            raise BenchError(f"--floor needs {tool}")
    run_program(["cc", "-O2", "-o", str(load_program), str(source / "load.c"), "-lssl", "-lcrypto"])
    kind = [
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
    run_program(["openssl", "req", *kind, "-keyout", str(key), "-out", str(certificate)])

    process_ids: list[int] = []

    def run(load: Load, requests: int) -> Measured:
        numbers = [str(each) for each in (requests, load.connections, load.pipeline)]
        line = _FLOOR_LINE.search(run_program([str(load_program), str(certificate), str(key), *numbers]))
        if line is None:
            raise BenchError("load.c has printed no rate")
        return Measured(requests, *(float(line[name]) for name in ("rate", "p50", "p99")))

    def put(load: Load) -> Measured:
        # It takes a number of requests and no time: a short run says how many fill the time.
        trial = run(load, 200 * load.connections)
        requests = max(200 * load.connections, round(trial.per_second * seconds))
        return with_cpu_time(lambda load: run(load, requests), process_ids)(load)

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
            process_ids.append(process.pid)
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
