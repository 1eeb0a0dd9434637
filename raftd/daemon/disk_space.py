"""How much room there is where the data directory is."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 5.0


class DiskSpace:
    """Looks every few seconds at the file system of a directory, beside the event loop.

    In a thread of its own: a disk that hangs may let the question hang too (statfs(2) on a file system over a network),
    and what was found last then stays.
    """

    def __init__(self, path: Path, *, look_seconds: float = _LOOK_SECONDS) -> None:
        self._path = path
        self._look_seconds = look_seconds
        self._ended = threading.Event()
        self.free_bytes = 0
        """What an ordinary user may still write; the reserve counts as written."""
        self.size_bytes = 0
        """That, and all that is written; 0 while nothing is known."""
        self._thread = threading.Thread(target=self._keep_looking, name="disk space", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; the thread ends by itself."""
        self._ended.set()

    def _keep_looking(self) -> None:
        while not self._ended.is_set():
            # A directory that is gone is told of by those who need it for more.
            with contextlib.suppress(OSError):
                self._look()
            self._ended.wait(self._look_seconds)

    def _look(self) -> None:
        found = os.statvfs(self._path)
        self.free_bytes = found.f_bavail * found.f_frsize
        # As df(1) has it: what is kept for root is neither free nor written.
        self.size_bytes = (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize
