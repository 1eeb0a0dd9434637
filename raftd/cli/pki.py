"""`raftctl pki`: the authorities and certificates of a cluster."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from raftd import pki
from raftd.cli.named_path import PATH
from raftd.cli.output import OutputFormat, Style, Styled, format_option, show_rows, warn, write
from raftd.cli.whole import Whole
from raftd.errors import ExitCode, TlsError
from raftd.pki import rotation
from raftd.pki.issue import AUTHORITY_DAYS, DAYS_MAX, LEAF_DAYS
from raftd.pki.rotation import Phase
from raftd.wire.address import is_host
from raftd.wire.identity import NODE_ID_MAX, IdentityError, authority_identity, user_identity

EXPIRES_SOON_DAYS = 30
FINGERPRINT_CHARACTERS_SHOWN = 16

_DAY_SECONDS: Final = 86_400
AUTHORITIES: Final[tuple[pki.AuthorityName, ...]] = ("peer", "client")
_ROTATION_COLUMNS = ("authority", "phase", "trusted", "issuing", "stale", "next")
_NEXT: Final = {
    Phase.NONE: None,
    Phase.TRUST_BOTH: Phase.REISSUE.value,
    Phase.REISSUE: Phase.TRUST_NEW.value,
}
_COLUMNS = ("file", "kind", "identity", "expires", "fingerprint")


def _directory_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--dir",
        "directory",
        type=PATH,
        default=Path("pki"),
        show_default=True,
        help="Where the authorities are, and where new files go.",
    )(function)


class _Days(click.types.FloatParamType):
    """How long a certificate holds."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Be click's `convert`."""
        days = super().convert(value, param, ctx)
        # Put so that it refuses `nan`, too.
        if not 1 <= days * _DAY_SECONDS <= DAYS_MAX * _DAY_SECONDS:
            self.fail(f"a certificate holds for at least one second, and for at most {DAYS_MAX} days.", param, ctx)
        return days


def _days_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--days",
        type=_Days(),
        default=default,
        show_default=True,
        help="How long it holds; a fraction of a day, of a second at least, is for trying out what happens then.",
    )


_renew_option = click.option(
    "--renew", is_flag=True, help="Replace what is there by the same with a new key, valid from now on."
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


@group.command("init", short_help="Make the two authorities of a cluster.")
@click.option("--cluster", required=True, callback=_cluster_name, help="The cluster's name, as in raftd.yaml.")
@_directory_option
@_days_option(AUTHORITY_DAYS)
@_force_option
def init(cluster: str, directory: Path, days: float, *, force: bool) -> None:
    """Make the two authorities of a cluster: one for peers, one for clients.

    Keep the .key files off the nodes: who has them can be anybody. With --force, nothing that was issued before is
    trusted any more by who has the new ones; `raftctl pki rotate-ca` lets one take over from the other.

    \b
    Example:
      raftctl pki init --cluster prod
    """
    with _saying(*(pki.authority_files(directory, name) for name in AUTHORITIES)):
        pki.create_authorities(directory, cluster, days=days, overwrite=force)


@group.command("issue-node", short_help="Issue a node's two certificates.")
@click.option("--node", "node_id", required=True, type=Whole(1, NODE_ID_MAX), help="The node's id.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    callback=_hosts,
    help="A name or IP address under which others reach the node; may be given several times. With --renew, they stay.",
)
@_directory_option
@_days_option(LEAF_DAYS)
@_renew_option
@_force_option
def issue_node(node_id: int, hosts: tuple[str, ...], directory: Path, days: float, *, renew: bool, force: bool) -> None:
    """Issue a node's two certificates: for its peers, and for its clients.

    With --renew they are replaced. The node goes on with the old ones until it has the new ones and reloads.

    \b
    Example:
      raftctl pki issue-node --node 1 --host n1.example.net --host 10.0.0.1
      raftctl pki issue-node --node 1 --renew
    """
    pairs = {name: pki.node_files(directory, node_id, name) for name in AUTHORITIES}
    if renew == bool(hosts):
        raise click.UsageError("give --host for a new node, or --renew for one that has certificates")
    with _saying(*pairs.values()):
        if renew:
            for name, files in pairs.items():
                pki.renew(directory, files, name, days=days)
        else:
            pki.issue_node(directory, node_id, hosts, days=days, overwrite=force)


@group.command("issue-user", short_help="Issue a user's certificate.")
@click.argument("name", callback=_user_name)
@_directory_option
@_days_option(LEAF_DAYS)
@_renew_option
@_force_option
def issue_user(name: str, directory: Path, days: float, *, renew: bool, force: bool) -> None:
    """Issue a user's certificate. What NAME may do is said under `access` in raftd.yaml.

    \b
    Example:
      raftctl pki issue-user alice
      raftctl pki issue-user alice --renew
    """
    files = pki.user_files(directory, name)
    with _saying(files):
        if renew:
            pki.renew(directory, files, "client", days=days)
        else:
            pki.issue_user(directory, name, days=days, overwrite=force)


@group.command("rotate-ca", short_help="Let new authorities take over from old ones.")
@click.option(
    "--phase",
    type=click.Choice([each.value for each in Phase if each is not Phase.NONE]),
    help="The step to take; without it, it is only shown how far it is.",
)
@click.option(
    "--authority",
    "name",
    type=click.Choice([*AUTHORITIES, "all"]),
    default="all",
    show_default=True,
    help="Which of them.",
)
@_directory_option
@click.option(
    "--days",
    type=_Days(),
    help="How long what is made holds, if not as long as always.",
)
@format_option
def rotate_ca(phase: str | None, name: str, directory: Path, days: float | None, output_format: OutputFormat) -> None:
    """Let new authorities take over from old ones while the cluster runs, in three steps.

    After each step, copy the directory's .crt files, and the nodes' and users' keys, to where they are used, reload all
    nodes (`raftctl reload`), and only then take the next one. Each can be taken again after an interruption.

    \b
      --phase trust-both  makes the next authorities; everybody comes to trust both
      --phase reissue     the next ones issue; all certificates in the directory are made anew
      --phase trust-new   the old ones are trusted no more, and their keys destroyed

    \b
    Example:
      raftctl pki rotate-ca
      raftctl pki rotate-ca --phase trust-both
    """
    chosen = AUTHORITIES if name == "all" else tuple(each for each in AUTHORITIES if each == name)
    for each in chosen:
        match None if phase is None else Phase(phase):
            case Phase.TRUST_BOTH:
                rotation.trust_both(directory, each, days=days or AUTHORITY_DAYS)
            case Phase.REISSUE:
                rotation.reissue(directory, each, days=days or LEAF_DAYS)
            case Phase.TRUST_NEW:
                rotation.trust_new(directory, each)
            case _:
                pass
    rows = [_rotation_row(rotation.rotation(directory, each), output_format) for each in chosen]
    show_rows(rows, _ROTATION_COLUMNS, output_format)


@group.command("show", short_help="Show certificates, and when they expire.")
@click.argument("files", nargs=-1, type=PATH, metavar="[FILE]...")
@_directory_option
@format_option
def show(files: tuple[Path, ...], directory: Path, output_format: OutputFormat) -> int:
    """Say whose certificates these are and when they expire; without FILE, all in the directory.

    \b
    Example:
      raftctl pki show
      raftctl pki show /etc/raftd/node-1.client.crt -o json
    """
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
        "key_id": info.key_id,
        "issuer_key_id": info.issuer_key_id,
        "alternative_names": list(info.alternative_names),
    }


def _expires(info: pki.CertificateInfo, now: datetime, days: int) -> Styled:
    date = f"{info.not_after:%Y-%m-%d}"
    if info.is_expired(now):
        return Styled(f"EXPIRED {_days((now - info.not_after).days)} ago ({date})", Style.BAD)
    return Styled(f"in {_days(days)} ({date})", Style.WARNING if days < EXPIRES_SOON_DAYS else Style.GOOD)


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _rotation_row(found: rotation.Rotation, output_format: OutputFormat) -> dict[str, object]:
    is_table = output_format is OutputFormat.TABLE
    trusted = [each[:FINGERPRINT_CHARACTERS_SHOWN] if is_table else each for each in found.trusted]
    return {
        "authority": found.name,
        "phase": found.phase.value,
        "trusted": ", ".join(trusted) if is_table else trusted,
        "issuing": found.issuing[:FINGERPRINT_CHARACTERS_SHOWN] if is_table else found.issuing,
        "stale": len(found.stale) if is_table else [str(path) for path in found.stale],
        "next": _NEXT[found.phase],
    }


@contextlib.contextmanager
def _saying(*pairs: pki.KeyPairFiles) -> Iterator[None]:
    """Say what was written, and what of it has replaced something, which may be in use."""
    present = {pair for pair in pairs if pair.key.exists() or pair.certificate.exists()}
    yield
    for pair in pairs:
        write(f"{'replaced' if pair in present else 'wrote'} {pair.certificate} and {pair.key}\n")
