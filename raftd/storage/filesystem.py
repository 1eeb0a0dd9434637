"""The seam between storage and the operating system.

Everything that storage does to a disk goes through a `FileSystem`, so that the tests can put one there which forgets
whatever was not synced (`raftd.storage.simulated`). It is kept as small as storage's needs: no modes, no seeking, no
buffering, no partial writes.

All methods raise `OSError` as the operating system does; what that means is for the caller to say.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """An open file."""

    @property
    def path(self) -> Path:
        """Where it was opened, for messages."""

    def size(self) -> int:
        """Its length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Read `length` bytes at `offset`, fewer only where the file ends."""

    def write(self, offset: int, *buffers: bytes) -> None:
        """Write all of `buffers`, one behind the other, at `offset`. Nothing is durable before `sync`."""

    def allocate(self, length: int) -> None:
        """Make it `length` bytes long, new bytes being zero, with the space for them taken."""

    def shrink(self, length: int) -> None:
        """Make it no longer than `length` bytes and give the space of the rest back."""

    def sync(self) -> None:
        """Make contents and size durable: fdatasync(2). After a failure nobody may ask again: see `LogWriter`."""

    def lock(self) -> bool:
        """Take the file for this process until it is closed; False if another process has it."""

    def close(self) -> None:
        """Close it."""


class FileSystem(Protocol):
    """Names and files."""

    def make_directory(self, path: Path) -> None:
        """Make a directory that only this user may enter (0700), if it is not there."""

    def mode(self, path: Path) -> int:
        """The permission bits of `path`."""

    def list_directory(self, path: Path) -> list[str]:
        """The names in a directory, in no order."""

    def is_mount_point(self, path: Path) -> bool:
        """Whether another file system begins at `path`, so that it cannot be renamed or replaced; False: none there."""

    def free_bytes(self, path: Path) -> int:
        """What an ordinary user may still write where a directory is. A share of the disk (quota) may allow less."""

    def create(self, path: Path) -> File:
        """Make a new file that only this user may read (0600), and open it; it must not be there."""

    def open(self, path: Path) -> File:
        """Open a file that is there, for reading and writing."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or directory another name, in place of the file or empty directory that had it.

        Durable after `sync_directory`.
        """

    def unlink(self, path: Path) -> None:
        """Remove a name. Durable after `sync_directory`."""

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable: syncing a file does not (fsync(2), NOTES)."""


class RealFile:
    """A file of the operating system. EINTR is Python's to handle (PEP 475)."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def size(self) -> int:
        """See `File`."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `File`."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return data
        # Linux reads at most 2 GiB - 4 KiB at once, and some file systems stop short of that.
        parts = [data]
        missing = length - len(data)
        while missing and (data := os.pread(self._descriptor, missing, offset + length - missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def write(self, offset: int, *buffers: bytes) -> None:
        """See `File`."""
        written = os.pwritev(self._descriptor, buffers, offset)
        if written < sum(map(len, buffers)):
            self._write_rest(offset, b"".join(buffers), written)

    def _write_rest(self, offset: int, data: bytes, written: int) -> None:
        """Go on after a short write; the next one either gets further or says what is wrong."""
        view = memoryview(data)
        while written < len(data):
            step = os.pwrite(self._descriptor, view[written:], offset + written)
            if step == 0:
                raise OSError(errno.EIO, "write makes no progress", str(self.path))
            written += step

    def allocate(self, length: int) -> None:
        """See `File`."""
        os.posix_fallocate(self._descriptor, 0, length)

    def shrink(self, length: int) -> None:
        """See `File`."""
        os.ftruncate(self._descriptor, length)

    def sync(self) -> None:
        """See `File`."""
        os.fdatasync(self._descriptor)

    def lock(self) -> bool:
        """See `File`."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """See `File`."""
        os.close(self._descriptor)


class RealFileSystem:
    """The operating system's files."""

    def make_directory(self, path: Path) -> None:
        """See `FileSystem`."""
        path.mkdir(mode=0o700, exist_ok=True)

    def mode(self, path: Path) -> int:
        """See `FileSystem`."""
        return stat.S_IMODE(path.stat().st_mode)

    def list_directory(self, path: Path) -> list[str]:
        """See `FileSystem`."""
        return [child.name for child in path.iterdir()]

    def is_mount_point(self, path: Path) -> bool:
        """See `FileSystem`. A directory of the same file system that is mounted here is not found out."""
        return os.path.ismount(path)

    def free_bytes(self, path: Path) -> int:
        """See `FileSystem`."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def create(self, path: Path) -> File:
        """See `FileSystem`."""
        return RealFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def open(self, path: Path) -> File:
        """See `FileSystem`."""
        return RealFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def rename(self, source: Path, target: Path) -> None:
        """See `FileSystem`."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """See `FileSystem`."""
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        """See `FileSystem`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
