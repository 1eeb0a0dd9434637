"""The snapshots of a data directory: whatever happens, there is the old one or the new one, and never half of one."""

import contextlib
import errno
import random
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from raftd.consensus.types import LogIndex, Term
from raftd.errors import CorruptionError, LocalProtocolError, StorageError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import FileSystem, RealFileSystem
from raftd.storage.format import Identity
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.storage.snapshot_format import SnapshotMetadata
from raftd.storage.snapshots import SnapshotSource, SnapshotStore

OpenStore = Callable[[FileSystem], SnapshotStore]
SNAPSHOTS = Path("/data/snapshots")
OLD = SnapshotMetadata(LogIndex(100), Term(2), b"1, 2, 3")
NEW = SnapshotMetadata(LogIndex(250), Term(3), b"1, 2, 3, 4")
PAYLOADS = {OLD: b"the old state, in two chunks" * 2, NEW: random.Random(1).randbytes(1700)}


@pytest.fixture
def open_store(identity: Identity) -> OpenStore:
    """Give the function that opens the store in /data of a file system, as a process does when it starts."""

    def open_it(filesystem: FileSystem) -> SnapshotStore:
        return SnapshotStore(DataDirectory(filesystem, Path("/data"), identity), chunk_bytes=200, sync_bytes=600)

    return open_it


def make(store: SnapshotStore, metadata: SnapshotMetadata) -> None:
    writer = store.begin(metadata)
    payload = PAYLOADS[metadata]
    for start in range(0, len(payload), 150):
        writer.write(payload[start : start + 150])
    writer.commit()


def file_of(filesystem: FileSystem, metadata: SnapshotMetadata) -> bytes:
    return filesystem.open(SNAPSHOTS / name_of(metadata)).read(0, 1 << 20)


def name_of(metadata: SnapshotMetadata) -> str:
    return f"{metadata.last_included_index:020d}-{metadata.last_included_term:020d}.snapshot"


def payload_of(store: SnapshotStore, metadata: SnapshotMetadata) -> bytes:
    with contextlib.closing(store.open(metadata)) as source:
        return b"".join(source.payload())


def with_old(open_store: OpenStore) -> SimulatedFileSystem:
    """A disk with the old snapshot, where everything is durable."""
    filesystem = SimulatedFileSystem()
    make(open_store(filesystem), OLD)
    filesystem.lose_power(lambda _: True)
    return filesystem


def received(store: SnapshotStore, file: bytes) -> None:
    receiver = store.receive(*NEW.last_included)
    while receiver.next_offset < len(file):
        receiver.write(receiver.next_offset, file[receiver.next_offset : receiver.next_offset + 170])
    receiver.commit()


def test_a_new_directory_has_no_snapshot(open_store: OpenStore) -> None:
    """There is none until one is committed, and one that is aborted never is."""
    filesystem = SimulatedFileSystem()
    store = open_store(filesystem)
    writer = store.begin(OLD)
    writer.write(b"payload")
    assert store.latest() is None
    writer.abort()
    assert store.latest() is None
    assert filesystem.list_directory(SNAPSHOTS) == []


def test_a_snapshot_comes_back(open_store: OpenStore) -> None:
    """What was committed is the newest, at once and in the next process, without anything that was not synced."""
    filesystem = SimulatedFileSystem()
    store = open_store(filesystem)
    for metadata in (OLD, NEW):
        make(store, metadata)
        assert store.latest() == metadata
        filesystem.lose_power(lambda _: False)
        store = open_store(filesystem)
        assert store.latest() == metadata
        assert payload_of(store, metadata) == PAYLOADS[metadata]
    assert payload_of(store, OLD) == PAYLOADS[OLD]


def test_the_real_file_system_serves_as_well(identity: Identity, tmp_path: Path) -> None:
    """On the operating system's files, made in one directory and sent to another."""
    here, there = (DataDirectory(RealFileSystem(), tmp_path / name, identity) for name in "12")
    store = SnapshotStore(here)
    writer = store.begin(NEW)
    payload = random.Random(2).randbytes(3_000_000)
    writer.write(payload)
    writer.commit()
    source = store.open(NEW)
    receiver = SnapshotStore(there).receive(*NEW.last_included)
    while not receiver.complete:
        receiver.write(receiver.next_offset, source.read(receiver.next_offset, 100_000))
    assert receiver.next_offset == source.size
    receiver.commit()
    assert payload_of(SnapshotStore(there), NEW) == payload
    store.prune(1)
    assert [path.name for path in (tmp_path / "1" / "snapshots").iterdir()] == [name_of(NEW)]


def coin(seed: int) -> Callable[[Hashable], bool]:
    """Let each change survive by chance, the same ones for the same seed."""
    source = random.Random(seed)
    return lambda _: source.random() < 0.5


def crashes(open_store: OpenStore, act: Callable[[SnapshotStore], None]) -> int:
    """Crash at each call of `act`, lose what was not synced in many ways, and look; returns the number of calls.

    What a process finds that begins after one that was killed, a power cut does not take back.
    """
    before = with_old(open_store)
    calls = 0
    while True:
        filesystem = before.copy()
        store = open_store(filesystem)
        countdown = calls

        def crash(call: Call) -> None:
            nonlocal countdown
            if countdown == 0:
                raise SimulatedCrash(call)
            countdown -= 1

        filesystem.before_call = crash
        try:
            act(store)
        except SimulatedCrash:
            committed = store.latest() == NEW
        else:
            return calls
        for way in (lambda _: False, lambda _: True, *(coin(seed) for seed in range(12))):
            world = filesystem.copy()
            world.lose_power(way)
            again = open_store(world)
            latest = again.latest()
            assert latest == NEW or (latest == OLD and not committed), f"crash at call {calls}"
            assert payload_of(again, latest) == PAYLOADS[latest]
            assert set(world.list_directory(SNAPSHOTS)) <= {name_of(OLD), name_of(NEW)}
            if latest == OLD:  # and it can be made after all
                make(again, NEW)
        filesystem.kill()
        found = open_store(filesystem).latest()
        filesystem.lose_power(lambda _: False)
        assert open_store(filesystem).latest() == found, f"killed at call {calls}, and then a power cut"
        calls += 1


def test_a_crash_at_any_call_of_making_one(open_store: OpenStore) -> None:
    """After it there is the old snapshot or the new one, whole; once commit has returned, the new one (pitfall 18)."""

    def act(store: SnapshotStore) -> None:
        make(store, NEW)
        store.prune(1)

    assert crashes(open_store, act) >= 15


def test_a_crash_at_any_call_of_receiving_one(open_store: OpenStore) -> None:
    """The same, when a leader sends it."""
    other = SimulatedFileSystem()
    make(open_store(other), NEW)
    file = file_of(other, NEW)

    def act(store: SnapshotStore) -> None:
        received(store, file)
        store.prune(1)

    assert crashes(open_store, act) >= 15


def test_every_flipped_bit_and_every_truncation_refuses_the_start(open_store: OpenStore) -> None:
    """The error names file and offset; no older snapshot stands in for it silently (pitfalls 15 and 20)."""
    filesystem = with_old(open_store)
    path = SNAPSHOTS / name_of(OLD)
    older = SnapshotMetadata(LogIndex(50), Term(1), b"")
    other = SimulatedFileSystem()
    PAYLOADS[older] = b""
    make(open_store(other), older)
    file = filesystem.create(SNAPSHOTS / name_of(older))
    file.write(0, file_of(other, older))
    good = file_of(filesystem, OLD)
    damaged = [good[:end] for end in range(len(good))]
    damaged += [(int.from_bytes(good) ^ (1 << bit)).to_bytes(len(good)) for bit in range(8 * len(good))]
    for contents in damaged:
        filesystem.contents(path)[:] = contents
        filesystem.kill()
        with pytest.raises(CorruptionError, match=rf"{name_of(OLD)}: damaged at offset \d+: "):
            open_store(filesystem)
    filesystem.contents(path)[:] = good
    filesystem.kill()
    assert open_store(filesystem).latest() == OLD
    # Whoever knows better sets the damaged one aside.
    filesystem.unlink(path)
    filesystem.kill()
    assert open_store(filesystem).latest() == older


def test_damage_that_comes_later_is_found_when_it_is_read(open_store: OpenStore) -> None:
    """No payload of a damaged chunk is ever given out."""
    filesystem = with_old(open_store)
    store = open_store(filesystem)
    filesystem.damage(SNAPSHOTS / name_of(OLD), 90, b"!")
    with contextlib.closing(store.open(OLD)) as source, pytest.raises(CorruptionError, match="damaged at offset 63"):
        list(source.payload())


def test_a_snapshot_under_another_s_name_or_of_another_cluster_is_refused(open_store: OpenStore) -> None:
    """The header is held against the name and against this node's cluster."""
    filesystem = with_old(open_store)
    for foreign in (name_of(NEW), "99.snapshot"):
        world = filesystem.copy()
        world.rename(SNAPSHOTS / name_of(OLD), SNAPSHOTS / foreign)
        with pytest.raises(CorruptionError):
            open_store(world)
    other = DataDirectory(filesystem, Path("/data"), Identity(b"another cluster!", 1))  # type: ignore[arg-type]  # any node
    with pytest.raises(CorruptionError, match="of cluster 3031"):
        SnapshotStore(other)


def test_other_names_are_left_alone(open_store: OpenStore) -> None:
    """What somebody set aside is neither read nor removed; what a crash left unfinished is."""
    filesystem = with_old(open_store)
    for name in ("snapshot.new", "snapshot.received", name_of(NEW) + ".aside"):
        filesystem.create(SNAPSHOTS / name).write(0, b"half")
    store = open_store(filesystem)
    store.prune(1)
    assert sorted(filesystem.list_directory(SNAPSHOTS)) == sorted([name_of(OLD), name_of(NEW) + ".aside"])


@pytest.mark.parametrize("name", ["1.snapshot", name_of(OLD)[1:], "x" + name_of(OLD), name_of(OLD).replace("-", "_")])
def test_a_strange_name_is_refused(open_store: OpenStore, name: str) -> None:
    """What ends like a snapshot's name and is none may be one that somebody has renamed: the newest, perhaps."""
    filesystem = with_old(open_store)
    filesystem.create(SNAPSHOTS / name).close()
    with pytest.raises(CorruptionError, match="two numbers of 20 digits"):
        open_store(filesystem)


def test_a_disk_that_removes_nothing_is_one_line(identity: Identity) -> None:
    """Whoever cannot remove what is not needed says so."""
    filesystem = SimulatedFileSystem()
    directory = DataDirectory(filesystem, Path("/data"), identity)
    store = SnapshotStore(directory)
    for metadata in (OLD, NEW):
        make(store, metadata)
    filesystem.create(SNAPSHOTS / "snapshot.new").close()

    def fail(call: Call) -> None:
        if call.name == "unlink":
            raise OSError(errno.EIO, "Input/output error")

    filesystem.before_call = fail
    with pytest.raises(StorageError, match="/data/snapshots: cannot be opened: Input/output error"):
        SnapshotStore(directory)
    with pytest.raises(StorageError, match="/data/snapshots: cannot be pruned: Input/output error"):
        store.prune(1)


def test_a_source_that_cannot_be_read_is_one_line(identity: Identity, tmp_path: Path) -> None:
    """With the file's name and the operating system's reason."""
    store = SnapshotStore(DataDirectory(RealFileSystem(), tmp_path / "1", identity))
    make(store, OLD)
    source = store.open(OLD)
    source.close()
    with pytest.raises(StorageError, match=f"{name_of(OLD)}: cannot be read: Bad file descriptor"):
        source.read(0, 1)


def test_what_a_snapshot_is_of_is_known_when_it_was_read(open_store: OpenStore, identity: Identity) -> None:
    """Its own header says so, where nobody else did."""
    filesystem = with_old(open_store)
    source = SnapshotSource(filesystem.open(SNAPSHOTS / name_of(OLD)), None, identity.cluster_id)
    with pytest.raises(LocalProtocolError, match="not been read yet"):
        _ = source.metadata
    assert b"".join(source.payload()) == PAYLOADS[OLD]
    assert source.metadata == OLD


def test_a_store_leaves_no_file_open(
    identity: Identity, tmp_path: Path, nothing_stays_open: Callable[[], AbstractContextManager[None]]
) -> None:
    """Made, received, given up, read, found damaged: no descriptor is left."""
    directory = DataDirectory(RealFileSystem(), tmp_path / "1", identity)
    with nothing_stays_open():
        store = SnapshotStore(directory)
        make(store, OLD)
        store.begin(NEW).abort()
        store.receive(*NEW.last_included).abort()
        make(store, NEW)
        assert payload_of(SnapshotStore(directory), NEW) == PAYLOADS[NEW]
        path = directory.snapshots_path / name_of(NEW)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CorruptionError):
            SnapshotStore(directory)
    directory.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_leaves_the_old_one(open_store: OpenStore, error: int) -> None:
    """At any call, by writing and by receiving: a `StorageError`, the old snapshot is there, a later try succeeds."""
    other = SimulatedFileSystem()
    make(open_store(other), NEW)
    file = file_of(other, NEW)
    acts: list[Callable[[SnapshotStore], None]] = [lambda store: make(store, NEW), lambda store: received(store, file)]
    for act in acts:
        failed_calls = 0
        while True:
            filesystem = with_old(open_store)
            store = open_store(filesystem)
            countdown = failed_calls

            def fail(call: Call) -> None:
                nonlocal countdown
                countdown -= 1
                if countdown == -1:
                    raise OSError(error, "the disk failed", str(call.path))

            filesystem.before_call = fail
            try:
                act(store)
            except StorageError as raised:
                assert "the disk failed" in str(raised)  # noqa: PT017 - the loop ends where nothing is raised
            else:
                break
            assert store.latest() == OLD
            assert payload_of(store, OLD) == PAYLOADS[OLD]
            again = filesystem.copy()
            again.lose_power(lambda _: False)
            assert open_store(again).latest() == OLD
            act(store)
            assert payload_of(store, NEW) == PAYLOADS[NEW]
            failed_calls += 1
        assert failed_calls >= 8


def test_prune_keeps_the_newest(open_store: OpenStore) -> None:
    """So many of them; a source that is open meanwhile can still be read; without any there would be no state."""
    filesystem = SimulatedFileSystem()
    store = open_store(filesystem)
    all_metadata = [SnapshotMetadata(LogIndex(number), Term(1), b"") for number in (5, 90, 1000, 20_000)]
    for metadata in all_metadata:
        PAYLOADS[metadata] = b"payload"
        make(store, metadata)
    source = store.open(all_metadata[0])
    for keep, removed in ((9, 0), (4, 0), (2, 2), (1, 1)):
        assert store.prune(keep) == removed
        kept = [name_of(metadata) for metadata in all_metadata[-keep:]]
        assert sorted(filesystem.list_directory(SNAPSHOTS)) == kept
    assert b"".join(source.payload()) == b"payload"
    with pytest.raises(LocalProtocolError):
        store.prune(0)
    with pytest.raises(StorageError, match="cannot be opened"):
        store.open(all_metadata[0])


def begun(open_store: OpenStore) -> tuple[SimulatedFileSystem, SnapshotStore, bytes]:
    """A store that has the old snapshot, and the first 300 bytes of the new one, which is the last of the three."""
    other = SimulatedFileSystem()
    make(open_store(other), NEW)
    file = file_of(other, NEW)
    filesystem = with_old(open_store)
    store = open_store(filesystem)
    assert store.receive(*NEW.last_included).write(0, file[:300]) == 300
    return filesystem, store, file


def test_prune_gives_up_what_its_leader_never_finished(open_store: OpenStore) -> None:
    """As soon as there is one as new: it could be used for nothing, and would take its room for ever."""
    filesystem, store, _ = begun(open_store)
    assert store.prune(2) == 0
    assert "snapshot.received" in filesystem.list_directory(SNAPSHOTS)
    make(store, NEW)
    assert store.prune(2) == 1
    assert sorted(filesystem.list_directory(SNAPSHOTS)) == [name_of(OLD), name_of(NEW)]
    assert store.prune(2) == 0


def test_a_full_disk_gives_up_what_is_being_received(open_store: OpenStore) -> None:
    """It is taken in again from its beginning, when the next bytes come."""
    filesystem, store, file = begun(open_store)
    assert store.prune(1) == 1
    assert filesystem.list_directory(SNAPSHOTS) == [name_of(OLD)]
    assert store.receive(*NEW.last_included).write(300, file[300:400]) == 0
    received(store, file)
    assert store.latest() == NEW


@pytest.mark.parametrize("is_stuck", [False, True])
def test_the_one_that_is_durable_outlives_one_whose_name_could_not_be_stored(
    open_store: OpenStore, *, is_stuck: bool
) -> None:
    """Also where that one cannot be removed, and whatever a power cut leaves of what was not synced."""
    filesystem = with_old(open_store)
    store = open_store(filesystem)

    def fail(call: Call) -> None:
        if call.name == "sync_directory" or (is_stuck and call.name == "unlink" and call.path.name == name_of(NEW)):
            raise OSError(errno.ENOSPC, "the disk is full", str(call.path))

    filesystem.before_call = fail
    with pytest.raises(StorageError, match="its name cannot be stored: the disk is full"):
        make(store, NEW)
    assert (name_of(NEW) in filesystem.list_directory(SNAPSHOTS)) == is_stuck
    with contextlib.suppress(StorageError):
        store.prune(1)
    filesystem.before_call = lambda _: None
    changes = filesystem.unsynced()
    assert changes
    for number in range(1 << len(changes)):
        survivors = {change for bit, change in enumerate(changes) if number >> bit & 1}
        world = filesystem.copy()
        world.lose_power(survivors.__contains__)
        again = open_store(world)
        latest = again.latest()
        assert latest in {OLD, NEW}
        assert payload_of(again, latest) == PAYLOADS[latest]
    assert store.prune(1) == 0
    assert payload_of(store, OLD) == PAYLOADS[OLD]
    make(store, NEW)
    assert store.prune(1) == 1
    assert filesystem.list_directory(SNAPSHOTS) == [name_of(NEW)]


def test_one_at_a_time_and_only_newer_ones(open_store: OpenStore) -> None:
    """A second one while one is being made, or one that is not newer than what is there, is refused."""
    store = open_store(with_old(open_store))
    older = SnapshotMetadata(LogIndex(99), Term(2), b"")
    for metadata in (OLD, older):
        with pytest.raises(LocalProtocolError, match="there is one at 100"):
            store.begin(metadata)
        with pytest.raises(LocalProtocolError, match="there is one at 100"):
            store.receive(*metadata.last_included)
    writer = store.begin(NEW)
    with pytest.raises(LocalProtocolError, match="being made"):
        store.begin(NEW)
    writer.abort()
    make(store, NEW)


def test_one_that_was_overtaken_does_not_count(open_store: OpenStore) -> None:
    """While one is made here, a leader's newer one arrives: that one is the newest, whichever is committed last."""
    filesystem = SimulatedFileSystem()
    make(open_store(filesystem), NEW)
    file = file_of(filesystem, NEW)
    store = open_store(SimulatedFileSystem())
    writer = store.begin(OLD)
    received(store, file)
    writer.write(PAYLOADS[OLD])
    writer.commit()
    assert store.latest() == NEW


def test_overlapping_transfers(open_store: OpenStore) -> None:
    """One stalls and another begins: its late bytes go nowhere, and the second arrives whole (pitfall 32)."""
    files = {}
    for metadata in (OLD, NEW):
        filesystem = SimulatedFileSystem()
        make(open_store(filesystem), metadata)
        files[metadata] = file_of(filesystem, metadata)
    for first, second in ((OLD, NEW), (NEW, OLD)):
        filesystem = SimulatedFileSystem()
        store = open_store(filesystem)
        stalled = store.receive(*first.last_included)
        stalled.write(0, files[first][:80])
        receiver = store.receive(*second.last_included)
        assert receiver.next_offset == 0
        receiver.write(0, files[second][:90])
        with pytest.raises(LocalProtocolError):
            stalled.write(80, files[first][80:])
        stalled.abort()
        assert store.receive(*second.last_included) is receiver
        receiver.write(90, files[second][90:])
        receiver.commit()
        filesystem.lose_power(lambda _: False)
        store = open_store(filesystem)
        assert store.latest() == second
        assert payload_of(store, second) == PAYLOADS[second]
