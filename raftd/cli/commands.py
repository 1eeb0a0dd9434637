"""What `raftd` and `raftctl` have in common as groups of commands.

A command's module is imported when the command is run, not before: `raftctl get` is typed by people and called by
scripts in loops, and what other commands need (certificates, the load generator) would double its start.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that knows where its commands are.

    Args:
        commands_at: By a command's name, where it is: `module:attribute`.
    """

    def __init__(self, *args: Any, commands_at: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = dict(commands_at)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*super().list_commands(ctx), *self._commands_at})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command, and import it if that has not happened yet."""
        if cmd_name in self._commands_at:
            module, _, attribute = self._commands_at.pop(cmd_name).partition(":")
            self.add_command(getattr(import_module(module), attribute), cmd_name)
        found = super().get_command(ctx, cmd_name)
        if found is None:
            for name in list(self._commands_at):  # click suggests similar names, of commands that it knows
                self.get_command(ctx, name)
        return found


def version_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a group with `--version`. Finding it out takes a while, so that is left to those who ask."""

    def show(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            from raftd.cli.output import write  # noqa: PLC0415 - as above
            from raftd.version import version  # noqa: PLC0415 - as above

            write(f"{context.info_name} {version()}\n")
            context.exit()

    return click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and exit."
    )(function)
