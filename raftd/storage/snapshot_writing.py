"""Snapshot files in the making: from what the state machine gives, or from what a leader sends."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raftd.consensus.types import LogIndex, Term
from raftd.errors import DecodeError, LocalProtocolError, RemoteProtocolError, StorageError
from raftd.storage.filesystem import File, FileSystem
from raftd.storage.snapshot_format import SnapshotEncoder, SnapshotMetadata, SnapshotParser

PAYLOAD_START_BYTES: Final = 256
"""How much of a state is kept to be looked at before it has come in full: more than any head of one has."""


class Draft:
    """A file that is written from its beginning to its end, and gets its name when it is whole and durable."""

    def __init__(
        self,
        filesystem: FileSystem,
        path: Path,
        target: Path,
        sync_bytes: int,
        committed: Callable[[SnapshotMetadata], None],
    ) -> None:
        """Make the file, in place of what may have been left there."""
        self._filesystem = filesystem
        self._path = path
        self._target = target
        self._sync_bytes = sync_bytes
        self._committed = committed
        self._unsynced_bytes = 0
        self._file: File | None = None
        self.length = 0
        """Bytes that were written."""
        try:
            remove_if_there(filesystem, path)
            self._file = filesystem.create(path)
        except OSError as error:
            raise snapshot_error(path, "cannot be made", error) from error

    @property
    def is_open(self) -> bool:
        """Whether it may be written."""
        return self._file is not None

    def check_open(self) -> File:
        """Give the file.

        Raises:
            LocalProtocolError: It was committed or discarded.
        """
        if self._file is None:
            raise LocalProtocolError(f"{self._target.name}: it is finished or given up")
        return self._file

    def append(self, data: bytes) -> None:
        """Write behind what is there, and sync when enough has come together."""
        file = self.check_open()
        try:
            file.write(self.length, data)
            self.length += len(data)
            self._unsynced_bytes += len(data)
            if self._unsynced_bytes >= self._sync_bytes:
                file.sync()
                self._unsynced_bytes = 0
        except OSError as error:
            self.discard()
            raise snapshot_error(self._path, "cannot be written", error) from error

    def commit(self, metadata: SnapshotMetadata) -> None:
        """Make it durable under its name, and tell of it."""
        file = self.check_open()
        try:
            file.sync()
            self._filesystem.rename(self._path, self._target)
        except OSError as error:
            self.discard()
            raise snapshot_error(self._path, "cannot be finished", error) from error
        self._close()
        try:
            self._filesystem.sync_directory(self._path.parent)
        except OSError as error:
            # It would take the room of the next one, and be the newest of those that are kept.
            with contextlib.suppress(OSError):
                self._filesystem.unlink(self._target)
            raise snapshot_error(self._target, "its name cannot be stored", error) from error
        self._committed(metadata)

    def discard(self) -> None:
        """Remove it, if it has no name yet; what cannot be removed now is removed at the next start."""
        if self._file is not None:
            self._close()
            with contextlib.suppress(OSError):
                self._filesystem.unlink(self._path)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class SnapshotWriter:
    """A snapshot that is being made; from `SnapshotStore.begin`."""

    def __init__(self, metadata: SnapshotMetadata, encoder: SnapshotEncoder, draft: Draft) -> None:
        """Write the header."""
        self.metadata = metadata
        self._encoder = encoder
        self._draft = draft
        draft.append(encoder.header)

    @property
    def is_open(self) -> bool:
        """Whether it is still being made."""
        return self._draft.is_open

    def write(self, payload: bytes) -> None:
        """Add a piece of the state machine's snapshot.

        Raises:
            StorageError: The disk failed; the snapshot is given up.
            LocalProtocolError: It was given up or finished before.
        """
        for buffer in self._encoder.add(payload):
            self._draft.append(buffer)

    def commit(self) -> None:
        """Finish: from now on this is the newest snapshot, durably.

        Raises:
            StorageError: The disk failed. The snapshot is not known to be durable; if it is found later, it is whole.
            LocalProtocolError: It was given up or finished before.
        """
        for buffer in self._encoder.finish():
            self._draft.append(buffer)
        self._draft.commit(self.metadata)

    def abort(self) -> None:
        """Give it up; nothing happens if it is finished."""
        self._draft.discard()


class SnapshotReceiver:
    """A snapshot that a leader is sending, in the very bytes of its file; from `SnapshotStore.receive`."""

    def __init__(self, cluster_id: bytes, last_included: tuple[LogIndex, Term], draft: Draft) -> None:
        """Wait for the first byte."""
        self.last_included = last_included
        """Index and term of the last entry that the snapshot includes."""
        self.payload_start = b""
        """What the state begins with, as far as it has come, and up to `PAYLOAD_START_BYTES`."""
        self._draft = draft
        self._parser = SnapshotParser(cluster_id, last_included)

    @property
    def metadata(self) -> SnapshotMetadata:
        """What it is of, membership included.

        Raises:
            LocalProtocolError: The header has not come yet.
        """
        if self._parser.metadata is None:
            raise LocalProtocolError("the snapshot's header has not come yet")
        return self._parser.metadata

    @property
    def is_open(self) -> bool:
        """Whether it is still being received."""
        return self._draft.is_open

    @property
    def next_offset(self) -> int:
        """How many bytes have come: the transfer goes on here, after whatever interruption."""
        return self._draft.length

    @property
    def complete(self) -> bool:
        """Whether all of it has come, and was found right. If not, and the sender has no more, it must be aborted."""
        return self._parser.finished

    def write(self, offset: int, data: bytes) -> int:
        """Take bytes that are at `offset` in the sender's file.

        What came before is passed over, and so is what would leave a gap: messages are lost, repeated and reordered.

        Returns:
            The new `next_offset`.

        Raises:
            RemoteProtocolError: These are not the bytes of this snapshot. All of it is given up, since it may be what
                came earlier that does not fit.
            StorageError: The disk failed; the snapshot is given up.
            LocalProtocolError: It was given up or finished before.
        """
        self._draft.check_open()
        known = self.next_offset - offset
        if not 0 <= known < len(data):
            return self.next_offset
        data = data[known:]
        try:
            payloads = self._parser.feed(data)
        except DecodeError as error:
            self.abort()
            raise RemoteProtocolError(
                f"the snapshot at {self.last_included[0]} is not right after byte {self._parser.checked_bytes}: {error}"
            ) from error
        for payload in payloads:
            self.payload_start += payload[: PAYLOAD_START_BYTES - len(self.payload_start)]
        self._draft.append(data)
        return self.next_offset

    def commit(self) -> None:
        """Finish, as `SnapshotWriter.commit` does.

        Raises:
            LocalProtocolError: It has not come in full, or was given up or finished before.
            StorageError: As there.
        """
        self._draft.check_open()
        if not self.complete:
            raise LocalProtocolError(f"only {self.next_offset} bytes of the snapshot have come")
        self._draft.commit(self.metadata)

    def abort(self) -> None:
        """Give it up; nothing happens if it is finished."""
        self._draft.discard()


def remove_if_there(filesystem: FileSystem, path: Path) -> None:
    """Remove a file, not durably, unless there is none."""
    if path.name in filesystem.list_directory(path.parent):
        filesystem.unlink(path)


def snapshot_error(path: Path, doing: str, error: OSError) -> StorageError:
    """Make the error for a disk that failed."""
    return StorageError(f"{path}: {doing}: {error.strerror or error}")
