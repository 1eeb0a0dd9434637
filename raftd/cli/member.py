"""`raftctl member` and `raftctl transfer-leader`: who belongs to the cluster, and who leads it."""

from collections.abc import Callable
from typing import Any, Final

import click

from raftd.cli.member_list import COLUMNS, rows_of
from raftd.cli.member_wait import Change, wait_for_change, wait_for_leader
from raftd.cli.output import OutputFormat, format_option, show_record, show_rows
from raftd.cli.parameters import duration
from raftd.cli.status import look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import ChangeKind, Client
from raftd.errors import ExitCode
from raftd.wire.address import Address, AddressError, parse_address
from raftd.wire.members import MemberAddresses

_CLIENT_PORT: Final = 7400
_PEER_PORT: Final = 7401
_HTTP_PORT: Final = 7402

_NODE: Final = Whole(1, (1 << 63) - 1)


def _address(default_port: int) -> Callable[[click.Context, click.Parameter, str], Address]:
    def check(_context: click.Context, _parameter: click.Parameter, value: str) -> Address:
        try:
            return parse_address(value, default_port)
        except AddressError as error:
            raise click.BadParameter(f"{value} {error}") from None

    return check


def _addresses(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the three addresses of a node."""
    for name, port, what in (
        ("http", _HTTP_PORT, "Where it serves metrics, health and status."),
        ("peer", _PEER_PORT, "Where the other nodes reach it."),
        ("client", _CLIENT_PORT, "Where clients reach it."),
    ):
        function = click.option(
            f"--{name}-address", metavar="HOST:PORT", required=True, callback=_address(port), help=what
        )(function)
    return function


def _waiting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with how long it waits."""
    function = click.option(
        "--wait-timeout",
        metavar="DURATION",
        default="10m",
        show_default=True,
        callback=duration(),
        help="How long to wait; what was begun goes on all the same.",
    )(function)
    return click.option("--no-wait", is_flag=True, help="Do not wait until it is done, only until it has begun.")(
        function
    )


@click.group("member", short_help="Show and change who belongs to the cluster.")
def group() -> None:
    """Show and change who belongs to the cluster.

    The replicated membership is the truth; raftd.yaml only says who began. Edit the file after each change, for nodes
    that will be installed from it: `raftctl member list` shows what differs.

    \b
    Example:
      raftctl member list
      raftctl member add 4 --client-address n4 --peer-address n4 --http-address n4
    """


@group.command("list", short_help="Show the members.")
@format_option
@pass_target
def list_command(target: Target, output_format: OutputFormat) -> int:
    """Show the members, where they are, and in what the nodes' raftd.yaml say otherwise.

    \b
    Example:
      raftctl member list
    """
    config = target.resolve()
    with Client.from_config(with_patience(config)) as client:
        overview = look(client, config.endpoints)
    show_rows(rows_of(overview.answers), COLUMNS, output_format)
    return ExitCode.OK


@group.command("add", short_help="Add a node.")
@click.argument("node", type=_NODE)
@_addresses
@click.option("--learner", is_flag=True, help="It is sent everything, but never votes, unless it is promoted.")
@_waiting
@format_option
@pass_target
def add_command(
    target: Target,
    node: int,
    client_address: Address,
    peer_address: Address,
    http_address: Address,
    output_format: OutputFormat,
    wait_timeout: float,
    *,
    learner: bool,
    no_wait: bool,
) -> int:
    """Add NODE, which votes as soon as it has caught up.

    Start it first, or meanwhile: with a raftd.yaml that has it with `joins: true`, and an empty data directory. An id
    is never used twice, not even by a machine that was removed.

    \b
    Example:
      raftctl member add 4 --client-address n4 --peer-address n4 --http-address n4
    """
    kind = ChangeKind.ADD_LEARNER if learner else ChangeKind.ADD_VOTER
    places = str(MemberAddresses(client_address, peer_address, http_address))
    return _carry_out(target, Change(kind, node, address=places), output_format, None if no_wait else wait_timeout)


@group.command("promote", short_help="Let a learner vote.")
@click.argument("node", type=_NODE)
@_waiting
@format_option
@pass_target
def promote_command(
    target: Target, node: int, output_format: OutputFormat, wait_timeout: float, *, no_wait: bool
) -> int:
    """Let the learner NODE vote, now; it must have caught up.

    \b
    Example:
      raftctl member promote 4
    """
    return _carry_out(target, Change(ChangeKind.PROMOTE, node), output_format, None if no_wait else wait_timeout)


@group.command("remove", short_help="Remove a node.")
@click.argument("node", type=_NODE)
@_waiting
@format_option
@pass_target
def remove_command(
    target: Target, node: int, output_format: OutputFormat, wait_timeout: float, *, no_wait: bool
) -> int:
    """Remove NODE, be it the leader. Its process ends by itself, and cannot come back.

    \b
    Example:
      raftctl member remove 2
    """
    return _carry_out(target, Change(ChangeKind.REMOVE, node), output_format, None if no_wait else wait_timeout)


@group.command("replace", short_help="Put a new node in the place of another.")
@click.argument("old", type=_NODE)
@click.argument("new", type=_NODE)
@_addresses
@_waiting
@format_option
@pass_target
def replace_command(
    target: Target,
    old: int,
    new: int,
    client_address: Address,
    peer_address: Address,
    http_address: Address,
    output_format: OutputFormat,
    wait_timeout: float,
    *,
    no_wait: bool,
) -> int:
    """Put NEW in the place of OLD, in one step, as soon as NEW has caught up; OLD votes until then.

    May be given again at any time, also by somebody else: it goes on where it was.

    \b
    Example:
      raftctl member replace 2 4 --client-address n4 --peer-address n4 --http-address n4
    """
    if old == new:
        raise click.UsageError("a new node needs an id of its own: ids are never used twice")
    places = str(MemberAddresses(client_address, peer_address, http_address))
    change = Change(ChangeKind.REPLACE, new, old, places)
    return _carry_out(target, change, output_format, None if no_wait else wait_timeout)


@group.command("update", short_help="Say where a node is now.")
@click.argument("node", type=_NODE)
@_addresses
@_waiting
@format_option
@pass_target
def update_command(
    target: Target,
    node: int,
    client_address: Address,
    peer_address: Address,
    http_address: Address,
    output_format: OutputFormat,
    wait_timeout: float,
    *,
    no_wait: bool,
) -> int:
    """Say where NODE is from now on.

    \b
    Example:
      raftctl member update 2 --client-address n2b --peer-address n2b --http-address n2b
    """
    places = str(MemberAddresses(client_address, peer_address, http_address))
    change = Change(ChangeKind.UPDATE_ADDRESS, node, address=places)
    return _carry_out(target, change, output_format, None if no_wait else wait_timeout)


@click.command("transfer-leader", short_help="Let another node lead.")
@click.argument("node", type=_NODE, required=False)
@format_option
@pass_target
def transfer_command(target: Target, node: int | None, output_format: OutputFormat) -> int:
    """Let NODE lead, or whichever voter is best prepared; waits until it does.

    \b
    Example:
      raftctl transfer-leader 3
    """
    config = target.resolve()
    with Client.from_config(config) as client:
        chosen = client.transfer_leadership(node)
        wait_for_leader(client, chosen, config.timeout)
    show_record({"leader": chosen}, output_format)
    return ExitCode.OK


def _carry_out(target: Target, change: Change, output_format: OutputFormat, wait_seconds: float | None) -> int:
    """Begin a change, and wait for it unless `wait_seconds` is None."""
    with target.client() as client:
        index = change.begin(client)
        if wait_seconds is not None:
            index = wait_for_change(client, change, index, wait_seconds).index
    # What the cluster began with stands nowhere in its log: there was nothing to be done.
    is_done = wait_seconds is not None or index == 0
    show_record(
        {"node": change.node_id, "change": change.kind.name.lower(), "index": index or None, "done": is_done},
        output_format,
    )
    return ExitCode.OK
