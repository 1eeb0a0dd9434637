"""`raftctl incr | cas`: changes of a key that depend on what it has."""

import re
from collections.abc import Sequence
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, show_record
from raftd.cli.parameters import STDIN, as_given, fenced_option, given_value, if_revision_option, key_argument
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Fence
from raftd.errors import ExitCode

_NEGATIVE: Final = re.compile(r"-[0-9]+")


class _NegativeDelta(click.Command):
    """A command of which a negative number, behind the first argument, is an argument, though it looks like an option.

    click can only let through everything that looks so: then an option that is written wrongly is a key.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Be click's `parse_args`."""
        place = self._place_of_number(args)
        if place is not None:
            number = args.pop(place)
            args += [number] if "--" in args else ["--", number]
        return super().parse_args(ctx, args)

    def _place_of_number(self, args: Sequence[str]) -> int | None:
        options = [each for each in self.params if isinstance(each, click.Option) and not each.is_flag]
        with_value = {name for each in options for name in each.opts}
        is_behind_key, is_value = False, False
        for place, word in enumerate(args):
            if is_value:
                is_value = False
            elif word == "--":
                return None
            elif word in with_value:
                is_value = True
            elif is_behind_key and _NEGATIVE.fullmatch(word):
                return place
            elif not word.startswith("-"):
                is_behind_key = True
        return None


@click.command("incr", cls=_NegativeDelta, short_help="Add to a number.")
@key_argument
@click.argument("delta", type=Whole(-(1 << 63), (1 << 63) - 1), default=1)
@if_revision_option
@fenced_option
@format_option
@pass_target
def incr_command(
    target: Target, key: bytes, delta: int, if_revision: int | None, fence: Fence | None, output_format: OutputFormat
) -> int:
    """Add DELTA, which is 1 if it is not given, to the number that KEY has, exactly once; no key counts as 0.

    \b
    Example:
      raftctl incr visits
      raftctl incr stock -5
      raftctl incr -- --odd-key -5
    """
    with target.client() as client:
        result = client.increment(key, delta, expected_revision=if_revision, fence=fence)
    record = {"key": key, "value": result.value, "revision": result.revision, "version": result.version}
    show_record(record, output_format)
    return ExitCode.OK


@click.command("cas", short_help="Compare the value of a key and set it.")
@key_argument
@click.argument("old", callback=as_given)
@click.argument("new", callback=as_given)
@fenced_option
@format_option
@pass_target
def cas_command(
    target: Target, key: bytes, old: bytes, new: bytes, fence: Fence | None, output_format: OutputFormat
) -> int:
    """Set KEY to NEW if its value is OLD, in one step. One of the two may be `-`: standard input, byte for byte.

    Exit code 4 if KEY has another value or is absent; then nothing was written.

    \b
    Example:
      raftctl cas state running stopped
    """
    if old == new == STDIN:
        raise click.UsageError("only one of OLD and NEW can be read from standard input")
    old, new = given_value(old), given_value(new)
    with target.client() as client:
        result = client.put(key, new, expected_value=old, fence=fence)
    show_record({"key": key, "revision": result.revision, "version": result.version}, output_format)
    return ExitCode.OK
