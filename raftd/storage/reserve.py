"""Space set aside for the day when the disk is full.

A store that can write nothing cannot even delete. So a file of some size waits in the data directory; when a segment
does not fit on the disk any more, the file is removed and the segment made in its place, and from then on `held` is
False until there is space for the file again. Whoever takes writes refuses those that grow meanwhile.

Between the removal and the making of the segment others may write, this node's own snapshots among them, and a segment
that does not fit then ends the process. So the file is somewhat larger than a segment. And it is not made by trying:
what an allocation takes until it fails is missing meanwhile to a snapshot that would fit, and that could end the want.
The file system is asked first.
"""

import errno
from pathlib import Path
from typing import Final

from raftd.errors import StorageError
from raftd.storage.filesystem import File, FileSystem

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_SPARE_PART: Final = 8
"""So much of its size is left free besides it: for what the file system needs itself, and what others write."""


def is_no_space(error: BaseException) -> bool:
    """Whether the disk, or this user's share of it, is full; also of a `StorageError` that was made of that."""
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return isinstance(cause, OSError) and cause.errno in _NO_SPACE


class Reserve:
    """The file `reserve` of a data directory."""

    def __init__(self, filesystem: FileSystem, path: Path, size: int, size_min: int | None = None) -> None:
        """Refer to the reserve; `restore` makes it.

        Args:
            filesystem: Where the file is.
            path: The file.
            size: Its bytes; 0 for none, which is always held.
            size_min: With so many bytes one of a former process is kept if there is no space to make it larger; None:
                with `size` only.
        """
        self._filesystem = filesystem
        self._path = path
        self._size = size
        self._size_min = size if size_min is None else size_min
        self.held = size == 0

    def restore(self) -> bool:
        """Take the space, unless it is held; return whether it is held now.

        Raises:
            OSError: Anything but a full disk.
        """
        if self.held:
            return True
        try:
            self.held = self._take()
        except OSError as error:
            if not is_no_space(error):
                raise
        if not self.held:
            # What was taken before the disk was full is worth more to others.
            self._remove()
        return self.held

    def release(self) -> bool:
        """Give the space back, once; False if there is none to give.

        Raises:
            OSError: The file cannot be removed.
        """
        if not self.held or self._size == 0:
            return False
        self._remove()
        self.held = False
        return True

    def _take(self) -> bool:
        """Make the file, or go on with that of a former process; False if there is no space for it."""
        if not self._is_there():
            if not self._has_space(self._size):
                return False
            # A full disk may refuse that already: it may have no inodes left.
            return self._fill(self._filesystem.create(self._path), self._size)
        file = self._filesystem.open(self._path)
        size = file.size()
        if size < self._size and self._has_space(self._size - size):
            size = self._size
        return self._fill(file, min(size, self._size))

    def _fill(self, file: File, size: int) -> bool:
        """Have a file of `size` bytes durably, if that is enough; closes it."""
        try:
            if size < self._size_min:
                return False
            file.allocate(size)
            file.shrink(size)
            file.sync()
        finally:
            file.close()
        return True

    def _has_space(self, size: int) -> bool:
        return self._filesystem.free_bytes(self._path.parent) >= size + self._size // _SPARE_PART

    def _is_there(self) -> bool:
        return self._path.name in self._filesystem.list_directory(self._path.parent)

    def _remove(self) -> None:
        if self._is_there():
            self._filesystem.unlink(self._path)
            # Only a removal that is durable frees its blocks.
            self._filesystem.sync_directory(self._path.parent)
