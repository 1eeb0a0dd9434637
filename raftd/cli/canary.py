"""`raftctl canary`: whether a cluster loses a write while something is done to it."""

import asyncio
import signal
from dataclasses import asdict

import click

from raftd.cli.output import OutputFormat, format_option, show_record, warn
from raftd.cli.target import Target, pass_target
from raftd.client import AsyncClient, ClientConfig
from raftd.client.canary import DEFAULT_KEY_PREFIX, DEFAULT_RATE, CanaryPlan, CanaryReport, run_canary
from raftd.errors import ExitCode


@click.command("canary", short_help="Write and read back, and say whether anything was lost.")
@click.option("--seconds", type=float, help="How long; until Ctrl-C or SIGTERM otherwise.")
@click.option("--rate", type=float, default=DEFAULT_RATE, show_default=True, help="Writes a second.")
@click.option(
    "--key-prefix", default=DEFAULT_KEY_PREFIX, show_default=True, help="Where its keys are; they go in the end."
)
@format_option
@pass_target
def canary_command(
    target: Target, seconds: float | None, rate: float, key_prefix: str, output_format: OutputFormat
) -> int:
    """Write at a steady rate through the normal client, read back, and report.

    Start it, do to the cluster whatever is to be tried, and end it with Ctrl-C. Exit code 1 if an acknowledged write is
    missing or was applied twice, 5 if not a single one was acknowledged.

    \b
    Example:
      raftctl canary --seconds 60
      raftctl canary --rate 200 -o json > report.json &
    """
    report = asyncio.run(_run(target.resolve(), CanaryPlan(rate, seconds, key_prefix)))
    for complaint in report.complaints:
        warn("raftctl", complaint)
    show_record(_record(report, output_format), output_format)
    if report.missing:
        return ExitCode.ERROR
    return ExitCode.OK if report.acknowledged else ExitCode.UNAVAILABLE


async def _run(config: ClientConfig, plan: CanaryPlan) -> CanaryReport:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in numbers:  # the second time, it means at once
            loop.remove_signal_handler(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    async with AsyncClient.from_config(config) as client:
        return await run_canary(client, plan, stopping)


def _record(report: CanaryReport, output_format: OutputFormat) -> dict[str, object]:
    if output_format is not OutputFormat.TABLE:
        return asdict(report)
    reasons = ", ".join(f"{count} {name}" for name, count in report.errors.items())
    latency = (
        f"p50 {report.p50_seconds * 1e3:.1f} ms, p99 {report.p99_seconds * 1e3:.1f} ms, "
        f"max {report.max_seconds * 1e3:.1f} ms"
    )
    return {
        "seconds": f"{report.seconds:.1f}",
        "writes tried": report.tried,
        "acknowledged": report.acknowledged,
        "failed": report.failed,
        "unknown": report.unknown,
        "missing": report.missing,
        "reads failed": report.reads_failed,
        "unverified keys": report.unverified,
        "longest stall": f"{report.longest_stall_seconds:.3f} s",
        "latency": latency if report.acknowledged else None,
        **({"errors": reasons} if reasons else {}),
    }
