"""`raftctl get | set | del`."""

import sys

import click

from raftd.cli.output import OutputFormat, format_option, printable, show_record, warn, write
from raftd.cli.target import Target, pass_target
from raftd.errors import ExitCode

_if_revision = click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only if the key was last changed at revision N; 0: only if it is absent.",
)


@click.command("get")
@click.argument("key")
@click.option("--stale", is_flag=True, help="From any node, and maybe not the newest; works without a quorum.")
@click.option("--raw", is_flag=True, help="The value's bytes and nothing else, no line end either.")
@format_option
@pass_target
def get_command(target: Target, key: str, output_format: OutputFormat, *, stale: bool, raw: bool) -> int:
    """Print the value of KEY. On a terminal, what is not printable text is escaped.

    Exit code 3 if there is none.

    \b
    Example:
      raftctl get greeting
      raftctl get greeting -o json
      raftctl get --raw picture > picture.png
    """
    with target.client() as client:
        found = client.get(key, stale=stale)
    if found is None:
        warn("raftctl", f"there is no key {printable(key)}")
        return ExitCode.NOT_FOUND
    if raw or (output_format is OutputFormat.TABLE and not sys.stdout.isatty()):
        sys.stdout.flush()
        sys.stdout.buffer.write(found.value if raw else found.value + b"\n")
        return ExitCode.OK
    if output_format is OutputFormat.TABLE:
        write(printable(found.value) + "\n")
        return ExitCode.OK
    show_record(
        {
            "key": key,
            "value": found.value,
            "create_revision": found.create_revision,
            "modify_revision": found.modify_revision,
            "version": found.version,
        },
        output_format,
    )
    return ExitCode.OK


@click.command("set")
@click.argument("key")
@click.argument("value")
@_if_revision
@format_option
@pass_target
def set_command(target: Target, key: str, value: str, if_revision: int | None, output_format: OutputFormat) -> int:
    """Set KEY to VALUE, exactly once; VALUE `-` is read from standard input, byte for byte.

    \b
    Example:
      raftctl set greeting hello
      raftctl set motd - < /etc/motd
      raftctl set lock me --if-revision 0
    """
    content: bytes | str = sys.stdin.buffer.read() if value == "-" else value
    with target.client() as client:
        result = client.put(key, content, expected_revision=if_revision)
    show_record({"key": key, "revision": result.revision, "version": result.version}, output_format)
    return ExitCode.OK


@click.command("del")
@click.argument("key")
@_if_revision
@format_option
@pass_target
def del_command(target: Target, key: str, if_revision: int | None, output_format: OutputFormat) -> int:
    """Delete KEY, exactly once. Exit code 3 if there was none.

    \b
    Example:
      raftctl del greeting
    """
    with target.client() as client:
        result = client.delete(key, expected_revision=if_revision)
    show_record({"key": key, "deleted": result.deleted, "revision": result.revision}, output_format)
    return ExitCode.OK if result.deleted else ExitCode.NOT_FOUND
