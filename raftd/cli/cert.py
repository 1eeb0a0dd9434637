"""`raftctl cert`: what the nodes' certificates are and how long they hold, on the wire and in the files."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from raftd import settings as settings_package
from raftd.cli.cert_probe import Port, ports_of, row_of, served_certificate, shortened, unreachable
from raftd.cli.named_path import PATH
from raftd.cli.output import OutputFormat, format_option, show_record, show_rows, write
from raftd.cli.raftd import DEFAULT_CONFIG
from raftd.cli.status import ASKED_AT_ONCE_MAX, Row, look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, ClientConfig
from raftd.errors import ExitCode, TlsError
from raftd.pki import CertificateInfo

WARN_DAYS: Final = 30
_COLUMNS: Final = (
    "node", "port", "address", "subject", "issuer", "serial", "not_after", "days_left", "trusted", "verdict",
)  # fmt: skip

_warn_days_option = click.option(
    "--warn-days",
    type=Whole(min=0),
    default=WARN_DAYS,
    show_default=True,
    help="Fewer days left than this are a finding.",
)


@click.group("cert")
def group() -> None:
    """Show what the nodes' certificates are, and when they expire.

    \b
    Example:
      raftctl cert status
      raftctl cert check --node 1
    """


@group.command("status", short_help="Show what each node really serves.")
@_warn_days_option
@format_option
@pass_target
def status_command(target: Target, warn_days: int, output_format: OutputFormat) -> int:
    """Connect to both ports of each node, and show the certificates that they serve.

    ISSUER is the authority's fingerprint, where the node tells it; TRUSTED is how many authorities the node accepts on
    that port. Exit code 8 if a certificate has expired or will soon, is not the node's, or cannot be had. The port for
    peers refuses whoever asks, and logs so.

    \b
    Example:
      raftctl cert status
      raftctl cert status --warn-days 60 -o json
    """
    config = with_patience(target.resolve())
    with Client.from_config(config) as client:
        ports = ports_of(look(client, config.endpoints).answers, config.endpoints)
    now = datetime.now(UTC)

    def examine(port: Port) -> Row:
        return _examine(port, config, now, warn_days)

    with ThreadPoolExecutor(ASKED_AT_ONCE_MAX) as threads:
        rows = list(threads.map(examine, ports))
    show_rows(
        [shortened(row) for row in rows] if output_format is OutputFormat.TABLE else rows, _COLUMNS, output_format
    )
    return ExitCode.OK if all(row["ok"] for row in rows) else ExitCode.UNHEALTHY


def _examine(port: Port, config: ClientConfig, now: datetime, warn_days: int) -> Row:
    try:
        return row_of(port, served_certificate(port, config.tls, config.timeout), now, warn_days)
    except (OSError, TlsError) as error:
        return unreachable(port, error)


@group.command("check", short_help="Check a node's files on this machine.")
@click.option(
    "--settings",
    "path",
    type=PATH,
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="RAFTD_CONFIG",
    help="The node's raftd.yaml.",
)
@click.option("--node", type=Whole(min=1), required=True, help="Which of its nodes this machine's is.")
@_warn_days_option
@format_option
def check_command(path: Path, node: int, warn_days: int, output_format: OutputFormat) -> int:
    """Check a node's certificates, keys and authorities, as they are in its files; no node is asked.

    Exit code 8 with a line for each finding: what cannot be used, and what expires soon.

    \b
    Example:
      raftctl cert check --node 1
      raftctl cert check --node 1 --settings raftd.yaml --warn-days 60
    """
    from raftd.daemon.credentials import check_files, readable_certificates  # noqa: PLC0415 - the daemon's part of it

    settings = settings_package.load(path).node(node)
    findings = [*check_files(settings), *_expiring(readable_certificates(settings), datetime.now(UTC), warn_days)]
    if output_format is not OutputFormat.TABLE:
        show_record({"node": node, "ok": not findings, "findings": findings}, output_format)
    elif findings:
        write("".join(f"{finding}\n" for finding in findings))
    else:
        write(f"node {node}: all certificates can be used, and for {warn_days} days more\n")
    return ExitCode.UNHEALTHY if findings else ExitCode.OK


def _expiring(infos: Iterable[CertificateInfo], now: datetime, warn_days: int) -> Iterator[str]:
    """What expires soon; what has expired is told already."""
    for info in infos:
        days = (info.not_after - now).total_seconds() / 86_400
        if 0 <= days < warn_days:
            yield f"{info.path} expires in {int(days)} days, on {info.not_after:%Y-%m-%d at %H:%M} UTC"
