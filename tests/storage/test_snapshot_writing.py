"""Snapshot files in the making: bounded syncs, and a transfer that goes on wherever it was cut."""

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.consensus.types import LogIndex, Term
from raftd.errors import LocalProtocolError, RemoteProtocolError, StorageError
from raftd.storage.simulated import Call, SimulatedFileSystem
from raftd.storage.snapshot_format import SnapshotEncoder, SnapshotHeader, SnapshotMetadata
from raftd.storage.snapshot_writing import PAYLOAD_START_BYTES, Draft, SnapshotReceiver, SnapshotWriter

METADATA = SnapshotMetadata(LogIndex(7), Term(2), b"members")
HEADER = SnapshotHeader(b"0123456789abcdef", METADATA, 40)
PAYLOAD = random.Random(3).randbytes(150)
NEW, TARGET = Path("/snapshot.new"), Path("/target")


class Disk:
    """A file system that counts, and one draft on it."""

    def __init__(self) -> None:
        self.filesystem = SimulatedFileSystem()
        self.calls: list[str] = []
        self.filesystem.before_call = lambda call: self.calls.append(call.name)
        self.commits = 0

    def draft(self, sync_bytes: int = 1 << 20) -> Draft:
        def committed(metadata: SnapshotMetadata) -> None:
            assert metadata == METADATA
            self.commits += 1

        return Draft(self.filesystem, NEW, TARGET, sync_bytes, committed)

    def writer(self) -> SnapshotWriter:
        return SnapshotWriter(METADATA, SnapshotEncoder(HEADER), self.draft())

    def receiver(self) -> SnapshotReceiver:
        return SnapshotReceiver(HEADER.cluster_id, METADATA.last_included, self.draft())


def whole_file() -> bytes:
    disk = Disk()
    writer = disk.writer()
    writer.write(PAYLOAD)
    writer.commit()
    return bytes(disk.filesystem.contents(TARGET))


def test_no_sync_has_much_to_do() -> None:
    """A sync follows as soon as so many bytes were written, and the last one has the rest."""
    disk = Disk()
    draft = disk.draft(sync_bytes=100)
    disk.calls.clear()
    for _ in range(7):
        draft.append(bytes(50))
    draft.commit(METADATA)
    assert disk.calls == [*["write", "write", "sync"] * 3, "write", "sync", "rename", "sync_directory"]
    assert disk.commits == 1
    assert disk.filesystem.list_directory(Path("/")) == ["target"]


def test_what_was_left_over_is_replaced() -> None:
    """A draft begins anew, whatever has its name."""
    disk = Disk()
    disk.filesystem.create(NEW).write(0, bytes(1000))
    draft = disk.draft()
    draft.append(b"new")
    draft.commit(METADATA)
    assert disk.filesystem.contents(TARGET) == b"new"


@pytest.mark.parametrize("end", [lambda writer: writer.commit(), lambda writer: writer.abort()])
def test_nothing_follows_the_end(end: Callable[[SnapshotWriter], None]) -> None:
    """A writer that is finished or given up takes nothing more, and giving it up changes nothing."""
    disk = Disk()
    writer = disk.writer()
    end(writer)
    names = disk.filesystem.list_directory(Path("/"))
    assert not writer.is_open
    with pytest.raises(LocalProtocolError):
        writer.write(bytes(100))
    with pytest.raises(LocalProtocolError):
        writer.commit()
    writer.abort()
    assert disk.filesystem.list_directory(Path("/")) == names


def test_pieces_of_any_size_make_one_file() -> None:
    """So that another node can go on with a transfer."""
    for size in range(1, 160):
        disk = Disk()
        writer = disk.writer()
        for start in range(0, len(PAYLOAD), size):
            writer.write(PAYLOAD[start : start + size])
        writer.commit()
        assert disk.filesystem.contents(TARGET) == whole_file()


def test_a_transfer_goes_on_at_any_offset() -> None:
    """Interrupted anywhere and taken up at `next_offset`, it makes identical bytes."""
    file = whole_file()
    for cut in range(len(file) + 1):
        disk = Disk()
        receiver = disk.receiver()
        assert receiver.write(0, file[:cut]) == cut == receiver.next_offset
        assert receiver.complete == (cut == len(file))
        assert receiver.write(cut, file[cut:]) == len(file)
        receiver.commit()
        assert disk.filesystem.contents(TARGET) == file
        assert disk.commits == 1


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_what_the_state_begins_with_can_be_looked_at(step: int) -> None:
    """As far as it has come and was checked, and no more of it than a head needs."""
    state = bytes(range(256)) * 2
    encoder = SnapshotEncoder(HEADER)
    file = b"".join((encoder.header, *encoder.add(state), *encoder.finish()))
    receiver = Disk().receiver()
    assert receiver.payload_start == b""
    for offset in range(0, len(file), step):
        receiver.write(offset, file[offset : offset + step])
        assert state[:PAYLOAD_START_BYTES].startswith(receiver.payload_start)
    assert receiver.payload_start == state[:PAYLOAD_START_BYTES]


def test_lost_repeated_and_reordered_messages() -> None:
    """What came before is passed over, what would leave a gap too, and the answer always says where to go on."""
    file = whole_file()
    for seed in range(50):
        source = random.Random(seed)
        disk = Disk()
        receiver = disk.receiver()
        while not receiver.complete:
            start = max(0, receiver.next_offset + source.randint(-60, 20))
            end = min(len(file), start + source.randint(0, 90))
            before = receiver.next_offset
            expected = max(before, end) if start <= before else before
            assert receiver.write(start, file[start:end]) == expected, f"seed {seed}"
        receiver.commit()
        assert disk.filesystem.contents(TARGET) == file


def test_an_incomplete_transfer_is_not_committed() -> None:
    """However little is missing; and it may still go on afterwards."""
    file = whole_file()
    disk = Disk()
    receiver = disk.receiver()
    for end in range(len(file)):
        receiver.write(0, file[:end])
        with pytest.raises(LocalProtocolError, match="have come"):
            receiver.commit()
    receiver.write(0, file)
    receiver.commit()
    assert disk.filesystem.contents(TARGET) == file


def test_the_membership_comes_with_the_header() -> None:
    """A message names index and term only; until the header is there, the rest is not known."""
    receiver = Disk().receiver()
    assert receiver.last_included == (7, 2)
    with pytest.raises(LocalProtocolError, match="has not come"):
        _ = receiver.metadata
    receiver.write(0, SnapshotEncoder(HEADER).header)
    assert receiver.metadata == METADATA


def test_wrong_bytes_end_a_transfer() -> None:
    """Any flipped bit, and anything behind the end: the sender is at fault, and nothing of it stays."""
    file = whole_file()
    wrong = [(int.from_bytes(file) ^ (1 << bit)).to_bytes(len(file)) for bit in range(8 * len(file))]
    for data in [*wrong, file + b"\0"]:
        disk = Disk()
        receiver = disk.receiver()
        with pytest.raises(RemoteProtocolError, match="snapshot at 7 is not right after byte"):
            # A changed length may make the rest too short, for the longest membership at the utmost.
            receiver.write(0, data + bytes(70_000))
        assert not receiver.is_open
        assert disk.filesystem.list_directory(Path("/")) == []
        with pytest.raises(LocalProtocolError):
            receiver.write(0, file)


def test_another_snapshot_than_announced_is_refused_by_its_header() -> None:
    """It is not taken to the end first."""
    encoder = SnapshotEncoder(SnapshotHeader(HEADER.cluster_id, SnapshotMetadata(LogIndex(8), Term(2), b"members"), 40))
    with pytest.raises(RemoteProtocolError):
        Disk().receiver().write(0, encoder.header)


def test_a_failure_of_the_disk_gives_the_draft_up() -> None:
    """It is removed, and takes nothing more; a failing removal changes nothing about that."""
    for unlink_fails in (False, True):
        disk = Disk()
        writer = disk.writer()

        def fail(call: Call, *, unlink_fails: bool = unlink_fails) -> None:
            if call.name == "write" or (unlink_fails and call.name == "unlink"):
                raise OSError(errno.ENOSPC, "No space left on device", str(call.path))

        disk.filesystem.before_call = fail
        with pytest.raises(StorageError, match=r"snapshot\.new: cannot be written: No space left"):
            writer.write(PAYLOAD)
        assert not writer.is_open
        assert disk.filesystem.list_directory(Path("/")) == (["snapshot.new"] if unlink_fails else [])
