"""`raftctl doctor`: everything that is or will be wrong with a cluster, each with what to do."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import click

from raftd import settings as settings_package
from raftd.cli.examine import DAY_SECONDS, examine, expiry_finding, renewal
from raftd.cli.findings import COLUMNS, Finding, Level, exit_code, rows
from raftd.cli.inquiry import inquire
from raftd.cli.named_path import PATH
from raftd.cli.output import OutputFormat, format_option, show_rows, write
from raftd.cli.raftd import DEFAULT_CONFIG
from raftd.cli.status import look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, ClientTls
from raftd.pki import describe, describe_all


@click.command("doctor", short_help="Find out what is or will be wrong.")
@click.option(
    "--node",
    type=Whole(min=1),
    help="This is node N's host: measure its disk, and look at its files too.",
)
@click.option(
    "--settings",
    "settings_path",
    type=PATH,
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="RAFTD_CONFIG",
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
    config = with_patience(target.resolve())
    host: list[Finding] = []
    measured = None
    if node is not None:
        from raftd.cli.examine_host import examine_host, measure_sync  # noqa: PLC0415 - the daemon's part of it

        settings = settings_package.load(settings_path)
        own = settings.node(node)
        with contextlib.suppress(OSError):
            measured = measure_sync(own.data_directory)
        host = list(examine_host(settings, own, measured))
    with Client.from_config(config) as client:
        overview = look(client, config.endpoints)
        found = [*_own(config.tls), *host, *examine(inquire(client, overview, measured))]
    if problems:
        found = [finding for finding in found if finding.level is not Level.OK]
    if found or output_format is not OutputFormat.TABLE:
        show_rows(rows(found), COLUMNS, output_format)
    else:
        write("nothing is wrong\n")
    if not any("status" in row for row in overview.rows):
        return overview.exit_code
    return exit_code(found)


def _own(tls: ClientTls) -> Iterator[Finding]:
    """How long the certificates hold that this command itself uses."""
    for info in (describe(tls.cert), *describe_all(tls.cacert)):
        days = (info.not_after.timestamp() - time.time()) / DAY_SECONDS
        name = "" if info.identity is None else info.identity.name
        yield expiry_finding("this user", str(info.path), days, renewal(info.kind, name))
