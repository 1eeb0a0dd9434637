"""What the tests of storage share: a log on a simulated disk."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from raftd.consensus.types import LogIndex, NodeId
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import FileSystem
from raftd.storage.format import Identity
from raftd.storage.log import Log, open_log
from raftd.storage.recovery import Recovered


@pytest.fixture
def identity() -> Identity:
    return Identity(b"0123456789abcdef", NodeId(1))


@pytest.fixture
def open_on(identity: Identity) -> Callable[..., tuple[Log, Recovered]]:
    """Give the function that opens (or begins) the log in /data of a file system, as a process does when it starts."""

    def open_it(
        filesystem: FileSystem,
        *,
        segment_bytes: int = 8192,
        reserve_bytes: int = 0,
        compacted_index: int = 0,
        path: Path = Path("/data"),
    ) -> tuple[Log, Recovered]:
        salts = iter(range(1, 1000))
        return open_log(
            DataDirectory(filesystem, path, identity),
            segment_bytes=segment_bytes,
            reserve_bytes=reserve_bytes,
            compacted_index=LogIndex(compacted_index),
            entropy=lambda count: next(salts).to_bytes(count, "little"),
        )

    return open_it


@pytest.fixture
def nothing_stays_open() -> Callable[[], AbstractContextManager[None]]:
    """Give the context manager that sees whether all files of the operating system are closed that were opened in it.

    A simulated file may be left to the garbage collector; a descriptor that is left is gone until the process ends.
    """

    def descriptors() -> set[str]:
        return {path.name for path in Path("/proc/self/fd").iterdir()}

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        before = descriptors()
        yield
        assert descriptors() <= before  # what was forgotten earlier may have been collected meanwhile

    return watched
