"""`raftctl history`: who changed a key, when, and from where."""

from datetime import UTC, datetime

import click

from raftd.cli.output import OutputFormat, complain, format_option, printable, show_rows
from raftd.cli.parameters import COUNT, U64_MAX, key_argument
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Change
from raftd.errors import ExitCode

_COLUMNS = ("revision", "time", "kind", "version", "user", "address")


@click.command("history", short_help="Show the changes of a key.")
@key_argument
@click.option("--values", is_flag=True, help="Show what was written, and what was there before.")
@click.option("--limit", type=COUNT, metavar="N", default=100, show_default=True, help="No more than N changes.")
@click.option("--before", type=Whole(1, U64_MAX), metavar="N", help="Only changes before revision N.")
@format_option
@pass_target
def history_command(
    target: Target, key: bytes, limit: int, before: int | None, output_format: OutputFormat, *, values: bool
) -> int:
    """Show the changes of KEY that the cluster holds still, newest first: when, by whom, and from where.

    What was written is hidden, unless it is asked for. TIME is by the clock of the node that led. Exit code 3 if no
    change is held.

    \b
    Example:
      raftctl history config/colour
      raftctl history config/colour --values --limit 5
    """
    with target.client() as client:
        changes = client.history(key, limit=limit, before=before, values=values)
    rows = [change_row(change, output_format, values=values) for change in changes]
    if not rows and output_format is OutputFormat.TABLE:
        complain(f"raftctl: no change of {printable(key)} is held\n")
    else:
        show_rows(rows, (*_COLUMNS, "value", "previous_value") if values else _COLUMNS, output_format)
    return ExitCode.OK if rows else ExitCode.NOT_FOUND


def change_row(change: Change, output_format: OutputFormat, *, values: bool) -> dict[str, object]:
    """What is shown of a change; its values only if they may be seen."""
    is_table = output_format is OutputFormat.TABLE
    row: dict[str, object] = {
        "revision": change.revision,
        "kind": "lease end" if change.by_lease and is_table else change.kind,
        "key": change.key,
        "create_revision": change.create_revision,
        "version": change.version,
        "lease": change.lease or None,
        "by_lease": change.by_lease,
        "time": _time(change.wall_clock, "seconds" if is_table else "milliseconds"),
        "user": change.user,
        "address": change.address,
    }
    if values:
        row["value"] = change.value
        row["previous_value"] = change.previous.value if change.previous is not None else None
        row["previous_revision"] = change.previous.modify_revision if change.previous is not None else None
    return row


def _time(seconds: float, precision: str) -> str | None:
    if not seconds:
        return None  # what the cluster ends by itself has no time of day
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # a clock that was set to nonsense
        return None
