"""`raftctl status | log`: what the nodes are and hold."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from raftd.cli.output import OutputFormat, document, format_option, is_terminal, show_rows, table, use_colour
from raftd.cli.redraw import over, repeat
from raftd.cli.status import COLUMNS, Overview, look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client
from raftd.errors import ExitCode
from raftd.wire.limits import LOG_ENTRIES_MAX

_LOG_COLUMNS: Final = ("state", "index", "term", "kind", "command", "key", "value_bytes", "user", "session", "sequence")


@click.command("status", short_help="Show all nodes and how they are.")
@click.option("--watch", is_flag=True, help="Draw it anew once a second, until Ctrl-C.")
@format_option
@pass_target
def status_command(target: Target, output_format: OutputFormat, *, watch: bool) -> int:
    """Show all nodes: role, term, vote, commit, applied, lag, election timer, health.

    LAG counts the entries that a node has still to apply; TIMER is how long it would wait for a leader before it asks
    to be elected. Exit code 8 if anything is wrong, 5 if no node answers.

    \b
    Example:
      raftctl status
      raftctl status --watch
    """
    config = with_patience(target.resolve())
    with Client.from_config(config) as client:
        if watch:
            return _watch(client, config.endpoints, output_format)
        overview = look(client, config.endpoints)
    show_rows(overview.rows, COLUMNS, output_format)
    return overview.exit_code


def _watch(client: Client, endpoints: tuple[str, ...], output_format: OutputFormat) -> int:
    is_drawn = is_terminal(sys.stdout) and output_format is OutputFormat.TABLE

    def show() -> str:
        overview = look(client, endpoints)
        if is_drawn:
            return over(table(overview.rows, COLUMNS, coloured=use_colour(sys.stdout)))
        return _listed(overview, output_format)

    return repeat(show)


def _listed(overview: Overview, output_format: OutputFormat) -> str:
    if output_format is OutputFormat.TABLE:
        return table(overview.rows, COLUMNS) + "\n"
    separator = "---\n" if output_format is OutputFormat.YAML else ""
    return separator + document(overview.rows, output_format)


@click.command("log", short_help="List a node's newest log entries.")
@click.option("--node", type=Whole(min=1), help="Of this node; the leader's otherwise.")
@click.option("--last", type=Whole(1, LOG_ENTRIES_MAX), default=10, show_default=True, help="How many entries.")
@format_option
@pass_target
def log_command(target: Target, node: int | None, last: int, output_format: OutputFormat) -> int:
    """List a node's log entries, newest first: `*` before those that are committed and applied, `+` committed only.

    Keys are shown, long ones cut; values are not. Where a command has not just one key, it is shown what it is about.

    \b
    Example:
      raftctl log --last 20
      raftctl log --node 2
    """
    config = target.resolve()
    with target.client() as client:
        endpoint = look(client, config.endpoints).endpoint_of(node)
        entries = client.log(endpoint, last)["entries"]
    show_rows([_log_row(entry) for entry in entries], _LOG_COLUMNS, output_format)
    return ExitCode.OK


def _log_row(entry: Mapping[str, Any]) -> dict[str, object]:
    row = {"state": "*" if entry["applied"] else "+" if entry["committed"] else "", **entry}
    if "key_hex" in entry:
        row["key"] = bytes.fromhex(entry["key_hex"])
    elif "key" not in entry:
        row["key"] = entry.get("keys", entry.get("leases"))
    return row
