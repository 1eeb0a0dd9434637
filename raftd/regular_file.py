"""Opening files that settings and command lines name: certificates, keys, configurations.

A path may lead to anything. To open a FIFO waits until somebody writes to it, perhaps for ever, and to read a terminal
or a device as well; a node that reloads would neither end that nor stop. So what is not a regular file is refused, and
not even opened: to open some devices does something.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; returns or raises at once, whatever is there.

    Raises:
        OSError: it cannot be opened, it is not a regular file, or no file can be called that; `strerror` says which.
    """
    try:
        status = path.stat()
    except ValueError:  # a zero byte in it, or a character that the system's names cannot have
        raise OSError(errno.EINVAL, "no file can be called that", str(path)) from None
    _require_regular(path, status)
    # In between the name may have come to mean something else; without O_NONBLOCK that could be a FIFO, too.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
