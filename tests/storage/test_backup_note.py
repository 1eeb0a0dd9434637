"""What is remembered of backups: over restarts, crashes, damage, and clocks that are set."""

import contextlib
import errno
import random
from pathlib import Path

import pytest

from raftd.errors import StorageError
from raftd.storage.backup_note import BackupNote
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import Identity
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem

PATH = Path("/data")
FILE = PATH / "backup"


def directory_on(filesystem: SimulatedFileSystem, identity: Identity) -> DataDirectory:
    directory = DataDirectory(filesystem, PATH, identity)
    directory.close()
    return directory


def noted(directory: DataDirectory) -> tuple[int, int]:
    note = BackupNote(directory)
    return note.success_ms, note.failure_ms


@pytest.fixture
def filesystem() -> SimulatedFileSystem:
    return SimulatedFileSystem()


@pytest.fixture
def directory(filesystem: SimulatedFileSystem, identity: Identity) -> DataDirectory:
    return directory_on(filesystem, identity)


def test_a_new_directory_knows_of_none(directory: DataDirectory) -> None:
    """Zeros, and no file."""
    assert noted(directory) == (0, 0)


def test_it_is_remembered(filesystem: SimulatedFileSystem, directory: DataDirectory) -> None:
    """Both times, each without the other being lost, after a power cut too."""
    note = BackupNote(directory)
    note.succeeded(1000, 2000)
    note.failed(3000)
    assert (note.success_ms, note.failure_ms) == (1000, 3000)
    filesystem.lose_power(lambda _: False)
    assert noted(directory) == (1000, 3000)


def test_an_older_backup_changes_nothing(directory: DataDirectory) -> None:
    """One that took longer to verify than the next."""
    note = BackupNote(directory)
    note.succeeded(1000, 2000)
    note.succeeded(900, 2000)
    assert noted(directory) == (1000, 0)


def test_the_future_is_not_believed(directory: DataDirectory) -> None:
    """Neither what is told, nor what was noted when the clock was wrong: it would hold the alarm back."""
    note = BackupNote(directory)
    note.succeeded(9000, 2000)
    assert note.success_ms == 2000
    note.succeeded(1000, 1500)
    assert note.success_ms == 1000


@pytest.mark.parametrize("position", range(28))
def test_a_damaged_note_is_none(filesystem: SimulatedFileSystem, directory: DataDirectory, position: int) -> None:
    """Wherever it is damaged; and the next one replaces it."""
    BackupNote(directory).succeeded(1000, 2000)
    file = filesystem.open(FILE)
    before = file.read(position, 1)
    file.write(position, bytes((before[0] ^ 0x10,)))
    assert noted(directory) == (0, 0)
    BackupNote(directory).succeeded(1000, 2000)
    assert noted(directory) == (1000, 0)


def test_a_note_of_another_length_is_none(filesystem: SimulatedFileSystem, directory: DataDirectory) -> None:
    """One that was cut, or goes on."""
    BackupNote(directory).succeeded(1000, 2000)
    filesystem.open(FILE).write(28, b"\0")
    assert noted(directory) == (0, 0)


@pytest.mark.parametrize("seed", range(40))
def test_a_crash_leaves_the_old_or_the_new(
    filesystem: SimulatedFileSystem, directory: DataDirectory, seed: int
) -> None:
    """Whichever call is the last one."""
    chance = random.Random(seed)
    note = BackupNote(directory)
    note.succeeded(1000, 5000)
    calls = chance.randrange(8)

    def count_down(_: Call) -> None:
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise SimulatedCrash

    filesystem.before_call = count_down
    with contextlib.suppress(SimulatedCrash):
        note.succeeded(2000, 5000)
    filesystem.kill()
    filesystem.lose_power(lambda _: chance.random() < 0.5)
    assert noted(directory) in {(1000, 0), (2000, 0)}
    BackupNote(directory).succeeded(3000, 5000)
    assert noted(directory) == (3000, 0)


def test_a_disk_that_fails_is_told_of(filesystem: SimulatedFileSystem, directory: DataDirectory) -> None:
    """In one line, and what is noted stays."""
    note = BackupNote(directory)
    note.succeeded(1000, 2000)

    def refuse(call: Call) -> None:
        if call.name == "create":
            raise OSError(errno.ENOSPC, "No space left on device")

    filesystem.before_call = refuse
    with pytest.raises(StorageError, match=r"/data/backup: cannot be written: No space left"):
        note.failed(3000)
    assert (note.success_ms, note.failure_ms) == (1000, 0)
