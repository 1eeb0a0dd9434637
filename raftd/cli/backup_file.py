"""Backups as files: what one says of itself, and whether a state can be made of it."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import click

from raftd.cli.seekable import name_of_input, opened_seekable
from raftd.consensus.membership_codec import decode_membership
from raftd.errors import DecodeError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import Head, decode_head
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.storage.backup_format import BackupHeader, BackupParser

_READ_BYTES: Final = 1 << 20
_BEGIN_BYTES: Final = 64 << 10


class BackupFileError(click.ClickException):
    """A file is not a backup, or not all of one."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself at its beginning."""

    header: BackupHeader
    head: Head
    voters: tuple[int, ...]
    """Of the cluster then."""

    @property
    def record(self) -> dict[str, object]:
        """To be shown."""
        header, head = self.header, self.head
        return {
            "cluster": header.cluster_name,
            "cluster_id": str(UUID(bytes=header.cluster_id)),
            "node": header.node_id,
            "time": time_of(header).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "revision": header.revision,
            "index": header.last_included_index,
            "term": header.last_included_term,
            "format": header.format_version,
            "bytes": header.file_length,
            "voters": ", ".join(map(str, self.voters)),
            "keys": head.key_count,
            "key_bytes": head.bytes_total,
            "leases": head.lease_count,
            "sessions": head.session_count,
            "changes": head.change_count,
            "compacted_revision": head.compacted_revision,
            "state_hash": f"{header.state_hash:08x}",
        }


def time_of(header: BackupHeader) -> datetime:
    """When the backup was taken, by the clock of the node that was asked."""
    return datetime.fromtimestamp(min(header.wall_clock_ms, _LATEST_MS) / 1000, UTC)


_LATEST_MS: Final = 253_402_300_799_000
"""9999-12-31: what comes after, `datetime` cannot say."""


def inspect(path: Path) -> Contents:
    """As `BackupFile.inspect`, of the file with this name."""
    with opened(str(path)) as backup:
        return backup.inspect()


def load(path: Path, advance: Callable[[int], None], *, thorough: bool = False) -> tuple[BackupHeader, StateMachine]:
    """As `BackupFile.load`, of the file with this name."""
    with opened(str(path)) as backup:
        return backup.load(advance, thorough=thorough)


@contextmanager
def opened(file: str) -> Iterator["BackupFile"]:
    """Open a backup; `-` is standard input. Raises: BackupFileError: it cannot be."""
    with ExitStack() as stack:
        name = name_of_input(file)
        with _reading(name):
            stream = stack.enter_context(opened_seekable(file))
        yield BackupFile(name, stream)


class BackupFile:
    """A file that is open, and said to be a backup.

    Args:
        name: what a message calls it.
        stream: its bytes.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self._stream = stream

    def inspect(self) -> Contents:
        """Read what a backup says of itself; whether the rest is right, nobody has looked.

        Raises:
            BackupFileError: It is none, or not as long as it says.
        """
        parser = BackupParser()
        begin = b""
        head: Head | None = None
        for data in self._pieces(_BEGIN_BYTES):
            with self._judging(parser):
                begin += b"".join(parser.feed(data))
                head = decode_head(begin)
            if head is not None:
                break
        with _reading(self.name):
            length = self._stream.seek(0, os.SEEK_END)
        with self._judging(parser):
            header, metadata = parser.header, parser.metadata
            if header is None or head is None or metadata is None or length != header.file_length:
                parser.finish(length)
                raise DecodeError("there is no state in it")
            voters = decode_membership(metadata.membership).all_voters
        return Contents(header, head, tuple(sorted(voters)))

    def load(self, advance: Callable[[int], None], *, thorough: bool = False) -> tuple[BackupHeader, StateMachine]:
        """Make a state of a backup, in just the way in which a node does it.

        Args:
            advance: is told how many more bytes of it are done with.
            thorough: make a snapshot of the state, too, and see whether that is, byte for byte, what it was made of.

        Raises:
            BackupFileError: It is none, or damaged, or its state cannot be loaded; the message says after which byte.
        """
        parser, loader = BackupParser(), SnapshotLoader()
        payload_hash = hashlib.sha256()
        length = 0
        for data in self._pieces(_READ_BYTES):
            with self._judging(parser):
                for payload in parser.feed(data):
                    payload_hash.update(payload)
                    loader.feed(payload)
            length += len(data)
            advance(len(data))
        with self._judging(parser):
            header = parser.finish(length)
            machine = loader.finish()
            promised = (header.last_included_index, header.revision, header.state_hash)
            if (machine.last_applied, machine.revision, machine.state_hash) != promised:
                raise DecodeError("its header is that of another state")
            if thorough and _hash_of(machine) != payload_hash.digest():
                raise DecodeError("the state that it makes is not the one that it was made of")
        return header, machine

    def _pieces(self, length: int) -> Iterator[bytes]:
        """All of it, from the beginning on."""
        with _reading(self.name):
            self._stream.seek(0)
        while True:
            with _reading(self.name):
                data = self._stream.read(length)
            if not data:
                return
            yield data

    @contextmanager
    def _judging(self, parser: BackupParser) -> Iterator[None]:
        """Say of which file, and after which byte, something is wrong."""
        try:
            yield
        except DecodeError as error:
            raise BackupFileError(f"{self.name}: byte {parser.checked_bytes}: {error}") from None


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupFileError(f"{name}: {error.strerror}") from None


def _hash_of(machine: StateMachine) -> bytes:
    """Of the machine's snapshot; equal states have equal ones."""
    digest = hashlib.sha256()
    reader = machine.begin_snapshot()
    while (piece := reader.read(_READ_BYTES)) is not None:
        digest.update(piece)
    return digest.digest()
