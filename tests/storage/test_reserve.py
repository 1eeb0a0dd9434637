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
    filesystem = SimulatedFileSystem(space=1125)
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


@pytest.mark.parametrize("before", [200, 1000, 1100])
def test_one_of_a_former_process_is_brought_to_size(before: int) -> None:
    """Whatever size it had."""
    filesystem = SimulatedFileSystem()
    Reserve(filesystem, PATH, before).restore()
    assert Reserve(filesystem, PATH, 1000).restore()
    filesystem.sync_directory(Path("/"))
    filesystem.lose_power(lambda _: False)
    assert len(filesystem.contents(PATH)) == 1000


def test_one_of_a_former_process_is_held_at_once_on_a_full_disk() -> None:
    """It need not be made anew, which would take space besides it."""
    filesystem = SimulatedFileSystem()
    Reserve(filesystem, PATH, 1000).restore()
    filesystem.space = 1000
    assert Reserve(filesystem, PATH, 1000).restore()


@pytest.mark.parametrize(("size_min", "is_held"), [(900, True), (901, False)])
def test_one_that_cannot_grow_is_held_if_it_is_enough_and_given_back_if_not(size_min: int, *, is_held: bool) -> None:
    """An earlier release, or a crash in the middle, may have left a smaller one."""
    filesystem = SimulatedFileSystem()
    Reserve(filesystem, PATH, 900).restore()
    filesystem.space = 1000
    reserve = Reserve(filesystem, PATH, 1000, size_min)
    assert reserve.restore() is is_held
    assert {name: len(filesystem.contents(Path("/") / name)) for name in filesystem.list_directory(Path("/"))} == (
        {"reserve": 900} if is_held else {}
    )


@pytest.mark.parametrize("space", [0, 999, 1124])
def test_a_full_disk_is_not_filled_further(space: int) -> None:
    """If there is no space for the reserve and some more, no part of it is taken at any time, and it is not held."""
    filesystem = SimulatedFileSystem(space=space)
    calls: list[Call] = []
    filesystem.before_call = calls.append
    reserve = Reserve(filesystem, PATH, 1000)
    assert not reserve.restore()
    assert calls == []


def test_what_a_quota_refuses_is_given_back() -> None:
    """The file system does not tell of it when it is asked for its space."""
    filesystem = SimulatedFileSystem()

    def before_call(call: Call) -> None:
        if call.name == "sync":
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    filesystem.before_call = before_call
    assert not Reserve(filesystem, PATH, 1000).restore()
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
