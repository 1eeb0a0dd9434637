"""Recovery of one node's data, on a disk that forgets and with processes that end anywhere."""

import errno
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raftd.consensus import Membership, SnapshotMetadata, encode_membership
from raftd.consensus.types import Entry, EntryKind, HardState, LogIndex, NodeId, Term
from raftd.daemon.founding import GAP
from raftd.daemon.opening import Opened, open_storage
from raftd.daemon.recover import NotSettledError, Places, Survivor, exchange_directories
from raftd.errors import CorruptionError, DataDirectoryError, RaftdError, StorageError
from raftd.kv import commands
from raftd.kv.commands import SessionId, Stamp
from raftd.node.snapshots import stored_metadata
from raftd.settings import NodeSettings, Settings
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import Identity
from raftd.storage.log import open_log
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.storage.snapshots import SnapshotStore
from raftd.wire.entries import encode_entries
from tests.daemon.process import document_of

DATA = Path("/data/1")
PLACES = Places.beside(DATA, "now")
KEPT = PLACES.kept
NEW_ID = uuid.UUID(int=7)
THREE = Membership(frozenset(map(NodeId, (1, 2, 3))))
FIVE = Membership(frozenset(map(NodeId, (1, 2, 3, 4, 5))), learners=frozenset({NodeId(6)}))
SPACE_BYTES = 24 << 20
"""Enough for segments, and not for the reserve, which would only make the tests slow."""


def command(body: bytes) -> bytes:
    return Stamp("admin").at(0) + body


def entries(first: int = 1) -> list[Entry]:
    """A session and three keys, the last of which only this node may have; in between, five nodes from three."""
    put = commands.put
    everything: list[tuple[int, EntryKind, bytes]] = [
        (1, EntryKind.NOOP, b""),
        (1, EntryKind.COMMAND, command(commands.open_session())),
        (1, EntryKind.COMMAND, command(put(SessionId(2), 1, 1, b"a", b"1"))),
        (1, EntryKind.MEMBERSHIP, encode_membership(FIVE)),
        (4, EntryKind.COMMAND, command(put(SessionId(2), 2, 1, b"b", b"2"))),
        (4, EntryKind.COMMAND, command(put(SessionId(2), 3, 1, b"c", b"3"))),
    ]
    found = [(LogIndex(n), Term(term), kind, data) for n, (term, kind, data) in enumerate(everything, 1)]
    return found[first - 1 :]


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return replace(Settings(tmp_path / "raftd.yaml", document_of(3)).node(1), data_directory=DATA)


@pytest.fixture
def filesystem(settings: NodeSettings) -> SimulatedFileSystem:
    """A disk with what a follower of term 9 has left."""
    filesystem = SimulatedFileSystem(SPACE_BYTES)
    filesystem.make_directory(DATA.parent)
    filesystem.sync_directory(Path("/"))
    directory = DataDirectory(filesystem, DATA, Identity(settings.cluster.id.bytes, NodeId(1)))
    log, _ = open_log(directory, segment_bytes=settings.limits.segment_bytes, reserve_bytes=0)
    batch = entries()
    state = HardState(Term(9), NodeId(3))
    log.append(encode_entries(batch), first_index=LogIndex(1), entry_count=len(batch), hard_state=state)
    log.sync()
    log.close()
    directory.close()
    return filesystem


def switch_on(filesystem: SimulatedFileSystem) -> Callable[[Path, Path], None]:
    """What `exchange_directories` is on a real disk."""

    def switch(new: Path, current: Path) -> None:
        names = filesystem._directory(current.parent).names
        filesystem.before_call(Call("exchange", new))
        names[new.name], names[current.name] = names[current.name], names[new.name]

    return switch


def recover(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    survivor = Survivor(settings, filesystem)
    try:
        survivor.found_cluster(NEW_ID, PLACES, switch_on(filesystem))
    finally:
        survivor.close()


def test_the_new_directory_is_handed_over_before_it_takes_its_place(
    settings: NodeSettings, filesystem: SimulatedFileSystem
) -> None:
    """And the old one once it was read, so that either can be started with."""
    steps: list[tuple[str, Path]] = []
    survivor = Survivor(settings, filesystem, lambda path: steps.append(("given", path)))

    def switch(new: Path, current: Path) -> None:
        steps.append(("switched", new))
        switch_on(filesystem)(new, current)

    try:
        survivor.found_cluster(NEW_ID, PLACES, switch)
    finally:
        survivor.close()
    new = PLACES.new
    assert steps == [("given", DATA), ("given", new), ("switched", new)]


def renewed(settings: NodeSettings) -> NodeSettings:
    """The settings as the operator is told to change them."""
    return replace(settings, cluster=replace(settings.cluster, id=NEW_ID))


def opened(settings: NodeSettings, filesystem: SimulatedFileSystem) -> Opened:
    found = open_storage(settings, filesystem)
    found.log.close()
    found.directory.close()
    return found


def check_new(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """The node starts as the only member of the new cluster, with everything that it had."""
    found = opened(renewed(settings), filesystem)
    assert found.snapshot is not None
    assert found.snapshot.membership == Membership(
        frozenset({NodeId(1)}), addresses={NodeId(1): str(settings.members[NodeId(1)])}
    )
    assert (found.snapshot.last_included_index, found.snapshot.last_included_term) == (GAP + 6, 4)
    assert found.recovered.hard_state == HardState(Term(9), NodeId(1))
    assert found.recovered.entries == []
    assert found.recovered.first_index == GAP + 7
    # Sessions and locks that only the lost nodes knew of are none of those to come, and neither are changes.
    assert found.machine.revision > GAP
    assert found.machine.history.compacted_revision == found.machine.revision
    assert [found.machine.get(key) for key in (b"a", b"b", b"c")] == [b"1", b"2", b"3"]
    assert found.machine.session_count == 1
    with pytest.raises(DataDirectoryError, match="belongs to cluster"):
        open_storage(settings, filesystem)


def check_old(settings: NodeSettings, filesystem: SimulatedFileSystem, path: Path = DATA) -> None:
    found = opened(replace(settings, data_directory=path), filesystem)
    assert found.recovered.entries == entries()
    assert found.recovered.hard_state == HardState(Term(9), NodeId(3))


def test_what_a_survivor_has(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Its last term and index, and the newest membership that it has heard of; to look changes nothing."""
    survivor = Survivor(settings, filesystem)
    survivor.close()
    found = survivor.found
    assert (found.node_id, found.current_term, found.last_term, found.last_index) == (1, 9, 4, 6)
    assert (found.snapshot_index, found.membership, found.keys) == (0, FIVE, 3)
    check_old(settings, filesystem)


def test_a_new_cluster_has_all_that_the_node_had(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """The old data is kept, whole."""
    recover(settings, filesystem)
    check_new(settings, filesystem)
    check_old(settings, filesystem, KEPT)
    assert sorted(filesystem.list_directory(DATA.parent)) == ["1", KEPT.name]


def add_snapshot(settings: NodeSettings, filesystem: SimulatedFileSystem, term: Term, made_of: list[Entry]) -> None:
    """Make a snapshot of the state after these entries durable, and leave the log as it is."""
    found = open_storage(settings, filesystem)
    for index, entry_term, kind, data in made_of:
        if kind is EntryKind.COMMAND:
            found.machine.apply(index, entry_term, data)
        else:
            found.machine.skip(index)
    metadata = SnapshotMetadata(found.machine.last_applied, term, THREE)
    writer = SnapshotStore(found.directory).begin(stored_metadata(metadata))
    reader = found.machine.begin_snapshot()
    while (piece := reader.read(1 << 20)) is not None:
        writer.write(piece)
    writer.commit()
    found.log.close()
    found.directory.close()


def test_a_snapshot_and_a_log_behind_it_are_one_state(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Entries that the snapshot has are not applied again."""
    add_snapshot(settings, filesystem, Term(1), entries()[:4])
    survivor = Survivor(settings, filesystem)
    survivor.close()
    assert (survivor.found.snapshot_index, survivor.found.last_index, survivor.found.membership) == (4, 6, THREE)
    recover(settings, filesystem)
    check_new(settings, filesystem)


def test_a_log_that_contradicts_the_snapshot_does_not_count(
    settings: NodeSettings, filesystem: SimulatedFileSystem
) -> None:
    """The node stopped when a leader's snapshot was durable, and before the log that it voids was gone."""
    of_leader = [*entries()[:2], (LogIndex(3), Term(8), *entries()[2][2:]), (LogIndex(4), Term(8), EntryKind.NOOP, b"")]
    add_snapshot(settings, filesystem, Term(8), of_leader)
    survivor = Survivor(settings, filesystem)
    survivor.close()
    found = survivor.found
    assert (found.last_term, found.last_index, found.snapshot_index) == (8, 4, 4)
    assert (found.membership, found.keys) == (THREE, 1)
    recover(settings, filesystem)
    machine = opened(renewed(settings), filesystem).machine
    assert [machine.get(key) for key in (b"a", b"b", b"c")] == [b"1", None, None]


@pytest.mark.parametrize("survives", [True, False], ids=["killed", "power lost"])
def test_a_crash_leaves_the_old_or_the_new(
    settings: NodeSettings, filesystem: SimulatedFileSystem, *, survives: bool
) -> None:
    """At each call that changes the disk: the node has data before and after, never parts of both, and never none."""
    seen: list[str] = []
    for number in range(1000):
        disk = filesystem.copy()
        left = [number]

        def crash(_: Call, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise SimulatedCrash

        disk.before_call = crash
        try:
            recover(settings, disk)
        except SimulatedCrash:
            disk.lose_power(lambda _: survives)
        else:
            assert seen.count("old") > 20
            assert seen.count("new") >= 2
            return
        names = disk.list_directory(DATA.parent)
        identity = disk.contents(DATA / "identity")
        is_new = NEW_ID.bytes in bytes(identity)
        seen.append("new" if is_new else "old")
        if is_new:
            check_new(settings, disk)
            (kept,) = (name for name in names if name != DATA.name)
            check_old(settings, disk, DATA.parent / kept)
        else:
            check_old(settings, disk)
            disk.space = 2 * SPACE_BYTES
    pytest.fail("recovery never ends")


def test_nothing_to_recover(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """A directory that is missing is not made, and one without entries holds nothing that could be gone on with."""
    elsewhere = replace(settings, data_directory=Path("/data/2"))
    with pytest.raises(DataDirectoryError, match="holds no node's data"):
        Survivor(elsewhere, filesystem)
    assert filesystem.list_directory(DATA.parent) == ["1"]
    opened(elsewhere, filesystem)
    with pytest.raises(DataDirectoryError, match="holds no entry"):
        Survivor(elsewhere, filesystem)


def test_a_running_node_is_refused(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Its data is in use."""
    running = open_storage(settings, filesystem)
    with pytest.raises(DataDirectoryError, match="in use"):
        Survivor(settings, filesystem)
    running.log.close()
    running.directory.close()


def test_damaged_data_is_not_gone_on_with(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Another survivor may have it whole."""
    (segment,) = (name for name in filesystem.list_directory(DATA / "wal") if name.endswith(".wal"))
    filesystem.damage(DATA / "wal" / segment, 0, b"x")
    with pytest.raises(CorruptionError):
        Survivor(settings, filesystem)


def test_a_full_disk_leaves_the_old(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """One line, and the node has what it had."""
    survivor = Survivor(settings, filesystem)
    filesystem.space = 1
    with pytest.raises(RaftdError) as caught:
        survivor.found_cluster(NEW_ID, PLACES, switch_on(filesystem))
    survivor.close()
    assert "\n" not in str(caught.value)
    filesystem.space = SPACE_BYTES
    check_old(settings, filesystem)


def test_a_switch_that_fails_leaves_the_old(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """And so does a name that is taken."""

    def fail(new: Path, current: Path) -> None:  # noqa: ARG001 - a switch has two
        raise OSError(errno.EINVAL, "Invalid argument", str(new))

    survivor = Survivor(settings, filesystem)
    with pytest.raises(StorageError, match="cannot take the place of /data/1: Invalid argument"):
        survivor.found_cluster(NEW_ID, PLACES, fail)
    with pytest.raises(StorageError, match="one of this time already"):
        survivor.found_cluster(NEW_ID, PLACES, switch_on(filesystem))
    survivor.close()
    check_old(settings, filesystem)


@pytest.mark.parametrize(("failing", "old"), [(1, PLACES.new), (2, PLACES.new), (3, PLACES.kept)])
def test_a_disk_that_fails_after_the_switch_leaves_the_new(
    settings: NodeSettings, filesystem: SimulatedFileSystem, failing: int, old: Path
) -> None:
    """And it is told so, with what whoever goes on by hand must know: the cluster's id, and where the old data is."""
    left: list[int] = []

    def fail(call: Call) -> None:
        if call.name == "exchange":
            left.append(failing)
        elif left:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device", str(call.path))

    filesystem.before_call = fail
    with pytest.raises(NotSettledError) as caught:
        recover(settings, filesystem)
    filesystem.kill()
    told = str(caught.value)
    assert told.startswith(f"/data/1 holds the new cluster {NEW_ID} now, and {old} what the node had; ")
    assert "No space left on device" in told
    check_new(settings, filesystem)
    check_old(settings, filesystem, old)


def test_a_place_that_cannot_be_taken_is_told_before_anything_is_made(
    settings: NodeSettings, filesystem: SimulatedFileSystem
) -> None:
    """Two directories cannot change places where a disk is mounted on one of them."""
    filesystem.mount_points = {DATA}
    with pytest.raises(DataDirectoryError, match="mount the disk one level higher, at /data, "):
        recover(settings, filesystem)
    assert filesystem.list_directory(DATA.parent) == ["1"]
    check_old(settings, filesystem)


def test_directories_change_places(tmp_path: Path) -> None:
    """On a real file system, in one step; what does not exist cannot, and then nothing has changed."""
    for name in ("new", "current"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange_directories(tmp_path / "new", tmp_path / "current")
    assert {path.name: path.parent.name for path in tmp_path.glob("*/*")} == {"new": "current", "current": "new"}
    with pytest.raises(FileNotFoundError):
        exchange_directories(tmp_path / "missing", tmp_path / "current")
    assert (tmp_path / "current" / "new").exists()
