"""How much room there is, as the system says it."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from raftd.daemon.disk_space import DiskSpace

PATIENCE_SECONDS = 10.0


def statvfs(free_blocks: int, *, of_root: int = 5) -> os.statvfs_result:
    """A file system of 100 blocks of 4 KiB, of which as many are free, and some more for root alone."""
    return os.statvfs_result((1, 4096, 100, free_blocks + of_root, free_blocks, 9, 9, 9, 0, 255))


class Disk:
    """Says what it is told to, and that it was asked."""

    def __init__(self) -> None:
        self.found: os.statvfs_result | OSError = statvfs(40)
        self.asked = threading.Semaphore(0)

    def statvfs(self, path: Path) -> os.statvfs_result:
        """As os.statvfs."""
        assert path == Path("/data")
        self.asked.release()
        if isinstance(self.found, OSError):
            raise self.found
        return self.found

    def is_looked_at(self) -> None:
        """Return when a further question was answered: the one that is being asked may be about what was before."""
        for _ in range(3):
            assert self.asked.acquire(timeout=PATIENCE_SECONDS)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr("raftd.daemon.disk_space.os.statvfs", made.statvfs)
    return made


def test_what_is_free_of_what_can_be_written(disk: Disk) -> None:
    """Root's share counts neither as free nor as written; each look replaces the one before."""
    space = DiskSpace(Path("/data"), look_seconds=0.001)
    assert (space.free_bytes, space.size_bytes) == (0, 0)
    space.start()
    try:
        disk.is_looked_at()
        assert (space.free_bytes, space.size_bytes) == (40 * 4096, 95 * 4096)
        disk.found = statvfs(0)
        disk.is_looked_at()
        assert (space.free_bytes, space.size_bytes) == (0, 95 * 4096)
    finally:
        space.stop()
    space._thread.join(PATIENCE_SECONDS)
    assert not space._thread.is_alive()


def test_a_disk_that_does_not_answer(disk: Disk) -> None:
    """What was found last stays, and it is asked again."""
    space = DiskSpace(Path("/data"), look_seconds=0.001)
    space.start()
    try:
        disk.is_looked_at()
        disk.found = OSError("no such device")
        disk.is_looked_at()
        assert space.free_bytes == 40 * 4096
        disk.found = statvfs(7)
        disk.is_looked_at()
        assert space.free_bytes == 7 * 4096
    finally:
        space.stop()


def test_as_df_has_it(tmp_path: Path) -> None:
    """On a real file system, within what others write meanwhile."""
    space = DiskSpace(tmp_path)
    space._look()
    assert space.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert 0 < space.free_bytes <= space.size_bytes
