"""`raftctl pki`: the authorities and certificates of a cluster."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from raftd import pki
from raftd.cli.output import OutputFormat, Style, Styled, format_option, show_rows, warn, write
from raftd.errors import ExitCode, TlsError
from raftd.pki.issue import AUTHORITY_DAYS, DAYS_MAX, LEAF_DAYS
from raftd.wire.address import is_host
from raftd.wire.identity import NODE_ID_MAX, IdentityError, authority_identity, user_identity

EXPIRES_SOON_DAYS = 30
FINGERPRINT_CHARACTERS_SHOWN = 16

_COLUMNS = ("file", "kind", "identity", "expires", "fingerprint")


def _directory_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        default=Path("pki"),
        show_default=True,
        help="Where the authorities are, and where new files go.",
    )(function)


def _days_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--days", type=click.IntRange(1, DAYS_MAX), default=default, show_default=True, help="How long it holds."
    )


_force_option = click.option("--force", is_flag=True, help="Replace files that are there.")


def _cluster_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return authority_identity(value, "peer").cluster
    except IdentityError as error:
        raise click.BadParameter(str(error)) from None


def _user_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return user_identity("any", value).name
    except IdentityError as error:
        raise click.BadParameter(str(error)) from None


def _hosts(_context: click.Context, _parameter: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    for host in value:
        if not is_host(host):
            raise click.BadParameter(f"{host!r} is neither a host's name nor an IP address (without port and brackets)")
    return tuple(value)


@click.group("pki")
def group() -> None:
    """Make and show the certificates of a cluster.

    \b
    Example, for a cluster of one node:
      raftctl pki init --cluster demo
      raftctl pki issue-node --node 1 --host n1.example.net --host 10.0.0.1
      raftctl pki issue-user admin
      raftctl pki show
    """


@group.command("init")
@click.option("--cluster", required=True, callback=_cluster_name, help="The cluster's name, as in raftd.yaml.")
@_directory_option
@_days_option(AUTHORITY_DAYS)
@_force_option
def init(cluster: str, directory: Path, days: int, *, force: bool) -> None:
    """Make the two authorities of a cluster: one for peers, one for clients.

    Keep the .key files off the nodes: who has them can be anybody.
    """
    for files in pki.create_authorities(directory, cluster, days=days, overwrite=force):
        _say_written(files)


@group.command("issue-node")
@click.option("--node", "node_id", required=True, type=click.IntRange(1, NODE_ID_MAX), help="The node's id.")
@click.option(
    "--host",
    "hosts",
    required=True,
    multiple=True,
    callback=_hosts,
    help="A name or IP address under which others reach the node; may be given several times.",
)
@_directory_option
@_days_option(LEAF_DAYS)
@_force_option
def issue_node(node_id: int, hosts: tuple[str, ...], directory: Path, days: int, *, force: bool) -> None:
    """Issue a node's two certificates: for its peers, and for its clients."""
    files = pki.issue_node(directory, node_id, hosts, days=days, overwrite=force)
    _say_written(files.peer)
    _say_written(files.client)


@group.command("issue-user")
@click.argument("name", callback=_user_name)
@_directory_option
@_days_option(LEAF_DAYS)
@_force_option
def issue_user(name: str, directory: Path, days: int, *, force: bool) -> None:
    """Issue a user's certificate. What NAME may do is said under `access` in raftd.yaml."""
    _say_written(pki.issue_user(directory, name, days=days, overwrite=force))


@group.command("show")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@_directory_option
@format_option
def show(files: tuple[Path, ...], directory: Path, output_format: OutputFormat) -> int:
    """Say whose certificates these are and when they expire; without FILE, all in the directory."""
    now = datetime.now(UTC)
    rows: list[dict[str, object]] = []
    exit_code = ExitCode.OK
    for path in files or _certificates_in(directory):
        try:
            rows += [_row(info, now, output_format) for info in pki.describe_all(path)]
        except (pki.PkiFileError, TlsError) as error:
            warn("raftctl", str(error))
            exit_code = max(exit_code, error.exit_code)
    if rows or exit_code is ExitCode.OK:
        show_rows(rows, _COLUMNS, output_format)
    return exit_code


def _certificates_in(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise pki.PkiFileError(f"there is no directory {directory}; name one with --dir, or make it: raftctl pki init")
    found = sorted(directory.glob("*.crt"))
    if not found:
        raise pki.PkiFileError(f"{directory} holds no certificate (*.crt)")
    return found


def _row(info: pki.CertificateInfo, now: datetime, output_format: OutputFormat) -> dict[str, object]:
    days = (info.not_after - now).days
    if output_format is OutputFormat.TABLE:
        return {
            "file": str(info.path),
            "kind": info.kind,
            "identity": info.identity.uri if info.identity is not None else None,
            "expires": _expires(info, now, days),
            "fingerprint": info.fingerprint[:FINGERPRINT_CHARACTERS_SHOWN],
        }
    return {
        "file": str(info.path),
        "kind": info.kind,
        "identity": info.identity.uri if info.identity is not None else None,
        "not_before": info.not_before.isoformat(),
        "not_after": info.not_after.isoformat(),
        "expired": info.is_expired(now),
        "expires_in_days": days,
        "issuer": info.issuer,
        "serial": f"{info.serial:x}",
        "fingerprint": info.fingerprint,
        "alternative_names": list(info.alternative_names),
    }


def _expires(info: pki.CertificateInfo, now: datetime, days: int) -> Styled:
    date = f"{info.not_after:%Y-%m-%d}"
    if info.is_expired(now):
        return Styled(f"EXPIRED {_days((now - info.not_after).days)} ago ({date})", Style.BAD)
    return Styled(f"in {_days(days)} ({date})", Style.WARNING if days < EXPIRES_SOON_DAYS else Style.GOOD)


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _say_written(files: pki.KeyPairFiles) -> None:
    write(f"wrote {files.certificate} and {files.key}\n")
