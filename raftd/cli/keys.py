"""`raftctl get | set | del`.

Keys and values are bytes. What a shell passes is taken byte for byte, UTF-8 or not: Python decodes arguments with
`surrogateescape`, and `os.fsencode` is its exact inverse (PEP 383).
"""

import os
import sys
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, is_terminal, printable, show_record, write, write_bytes
from raftd.cli.target import Target, pass_target
from raftd.errors import ExitCode
from raftd.kv.limits import VALUE_BYTES_MAX

_REVISION_MAX: Final = (1 << 64) - 1


def _as_given(_context: click.Context, _parameter: click.Parameter, value: str) -> bytes:
    return os.fsencode(value)


_key_argument = click.argument("key", callback=_as_given)
_if_revision = click.option(
    "--if-revision",
    type=click.IntRange(0, _REVISION_MAX),
    metavar="N",
    help="Only if the key was last changed at revision N; 0: only if it is absent.",
)


@click.command("get", short_help="Print the value of a key.")
@_key_argument
@click.option("--stale", is_flag=True, help="From any node, and maybe not the newest; works without a quorum.")
@click.option("--raw", is_flag=True, help="The value's bytes and nothing else, no line end either.")
@format_option
@pass_target
def get_command(target: Target, key: bytes, output_format: OutputFormat, *, stale: bool, raw: bool) -> int:
    """Print the value of KEY, and a line end. On a terminal, what is not printable text is escaped.

    Exit code 3 if there is none.

    \b
    Example:
      raftctl get greeting
      raftctl get greeting -o json
      raftctl get --raw picture > picture.png
    """
    if raw and output_format is not OutputFormat.TABLE:
        raise click.UsageError("--raw is a form of its own; leave out -o")
    with target.client() as client:
        found = client.get(key, stale=stale)
    if found is None:
        print(f"raftctl: there is no key {printable(key)}", file=sys.stderr)  # warn() would escape it once more
        return ExitCode.NOT_FOUND
    if output_format is not OutputFormat.TABLE:
        record = {
            "key": key,
            "value": found.value,
            "create_revision": found.create_revision,
            "modify_revision": found.modify_revision,
            "version": found.version,
        }
        show_record(record, output_format)
    elif raw:
        write_bytes(found.value)
    elif is_terminal(sys.stdout):
        write(printable(found.value) + "\n")
    else:
        write_bytes(found.value + b"\n")
    return ExitCode.OK


@click.command("set", short_help="Set a key to a value.")
@_key_argument
@click.argument("value", callback=_as_given)
@_if_revision
@format_option
@pass_target
def set_command(target: Target, key: bytes, value: bytes, if_revision: int | None, output_format: OutputFormat) -> int:
    """Set KEY to VALUE, exactly once; VALUE `-` is read from standard input, byte for byte.

    Exit code 4 if --if-revision does not hold, 6 if no answer came and the write may or may not have happened.

    \b
    Example:
      raftctl set greeting hello
      raftctl set motd - < /etc/motd
      raftctl set lock me --if-revision 0
    """
    if value == b"-":
        # Whatever comes, no more than this is taken into memory.
        value = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
        if len(value) > VALUE_BYTES_MAX:
            raise click.ClickException(f"a value has at most {VALUE_BYTES_MAX} bytes, and standard input has more")
    with target.client() as client:
        result = client.put(key, value, expected_revision=if_revision)
    show_record({"key": key, "revision": result.revision, "version": result.version}, output_format)
    return ExitCode.OK


@click.command("del", short_help="Delete a key.")
@_key_argument
@_if_revision
@format_option
@pass_target
def del_command(target: Target, key: bytes, if_revision: int | None, output_format: OutputFormat) -> int:
    """Delete KEY, exactly once. Exit code 3 if there was none.

    \b
    Example:
      raftctl del greeting
    """
    with target.client() as client:
        result = client.delete(key, expected_revision=if_revision)
    show_record({"key": key, "deleted": result.deleted, "revision": result.revision}, output_format)
    return ExitCode.OK if result.deleted else ExitCode.NOT_FOUND
