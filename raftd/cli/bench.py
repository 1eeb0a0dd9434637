"""`raftctl bench`: how fast a cluster is, measured from here."""

import asyncio
import gc

import click

from raftd.cli.output import OutputFormat, format_option, show_record, warn, write
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client.load import LoadMode, LoadPlan, LoadReport, run_load
from raftd.errors import ExitCode
from raftd.event_loop import new_event_loop


@click.command("bench", short_help="Measure how fast a cluster is.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in LoadMode]),
    default=LoadMode.PUT.value,
    show_default=True,
    help="What is asked for.",
)
@click.option("--connections", type=Whole(1, 10_000), default=100, show_default=True, help="How many, to the leader.")
@click.option("--pipeline", type=Whole(1, 1024), default=1, show_default=True, help="Requests under way on each.")
@click.option("--requests", type=Whole(min=1), help="How many in all.  [default: 50000, without --seconds]")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long.")
@click.option("--value-size", type=Whole(0, 1 << 20), default=256, show_default=True, help="Bytes of a value.")
@click.option("--keys", type=Whole(min=1), default=10_000, show_default=True, help="How many different keys.")
@format_option
@pass_target
def bench_command(
    target: Target,
    output_format: OutputFormat,
    mode: str,
    connections: int,
    pipeline: int,
    requests: int | None,
    seconds: float | None,
    value_size: int,
    keys: int,
) -> int:
    """Put or get as fast as the cluster answers, and print the rate and the latencies.

    Every request waits for its answer: a put is stored on a quorum's disks and applied. Keys are bench/000000000000
    and so on, in your namespace; they stay.

    \b
    Example:
      raftctl bench --connections 100 --pipeline 1
      raftctl bench --mode get --seconds 10
    """
    if requests is None and seconds is None:
        requests = 50_000
    config = target.resolve()
    plan = LoadPlan(LoadMode(mode), connections, pipeline, requests, seconds, value_size, keys, config.namespace)
    # The generator makes no cycles; its own pauses would be taken for the cluster's.
    gc.disable()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        report = runner.run(run_load(config.endpoints, config.tls, plan, leader_within=config.timeout))
    _show(report, output_format)
    return ExitCode.OK


def _show(report: LoadReport, output_format: OutputFormat) -> None:
    plan = report.plan
    for name, count in report.errors.items():
        warn("raftctl", f"{count} times {name}, and tried again")
    if output_format is OutputFormat.TABLE:
        write(
            f"{plan.connections} connections, pipeline {plan.pipeline}, values of {plan.value_bytes} bytes: "
            f"{report.answered} {plan.mode.value}s in {report.seconds:.2f} s\n"
            f"{report.per_second:.0f} {plan.mode.value}s/s, p50 {report.p50_seconds * 1e3:.3f} ms, "
            f"p99 {report.p99_seconds * 1e3:.3f} ms, p99.9 {report.p999_seconds * 1e3:.3f} ms, "
            f"max {report.max_seconds * 1e3:.3f} ms\n"
        )
        return
    show_record(
        {
            "mode": plan.mode,
            "connections": plan.connections,
            "pipeline": plan.pipeline,
            "value_bytes": plan.value_bytes,
            "answered": report.answered,
            "seconds": report.seconds,
            "per_second": report.per_second,
            "p50_seconds": report.p50_seconds,
            "p99_seconds": report.p99_seconds,
            "p999_seconds": report.p999_seconds,
            "max_seconds": report.max_seconds,
            "reconnects": report.reconnects,
            "errors": report.errors,
        },
        output_format,
    )
