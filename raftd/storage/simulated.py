"""A file system in memory that keeps only what was synced, for tests and for the simulator.

Nothing is durable but what `File.sync` and `sync_directory` were asked for: `lose_power` gives back the file system as
a machine might find it after a power cut. Of what was not synced, each 512-byte sector of each file, each file's
length and each change of a directory survives or not, independently of the others, as the caller's `survives` decides:
so writes are torn, reordered and lost, and names are forgotten. `kill` ends the process only: then everything survives
that was written, and nothing of it becomes durable.

A sync that fails is as bad as Linux makes it: what it should have written is dropped from the list of what to write,
while it can still be read; only writing it again brings it to the disk ("Can Applications Recover from fsync
Failures?", USENIX ATC 2020).

Faults are injected by `before_call`, which is told of each call that changes something before it happens and may raise
`OSError`, or `SimulatedCrash` to end the process there.
"""

import errno
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from raftd.storage.filesystem import File

SECTOR_BYTES: Final = 512
_SPACE_WITHOUT_BOUND: Final = 1 << 60

Survives: TypeAlias = Callable[[Hashable], bool]
"""Decides of one change that was not synced whether it is found after a power cut; the argument names the change."""


class SimulatedCrash(BaseException):
    """The process ends here. Not an `Exception`, so that nothing on the way takes it for an error to handle."""


class Call(NamedTuple):
    """One call that changes a file system."""

    name: str
    path: Path


@dataclass(slots=True, eq=False)
class _Inode:
    """A file's contents: as read now, and as the disk has them."""

    contents: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)
    """Sectors that a sync would write."""
    locked: bool = False


@dataclass(slots=True, eq=False)
class _Directory:
    """A directory's names: as read now, as the disk has them, and what leads from the one to the other."""

    names: dict[str, "_Inode | _Directory"] = field(default_factory=dict)
    durable: dict[str, "_Inode | _Directory"] = field(default_factory=dict)
    changes: list[tuple[str | None, str | None, "_Inode | _Directory | None"]] = field(default_factory=list)
    """(name that goes, name that comes, what it names); a renaming has both and survives whole or not at all."""

    def change(self, gone: str | None, come: str | None, node: "_Inode | _Directory | None") -> None:
        """Change the names, not durably."""
        self.changes.append((gone, come, node))
        _apply_change(self.names, gone, come, node)


def _apply_change(
    names: dict[str, _Inode | _Directory], gone: str | None, come: str | None, node: _Inode | _Directory | None
) -> None:
    if gone is not None:
        names.pop(gone, None)
    if come is not None and node is not None:
        names[come] = node


class SimulatedFileSystem:
    """The file system; a `FileSystem`."""

    def __init__(self, space: int | None = None) -> None:
        """Begin with an empty root directory.

        Args:
            space: Bytes that all files together may have; None for no bound.
        """
        self._root = _Directory()
        self.space = space
        self.mount_points: set[Path] = set()
        """Directories that cannot be renamed or replaced."""
        self.before_call: Callable[[Call], None] = lambda _: None

    # What a process may call.

    def make_directory(self, path: Path) -> None:
        """See `FileSystem`."""
        self.before_call(Call("make_directory", path))
        parent = self._directory(path.parent)
        if path.name not in parent.names:
            parent.change(None, path.name, _Directory())

    def mode(self, path: Path) -> int:
        """See `FileSystem`."""
        self._directory(path)
        return 0o700

    def list_directory(self, path: Path) -> list[str]:
        """See `FileSystem`."""
        return list(self._directory(path).names)

    def is_mount_point(self, path: Path) -> bool:
        """See `FileSystem`."""
        return path in self.mount_points

    def free_bytes(self, path: Path) -> int:
        """See `FileSystem`."""
        self._directory(path)
        return _SPACE_WITHOUT_BOUND if self.space is None else max(0, self.space - self._used_bytes())

    def create(self, path: Path) -> File:
        """See `FileSystem`."""
        self.before_call(Call("create", path))
        parent = self._directory(path.parent)
        if path.name in parent.names:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        inode = _Inode()
        parent.change(None, path.name, inode)
        return _SimulatedFile(self, path, inode)

    def open(self, path: Path) -> File:
        """See `FileSystem`."""
        return _SimulatedFile(self, path, self._inode(path))

    def rename(self, source: Path, target: Path) -> None:
        """See `FileSystem`; within one directory."""
        self.before_call(Call("rename", source))
        if not self.mount_points.isdisjoint((source, target)):
            raise OSError(errno.EBUSY, "Device or resource busy", str(source))
        parent = self._directory(source.parent)
        node = parent.names.get(source.name) or self._inode(source)
        replaced = parent.names.get(target.name)
        if isinstance(node, _Directory) and isinstance(replaced, _Directory) and replaced.names:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(target))
        parent.change(source.name, target.name, node)

    def unlink(self, path: Path) -> None:
        """See `FileSystem`."""
        self.before_call(Call("unlink", path))
        self._inode(path)
        self._directory(path.parent).change(path.name, None, None)

    def sync_directory(self, path: Path) -> None:
        """See `FileSystem`."""
        self.before_call(Call("sync_directory", path))
        directory = self._directory(path)
        directory.durable = dict(directory.names)
        directory.changes.clear()

    # What only the world may do.

    def kill(self) -> None:
        """End the process: its locks are gone, and what it wrote is there, but not durable."""
        self.before_call = lambda _: None
        for _, inode in self._files(self._root, Path("/")):
            inode.locked = False

    def lose_power(self, survives: Survives) -> None:
        """End the process and forget what was not synced, but for what `survives`."""
        self.kill()
        self._lose_names(self._root, Path("/"), survives)
        for path, inode in self._files(self._root, Path("/")):
            _lose_sectors(inode, path, survives)

    def unsynced(self) -> list[Hashable]:
        """Name every change that a power cut may undo, as `survives` will be told of them."""
        asked: list[Hashable] = []

        def ask(change: Hashable) -> bool:
            asked.append(change)
            return True

        self.copy().lose_power(ask)
        return asked

    def copy(self) -> "SimulatedFileSystem":
        """Make another one that is the same and shares nothing, without locks, open files or faults."""
        twin = SimulatedFileSystem(self.space)
        twin.mount_points = set(self.mount_points)
        twin._root = _copy_directory(self._root, {})
        return twin

    def contents(self, path: Path) -> bytearray:
        """A file's bytes as they are read now, to look at or to damage."""
        return self._inode(path).contents

    def damage(self, path: Path, offset: int, data: bytes) -> None:
        """Change bytes on the disk itself."""
        inode = self._inode(path)
        for copy in (inode.contents, inode.durable):
            copy[offset : offset + len(data)] = data

    def cut(self, path: Path, length: int) -> None:
        """Make a file shorter on the disk itself."""
        inode = self._inode(path)
        del inode.contents[length:]
        del inode.durable[length:]

    # Within.

    def _directory(self, path: Path) -> _Directory:
        node: _Inode | _Directory = self._root
        for name in path.parts[1:]:
            if not isinstance(node, _Directory):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
            try:
                node = node.names[name]
            except KeyError:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path)) from None
        if not isinstance(node, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
        return node

    def _inode(self, path: Path) -> _Inode:
        node = self._directory(path.parent).names.get(path.name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        if not isinstance(node, _Inode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
        return node

    def _files(self, directory: _Directory, path: Path) -> Iterator[tuple[Path, _Inode]]:
        for name, node in sorted(directory.names.items()):
            if isinstance(node, _Directory):
                yield from self._files(node, path / name)
            else:
                yield path / name, node

    def _lose_names(self, directory: _Directory, path: Path, survives: Survives) -> None:
        for number, (gone, come, node) in enumerate(directory.changes):
            if survives((str(path), number, gone, come)):
                _apply_change(directory.durable, gone, come, node)
        directory.changes.clear()
        directory.names = dict(directory.durable)
        for name, node in sorted(directory.names.items()):
            if isinstance(node, _Directory):
                self._lose_names(node, path / name, survives)

    def _used_bytes(self) -> int:
        return sum(len(inode.contents) for _, inode in self._files(self._root, Path("/")))

    def _check_space(self, path: Path, more: int) -> None:
        if self.space is not None and self._used_bytes() + more > self.space:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def grow(self, inode: _Inode, path: Path, length: int) -> None:
        """Make a file at least this long; for `File`'s use."""
        more = length - len(inode.contents)
        if more > 0:
            self._check_space(path, more)
            inode.contents.extend(bytes(more))


class _SimulatedFile:
    """An open file; a `File`."""

    def __init__(self, filesystem: SimulatedFileSystem, path: Path, inode: _Inode) -> None:
        self.path = path
        self._filesystem = filesystem
        self._inode = inode
        self._has_lock = False

    def size(self) -> int:
        """See `File`."""
        return len(self._inode.contents)

    def read(self, offset: int, length: int) -> bytes:
        """See `File`."""
        return bytes(self._inode.contents[offset : offset + length])

    def write(self, offset: int, *buffers: bytes) -> None:
        """See `File`."""
        self._filesystem.before_call(Call("write", self.path))
        data = b"".join(buffers)
        end = offset + len(data)
        self._filesystem.grow(self._inode, self.path, end)
        self._inode.contents[offset:end] = data
        self._inode.dirty.update(range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)))

    def allocate(self, length: int) -> None:
        """See `File`."""
        self._filesystem.before_call(Call("allocate", self.path))
        self._filesystem.grow(self._inode, self.path, length)

    def shrink(self, length: int) -> None:
        """See `File`."""
        self._filesystem.before_call(Call("shrink", self.path))
        del self._inode.contents[length:]
        self._inode.dirty = {sector for sector in self._inode.dirty if sector * SECTOR_BYTES < length}

    def sync(self) -> None:
        """See `File`."""
        inode = self._inode
        try:
            self._filesystem.before_call(Call("sync", self.path))
        except OSError:
            inode.dirty.clear()
            raise
        _resize(inode.durable, len(inode.contents))
        for sector in inode.dirty:
            _write_sector(inode, sector)
        inode.dirty.clear()

    def lock(self) -> bool:
        """See `File`."""
        if self._inode.locked:
            return False
        self._inode.locked = self._has_lock = True
        return True

    def close(self) -> None:
        """See `File`."""
        if self._has_lock:
            self._inode.locked = self._has_lock = False


def _resize(data: bytearray, length: int) -> None:
    del data[length:]
    data.extend(bytes(length - len(data)))


def _write_sector(inode: _Inode, sector: int) -> None:
    start = sector * SECTOR_BYTES
    end = min(start + SECTOR_BYTES, len(inode.contents))
    inode.durable[start:end] = inode.contents[start:end]


def _lose_sectors(inode: _Inode, path: Path, survives: Survives) -> None:
    if len(inode.durable) != len(inode.contents):
        if survives((str(path), "length")):
            _resize(inode.durable, len(inode.contents))
        else:
            _resize(inode.contents, len(inode.durable))
    for sector in sorted(inode.dirty):
        if sector * SECTOR_BYTES < len(inode.durable) and survives((str(path), sector)):
            _write_sector(inode, sector)
    inode.dirty.clear()
    inode.contents = bytearray(inode.durable)


def _copy_directory(directory: _Directory, done: dict[int, _Inode | _Directory]) -> _Directory:
    """Copy a directory and everything in it; what has two names before has two names after."""

    def twin(node: _Inode | _Directory) -> _Inode | _Directory:
        if id(node) not in done:
            if isinstance(node, _Directory):
                done[id(node)] = _copy_directory(node, done)
            else:
                done[id(node)] = _Inode(bytearray(node.contents), bytearray(node.durable), set(node.dirty))
        return done[id(node)]

    return _Directory(
        {name: twin(node) for name, node in directory.names.items()},
        {name: twin(node) for name, node in directory.durable.items()},
        [(gone, come, None if node is None else twin(node)) for gone, come, node in directory.changes],
    )
