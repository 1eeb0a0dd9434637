"""What can be put under a load, and what each load of it comes to: shared by all that compare rates.

Rates are measured in rounds that are interleaved: a machine that is busy for a while then slows all subjects down
alike, and the median of the rounds passes over it. Beside the rate stands the CPU time that the servers took for one
request, which a busy machine changes least.
"""

import contextlib
import dataclasses
import json
import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from raftd.cli.output import warn
from raftd.errors import RaftdError
from tests.bench.processes import (
    PATIENCE_SECONDS,
    ProgramError,
    children_of,
    cpu_seconds,
    ended_children_cpu_seconds,
    run_program,
)

NODES: Final = 3
_ATTEMPTS: Final = 3
SOURCE: Final = Path(__file__).parents[2]
"""The tree that this file is part of."""


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

    answered: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float = 0.0
    """Microseconds of CPU time for one request, of all servers together; 0: not measured."""
    client_us: float = 0.0
    """The same of the load generator, with its start."""


Subject = Callable[[Load], Measured]
"""What can be put under a load."""

Results = Mapping[tuple[str, Load], Sequence[Measured]]
"""What each subject, by its name, came to under each load, once in each round."""


def measure(subjects: Mapping[str, Subject], rounds: int) -> Results:
    """Put every subject under every load, round after round."""
    measured: dict[tuple[str, Load], list[Measured]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for load in LOADS:
            for name, subject in subjects.items():
                measured[name, load].append(_measure_once(subject, load))
        warn("bench", f"round {number} of {rounds} is done")
    return measured


def _measure_once(subject: Subject, load: Load) -> Measured:
    """Put a subject under a load; again, if that comes to nothing, as it may where a machine has much else to do."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return subject(load)
        except ProgramError as error:
            warn("bench", f"measured again: {error}")
    return subject(load)


def median(runs: Sequence[Measured]) -> Measured:
    """The median of each figure by itself."""
    names = [field.name for field in dataclasses.fields(Measured)]
    return Measured(**{name: statistics.median(getattr(each, name) for each in runs) for name in names})


def median_ratio(runs: Sequence[Measured], base: Sequence[Measured], figure: Callable[[Measured], float]) -> float:
    """The median of what a figure is in each round, divided by what it is of `base` in the same round."""
    return statistics.median(figure(one) / figure(other) for one, other in zip(runs, base, strict=True))


def with_cpu_time(subject: Subject, process_ids: Sequence[int]) -> Subject:
    """The same subject, with the CPU time of its servers, and of the programs that it runs to put the load on them."""

    def measured(load: Load) -> Measured:
        servers, clients = sum(map(cpu_seconds, process_ids)), ended_children_cpu_seconds()
        once = subject(load)
        servers, clients = sum(map(cpu_seconds, process_ids)) - servers, ended_children_cpu_seconds() - clients
        return dataclasses.replace(
            once, server_us=servers / once.answered * 1e6, client_us=clients / once.answered * 1e6
        )

    return measured


@contextlib.contextmanager
def demo(directory: Path, base_port: int, source: Path = SOURCE) -> Iterator[tuple[Path, list[int]]]:
    """A demo cluster, of the raftd in the tree `source`; gives its `raftctl.yaml` and its nodes' process ids."""
    options = [f"--dir={directory}", f"--nodes={NODES}", f"--base-port={base_port}"]
    # `-m` looks into the working directory first, and the nodes, which the demo starts in the same way, do so too.
    with subprocess.Popen(
        [sys.executable, "-m", "raftd", "demo", *options], stdout=subprocess.PIPE, text=True, cwd=source
    ) as process:
        try:
            if process.stdout is None or not process.stdout.readline().startswith("ready"):
                raise BenchError("the demo cluster did not start")
            yield directory / "raftctl.yaml", children_of(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_SECONDS)


def raftctl_bench(target: Sequence[str], mode: str, seconds: float, load: Load) -> Measured:
    """One `raftctl bench` of this tree, in a process of its own as a user would have it.

    Args:
        target: options that say which cluster.
        mode: "put" or "get".
        seconds: how long.
        load: how much at once.
    """
    program = [sys.executable, "-c", "from raftd.cli.raftctl import main; main()", *target]
    options = [f"--mode={mode}", f"--connections={load.connections}", f"--pipeline={load.pipeline}"]
    return measured_of(run_program([*program, "bench", *options, f"--seconds={seconds}", "-o", "json"]))


def measured_of(report: str) -> Measured:
    """What a load generator has printed about its run, in the manner of `raftctl bench -o json`."""
    fields = json.loads(report)
    return Measured(fields["answered"], fields["per_second"], fields["p50_seconds"] * 1e3, fields["p99_seconds"] * 1e3)
