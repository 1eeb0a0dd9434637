"""The reserve: space that is there when nothing else is."""

import errno
from pathlib import Path

import pytest

from raftd.errors import StorageError
from raftd.storage.reserve import Reserve, is_no_space
from raftd.storage.simulated import Call, SimulatedFileSystem

PATH = Path("/reserve")


def test_it_is_taken_given_back_once_and_taken_again() -> None:
    """Held after `restore`, gone after `release`, and there is nothing to give a second time."""
    filesystem = SimulatedFileSystem(space=1000)
    reserve = Reserve(filesystem, PATH, 1000)
    assert not reserve.held
    assert not reserve.release()
    assert reserve.restore()
    assert reserve.restore()
    assert len(filesystem.contents(PATH)) == 1000
    assert reserve.release()
    assert not reserve.release()
    assert filesystem.list_directory(Path("/")) == []
    assert reserve.restore()


def test_one_of_a_former_process_is_replaced() -> None:
    """Whatever size it had."""
    filesystem = SimulatedFileSystem()
    Reserve(filesystem, PATH, 1000).restore()
    assert Reserve(filesystem, PATH, 300).restore()
    assert len(filesystem.contents(PATH)) == 300


def test_a_full_disk_is_not_filled_further() -> None:
    """If there is no space for the reserve, no part of it is taken, and it is not held."""
    filesystem = SimulatedFileSystem(space=999)
    reserve = Reserve(filesystem, PATH, 1000)
    assert not reserve.restore()
    assert filesystem.list_directory(Path("/")) == []


def test_a_disk_that_takes_no_new_file_is_a_full_disk() -> None:
    """Its inodes may end before its blocks do: the reserve is not held, and taken as soon as a file can be made."""
    filesystem = SimulatedFileSystem()

    def refuse(call: Call) -> None:
        if call.name == "create":
            raise OSError(errno.ENOSPC, "No space left on device")

    filesystem.before_call = refuse
    reserve = Reserve(filesystem, PATH, 1000)
    assert not reserve.restore()
    assert not reserve.held
    filesystem.before_call = lambda _: None
    assert reserve.restore()


def test_another_failure_is_told() -> None:
    """EIO is not a full disk."""
    filesystem = SimulatedFileSystem()

    def before_call(call: Call) -> None:
        if call.name == "sync":
            raise OSError(errno.EIO, "Input/output error")

    filesystem.before_call = before_call
    with pytest.raises(OSError, match="Input/output"):
        Reserve(filesystem, PATH, 1000).restore()


def test_none_is_always_held() -> None:
    """A reserve of nothing is never missed and never given."""
    reserve = Reserve(SimulatedFileSystem(), PATH, 0)
    assert reserve.held
    assert not reserve.release()


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_a_quota_is_a_full_disk_too(number: int, *, expected: bool) -> None:
    """For whoever may use no more, the disk is full."""
    assert is_no_space(OSError(number, "")) is expected


def test_what_was_made_of_a_full_disk_is_one_too() -> None:
    """A `StorageError` says what it was made of."""
    error = StorageError("it cannot be written")
    assert not is_no_space(error)
    error.__cause__ = OSError(errno.EIO, "")
    assert not is_no_space(error)
    error.__cause__ = OSError(errno.ENOSPC, "")
    assert is_no_space(error)
    assert not is_no_space(ValueError())
