"""Snapshot files: made here or received from a leader, read to restore a state or to send it to a follower.

======================================= ================================================================================
name in ``snapshots/``                  what a crash may leave
======================================= ================================================================================
``<index>-<term>.snapshot``, 20 digits  a whole snapshot, as `raftd.storage.snapshot_format` describes it: it has this
each, of the last included entry        name only after all of it was synced
``snapshot.new``                        the one that is being made here: any part of it, torn; removed at start
``snapshot.received``                   the one that a leader is sending: any part of it, torn; removed at start
======================================= ================================================================================

A crash may undo the last renaming, so that a whole snapshot is ``snapshot.new`` or ``snapshot.received`` again, and is
removed: nothing depends on it before `commit` returns, which is after the directory was synced, or before the next
process has synced it at its start. Only then may the log be compacted. Snapshots that are no longer needed are removed
one by one, and a crash may bring any of them back: the newest is never among them, and older ones mean nothing. Other
names are not this store's and are left alone.

**Which one counts.** The newest, if it is valid; and if it is not, none, and the node does not start. An older one
would do only if the log still reached back to it, and the log is compacted by the newest. Whoever knows better can set
the damaged file aside: then the next one counts, and `open_log` refuses a log that does not reach back to it.

**What a failure means.** A snapshot that cannot be written is given up; the ones before it and the log are as they
were, so a `StorageError` here need not end the process. The file is synced every few megabytes, so that its pages do
not pile up into one sync that the log's own would have to wait for.

A store, and what it gives out, belongs to one thread at a time; but a `SnapshotSource` may be in another one.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raftd.consensus.types import LogIndex, Term
from raftd.errors import DecodeError, LocalProtocolError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import File
from raftd.storage.format import damaged
from raftd.storage.snapshot_format import (
    CHUNK_BYTES,
    SnapshotEncoder,
    SnapshotHeader,
    SnapshotMetadata,
    SnapshotParser,
)
from raftd.storage.snapshot_writing import (
    Draft,
    SnapshotReceiver,
    SnapshotWriter,
    remove_if_there,
    snapshot_error,
)

SYNC_BYTES: Final = 8 << 20
"""How much is written between two syncs."""

_READ_BYTES: Final = 1 << 20
_SUFFIX: Final = ".snapshot"
_NAME: Final = re.compile(r"([0-9]{20})-([0-9]{20})\.snapshot", re.ASCII)
_WRITTEN_NAME: Final = "snapshot.new"
_RECEIVED_NAME: Final = "snapshot.received"


class SnapshotStore:
    """The snapshots of one data directory."""

    def __init__(
        self, directory: DataDirectory, *, chunk_bytes: int = CHUNK_BYTES, sync_bytes: int = SYNC_BYTES
    ) -> None:
        """Remove what is unfinished, and read the newest snapshot through.

        Args:
            directory: The data directory, locked by this process.
            chunk_bytes: Of the snapshots that are made here; the same on all nodes of a cluster, so that one may go on
                with what another has begun to send.
            sync_bytes: See `SYNC_BYTES`.

        Raises:
            CorruptionError: The newest snapshot is damaged, or is not of this cluster.
            StorageError: The disk failed.
        """
        self._filesystem = directory.filesystem
        self._path = directory.snapshots_path
        self._cluster_id = directory.identity.cluster_id
        self._chunk_bytes = chunk_bytes
        self._sync_bytes = sync_bytes
        self._writer: SnapshotWriter | None = None
        self._receiver: SnapshotReceiver | None = None
        self._latest: SnapshotMetadata | None = None
        try:
            for name in (_WRITTEN_NAME, _RECEIVED_NAME):
                remove_if_there(self._filesystem, self._path / name)
            # A process that was killed may have renamed one and not made that durable. The log is let go of by what is
            # found here, so a power cut must not take it back.
            self._filesystem.sync_directory(self._path)
            paths = self._paths()
            if paths:
                self._latest = self._verify(paths[-1])
        except OSError as error:
            raise snapshot_error(self._path, "cannot be opened", error) from error

    def latest(self) -> SnapshotMetadata | None:
        """The newest snapshot; None if there is none."""
        return self._latest

    def begin(self, metadata: SnapshotMetadata) -> SnapshotWriter:
        """Begin to make a snapshot.

        Raises:
            LocalProtocolError: Another one is being made, or there is one at this index or after it.
            StorageError: The disk failed.
        """
        if self._writer is not None and self._writer.is_open:
            raise LocalProtocolError("a snapshot is being made already")
        self._check_is_newer(metadata.last_included_index)
        encoder = SnapshotEncoder(SnapshotHeader(self._cluster_id, metadata, self._chunk_bytes))
        self._writer = SnapshotWriter(metadata, encoder, self._draft(_WRITTEN_NAME, *metadata.last_included))
        return self._writer

    def receive(self, last_included_index: LogIndex, last_included_term: Term) -> SnapshotReceiver:
        """Begin or go on to receive a snapshot; one of something else that has not come in full is given up.

        Raises:
            LocalProtocolError: There is one at this index or after it.
            StorageError: The disk failed.
        """
        receiver = self._receiver
        last_included = last_included_index, last_included_term
        if receiver is not None and receiver.is_open:
            if receiver.last_included == last_included:
                return receiver
            receiver.abort()
        self._check_is_newer(last_included_index)
        draft = self._draft(_RECEIVED_NAME, last_included_index, last_included_term)
        self._receiver = SnapshotReceiver(self._cluster_id, last_included, draft)
        return self._receiver

    def open(self, metadata: SnapshotMetadata) -> "SnapshotSource":
        """Open a snapshot for reading. It can be read until it is closed, even when it is pruned meanwhile.

        Raises:
            StorageError: It is not there, or the disk failed.
        """
        path = self._path_of(*metadata.last_included)
        try:
            return SnapshotSource(self._filesystem.open(path), metadata, self._cluster_id)
        except OSError as error:
            raise snapshot_error(path, "cannot be opened", error) from error

    def prune(self, keep: int) -> int:
        """Remove all but the newest `keep` snapshots, and never `latest`; returns how many were removed.

        So is one that a leader began to send and never finished, once there is one made here that is as new. Where none
        but the newest is to be kept, there is no room, and any that is being received goes: it can be sent again.

        Raises:
            LocalProtocolError: `keep` is not positive.
            StorageError: The disk failed.
        """
        if keep < 1:
            raise LocalProtocolError("the newest snapshot has to be kept")
        removed = self._give_up_receiving(keep)
        # What is newer than that has its name, and may lose it: to make that durable has failed.
        durable = None if self._latest is None else self._path_of(*self._latest.last_included)
        try:
            for path in self._paths()[:-keep]:
                if path == durable:
                    continue
                self._filesystem.unlink(path)
                self._filesystem.sync_directory(self._path)
                removed += 1
        except OSError as error:
            raise snapshot_error(self._path, "cannot be pruned", error) from error
        return removed

    def _give_up_receiving(self, keep: int) -> int:
        receiver, latest = self._receiver, self._latest
        if receiver is None or not receiver.is_open:
            return 0
        is_outdated = latest is not None and receiver.last_included[0] <= latest.last_included_index
        if keep > 1 and not is_outdated:
            return 0
        receiver.abort()
        return 1

    def _check_is_newer(self, index: LogIndex) -> None:
        latest = self._latest
        if latest is not None and index <= latest.last_included_index:
            raise LocalProtocolError(f"no snapshot at {index}: there is one at {latest.last_included_index} already")

    def _path_of(self, index: LogIndex, term: Term) -> Path:
        return self._path / f"{index:020d}-{term:020d}{_SUFFIX}"

    def _paths(self) -> list[Path]:
        """The whole snapshots, the newest last: names sort as their numbers do."""
        names = [name for name in self._filesystem.list_directory(self._path) if name.endswith(_SUFFIX)]
        for name in names:
            if not _NAME.fullmatch(name):
                raise damaged(self._path / name, 0, "a snapshot's name is two numbers of 20 digits")
        return [self._path / name for name in sorted(names)]

    def _verify(self, path: Path) -> SnapshotMetadata:
        """Read a snapshot through; returns what it is of."""
        with contextlib.closing(SnapshotSource(self._filesystem.open(path), None, self._cluster_id)) as source:
            for _ in source.payload():
                pass
            metadata = source.metadata
        if self._path_of(*metadata.last_included) != path:
            raise damaged(path, 0, "the snapshot has another one's name")
        return metadata

    def _draft(self, name: str, index: LogIndex, term: Term) -> Draft:
        def committed(metadata: SnapshotMetadata) -> None:
            if self._latest is None or index > self._latest.last_included_index:
                self._latest = metadata

        return Draft(self._filesystem, self._path / name, self._path_of(index, term), self._sync_bytes, committed)


class SnapshotSource:
    """A snapshot that is open for reading; from `SnapshotStore.open`."""

    def __init__(self, file: File, metadata: SnapshotMetadata | None, cluster_id: bytes) -> None:
        """Take over an open file; without metadata, it has that of the file's own header."""
        self._file = file
        self._metadata = metadata
        self._cluster_id = cluster_id
        self.size = file.size()
        """Bytes of the file, all of which a follower needs."""

    @property
    def metadata(self) -> SnapshotMetadata:
        """What it is of."""
        if self._metadata is None:
            raise LocalProtocolError("the snapshot has not been read yet")
        return self._metadata

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer only at its end. They are not checked: whoever receives them does that.

        Raises:
            StorageError: The disk failed.
        """
        try:
            return self._file.read(offset, length)
        except OSError as error:
            raise snapshot_error(self._file.path, "cannot be read", error) from error

    def payload(self) -> Iterator[bytes]:
        """The state machine's snapshot, in pieces, each of them checked. Only after the last one is all of it known.

        Raises:
            CorruptionError: The file is damaged, or of another snapshot or cluster.
            StorageError: The disk failed.
        """
        wanted = None if self._metadata is None else self._metadata.last_included
        parser = SnapshotParser(self._cluster_id, wanted)
        offset = 0
        try:
            while data := self.read(offset, _READ_BYTES):
                offset += len(data)
                yield from parser.feed(data)
            self._metadata = parser.finish()
        except DecodeError as error:
            raise damaged(self._file.path, parser.checked_bytes, str(error)) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
