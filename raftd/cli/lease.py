"""`raftctl lease`: leases, with which keys end."""

import time
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, show_record, show_rows, warn
from raftd.cli.parameters import LEASE, duration
from raftd.cli.target import Target, pass_target
from raftd.client import Client, Unavailable
from raftd.errors import ExitCode

_COLUMNS: Final = ("lease", "ttl", "user", "keys")
_RENEWALS_PER_TTL: Final = 3
_PAUSE_SECONDS: Final = 0.5
"""After a keep-alive that nobody answered."""

_lease_argument = click.argument("lease", type=LEASE, metavar="ID")


@click.group("lease", short_help="Grant, keep alive, revoke and show leases.")
def group() -> None:
    """Grant, keep alive, revoke and show leases.

    Keys that are set with a lease are deleted together, in one step, when it ends: when it is revoked, or was not kept
    alive for as long as it lives.

    \b
    Example:
      raftctl lease grant 60s
      raftctl set service/web-1 10.0.0.7:80 --lease 42
      raftctl lease keep-alive 42
    """


@group.command("grant", short_help="Begin a lease.")
@click.argument("ttl", metavar="TTL", callback=duration())
@format_option
@pass_target
def grant_command(target: Target, ttl: float, output_format: OutputFormat) -> int:
    """Begin a lease that lives for TTL, such as 60s or 10m, unless it is kept alive; prints its id.

    The cluster does not take every TTL as it is; what it granted is shown.

    \b
    Example:
      raftctl lease grant 60s
    """
    with target.client() as client:
        lease = client.grant_lease(ttl)
        show_record({"lease": lease.id, **_seconds("ttl", lease.ttl, output_format)}, output_format)
    return ExitCode.OK


@group.command("revoke", short_help="End a lease, with its keys.")
@_lease_argument
@format_option
@pass_target
def revoke_command(target: Target, lease: int, output_format: OutputFormat) -> int:
    """End a lease of yours now, and delete its keys in one step. Exit code 3 if you have no such lease.

    \b
    Example:
      raftctl lease revoke 42
    """
    with target.client() as client:
        deleted = client.revoke_lease(lease)
    show_record({"lease": lease, "deleted": deleted}, output_format)
    return ExitCode.OK


@group.command("keep-alive", short_help="Keep a lease alive.")
@_lease_argument
@click.option("--once", is_flag=True, help="Give it its full time again, and end.")
@format_option
@pass_target
def keep_alive_command(target: Target, lease: int, output_format: OutputFormat, *, once: bool) -> int:
    """Keep a lease of yours alive until Ctrl-C. Exit code 3 if you have no such lease, or no more.

    \b
    Example:
      raftctl lease keep-alive 42
      raftctl lease keep-alive 42 --once
    """
    with target.client() as client:
        remaining = client.keep_lease_alive(lease)
        try:
            show_record({"lease": lease, **_seconds("remaining", remaining, output_format)}, output_format)
            while not once:
                time.sleep(remaining / _RENEWALS_PER_TTL)
                _keep_alive(client, lease)
        except KeyboardInterrupt:  # which is how this is meant to end
            pass
    return ExitCode.OK


def _keep_alive(client: Client, lease: int) -> None:
    """Keep it alive once, however often that must be tried: only the cluster knows when it has ended."""
    while True:
        try:
            client.keep_lease_alive(lease)
        except Unavailable as error:
            warn("raftctl", f"{error}; trying again")
            time.sleep(_PAUSE_SECONDS)
        else:
            return


@group.command("show", short_help="Show a lease and its keys.")
@_lease_argument
@format_option
@pass_target
def show_command(target: Target, lease: int, output_format: OutputFormat) -> int:
    """Show a lease: how long it lives still, and what ends with it. Exit code 3 if you may see no such lease.

    \b
    Example:
      raftctl lease show 42
    """
    with target.client() as client:
        found = client.lease_info(lease)
    record: dict[str, object] = {
        "lease": found.id,
        **_seconds("ttl", found.ttl, output_format),
        **_seconds("remaining", found.remaining, output_format),
        "user": found.user,
    }
    if output_format is OutputFormat.TABLE:
        # A line for each: there may be many.
        record["keys"] = len(found.keys)
        record.update({f"key {number}": key for number, key in enumerate(found.keys, 1)})
    else:
        record["keys"] = list(found.keys)
    show_record(record, output_format)
    return ExitCode.OK


@group.command("list", short_help="List leases.")
@format_option
@pass_target
def list_command(target: Target, output_format: OutputFormat) -> int:
    """List your leases; an administrator sees all.

    \b
    Example:
      raftctl lease list
    """
    with target.client() as client:
        found = client.leases()
    rows = [
        {"lease": each.id, **_seconds("ttl", each.ttl, output_format), "user": each.user, "keys": each.key_count}
        for each in found
    ]
    show_rows(rows, _COLUMNS, output_format)
    return ExitCode.OK


def _seconds(name: str, seconds: float, output_format: OutputFormat) -> dict[str, object]:
    """A span of time, for people with its unit."""
    return {name: f"{seconds:g} s"} if output_format is OutputFormat.TABLE else {f"{name}_seconds": seconds}
