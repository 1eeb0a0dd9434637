"""`raftctl reload`: nodes read their settings and certificates anew."""

import re
from typing import Final

import click

from raftd.cli.output import OutputFormat, Style, Styled, format_option, show_rows
from raftd.cli.status import Overview, Row, look
from raftd.cli.target import Target, pass_target
from raftd.client import Client, ClientError
from raftd.errors import ExitCode

_COLUMNS: Final = ("node", "endpoint", "result", "changed", "waiting")
_NODE_ID: Final = re.compile(r"0*[1-9][0-9]{0,19}")


def _node(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    if _NODE_ID.fullmatch(value) is None:
        raise click.BadParameter(f"{value!r} is neither a node's id nor `all`")
    return int(value)


@click.command("reload", short_help="Make nodes read their settings and certificates anew.")
@click.option("--node", metavar="N|all", default="all", show_default=True, callback=_node, help="Which of them.")
@format_option
@pass_target
def reload_command(target: Target, node: int | None, output_format: OutputFormat) -> int:
    """Make nodes read raftd.yaml, their certificates, keys and authorities anew, one node after the other.

    A file that cannot be used is refused, and that node goes on as it was: exit code 1. WAITING are settings that are
    different in the file and count after a restart only.

    \b
    Example:
      raftctl reload
      raftctl reload --node 2
    """
    config = target.resolve()
    with target.client() as client:
        overview = look(client, config.endpoints)
        if node is not None:
            outcomes = [_reload(client, node, overview.endpoint_of(node))]
        else:
            outcomes = [
                _reload(client, row["node"], str(row["endpoint"])) if "status" in row else _unreachable(row, overview)
                for row in overview.rows
            ]
    rows = [row for row, _ in outcomes]
    if output_format is OutputFormat.TABLE:
        rows = [{**row, **{name: _listed(row.get(name)) for name in ("changed", "waiting")}} for row in rows]
    show_rows(rows, _COLUMNS, output_format)
    return max(code for _, code in outcomes)


def _reload(client: Client, node: object, endpoint: str) -> tuple[Row, ExitCode]:
    row: Row = {"node": node, "endpoint": endpoint}
    try:
        document = client.reload(endpoint)
    except ClientError as error:
        reason = str(error).removeprefix(f"{endpoint}: ")
        return {**row, "result": Styled(reason, Style.BAD)}, error.exit_code
    told = {name: document.get(name, []) for name in ("changed", "waiting")}
    return {**row, "result": Styled("reloaded", Style.GOOD), **told}, ExitCode.OK


def _unreachable(row: Row, overview: Overview) -> tuple[Row, ExitCode]:
    answer = overview.answers[str(row["endpoint"])]
    code = answer.exit_code if isinstance(answer, ClientError) else ExitCode.UNAVAILABLE
    return {"node": row["node"], "endpoint": row["endpoint"], "result": row["health"]}, code


def _listed(names: object) -> str | None:
    return ", ".join(map(str, names)) or None if isinstance(names, list) else None
