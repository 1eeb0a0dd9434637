"""`raftctl doctor`: everything that is or will be wrong with a cluster, each with what to do."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from raftd import settings as settings_package
from raftd.cli.examine import DAY_SECONDS, Cluster, Examined, examine, expiry_finding
from raftd.cli.findings import COLUMNS, Finding, exit_code, rows
from raftd.cli.output import OutputFormat, format_option, show_rows
from raftd.cli.status import ASKED_AT_ONCE_MAX, PATIENCE_SECONDS, Overview, look
from raftd.cli.target import Target, pass_target
from raftd.client import Client, ClientError, ClientTls
from raftd.pki import describe

_PINGS: Final = 5


@click.command("doctor", short_help="Find out what is or will be wrong.")
@click.option(
    "--node",
    type=click.IntRange(min=1),
    help="This is node N's host: measure its disk, and look at its files too.",
)
@click.option(
    "--settings",
    "settings_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/raftd/raftd.yaml"),
    show_default=True,
    help="With --node: the file that it goes by.",
)
@click.option("--problems", is_flag=True, help="Only what is not ok.")
@format_option
@pass_target
def doctor_command(
    target: Target, node: int | None, settings_path: Path, output_format: OutputFormat, *, problems: bool
) -> int:
    """Examine all nodes: health, quorum, disks, round trips, timeouts, clocks, certificates, versions, settings, room.

    Each finding has what to do about it. Whether the timeouts suit the cluster is judged by what its disks and its
    network took in the last minutes. With --node it also measures the disk of the host that it runs on, for five
    seconds at most, and looks at certificates, keys and file modes there. Exit code 8 if anything is bad, 5 if no node
    answers.

    \b
    Example:
      raftctl doctor
      raftctl doctor --problems
      sudo raftctl doctor --node 1
    """
    config = target.resolve()
    host: list[Finding] = []
    measured = None
    if node is not None:
        from raftd.cli.examine_host import examine_host, measure_sync  # noqa: PLC0415 - the daemon's part of it

        settings = settings_package.load(settings_path)
        own = settings.node(node)
        with contextlib.suppress(OSError):
            measured = measure_sync(own.data_directory)
        host = list(examine_host(settings, own, measured))
    patient = replace(config, timeout=min(config.timeout, PATIENCE_SECONDS))
    with Client.from_config(patient) as client:
        overview = look(client, config.endpoints)
        found = [*_own(config.tls), *host, *examine(_ask(client, overview, measured))]
    if problems:
        found = [finding for finding in found if finding.level.value != "ok"]
    show_rows(rows(found), COLUMNS, output_format)
    if not any("status" in row for row in overview.rows):
        return overview.exit_code
    return exit_code(found)


def _own(tls: ClientTls) -> Iterator[Finding]:
    """How long the certificates hold that this command itself uses."""
    for path in (tls.cert, tls.cacert):
        days = (describe(path).not_after.timestamp() - time.time()) / DAY_SECONDS
        yield expiry_finding("this user", str(path), days)


def _ask(client: Client, overview: Overview, measured: float | None) -> Cluster:
    """Ask those that answer for more, side by side."""
    answered = [
        (endpoint, answer)
        for endpoint in (str(row["endpoint"]) for row in overview.rows)
        if isinstance(answer := overview.answers[endpoint], dict)
    ]
    with ThreadPoolExecutor(ASKED_AT_ONCE_MAX) as pool:
        nodes = list(pool.map(lambda each: _examined(client, *each), answered))
    return Cluster(nodes, overview.rows, time.time(), measured)


def _examined(client: Client, endpoint: str, status: Mapping[str, Any]) -> Examined:
    node = Examined(status)
    with contextlib.suppress(ClientError):
        node = replace(node, ping_seconds=tuple(client.ping(endpoint) for _ in range(_PINGS)))
        # Half of the way there and back is as near as one can say when the node looked at its clock.
        asked = time.time()
        diagnostics = client.diagnostics(endpoint)
        answered = time.time()
        node = replace(
            node,
            diagnostics=diagnostics,
            clock_ahead_seconds=diagnostics["wall_clock_seconds"] - (asked + answered) / 2,
            clock_error_seconds=(answered - asked) / 2,
        )
    return node
