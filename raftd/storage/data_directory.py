"""The data directory of one node, by default /var/lib/raftd/N: whose it is, and that only one process uses it.

============== =============================================================================================
name           what a crash may leave
============== =============================================================================================
``lock``       empty; locked (flock(2)) by the process that uses the directory, and free when that is gone
``identity``   whose data this is: complete, or absent. Absent means that the directory is new: the identity
               is written last, when there is a log, so a directory that has one and no log is damaged
``identity.new``  any part of an identity; removed at start
``wal/``       the log, see `raftd.storage.segment`; without an identity, at most a log without contents
``snapshots/`` the snapshots, see `raftd.storage.snapshots`
``reserve``    nothing but space, of any size, see `raftd.storage.reserve`; or absent
``proven``     empty: this directory has held all that its cluster had committed at some time. Absent where
               it is new, or began anew after its predecessor was lost (`raftd.consensus.proof`)
``removed``    empty: the cluster has removed this node, which must not run on this data any more; or absent
``backup``     when a backup succeeded and failed last, see `raftd.storage.backup_note`; or absent
============== =============================================================================================

The directory must be closed to others (mode 0700). It is made so; one that is found open is refused and not mended,
because its administrator should know that the keys could be read.

The identity, little-endian:

    offset  size  field
         0     8  magic             b"raftd-id"
         8     4  format_version    of everything in the directory: 1
        12    16  cluster_id
        28     8  node_id
        36     4  crc32             of the 36 bytes before

An identity is valid if and only if it has exactly these 40 bytes, and magic and crc32 are right.
"""

import stat
import struct
from pathlib import Path
from typing import Final
from uuid import UUID
from zlib import crc32

from raftd.errors import DataDirectoryError, StorageError
from raftd.storage.filesystem import File, FileSystem
from raftd.storage.format import FORMAT_VERSION, Identity, damaged

_MAGIC: Final = b"raftd-id"
_IDENTITY: Final = struct.Struct("<8sI16sQ")
_CRC: Final = struct.Struct("<I")
_OTHERS: Final = 0o077
_IDENTITY_BYTES: Final = _IDENTITY.size + _CRC.size


def check_place(path: Path) -> list[str]:
    """What keeps a real directory from being a node's, as far as can be seen without taking it; empty if nothing.

    Not that it is missing: systemd makes it, or a mount brings it.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"data_directory {path}: {error.strerror}"]
    except ValueError:  # a zero byte in it, or a character that the system's names cannot have
        return [f"data_directory {path}: no directory can be called that"]
    if not stat.S_ISDIR(mode):
        return [f"data_directory {path}: is not a directory"]
    if mode & _OTHERS:
        return [f"data_directory {path}: open to others (mode {stat.S_IMODE(mode):04o}); chmod it to 0700"]
    return []


class DataDirectory:
    """A data directory that this process has for itself until `close`."""

    def __init__(self, filesystem: FileSystem, path: Path, identity: Identity) -> None:
        """Take the directory, and make it if it is not there; its parent must be.

        Args:
            filesystem: Where the directory is.
            path: The directory.
            identity: Whose data it must hold, or will.

        Raises:
            DataDirectoryError: It is in use, open to others, or another node's, cluster's or format's.
            CorruptionError: Its identity is damaged.
            StorageError: The disk failed.
        """
        self.filesystem = filesystem
        self.path = path
        self.identity = identity
        self.log_path = path / "wal"
        self.snapshots_path = path / "snapshots"
        self.reserve_path = path / "reserve"
        self.backup_note_path = path / "backup"
        self._identity_path = path / "identity"
        self._new_identity_path = path / "identity.new"
        self._proven_path = path / "proven"
        self._removed_path = path / "removed"
        self._lock: File | None = None
        try:
            self._lock = self._take()
            self.is_new = not self._has_identity()
            names = filesystem.list_directory(path)
            self.is_proven = not self.is_new and self._proven_path.name in names
            self.is_removed = not self.is_new and self._removed_path.name in names
        except OSError as error:
            self.close()
            raise StorageError(f"{error.filename or path}: cannot open the data directory: {error.strerror}") from error
        except StorageError:
            self.close()
            raise

    def _take(self) -> File:
        """Make what is missing, and lock."""
        filesystem = self.filesystem
        filesystem.make_directory(self.path)
        mode = filesystem.mode(self.path)
        if mode & _OTHERS:
            raise DataDirectoryError(f"{self.path}: open to others (mode {mode:04o}); chmod it to 0700")
        lock_path = self.path / "lock"
        if lock_path.name in filesystem.list_directory(self.path):
            lock = filesystem.open(lock_path)
        else:
            lock = filesystem.create(lock_path)
        if not lock.lock():
            lock.close()
            raise DataDirectoryError(f"{self.path}: in use by another process")
        filesystem.make_directory(self.log_path)
        filesystem.make_directory(self.snapshots_path)
        filesystem.sync_directory(self.path)
        filesystem.sync_directory(self.path.parent)
        return lock

    def _has_identity(self) -> bool:
        """Compare the identity with what it must be; False if there is none."""
        names = self.filesystem.list_directory(self.path)
        if self._new_identity_path.name in names:
            self.filesystem.unlink(self._new_identity_path)
        if self._identity_path.name not in names:
            return False
        file = self.filesystem.open(self._identity_path)
        try:
            data = file.read(0, _IDENTITY_BYTES + 1)
        finally:
            file.close()
        self._check(data)
        return True

    def _check(self, data: bytes) -> None:
        """See that an identity is this node's."""
        if len(data) != _IDENTITY_BYTES or not data.startswith(_MAGIC):
            raise damaged(self._identity_path, 0, "this is not an identity")
        magic_version_cluster_node, crc = data[: _IDENTITY.size], _CRC.unpack_from(data, _IDENTITY.size)[0]
        if crc32(magic_version_cluster_node) != crc:
            raise damaged(self._identity_path, 0, "the identity's checksum is wrong")
        _, version, cluster_id, node_id = _IDENTITY.unpack_from(data)
        if version != FORMAT_VERSION:
            raise DataDirectoryError(
                f"{self.path}: has format {version}; this raftd knows format {FORMAT_VERSION} only"
            )
        wanted = self.identity
        if cluster_id != wanted.cluster_id:
            raise DataDirectoryError(
                f"{self.path}: belongs to cluster {UUID(bytes=cluster_id)}, and this node is of "
                f"{UUID(bytes=wanted.cluster_id)}"
            )
        if node_id != wanted.node_id:
            raise DataDirectoryError(f"{self.path}: belongs to node {node_id}, and this is node {wanted.node_id}")

    def stamp(self) -> None:
        """Write the identity, durably: the directory is no longer new.

        Raises:
            StorageError: The disk failed.
        """
        fields = _IDENTITY.pack(_MAGIC, FORMAT_VERSION, self.identity.cluster_id, self.identity.node_id)
        try:
            names = self.filesystem.list_directory(self.path)
            marks = [mark for mark in (self._proven_path, self._removed_path) if mark.name in names]
            for mark in marks:
                self.filesystem.unlink(mark)  # it spoke of what was here before
            if marks:
                # Or a power cut could keep the identity and bring back a mark, which would then speak of this log.
                self.filesystem.sync_directory(self.path)
            file = self.filesystem.create(self._new_identity_path)
            try:
                file.write(0, fields, _CRC.pack(crc32(fields)))
                file.sync()
            finally:
                file.close()
            self.filesystem.rename(self._new_identity_path, self._identity_path)
            self.filesystem.sync_directory(self.path)
        except OSError as error:
            raise StorageError(f"{self._identity_path}: cannot be written: {error.strerror}") from error
        self.is_new = False

    def prove(self) -> None:
        """Note durably that this directory has caught up with its cluster once; to say it again changes nothing.

        Raises:
            StorageError: The disk failed.
        """
        if not self.is_proven:
            self._mark(self._proven_path)
            self.is_proven = True

    def note_removal(self) -> None:
        """Note durably that the cluster has removed this node.

        Raises:
            StorageError: The disk failed.
        """
        if not self.is_removed:
            self._mark(self._removed_path)
            self.is_removed = True

    def _mark(self, path: Path) -> None:
        try:
            # One is there already where an earlier try could not make it durable.
            if path.name not in self.filesystem.list_directory(self.path):
                self.filesystem.create(path).close()
            self.filesystem.sync_directory(self.path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let another process use the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
