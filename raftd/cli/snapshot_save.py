"""`raftctl snapshot save`: a node's state, into a file."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from raftd.cli import backup_file
from raftd.cli.backup_file import BackupFileError
from raftd.cli.named_path import FILE_OR_STREAM, NamedPath
from raftd.cli.new_file import check_place, new_file
from raftd.cli.output import OutputFormat, format_option, show_record, warn, write_bytes
from raftd.cli.progress import Progress
from raftd.cli.rotation import name_of, rotate
from raftd.cli.seekable import STREAM
from raftd.cli.status import Overview, look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, ClientConfig, ClientError, Unavailable
from raftd.errors import DecodeError, ExitCode
from raftd.storage.backup_format import BackupHeader, BackupParser

_LAG_ENTRIES_MAX: Final = 10_000
"""How far behind a node may be and have a backup's beginning within about a second."""


@click.command("save", short_help="Take a backup.")
@click.argument("file", type=FILE_OR_STREAM, required=False)
@click.option(
    "--directory",
    type=NamedPath(path_type=Path, file_okay=False, exists=True),
    help="Make a file with a name of its own in here.",
)
@click.option("--keep", type=Whole(min=1), metavar="N", help="With --directory: the newest N of this node.")
@click.option("--node", type=Whole(min=1), help="Ask this node; otherwise one that follows, if there is one.")
@click.option("--stale", is_flag=True, help="What the node has, be it old; needs no quorum.")
@click.option("--no-verify", is_flag=True, help="Do not load what was saved; then it does not count as a success.")
@format_option
@pass_target
def save_command(
    target: Target,
    file: str | None,
    directory: Path | None,
    keep: int | None,
    node: int | None,
    output_format: OutputFormat,
    *,
    stale: bool,
    no_verify: bool,
) -> int:
    """Take a backup of all that the cluster holds, into FILE (`-`: standard output), while everything goes on.

    It is the state of the node that is asked, at one moment, and has everything that was written before this command
    began. What comes is checked; the file is loaded as a node would do it, and takes its name only if that succeeds.
    It has every key and value in it, and is made for you alone. Only users who may do everything can take one.

    \b
    Example:
      raftctl snapshot save monday.backup
      raftctl snapshot save --node 2 --directory /var/backups/raftd --keep 14
      raftctl snapshot save - | gpg --encrypt -r ops > monday.backup.gpg
    """
    if (file is None) == (directory is None):
        raise click.UsageError("name a FILE, or a --directory")
    if keep is not None and directory is None:
        raise click.UsageError("--keep is for backups in a --directory")
    config = target.resolve()
    if file not in {None, STREAM}:
        check_place(Path(file))  # before a node is asked: a place that is named wrongly is no backup that failed
    started = time.monotonic()
    endpoint = _endpoint(config, node, stale=stale)
    with Client.from_config(config) as client:
        if file == STREAM:
            header = _download(client, endpoint, stale=stale, sink=lambda _: contextlib.nullcontext(write_bytes))
            warn("raftctl", f"saved the state of revision {header.revision}, {header.file_length} bytes")
            return ExitCode.OK
        place = _Place(None if file is None else Path(file), directory, verify=not no_verify)
        try:
            header = _download(client, endpoint, stale=stale, sink=place.open)
        except (ClientError, click.ClickException):
            _report(client, endpoint, None)
            raise
        if not no_verify:
            _report(client, endpoint, header.wall_clock_ms)
    removed = _rotate(directory, header, keep)
    show_record(
        {
            "file": str(place.path),
            "node": header.node_id,
            "revision": header.revision,
            "index": header.last_included_index,
            "bytes": header.file_length,
            "seconds": round(time.monotonic() - started, 3),
            "verified": not no_verify,
            **({} if keep is None else {"removed": len(removed)}),
        },
        output_format,
    )
    return ExitCode.OK


class _Place:
    """Where the file goes."""

    def __init__(self, file: Path | None, directory: Path | None, *, verify: bool) -> None:
        self._file = file
        self._directory = directory
        self._verify = verify
        self.path = Path()
        """Its name, as soon as that is known."""

    @contextlib.contextmanager
    def open(self, header: BackupHeader) -> Iterator[Callable[[bytes], object]]:
        """A function that writes into the file, which is verified and gets its name at the end."""
        if self._file is not None:
            self.path = self._file
        elif self._directory is not None:
            self.path = self._directory / name_of(header)
        with new_file(self.path, _verify if self._verify else None) as stream:
            yield stream.write


def _verify(path: Path) -> None:
    with Progress("verify", path.stat().st_size) as progress:
        backup_file.load(path, progress.advance, thorough=True)


def _endpoint(config: ClientConfig, node: int | None, *, stale: bool) -> str:
    """Which node to ask. Raises: ClientError."""
    with Client.from_config(with_patience(config)) as client:
        overview = look(client, config.endpoints)
    endpoint = overview.endpoint_of(_follower(overview) if node is None else node)
    if not stale:
        _warn_of_waiting(overview, endpoint)
    return endpoint


def _warn_of_waiting(overview: Overview, endpoint: str) -> None:
    """A node that lacks something gets it first, however long that takes: whoever waits should know why."""
    row = next(row for row in overview.rows if row["endpoint"] == endpoint)
    lag, knows_leader = row["lag"], row["leader"] is not None
    reasons = [] if knows_leader else ["knows no leader"]
    if isinstance(lag, int) and lag > _LAG_ENTRIES_MAX:
        reasons.append(f"is {lag} entries behind")
    if reasons:
        warn(
            "raftctl",
            f"node {row['node']} {' and '.join(reasons)}: the backup begins once it has caught up, while --stale "
            "takes what it has now",
        )


def _follower(overview: Overview) -> int | None:
    """A node that is well and does not lead, which has less to do; None: the leader."""
    followers = (row["node"] for row in overview.rows if row["healthy"] and row["node"] != row.get("leader"))
    found = next(followers, None)
    return found if isinstance(found, int) else None


def _download(
    client: Client,
    endpoint: str,
    *,
    stale: bool,
    sink: Callable[[BackupHeader], contextlib.AbstractContextManager[Callable[[bytes], object]]],
) -> BackupHeader:
    """Have a node's state sent, and check it on its way.

    Raises:
        ClientError: The node did not send all of it.
        BackupFileError: What came is not what a node sends.
    """
    backup = client.begin_backup(endpoint, stale=stale)
    parser = BackupParser()
    offset = 0
    with contextlib.ExitStack() as stack:
        write: Callable[[bytes], object] | None = None
        unwritten = b""
        progress = stack.enter_context(Progress("backup", backup.size_bytes))
        while data := client.read_backup(backup, offset) if offset < backup.size_bytes else b"":
            try:
                parser.feed(data)
            except DecodeError as error:
                raise BackupFileError(f"{endpoint}: what it sends is no backup: {error}") from None
            offset += len(data)
            unwritten += data
            if write is None and parser.header is not None:
                write = stack.enter_context(sink(parser.header))
            if write is not None:
                write(unwritten)
                unwritten = b""
            progress.advance(len(data))
        try:
            # Inside, so that a file that was cut does not get its name.
            return parser.finish(offset)
        except DecodeError as error:
            raise Unavailable(f"{endpoint}: the backup has not come in full: {error}") from None


def _report(client: Client, endpoint: str, verified_ms: int | None) -> None:
    """Tell the node what became of it, which shows it to whoever watches the cluster."""
    try:
        client.report_backup(endpoint, verified_ms)
    except ClientError as error:
        if verified_ms is not None:
            warn("raftctl", f"the backup is good, but the node could not be told so: {error}")


def _rotate(directory: Path | None, header: BackupHeader, keep: int | None) -> list[Path]:
    if directory is None or keep is None:
        return []
    try:
        return rotate(directory, header, keep)
    except OSError as error:
        raise click.ClickException(
            f"the backup is good, but older ones cannot be removed: {error.filename}: {error.strerror}"
        ) from None
