"""This tree beside an older one: `python -m tests.bench.compare --against REVISION`.

Two demo clusters, this tree's and the other's, under the same loads of the same generator, which is this tree's: a
faster generator would otherwise be taken for a faster cluster. Only one of them is under load at a time, in turn.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, run_main, show_rows, warn
from tests.bench.processes import machine, run_program
from tests.bench.subjects import (
    SOURCE,
    Results,
    Subject,
    demo,
    measure,
    median,
    median_ratio,
    raftctl_bench,
    with_cpu_time,
)

RATE_MIN: Final = 0.85
"""Of the older tree's rate."""

_PORTS_BETWEEN: Final = 100
_COLUMNS: Final = (
    "what", "connections", "pipeline", "per_second", "older", "ratio", "mark", "met",
    "server_us", "older_us", "us_ratio",
)  # fmt: skip
_MODES: Final = ("put", "get")


@click.command()
@click.option("--against", "revision", required=True, help="A commit, a branch or a tag of this repository.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each is measured.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="How long, each time.")
@click.option("--base-port", type=click.IntRange(1024, 64_000), default=7500, show_default=True, help="Of this tree's.")
@format_option
def bench(revision: str, rounds: int, seconds: float, base_port: int, output_format: OutputFormat) -> None:
    """Compare puts and gets with those of an older commit: ratios are medians of those of each round."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raftd-bench-")))
        older = stack.enter_context(worktree(revision, directory / "tree"))
        clusters = {
            "": stack.enter_context(demo(directory / "this", base_port)),
            "older ": stack.enter_context(demo(directory / "older", base_port + _PORTS_BETWEEN, older)),
        }
        subjects: dict[str, Subject] = {
            f"{name}{mode}": with_cpu_time(partial(raftctl_bench, [f"--config={config}"], mode, seconds), nodes)
            for mode in _MODES
            for name, (config, nodes) in clusters.items()
        }
        results = measure(subjects, rounds)
    show_rows(rows_of(results), _COLUMNS, output_format)
    warn("bench", f"measured on {machine()}")


@contextlib.contextmanager
def worktree(revision: str, directory: Path) -> Iterator[Path]:
    """The files of a revision of this repository, for a while."""
    git = ["git", "-C", str(SOURCE), "worktree"]
    run_program([*git, "add", "--quiet", "--detach", str(directory), revision])
    try:
        yield directory
    finally:
        run_program([*git, "remove", "--force", str(directory)])


def rows_of(results: Results) -> list[dict[str, object]]:
    """The medians of both trees, and their ratios; more than 1 is faster in `ratio`, and dearer in `us_ratio`."""
    rows: list[dict[str, object]] = []
    for mode in _MODES:
        for (name, load), runs in results.items():
            if name != mode:
                continue
            before = results[f"older {mode}", load]
            ratio = median_ratio(runs, before, lambda each: each.per_second)
            rows.append(
                {
                    "what": mode,
                    "connections": load.connections,
                    "pipeline": load.pipeline,
                    "per_second": round(median(runs).per_second),
                    "older": round(median(before).per_second),
                    "ratio": round(ratio, 3),
                    "mark": f"at least {RATE_MIN}",
                    "met": "yes" if ratio >= RATE_MIN else "NO",
                    "server_us": round(median(runs).server_us, 1),
                    "older_us": round(median(before).server_us, 1),
                    "us_ratio": round(median_ratio(runs, before, lambda each: each.server_us), 3),
                }
            )
    return rows


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
