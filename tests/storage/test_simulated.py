"""The simulated disk: it forgets exactly what a disk may forget."""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem

ROOT = Path("/")
A = Path("/a")


@pytest.fixture
def filesystem() -> SimulatedFileSystem:
    """Give one with a durable file /a of four sectors of `a`."""
    filesystem = SimulatedFileSystem()
    file = filesystem.create(A)
    file.write(0, b"a" * 2048)
    file.sync()
    filesystem.sync_directory(ROOT)
    return filesystem


def test_what_was_synced_stays(filesystem: SimulatedFileSystem) -> None:
    """Contents after `sync`, names after `sync_directory`."""
    filesystem.lose_power(lambda _: False)
    assert filesystem.contents(A) == b"a" * 2048
    assert filesystem.unsynced() == []


def test_sectors_survive_one_by_one(filesystem: SimulatedFileSystem) -> None:
    """Of an unsynced write any subset of sectors may survive, and each subset can be had."""
    filesystem.open(A).write(500, b"b" * 600)
    changes = filesystem.unsynced()
    assert changes == [("/a", 0), ("/a", 1), ("/a", 2)]
    found = set()
    for kept in itertools.product((False, True), repeat=3):
        twin = filesystem.copy()
        twin.lose_power(dict(zip(changes, kept, strict=True)).__getitem__)
        found.add(bytes(twin.contents(A)))
    assert len(found) == 8
    assert b"a" * 512 + b"b" * 512 + b"a" * 1024 in found


def test_a_length_that_was_not_synced_may_be_forgotten(filesystem: SimulatedFileSystem) -> None:
    """And what was written behind the old end with it; or it survives, with zeros where sectors did not."""
    file = filesystem.open(A)
    file.allocate(4096)
    file.write(3000, b"b")
    twin = filesystem.copy()
    twin.lose_power(lambda change: change != ("/a", "length"))
    assert twin.contents(A) == b"a" * 2048
    filesystem.lose_power(lambda change: change == ("/a", "length"))
    assert filesystem.contents(A) == b"a" * 2048 + bytes(2048)


def test_names_are_forgotten(filesystem: SimulatedFileSystem) -> None:
    """A created, renamed or removed name is as before unless its directory was synced, though the file was."""
    file = filesystem.create(Path("/b"))
    file.write(0, b"b")
    file.sync()
    twin = filesystem.copy()
    twin.lose_power(lambda _: False)
    assert twin.list_directory(ROOT) == ["a"]
    filesystem.sync_directory(ROOT)
    filesystem.rename(Path("/b"), Path("/c"))
    filesystem.unlink(A)
    twin = filesystem.copy()
    twin.lose_power(lambda _: False)
    assert sorted(twin.list_directory(ROOT)) == ["a", "b"]
    twin = filesystem.copy()
    twin.lose_power(lambda _: True)
    assert twin.list_directory(ROOT) == ["c"]
    filesystem.lose_power(lambda change: isinstance(change, tuple) and change[2:] == ("b", "c"))
    assert sorted(filesystem.list_directory(ROOT)) == ["a", "c"]
    assert filesystem.contents(Path("/c")) == b"b"


def test_a_directory_is_forgotten_with_what_is_in_it(filesystem: SimulatedFileSystem) -> None:
    """A directory's own name is its parent's to sync."""
    filesystem.make_directory(Path("/d"))
    filesystem.create(Path("/d/x")).sync()
    filesystem.sync_directory(Path("/d"))
    twin = filesystem.copy()
    twin.lose_power(lambda _: False)
    assert twin.list_directory(ROOT) == ["a"]
    filesystem.sync_directory(ROOT)
    filesystem.lose_power(lambda _: False)
    assert filesystem.list_directory(Path("/d")) == ["x"]


def test_a_kill_loses_nothing_and_makes_nothing_durable(filesystem: SimulatedFileSystem) -> None:
    """The next process reads what the last one wrote; a power cut then still takes it. Locks and faults are gone."""
    file = filesystem.open(A)
    file.write(0, b"b")
    assert file.lock()
    filesystem.before_call = lambda _: pytest.fail("called")
    filesystem.kill()
    assert filesystem.open(A).read(0, 2) == b"ba"
    assert filesystem.open(A).lock()
    filesystem.make_directory(Path("/d"))
    filesystem.lose_power(lambda _: False)
    assert filesystem.contents(A) == b"a" * 2048


def test_a_failed_sync_forgets_what_it_should_have_written(filesystem: SimulatedFileSystem) -> None:
    """The next sync succeeds and has nothing to do; only writing again helps."""
    file = filesystem.open(A)

    def before_call(call: Call) -> None:
        if call == Call("sync", A):
            raise OSError(errno.EIO, "Input/output error")

    file.write(0, b"b")
    filesystem.before_call = before_call
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    filesystem.before_call = lambda _: None
    file.sync()
    assert file.read(0, 1) == b"b"
    twin = filesystem.copy()
    twin.lose_power(lambda _: True)
    assert twin.contents(A)[:1] == b"a"
    file.write(0, b"b")
    file.sync()
    filesystem.lose_power(lambda _: False)
    assert filesystem.contents(A)[:1] == b"b"


def test_a_crash_comes_before_the_call(filesystem: SimulatedFileSystem) -> None:
    """The call at which the process ends does nothing, and no `except Exception` stops it."""

    def before_call(_: Call) -> None:
        raise SimulatedCrash

    filesystem.before_call = before_call
    file = filesystem.open(A)
    calls: list[Callable[[], None]] = [
        lambda: file.write(0, b"b"),
        file.sync,
        lambda: filesystem.unlink(A),
        lambda: file.allocate(9999),
        lambda: file.shrink(0),
    ]
    for call in calls:
        with pytest.raises(SimulatedCrash):
            call()
    assert not issubclass(SimulatedCrash, Exception)
    assert filesystem.contents(A) == b"a" * 2048


def test_space_has_a_bound() -> None:
    """What does not fit is refused and changes nothing; removing gives space back."""
    filesystem = SimulatedFileSystem(space=1000)
    assert filesystem.free_bytes(Path("/")) == 1000
    filesystem.create(A).allocate(800)
    file = filesystem.create(Path("/b"))
    calls: list[Callable[[], None]] = [lambda: file.allocate(300), lambda: file.write(0, b"b" * 201)]
    for call in calls:
        with pytest.raises(OSError, match="No space left"):
            call()
    assert file.size() == 0
    assert filesystem.free_bytes(Path("/")) == 200
    filesystem.space = 700
    assert filesystem.free_bytes(Path("/")) == 0
    filesystem.space = 1000
    filesystem.unlink(A)
    file.allocate(1000)


def test_a_copy_shares_nothing(filesystem: SimulatedFileSystem) -> None:
    """What happens to the one does not happen to the other."""
    twin = filesystem.copy()
    filesystem.damage(A, 0, b"bb")
    filesystem.cut(A, 10)
    filesystem.create(Path("/b"))
    assert twin.contents(A) == b"a" * 2048
    assert twin.list_directory(ROOT) == ["a"]
    filesystem.lose_power(lambda _: False)
    assert filesystem.contents(A) == b"bb" + b"a" * 8


def test_a_file_is_no_directory(filesystem: SimulatedFileSystem) -> None:
    """And what is below one is an error as on any file system."""
    for path in (A, A / "x"):
        with pytest.raises(NotADirectoryError):
            filesystem.list_directory(path)


def test_a_mount_point_keeps_its_place() -> None:
    """As rename(2) has it: EBUSY, from there and to there."""
    filesystem = SimulatedFileSystem()
    for name in ("/a", "/b"):
        filesystem.make_directory(Path(name))
    filesystem.mount_points = {Path("/a")}
    assert [filesystem.is_mount_point(Path(name)) for name in ("/a", "/b")] == [True, False]
    for source, target in (("/a", "/b"), ("/b", "/a")):
        with pytest.raises(OSError, match="busy"):
            filesystem.rename(Path(source), Path(target))
    assert filesystem.copy().mount_points == {Path("/a")}
