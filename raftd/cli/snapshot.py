"""`raftctl snapshot`: backups of everything that a cluster holds."""

import click

from raftd.cli import backup_file
from raftd.cli.commands import LazyGroup
from raftd.cli.named_path import FILE_OR_STREAM
from raftd.cli.output import OutputFormat, format_option, show_record
from raftd.cli.progress import Progress
from raftd.errors import ExitCode

_file_argument = click.argument("file", type=FILE_OR_STREAM)


@click.group(
    "snapshot",
    short_help="Back up everything, and restore it.",
    cls=LazyGroup,
    commands_at={
        "restore": "raftd.cli.snapshot_restore:restore_command",
        "save": "raftd.cli.snapshot_save:save_command",
    },
)
def group() -> None:
    """Back up everything that the cluster holds, and restore it.

    A backup is the whole state at one moment: keys with their revisions, leases, sessions, and the changes that are
    held. `raftctl export` is for keys and values alone, as text.

    \b
    Example:
      raftctl snapshot save monday.backup
      raftctl snapshot verify monday.backup
      raftctl snapshot restore monday.backup
    """


@group.command("inspect", short_help="Show what a backup says of itself.")
@_file_argument
@format_option
def inspect_command(file: str, output_format: OutputFormat) -> int:
    """Show of which cluster and when FILE (`-`: standard input) is, and how much is in it.

    Only its beginning and its length are looked at.

    \b
    Example:
      raftctl snapshot inspect monday.backup
    """
    with backup_file.opened(file) as backup:
        contents = backup.inspect()
    show_record(contents.record, output_format)
    return ExitCode.OK


@group.command("verify", short_help="See whether a backup is good.")
@_file_argument
@format_option
def verify_command(file: str, output_format: OutputFormat) -> int:
    """Load FILE (`-`: standard input) as a node would, and see whether that makes the very state that was saved.

    No node is asked. Exit code 1 and a line that says where, if it was cut or damaged.

    \b
    Example:
      raftctl snapshot verify monday.backup
      gpg --decrypt monday.backup.gpg | raftctl snapshot verify -
    """
    with backup_file.opened(file) as backup:
        contents = backup.inspect()
        with Progress("verify", contents.header.file_length) as progress:
            backup.load(progress.advance, thorough=True)
    show_record({**contents.record, "verified": True}, output_format)
    return ExitCode.OK
