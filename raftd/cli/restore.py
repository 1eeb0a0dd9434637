"""`raftctl import`: keys out of a file that `raftctl export` has written."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

import click

from raftd.cli import dump
from raftd.cli.dump import DumpError, Entry
from raftd.cli.named_path import FILE_OR_STREAM
from raftd.cli.output import OutputFormat, format_option, show_record, warn
from raftd.cli.progress import Progress
from raftd.cli.seekable import name_of_input, opened_seekable
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, ClientError, OutcomeUnknown, Put, Transaction, TransactionResult, version
from raftd.client.namespace import Namespace, to_value
from raftd.errors import ExitCode
from raftd.kv.limits import OPERATIONS_MAX

_BATCH_BYTES: Final = 512 << 10
"""A step is closed once it has this many bytes of keys and values."""
_KEPT_BATCH_ENTRIES: Final = OPERATIONS_MAX // 2
"""With --keep, each key takes two operations: a transaction, and the put in it."""


class ImportFileError(click.ClickException):
    """A file cannot be imported."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that is valid, from its first line to its last."""

    revision: int
    keys: int
    bytes_total: int
    leased: int


@click.command("import", short_help="Write keys and values from a file.")
@click.argument("file", default="-", type=FILE_OR_STREAM)
@click.option("--skip", type=Whole(min=0), default=0, metavar="N", help="Leave out the first N keys.")
@click.option("--keep", is_flag=True, help="Leave keys alone that are there already.")
@click.option("--dry-run", is_flag=True, help="Only check the file; no node is asked.")
@format_option
@pass_target
def import_command(
    target: Target, file: str, skip: int, output_format: OutputFormat, *, keep: bool, dry_run: bool
) -> int:
    """Write the keys in FILE, or in standard input, which `raftctl export` has written.

    The whole file is checked before anything is written: one that was cut or changed is refused. Keys are written in
    steps of up to 128; if the cluster cannot be reached in the middle, it is said how many were, and --skip goes on
    there. Writing the same file twice does no harm. Keys that had a lease are written without one. What else is in the
    cluster stays as it is.

    \b
    Example:
      raftctl import everything.jsonl --dry-run
      raftctl import everything.jsonl
      raftctl --namespace copy/ import < config.jsonl
    """
    namespace = Namespace(target.namespace if dry_run else target.resolve().namespace)
    name = name_of_input(file)
    with _opened(file) as stream:
        try:
            checked = _check(stream, namespace)
        except (DumpError, ClientError) as error:
            raise ImportFileError(f"{name}: {error}; nothing was written") from None
        record = {"revision": checked.revision, "keys": checked.keys, "bytes": checked.bytes_total}
        if dry_run:
            show_record({**record, "leased": checked.leased}, output_format)
            return ExitCode.OK
        stream.seek(0)
        _, entries = dump.read(stream)
        skipped = min(skip, checked.keys)
        work = _Import(keep=keep, done=skipped, total=checked.keys)
        with target.client() as client:
            code = work.run(client, islice(entries, skipped, None))
    if code == ExitCode.OK:
        show_record({**record, "written": work.done - skipped - work.kept, "kept": work.kept}, output_format)
    return code


class _Import:
    """Writes entries, and knows how far it is."""

    def __init__(self, *, keep: bool, done: int, total: int) -> None:
        self.done = done
        """How many of the file's keys are done with."""
        self.kept = 0
        """How many of those were there already."""
        self._keep = keep
        self._total = total

    def run(self, client: Client, entries: Iterable[Entry]) -> int:
        """Write all; returns an exit code, and has said why if it is not 0."""
        with Progress("import", self._total) as progress:
            progress.advance(self.done)
            try:
                for batch in batches(entries, _KEPT_BATCH_ENTRIES if self._keep else OPERATIONS_MAX):
                    result = self._transaction(client, batch).commit()
                    nested = [each for each in result.results if isinstance(each, TransactionResult)]
                    self.kept += sum(not each.succeeded for each in nested)
                    self.done += len(batch)
                    progress.advance(len(batch))
            except (ClientError, DumpError, KeyboardInterrupt) as error:
                failure = error
            else:
                return ExitCode.OK
        in_doubt = " and perhaps the next few" if isinstance(failure, OutcomeUnknown | KeyboardInterrupt) else ""
        if str(failure):
            warn("raftctl", str(failure))
        warn(
            "raftctl",
            f"{self.done} of {self._total} keys are written{in_doubt}; --skip {self.done} goes on there",
        )
        if isinstance(failure, KeyboardInterrupt):
            raise failure
        return failure.exit_code if isinstance(failure, ClientError) else ExitCode.ERROR

    def _transaction(self, client: Client, batch: list[Entry]) -> Transaction[TransactionResult]:
        puts = [Put(entry.key, entry.value) for entry in batch]
        if not self._keep:
            return client.transaction().then(*puts)
        return client.transaction().then(*(client.transaction().when(version(put.key) == 0).then(put) for put in puts))


def batches(entries: Iterable[Entry], entries_max: int) -> Iterator[list[Entry]]:
    """Entries in groups that fit one transaction each."""
    batch: list[Entry] = []
    batch_bytes = 0
    for entry in entries:
        entry_bytes = len(entry.key) + len(entry.value)
        if batch and (len(batch) == entries_max or batch_bytes + entry_bytes > _BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(entry)
        batch_bytes += entry_bytes
    if batch:
        yield batch


def _check(stream: BinaryIO, namespace: Namespace) -> Checked:
    """Read all of it. Raises: DumpError, ClientError: it cannot be imported."""
    header, entries = dump.read(stream)
    keys = bytes_total = leased = 0
    for entry in entries:
        namespace.key(entry.key)
        to_value(entry.value)
        keys += 1
        bytes_total += len(entry.key) + len(entry.value)
        leased += bool(entry.lease)
    return Checked(header.revision, keys, bytes_total, leased)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    try:
        with opened_seekable(file) as stream:
            yield stream
    except OSError as error:
        raise ImportFileError(f"{name_of_input(file)}: {error.strerror}") from None
