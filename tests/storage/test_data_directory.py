"""The data directory: one process, one node, one cluster, one format, and nobody else."""

import errno
import random
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from zlib import crc32

import pytest

from raftd.consensus.types import NodeId
from raftd.errors import CorruptionError, DataDirectoryError, ExitCode, StorageError
from raftd.storage.data_directory import DataDirectory, check_place
from raftd.storage.filesystem import RealFileSystem
from raftd.storage.format import Identity
from raftd.storage.log import Log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from tests.storage.logs import crash_at

PATH = Path("/data")


@pytest.fixture
def stamped(identity: Identity) -> SimulatedFileSystem:
    filesystem = SimulatedFileSystem()
    directory = DataDirectory(filesystem, PATH, identity)
    assert directory.is_new
    directory.stamp()
    assert not directory.is_new
    directory.close()
    directory.close()
    return filesystem


def test_its_own_identity_is_known_again(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """A directory that was stamped is not new, not even after a power cut."""
    stamped.lose_power(lambda _: False)
    assert not DataDirectory(stamped, PATH, identity).is_new
    assert len(stamped.contents(PATH / "identity")) == 40


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Identity(b"0123456789abcdef", NodeId(2)), "/data: belongs to node 1, and this is node 2"),
        (Identity(bytes(16), NodeId(1)), "/data: belongs to cluster 30313233.*, and this node is of 0000"),
    ],
)
def test_another_s_data_is_refused(stamped: SimulatedFileSystem, other: Identity, message: str) -> None:
    """Data of another node or cluster is refused in one line, as a mistake of the configuration."""
    with pytest.raises(DataDirectoryError, match=message) as caught:
        DataDirectory(stamped, PATH, other)
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    assert "\n" not in str(caught.value)


def test_a_refusal_leaves_the_directory_free(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """The lock of a process that was refused does not keep the right one out."""
    with pytest.raises(DataDirectoryError):
        DataDirectory(stamped, PATH, Identity(bytes(16), NodeId(1)))
    DataDirectory(stamped, PATH, identity)


def test_a_failure_leaves_the_directory_free(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """Whoever tries again, once the disk is well, finds no lock of the process's own."""
    stamped.create(PATH / "identity.new").close()

    def fail(call: Call) -> None:
        if call.name == "unlink":
            raise OSError(errno.EIO, "Input/output error")

    stamped.before_call = fail
    with pytest.raises(StorageError, match="cannot open the data directory: Input/output error"):
        DataDirectory(stamped, PATH, identity)
    stamped.before_call = lambda _: None
    assert not DataDirectory(stamped, PATH, identity).is_new


def test_a_refusal_leaves_no_file_open(
    tmp_path: Path, identity: Identity, nothing_stays_open: Callable[[], AbstractContextManager[None]]
) -> None:
    """Neither the lock nor what was read; and no more does a directory that was used."""
    path = tmp_path / "1"
    with nothing_stays_open():
        directory = DataDirectory(RealFileSystem(), path, identity)
        directory.stamp()
        directory.prove()
        directory.note_removal()
        with pytest.raises(DataDirectoryError, match="in use"):
            DataDirectory(RealFileSystem(), path, identity)
        directory.close()
        directory.close()
        with pytest.raises(DataDirectoryError, match="belongs to node 1"):
            DataDirectory(RealFileSystem(), path, Identity(identity.cluster_id, NodeId(2)))


def test_another_format_is_refused(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """Data of a later version is not guessed at."""
    fields = struct.pack("<8sI16sQ", b"raftd-id", 2, identity.cluster_id, 1)
    stamped.damage(PATH / "identity", 0, fields + crc32(fields).to_bytes(4, "little"))
    with pytest.raises(DataDirectoryError, match="has format 2; this raftd knows format 1 only"):
        DataDirectory(stamped, PATH, identity)


def test_every_flipped_bit_and_every_cut_of_the_identity_is_refused(
    stamped: SimulatedFileSystem, identity: Identity
) -> None:
    """A damaged identity is damage, never another identity and never a new directory."""
    contents = stamped.contents(PATH / "identity")
    for bit in range(320):
        contents[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError, match="/data/identity: damaged at offset 0"):
            DataDirectory(stamped, PATH, identity)
        contents[bit // 8] ^= 1 << bit % 8
    for length in range(39, -1, -1):
        stamped.cut(PATH / "identity", length)
        with pytest.raises(CorruptionError, match="/data/identity: damaged at offset 0"):
            DataDirectory(stamped, PATH, identity)


def test_a_second_process_is_refused(tmp_path: Path, identity: Identity) -> None:
    """The lock is the operating system's, and ends with who holds it."""
    first = DataDirectory(RealFileSystem(), tmp_path / "1", identity)
    with pytest.raises(DataDirectoryError, match=f"{tmp_path / '1'}: in use by another process"):
        DataDirectory(RealFileSystem(), tmp_path / "1", identity)
    first.close()
    DataDirectory(RealFileSystem(), tmp_path / "1", identity).close()


def test_it_is_made_closed_and_refused_when_open_to_others(tmp_path: Path, identity: Identity) -> None:
    """Mode 0700, or nothing."""
    DataDirectory(RealFileSystem(), tmp_path / "1", identity).close()
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o700
    (tmp_path / "1").chmod(0o710)
    with pytest.raises(DataDirectoryError, match=r"open to others \(mode 0710\); chmod it to 0700"):
        DataDirectory(RealFileSystem(), tmp_path / "1", identity)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, identity: Identity) -> None:
    """An absent parent is said with its name."""
    with pytest.raises(StorageError, match="absent/1: cannot open the data directory: No such file or directory"):
        DataDirectory(RealFileSystem(), tmp_path / "absent" / "1", identity)


def test_a_stamp_that_fails_is_one_line(identity: Identity) -> None:
    """The disk's failure is a `StorageError`, and the directory is still new."""
    filesystem = SimulatedFileSystem()
    directory = DataDirectory(filesystem, PATH, identity)

    def before_call(call: Call) -> None:
        if call.name == "sync":
            raise OSError(errno.EIO, "Input/output error")

    filesystem.before_call = before_call
    with pytest.raises(StorageError, match="/data/identity: cannot be written: Input/output error"):
        directory.stamp()
    assert directory.is_new


def test_what_cannot_be_a_data_directory(tmp_path: Path) -> None:
    """Seen before anything is made; what is not there yet is no fault."""
    assert check_place(tmp_path / "none") == []
    for name in ("a\0b", "a\ud800b"):
        assert check_place(tmp_path / name) == [f"data_directory {tmp_path / name}: no directory can be called that"]
    (tmp_path / "file").write_text("x")
    assert check_place(tmp_path / "file") == [f"data_directory {tmp_path}/file: is not a directory"]
    assert check_place(tmp_path / "file" / "below") == [f"data_directory {tmp_path}/file/below: Not a directory"]
    (tmp_path / "1").mkdir(0o755)
    (found,) = check_place(tmp_path / "1")
    assert "open to others (mode 0755)" in found
    (tmp_path / "1").chmod(0o700)
    assert check_place(tmp_path / "1") == []


def test_a_directory_is_proven_from_then_on(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """A new directory is not; one that was proven is, after a power cut too."""
    directory = DataDirectory(stamped, PATH, identity)
    assert not directory.is_proven
    directory.prove()
    directory.prove()
    assert directory.is_proven
    directory.close()
    stamped.lose_power(lambda _: False)
    assert DataDirectory(stamped, PATH, identity).is_proven


def test_a_removal_is_remembered(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """After a power cut too."""
    directory = DataDirectory(stamped, PATH, identity)
    assert not directory.is_removed
    directory.note_removal()
    directory.note_removal()
    assert directory.is_removed
    directory.close()
    stamped.lose_power(lambda _: False)
    assert DataDirectory(stamped, PATH, identity).is_removed


def test_a_directory_without_an_identity_proves_nothing(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """Marks that were left behind in a directory that begins anew do not count."""
    stamped.create(PATH / "proven").close()
    stamped.create(PATH / "removed").close()
    stamped.unlink(PATH / "identity")
    directory = DataDirectory(stamped, PATH, identity)
    assert (directory.is_proven, directory.is_removed) == (False, False)
    directory.stamp()
    directory.close()
    directory = DataDirectory(stamped, PATH, identity)
    assert (directory.is_proven, directory.is_removed) == (False, False)


@pytest.mark.parametrize("name", ["proven", "removed"])
def test_no_power_cut_brings_back_a_mark_beside_a_new_identity(
    stamped: SimulatedFileSystem, identity: Identity, name: str
) -> None:
    """Of what was done since the last sync of the directory, the renaming may be all that survives."""
    stamped.create(PATH / name).close()
    stamped.unlink(PATH / "identity")
    directory = DataDirectory(stamped, PATH, identity)
    has_identity = False

    def before_call(call: Call) -> None:
        nonlocal has_identity
        if has_identity and call == Call("sync_directory", PATH):
            raise SimulatedCrash
        has_identity = has_identity or call.name == "rename"

    stamped.before_call = before_call
    with pytest.raises(SimulatedCrash):
        directory.stamp()
    stamped.lose_power(lambda change: isinstance(change, tuple) and "identity" in change)
    directory = DataDirectory(stamped, PATH, identity)
    assert (directory.is_new, directory.is_proven, directory.is_removed) == (False, False, False)


def test_a_proof_that_fails_is_one_line(stamped: SimulatedFileSystem, identity: Identity) -> None:
    """The disk's failure is a `StorageError`."""
    directory = DataDirectory(stamped, PATH, identity)

    def before_call(call: Call) -> None:
        if call.name == "create":
            raise OSError(errno.ENOSPC, "No space left on device")

    stamped.before_call = before_call
    with pytest.raises(StorageError, match="/data/proven: cannot be written: No space left on device"):
        directory.prove()
    assert not directory.is_proven


def test_a_crash_at_any_call_of_the_first_start_leaves_a_new_or_a_stamped_directory(
    open_on: Callable[..., tuple[Log, Recovered]],
) -> None:
    """Whatever survives of the first start, the next one succeeds."""
    generator = random.Random(7)
    for number in range(1, 40):
        for _ in range(4):
            filesystem = SimulatedFileSystem()
            filesystem.before_call = crash_at(number)
            try:
                open_on(filesystem)
            except SimulatedCrash:
                filesystem.lose_power(lambda _: generator.random() < 0.5)
                _, recovered = open_on(filesystem)
                assert recovered.entries == []
            else:
                assert number > 15
