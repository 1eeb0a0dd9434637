"""`raftctl txn`: conditions, what to do if they hold, and what otherwise, in one step."""

from pathlib import Path
from typing import Final

import click

from raftd.cli.named_path import FILE_OR_STREAM
from raftd.cli.output import OutputFormat, format_option, show_record, show_rows, write
from raftd.cli.parameters import fenced_option, reading_stdin
from raftd.cli.target import Target, pass_target
from raftd.cli.txn_format import Draft, SingleOperation, parse
from raftd.cli.txn_steps import COLUMNS, rows_of, steps_of
from raftd.client import Client, Fence, Transaction, TransactionResult
from raftd.errors import ExitCode

TEXT_BYTES_MAX: Final = 16 << 20
"""A transaction has at most 2 MiB; as a text, each byte may take four."""


class TransactionTextError(click.ClickException):
    """A text is no transaction; the message has a line for each problem."""

    exit_code = ExitCode.USAGE


@click.command("txn", short_help="Do several things in one step, or none.")
@click.argument("file", default="-", type=FILE_OR_STREAM)
@fenced_option
@format_option
@pass_target
def txn_command(target: Target, file: str, fence: Fence | None, output_format: OutputFormat) -> int:
    """Do the transaction in FILE, or in standard input: all of it or nothing, in one step, exactly once.

    Exit code 4 if a condition does not hold; then what `else` says was done.

    \b
    The text has one thing in a line; `if` and `else` may be left out:
      if
        exists KEY                       also: absent KEY
        value KEY == VALUE               also: version created modified lease
                                         and:  != < >
      then
        put KEY VALUE [lease=ID] [previous]
        get KEY
        delete KEY [previous]
        increment KEY [N]
        range LOW HIGH [limit=N] [keys-only]
        prefix PREFIX [limit=N] [keys-only]
        delete-range LOW HIGH [limit=N]
        delete-prefix PREFIX [limit=N]
      else
        transaction                      one inside of another, one level deep,
        end                              with if, then and else of its own

    Words are apart by spaces; one that has some stands in double quotes. What is not text is written as raftctl shows
    it: \\n, \\", \\\\, \\xNN. A word that begins with # begins a remark.

    \b
    Example:
      raftctl txn take-over.txn
      printf 'if\n absent leader\nthen\n put leader web-1\nelse\n get leader\n' | raftctl txn
    """
    draft, problems = parse(_read(file))
    if problems:
        name = "standard input" if file == "-" else file
        raise TransactionTextError("\n".join(f"{name}: {problem}" for problem in problems))
    with target.client() as client:
        result = build(client, draft).commit(fence)
    steps = steps_of(draft, result)
    outcome = {"succeeded": result.succeeded, "revision": result.revision}
    if output_format is not OutputFormat.TABLE:
        show_record({**outcome, "results": steps}, output_format)
    else:
        show_record(outcome, output_format)
        if steps:
            write("\n")
            show_rows(list(rows_of(steps)), COLUMNS, output_format)
    return ExitCode.OK if result.succeeded else ExitCode.COMPARE_FAILED


def _read(file: str) -> str:
    if file == "-":
        with reading_stdin() as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    else:
        try:
            with Path(file).open("rb") as stream:
                data = stream.read(TEXT_BYTES_MAX + 1)
        except OSError as error:
            raise click.ClickException(f"{file}: {error.strerror}") from None
    if len(data) > TEXT_BYTES_MAX:
        raise click.ClickException(f"{file}: that is too long for a transaction")
    return data.decode("utf-8", "surrogateescape")


def build(client: Client, draft: Draft) -> Transaction[TransactionResult]:
    """Make the client's transaction of one that was read."""

    def made(each: SingleOperation | Draft) -> SingleOperation | Transaction[TransactionResult]:
        return build(client, each) if isinstance(each, Draft) else each

    return (
        client.transaction().when(*draft.conditions).then(*map(made, draft.then)).otherwise(*map(made, draft.otherwise))
    )
