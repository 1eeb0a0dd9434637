"""Space set aside for the day when the disk is full.

A store that can write nothing cannot even delete. So a file of some size waits in the data directory; when a segment
does not fit on the disk any more, the file is removed and the segment made in its place, and from then on `held` is
False until there is space for the file again. Whoever takes writes refuses those that grow meanwhile.
"""

import errno
from pathlib import Path
from typing import Final

from raftd.errors import StorageError
from raftd.storage.filesystem import FileSystem

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def is_no_space(error: BaseException) -> bool:
    """Whether the disk, or this user's share of it, is full; also of a `StorageError` that was made of that."""
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return isinstance(cause, OSError) and cause.errno in _NO_SPACE


class Reserve:
    """The file `reserve` of a data directory."""

    def __init__(self, filesystem: FileSystem, path: Path, size: int) -> None:
        """Look for the reserve; `restore` makes it.

        Args:
            filesystem: Where the file is.
            path: The file.
            size: Its bytes; 0 for none, which is always held.
        """
        self._filesystem = filesystem
        self._path = path
        self._size = size
        self.held = size == 0

    def restore(self) -> bool:
        """Take the space, unless it is held; return whether it is held now.

        Raises:
            OSError: Anything but a full disk.
        """
        if self.held:
            return True
        self._remove()
        try:
            self._take()
            self.held = True
        except OSError as error:
            if not is_no_space(error):
                raise
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

    def _take(self) -> None:
        file = self._filesystem.create(self._path)  # a full disk may refuse that already: it has no inodes left
        try:
            file.allocate(self._size)
            file.sync()
        finally:
            file.close()

    def _remove(self) -> None:
        if self._path.name in self._filesystem.list_directory(self._path.parent):
            self._filesystem.unlink(self._path)
            # Only a removal that is durable frees its blocks.
            self._filesystem.sync_directory(self._path.parent)
