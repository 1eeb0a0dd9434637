"""`raftctl top`: all nodes and how they have been doing, once a second."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from raftd.cli.output import is_terminal, table, use_colour, write
from raftd.cli.redraw import over, own_screen, repeat
from raftd.cli.sparkline import bars_for, sparkline, squeezed
from raftd.cli.status import Overview, Row, leader_of, look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.client import Client

COLUMNS: Final = (
    "node", "role", "term", "applied", "lag", "changes/s", "last_minute", "write", "writes", "sync", "syncs",
    "clients", "pending", "keys", "health",
)  # fmt: skip
_FIRST_TO_GO: Final = ("syncs", "writes", "keys", "pending", "term", "clients", "last_minute", "applied", "lag")
"""Left out, one after the other, where the terminal is too narrow for all."""
_COLUMNS_MIN: Final = len(COLUMNS) - len(_FIRST_TO_GO)
_SECONDS: Final = 60
_SPARK_WIDTH: Final = 20
_NARROW_SPARK_WIDTH: Final = 12


@click.command("top", short_help="Watch all nodes, with load and latencies.")
@pass_target
def top_command(target: Target) -> int:
    """Show all nodes once a second: roles, lag, load and latencies, with the last minute as small bars. Ctrl-C ends it.

    CHANGES/S are those that a node applies; WRITE is how long the leader's latest writes took on average from their
    arrival to their answer, SYNC an fdatasync of a node's log. Bars are high where the value was high in that minute.
    Into a pipe it is one snapshot, with the exit codes of `raftctl status`.

    \b
    Example:
      raftctl top
      raftctl top | cat
    """
    config = with_patience(target.resolve())
    bars = bars_for(sys.stdout)
    with Client.from_config(config) as client:
        if not is_terminal(sys.stdout):
            overview = look(client, config.endpoints)
            write(screen(overview, bars))
            return overview.exit_code
        with own_screen():
            return repeat(lambda: over(_fitted(look(client, config.endpoints), bars)))


def screen(overview: Overview, bars: str, *, columns: Sequence[str] = COLUMNS, coloured: bool = False) -> str:
    """A line about the cluster, and a table of its nodes."""
    rows = [_row(row, bars) for row in overview.rows]
    return f"{_summary(overview)}\n\n{table(rows, columns, coloured=coloured)}"


def _fitted(overview: Overview, bars: str) -> str:
    """The screen in the terminal's size: a line that wrapped would move all others."""
    size = shutil.get_terminal_size()
    columns = list(COLUMNS)
    while not (fits := _width(screen(overview, bars, columns=columns)) <= size.columns) and len(columns) > _COLUMNS_MIN:
        columns.remove(next(name for name in _FIRST_TO_GO if name in columns))
    coloured = fits and use_colour(sys.stdout)  # a sequence that colours must not be cut
    lines = screen(overview, bars, columns=columns, coloured=coloured).splitlines()[: size.lines - 1]
    return "\n".join(lines if fits else (line[: size.columns] for line in lines))


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _summary(overview: Overview) -> str:
    rows = overview.rows
    documents = [status for row in rows if isinstance(status := row.get("status"), dict)]
    answering = f"{len(documents)} of {len(rows)} nodes answer"
    if not documents:
        return answering
    leader = leader_of(overview.answers)
    led = "no leader" if leader is None else f"node {leader['node_id']} leads term {leader['current_term']}"
    return f"{documents[0]['cluster']}: {led}; {answering}"


def _row(row: Row, bars: str) -> Row:
    """What `raftctl status` shows of a node, and its pulse."""
    document = row.get("status")
    if not isinstance(document, dict):
        return row
    pulse: Mapping[str, Any] = document.get("pulse", {})
    changes, writes, syncs = (pulse.get(name, []) for name in ("changes_per_second", "write_seconds", "sync_seconds"))
    return {
        **row,
        "changes/s": _number(changes[-1] if changes else None),
        "last_minute": _last_minute(changes, _SPARK_WIDTH, bars),
        "write": _milliseconds(writes),
        "writes": _last_minute(writes, _NARROW_SPARK_WIDTH, bars),
        "sync": _milliseconds(syncs),
        "syncs": _last_minute(syncs, _NARROW_SPARK_WIDTH, bars),
        "clients": document["connections"],
        "pending": document["pending_proposals"],
    }


def _last_minute(values: Sequence[float | None], width: int, bars: str) -> str:
    return sparkline(squeezed(values, width, _SECONDS), width, bars)


def _number(value: float | None) -> float | int | None:
    return None if value is None else round(value, 1) if 0 < value < 10 else round(value)


def _milliseconds(values: Sequence[float | None]) -> str | None:
    """The newest value, in words as wide as they get; None where there is none in the last minute."""
    newest = next((value for value in reversed(values) if value is not None), None)
    return None if newest is None else f"{newest * 1000:.3g} ms"
