"""`raftctl status | log`: what the nodes are and hold."""

import sys
import time
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, printable, show_rows, write
from raftd.cli.status import COLUMNS, gather, is_healthy
from raftd.cli.target import Target, pass_target
from raftd.client import Client, Unavailable
from raftd.errors import ExitCode

_WATCH_SECONDS: Final = 1.0
_HOME_AND_CLEAR: Final = "\x1b[H\x1b[J"
_LOG_COLUMNS: Final = ("state", "index", "term", "kind", "command", "key", "value_bytes", "user", "session", "sequence")


@click.command("status")
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
    config = target.resolve()
    with target.client() as client:
        while watch:
            rows = gather(client, config.endpoints)
            if sys.stdout.isatty():
                write(_HOME_AND_CLEAR)
            show_rows(rows, COLUMNS, output_format)
            time.sleep(_WATCH_SECONDS)
        rows = gather(client, config.endpoints)
    show_rows(rows, COLUMNS, output_format)
    if all(row["node"] is None for row in rows):
        return ExitCode.UNAVAILABLE
    return ExitCode.OK if is_healthy(rows) else ExitCode.UNHEALTHY


@click.command("log")
@click.option("--node", type=click.IntRange(min=1), help="Of this node; the leader's otherwise.")
@click.option("--last", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many entries.")
@format_option
@pass_target
def log_command(target: Target, node: int | None, last: int, output_format: OutputFormat) -> int:
    """List a node's log entries, newest first: `*` before those that are committed and applied, `+` committed only.

    Keys are shown, values are not.

    \b
    Example:
      raftctl log --last 20
      raftctl log --node 2
    """
    config = target.resolve()
    with target.client() as client:
        document = client.log(_endpoint_of(client, config.endpoints, node), last)
    rows = [
        {
            "state": "*" if entry["applied"] else "+" if entry["committed"] else "",
            **entry,
            **({"key": printable(entry["key"])} if "key" in entry else {}),
        }
        for entry in document["entries"]
    ]
    show_rows(rows, _LOG_COLUMNS, output_format)
    return ExitCode.OK


def _endpoint_of(client: Client, endpoints: tuple[str, ...], node: int | None) -> str:
    """Where `node`, or the leader, is.

    Raises:
        Unavailable: there is no such node, or it does not answer.
    """
    rows = gather(client, endpoints)
    for row in rows:
        if row["node"] is not None and row["node"] == (row["leader"] if node is None else node):
            return str(row["endpoint"])
    sought = "no node leads" if node is None else f"no node {node} answers"
    raise Unavailable(f"{sought}; asked were {', '.join(str(row['endpoint']) for row in rows)}")
