"""The operating system's files, as storage needs them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from raftd.storage.filesystem import File, FileSystem, RealFileSystem
from raftd.storage.simulated import SimulatedFileSystem


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, Path]:
    """Give a file system and an empty directory in it: both kinds must behave the same."""
    if request.param == "real":
        return RealFileSystem(), tmp_path
    return SimulatedFileSystem(), Path("/")


def test_what_is_written_is_read(place: tuple[FileSystem, Path]) -> None:
    """Buffers are written one behind the other; reading ends where the file does; a hole is zero."""
    filesystem, directory = place
    file = filesystem.create(directory / "a")
    file.write(3, b"abc", b"", b"def")
    file.sync()
    assert (file.size(), file.read(0, 100), file.read(5, 2), file.read(9, 1)) == (9, b"\0\0\0abcdef", b"cd", b"")
    assert file.path == directory / "a"
    file.close()
    again = filesystem.open(directory / "a")
    assert again.read(3, 6) == b"abcdef"
    again.close()


def test_allocating_grows_with_zeros_and_never_shrinks(place: tuple[FileSystem, Path]) -> None:
    """What was there stays."""
    filesystem, directory = place
    file = filesystem.create(directory / "a")
    file.write(0, b"abc")
    file.allocate(1000)
    assert file.read(0, 2000) == b"abc" + bytes(997)
    file.allocate(10)
    assert file.size() == 1000
    file.close()


def test_shrinking_drops_the_end(place: tuple[FileSystem, Path]) -> None:
    """What is before the new length stays; what grows there again is zero."""
    filesystem, directory = place
    file = filesystem.create(directory / "a")
    file.write(0, b"a" * 2000)
    file.shrink(700)
    file.sync()
    assert file.size() == 700
    file.allocate(2000)
    assert file.read(0, 2000) == b"a" * 700 + bytes(1300)
    file.close()


def test_free_space_is_told(place: tuple[FileSystem, Path]) -> None:
    """Of the directory's file system; there is some where tests run."""
    filesystem, directory = place
    assert filesystem.free_bytes(directory) > 1 << 20
    with pytest.raises(FileNotFoundError):
        filesystem.free_bytes(directory / "missing")


def test_names_come_and_go(place: tuple[FileSystem, Path]) -> None:
    """Create is exclusive, rename replaces, unlink removes, and an absent name is an error."""
    filesystem, directory = place
    inner = directory / "inner"
    filesystem.make_directory(inner)
    filesystem.make_directory(inner)
    assert filesystem.mode(inner) == 0o700
    for name in ("a", "b"):
        file = filesystem.create(inner / name)
        file.write(0, name.encode())
        file.close()
    with pytest.raises(FileExistsError):
        filesystem.create(inner / "a")
    filesystem.rename(inner / "a", inner / "b")
    filesystem.sync_directory(inner)
    assert filesystem.list_directory(inner) == ["b"]
    file = filesystem.open(inner / "b")
    assert file.read(0, 9) == b"a"
    file.close()
    filesystem.unlink(inner / "b")
    assert filesystem.list_directory(inner) == []
    absent: Sequence[Callable[[Path], object]] = (filesystem.open, filesystem.unlink)
    for call in absent:
        with pytest.raises(FileNotFoundError):
            call(inner / "b")
    with pytest.raises(FileNotFoundError):
        filesystem.list_directory(directory / "absent")
    with pytest.raises(IsADirectoryError):
        filesystem.open(inner)


def test_directories_are_renamed(place: tuple[FileSystem, Path]) -> None:
    """With all that is in them, and in place of nothing or an empty one."""
    filesystem, directory = place
    for name in ("new", "empty", "full"):
        filesystem.make_directory(directory / name)
    for name in ("new", "full"):
        filesystem.create(directory / name / "file").close()
    with pytest.raises(OSError, match="Directory not empty"):
        filesystem.rename(directory / "new", directory / "full")
    filesystem.rename(directory / "new", directory / "empty")
    filesystem.rename(directory / "empty", directory / "last")
    assert sorted(filesystem.list_directory(directory)) == ["full", "last"]
    assert filesystem.list_directory(directory / "last") == ["file"]


def test_a_lock_is_one_s(place: tuple[FileSystem, Path]) -> None:
    """Who opened the file second gets it when the first has closed it."""
    filesystem, directory = place
    first = filesystem.create(directory / "lock")
    second = filesystem.open(directory / "lock")
    assert first.lock()
    assert not second.lock()
    first.close()
    assert second.lock()
    second.close()


@pytest.fixture
def file(tmp_path: Path) -> File:
    return RealFileSystem().create(tmp_path / "a")


def test_files_are_this_user_s_only(file: File) -> None:
    """Mode 0600, whatever the umask allows."""
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.close()


def test_short_writes_are_completed(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the kernel cuts short goes on where it stopped, across buffers."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: pwrite(fd, b"".join(buffers)[:4], offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    file.write(2, b"abc", b"defgh", b"ij")
    assert file.read(0, 100) == b"\0\0abcdefghij"
    file.close()


def test_a_write_without_progress_is_an_error(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go on for ever."""
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="no progress"):
        file.write(0, b"abc")
    file.close()


def test_short_reads_are_completed(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that the kernel cuts short goes on until the file ends."""
    file.write(0, b"abcdefghij")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 4), offset))
    assert file.read(1, 8) == b"bcdefghi"
    assert file.read(1, 80) == b"bcdefghij"
    file.close()


def test_where_another_file_system_begins() -> None:
    """Every Linux has one at /proc; it can be told of a path that is not there, too."""
    filesystem = RealFileSystem()
    places = ("/proc", "/proc/self", "/missing")
    assert [filesystem.is_mount_point(Path(place)) for place in places] == [True, False, False]
