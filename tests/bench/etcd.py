"""Side by side with etcd, where that is installed: `python -m tests.bench.etcd`.

Three nodes of each on this machine, on one file system, with the same certificates and their own defaults, and the same
closed loop on the leader of each: puts of 256 bytes to 10,000 keys, and linearizable gets. Only one of the clusters is
under load at a time, in turn. The load on raftd is `raftctl bench`; that on etcd is `tests.bench.etcd_load`, gRPC in
the same manner, from the same language and event loop: what the generators take of the machine, which is shown as
client_us, is a part of each measurement.
"""

import sys
from functools import partial
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, run_main, show_rows, warn
from tests.bench.etcd_nodes import EtcdCluster, etcd_cluster
from tests.bench.nodes import new_cluster, run
from tests.bench.processes import machine, run_program
from tests.bench.subjects import (
    NODES,
    Load,
    Measured,
    Results,
    Subject,
    measure,
    measured_of,
    median,
    median_ratio,
    raftctl_bench,
    with_cpu_time,
)
from tests.e2e.cluster import Cluster

_MODES: Final = ("put", "get")
_COLUMNS: Final = (
    "what", "connections", "pipeline", "raftd", "etcd", "ratio", "p50_ms", "etcd_p50_ms", "p99_ms", "etcd_p99_ms",
    "server_us", "etcd_server_us", "client_us", "etcd_client_us",
)  # fmt: skip


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is measured.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="How long, each time.")
@format_option
def bench(rounds: int, seconds: float, output_format: OutputFormat) -> None:
    """Compare puts and linearizable gets with etcd's: ratios are medians of those of each round."""
    with new_cluster(NODES) as cluster, etcd_cluster(cluster.directory, cluster.pki) as etcd:
        run(_start(cluster))
        nodes = [node.pid for node in cluster.nodes.values()]
        subjects: dict[str, Subject] = {}
        for mode in _MODES:
            subjects[mode] = with_cpu_time(partial(raftctl_bench, _target(cluster), mode, seconds), nodes)
            subjects[f"etcd {mode}"] = with_cpu_time(partial(etcd_bench, etcd, mode, seconds), etcd.process_ids)
        results = measure(subjects, rounds)
    show_rows(rows_of(results), _COLUMNS, output_format)
    warn("bench", f"measured on {machine()}, against etcd {etcd.version}; the clients were on it too")


async def _start(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.leader()


def _target(cluster: Cluster) -> list[str]:
    """Options of raftctl that say which cluster, and who asks."""
    endpoints = [f"--endpoints={','.join(cluster.endpoints)}"]
    return [*endpoints, *(f"--{name}={getattr(cluster.tls, name)}" for name in ("cacert", "cert", "key"))]


def etcd_bench(etcd: EtcdCluster, mode: str, seconds: float, load: Load) -> Measured:
    """One run of the load generator for etcd, in a process of its own."""
    program = [sys.executable, "-m", "tests.bench.etcd_load", f"--endpoint={etcd.leader}", *etcd.certificates]
    options = [f"--mode={mode}", f"--connections={load.connections}", f"--pipeline={load.pipeline}"]
    return measured_of(run_program([*program, *options, f"--seconds={seconds}"]))


def rows_of(results: Results) -> list[dict[str, object]]:
    """The medians of both, and raftd's rate divided by etcd's."""
    rows: list[dict[str, object]] = []
    for (name, load), runs in results.items():
        if name not in _MODES:
            continue
        others = results[f"etcd {name}", load]
        ours, theirs = median(runs), median(others)
        row: dict[str, object] = {
            "what": name,
            "connections": load.connections,
            "pipeline": load.pipeline,
            "raftd": round(ours.per_second),
            "etcd": round(theirs.per_second),
            "ratio": round(median_ratio(runs, others, lambda each: each.per_second), 2),
        }
        for figure, digits in (("p50_ms", 2), ("p99_ms", 2), ("server_us", 1), ("client_us", 1)):
            row[figure] = round(getattr(ours, figure), digits)
            row[f"etcd_{figure}"] = round(getattr(theirs, figure), digits)
        rows.append(row)
    return sorted(rows, key=lambda row: _MODES.index(str(row["what"])))


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
