"""Space set aside for the day when the disk is full.

A store that can write nothing cannot even delete. So a file of some size waits in the data directory; when a segment
does not fit on the disk any more, the file is removed and the segment made in its place, and from then on `held` is
False until there is space for the file again. Whoever takes writes refuses those that grow meanwhile.
"""

import errno
from pathlib import Path
from typing import Final

from raftd.storage.filesystem import FileSystem

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def is_no_space(error: OSError) -> bool:
    """Whether the disk, or this user's share of it, is full."""
    return error.errno in _NO_SPACE


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
        file = self._filesystem.create(self._path)
        try:
            file.allocate(self._size)
            file.sync()
            self.held = True
        except OSError as error:
            if not is_no_space(error):
                raise
        finally:
            file.close()
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

    def _remove(self) -> None:
        if self._path.name in self._filesystem.list_directory(self._path.parent):
            self._filesystem.unlink(self._path)
            # Only a removal that is durable frees its blocks.
            self._filesystem.sync_directory(self._path.parent)
