"""`raftctl watch`: changes as they happen, shown or given to a command."""

import base64
from typing import Final

import click

from raftd.cli import running
from raftd.cli.history import change_row
from raftd.cli.output import OutputFormat, format_option, warn
from raftd.cli.parameters import (
    COUNT,
    U64_MAX,
    command_argument,
    key_argument,
    prefix_option,
    previous_option,
    span_of,
    to_option,
)
from raftd.cli.running import Command
from raftd.cli.stream import Stream
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Change, Progress
from raftd.errors import ExitCode

VARIABLE_BYTES_MAX: Final = 64 << 10
"""A longer value is only on the command's standard input: Linux takes no variable of 128 KiB (execve(2))."""
_COLUMNS: Final = ("revision", "kind", "key", "value")
_WIDTHS: Final = (10, 9, 24, 0)


@click.command("watch", short_help="Show changes as they happen.")
@key_argument
@prefix_option
@to_option
@click.option("--revision", type=Whole(1, U64_MAX), metavar="N", help="From revision N on, if that is held still.")
@click.option("--only", type=click.Choice(["puts", "deletes"]), help="Leave out the others.")
@click.option("--no-values", is_flag=True, help="Leave out the values.")
@previous_option
@click.option("--changes", type=COUNT, metavar="N", help="End after N changes.")
@click.option("--stop-on-failure", is_flag=True, help="End when COMMAND fails, with its exit code.")
@format_option
@command_argument
@pass_target
def watch_command(
    target: Target,
    key: bytes,
    to: bytes | None,
    revision: int | None,
    only: str | None,
    changes: int | None,
    command: tuple[bytes, ...],
    output_format: OutputFormat,
    *,
    is_prefix: bool,
    no_values: bool,
    previous: bool,
    stop_on_failure: bool,
) -> int:
    """Show each change of KEY, from now on and in order, until Ctrl-C; or run COMMAND for each, one at a time.

    A watch goes on by itself when nodes come and go; nothing is left out, and nothing comes twice. With -o json each
    change is a line. COMMAND finds it in its environment, and the new value on its standard input too:
    RAFTCTL_CHANGE_KEY, _KIND (put or delete), _VALUE, _REVISION, _VERSION, _LEASE, _USER, _ADDRESS, and with --previous
    _PREVIOUS_VALUE. What no variable can hold is in …_KEY_BASE64 or …_VALUE_BASE64 instead, or only on standard input
    if it has more than 64 KiB. A COMMAND that fails is told, and the watch goes on.

    Exit code 126 or 127 if COMMAND cannot be run.

    \b
    Example:
      raftctl watch config/ --prefix
      raftctl watch config/nginx -- sh -c 'cat > /etc/nginx/nginx.conf && nginx -s reload'
    """
    if command:
        running.check_runnable(command)
    span = span_of(key, to, is_prefix=is_prefix)
    stream = Stream(
        (*_COLUMNS[:3], *(() if no_values else _COLUMNS[3:])), output_format, _WIDTHS[: 3 if no_values else 4]
    )
    with (
        target.client() as client,
        client.watch(
            key if span is None else None,
            **({} if span is None else span.arguments),
            revision=revision,
            previous=previous,
            puts=only != "deletes",
            deletes=only != "puts",
            keys_only=no_values,
        ) as watch,
    ):
        seen = 0
        try:
            for change in watch:
                if isinstance(change, Progress):
                    continue
                if not command:
                    stream.show([change_row(change, output_format, values=not no_values)])
                elif (code := _run(target, command, change, stop_on_failure=stop_on_failure)) is not None:
                    return code
                seen += 1
                if seen == changes:
                    break
        except KeyboardInterrupt:  # which is how this is meant to end
            pass
    return ExitCode.OK


def _run(target: Target, words: tuple[bytes, ...], change: Change, *, stop_on_failure: bool) -> int | None:
    """Run a command on a change; returns an exit code if that ends the watch."""
    variables = {**target.variables, **variables_of(change)}
    ended = running.run(Command(words, variables, stdin=change.value or b""))
    if ended.signal is not None:
        return ExitCode.OK if ended.signal == running.INTERRUPT else 128 + ended.signal
    if ended.exit_code and stop_on_failure:
        return ended.exit_code
    if ended.exit_code:
        warn("raftctl", f"the command ended with exit code {ended.exit_code} for revision {change.revision}")
    return None


def variables_of(change: Change) -> dict[str, bytes | None]:
    """What a command finds in its environment; None: what it must not find there from another change."""
    previous = change.previous.value if change.previous is not None else None
    return {
        "RAFTCTL_CHANGE_KIND": change.kind.encode(),
        "RAFTCTL_CHANGE_REVISION": b"%d" % change.revision,
        "RAFTCTL_CHANGE_VERSION": b"%d" % change.version,
        "RAFTCTL_CHANGE_LEASE": b"%d" % change.lease if change.lease else None,
        "RAFTCTL_CHANGE_USER": change.user.encode(),
        "RAFTCTL_CHANGE_ADDRESS": change.address.encode(),
        **_variable("RAFTCTL_CHANGE_KEY", change.key),
        **_variable("RAFTCTL_CHANGE_VALUE", change.value),
        **_variable("RAFTCTL_CHANGE_PREVIOUS_VALUE", previous),
    }


def _variable(name: str, data: bytes | None) -> dict[str, bytes | None]:
    encoded = f"{name}_BASE64"
    if data is None or len(data) > VARIABLE_BYTES_MAX:
        return {name: None, encoded: None}
    if b"\x00" in data:
        return {name: None, encoded: base64.b64encode(data)}
    return {name: data, encoded: None}
