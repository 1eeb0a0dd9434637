"""Files that are there whole, or not at all: written beside their place, and put there when they are complete."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click

SUFFIX: Final = ".part"
"""What the name of an unfinished file ends with."""


def check_place(path: Path) -> None:
    """Find out early that `new_file` would fail: make the unfinished file, as only that tells, and remove it again.

    Raises:
        click.ClickException: it would.
    """
    partial = _partial_of(path)
    descriptor = _begin(path, partial)
    try:
        # Before it is let go of: it may be another's as soon as it is.
        partial.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_file(path: Path, check: Callable[[Path], None] | None = None) -> Iterator[BinaryIO]:
    """A stream into a file, for this user alone, that takes its name when it is complete, and is durable then.

    Args:
        path: its name; until then it is called the same with `SUFFIX`, and what is at `path` stays.
        check: looks at the file, which is complete and durable, before it takes its name.

    Raises:
        click.ClickException: it cannot be written, or another process is writing it, or what is there is a device, a
            link or the like, which it would take the place of. Nothing is left behind then, nor if anything else is
            raised inside.
    """
    partial = _partial_of(path)
    descriptor = _begin(path, partial)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                if check is not None:
                    check(partial)
                partial.replace(path)
                _sync_directory(path.parent)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None


def discard_unfinished(partial: Path) -> None:
    """Remove what a process has left of a file, unless one is still at it. Raises: OSError."""
    descriptor = os.open(partial, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _partial_of(path: Path) -> Path:
    if not path.name:  # `/`, and `.` by any of its names
        raise click.ClickException(f"{path} is a directory")
    return path.with_name(f"{path.name}{SUFFIX}")


def _begin(path: Path, partial: Path) -> int:
    try:
        _check_replaceable(path)
        return _take(partial)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None


def _check_replaceable(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise click.ClickException(f"{path} is there, and is no regular file")


def _check_ours(partial: Path, found: os.stat_result) -> None:
    """In a directory that others write to, one of them may have put it there, to read what is written."""
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        raise click.ClickException(f"{partial} is in the way, and is no regular file of yours alone")


def _take(partial: Path) -> int:
    """Open the file, empty and for this process alone."""
    # Nobody waits for a FIFO's other end.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(partial, flags, 0o600)
    try:
        _check_ours(partial, os.fstat(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it before may have finished it between the two calls, and then it has its name.
        is_ours = os.path.samestat(os.fstat(descriptor), partial.stat())
        if is_ours:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise click.ClickException(f"{partial}: another process is writing it")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
