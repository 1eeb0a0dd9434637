"""How fast a demo cluster on this machine is: `make bench`, or `python -m tests.bench --help`.

Puts and gets, at growing loads. With --floor, a bare replication without Raft, storage or a state machine is measured
in the same rounds, and the puts are set against it. docs/benchmarks.md tells of this and of all other measurements.
"""

import contextlib
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, run_main, show_rows
from tests.bench.floor import floor_cluster
from tests.bench.subjects import (
    Results,
    Subject,
    demo,
    measure,
    median,
    median_ratio,
    raftctl_bench,
    with_cpu_time,
)

_COLUMNS: Final = ("what", "connections", "pipeline", "per_second", "p50_ms", "p99_ms", "server_us")
_ORDER: Final = ("put", "get", "floor")


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
        config, nodes = stack.enter_context(demo(directory / "demo", base_port))
        subjects: dict[str, Subject] = {
            mode: with_cpu_time(partial(raftctl_bench, [f"--config={config}"], mode, seconds), nodes)
            for mode in ("put", "get")
        }
        if floor is not None:
            (directory / "floor").mkdir()
            subjects["floor"] = stack.enter_context(floor_cluster(floor, directory / "floor", seconds))
        results = measure(subjects, rounds)
    show_rows(rows_of(results), _COLUMNS if floor is None else (*_COLUMNS, "of_floor"), output_format)


def rows_of(results: Results) -> list[dict[str, object]]:
    """The medians of each load's rounds; a put's ratio to the floor where that was measured too."""
    rows: list[dict[str, object]] = []
    for (name, load), runs in sorted(results.items(), key=lambda item: _ORDER.index(item[0][0])):
        middle = median(runs)
        row: dict[str, object] = {
            "what": name,
            "connections": load.connections,
            "pipeline": load.pipeline,
            "per_second": round(middle.per_second),
            "p50_ms": round(middle.p50_ms, 3),
            "p99_ms": round(middle.p99_ms, 3),
            "server_us": round(middle.server_us, 1),
        }
        if name == "put" and ("floor", load) in results:
            row["of_floor"] = round(median_ratio(runs, results["floor", load], lambda each: each.per_second), 2)
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
