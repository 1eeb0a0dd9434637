"""A node of a new cluster out of a backup, on a disk that forgets and with processes that end anywhere."""

import errno
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from raftd.consensus.types import HardState, LogIndex, Term
from raftd.daemon.founding import GAP
from raftd.daemon.opening import Opened, bootstrap_membership, open_storage
from raftd.daemon.restore import check_place, found_node
from raftd.errors import DataDirectoryError, RaftdError, SettingsError, StorageError
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import SessionId, Stamp
from raftd.settings import NodeSettings, Settings
from raftd.storage.backup_format import BackupHeader, decode_backup_header
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from tests.cli.backups import CLUSTER_ID, backup_of, machine_of
from tests.daemon.process import document_of

DATA = Path("/data/1")
SPACE_BYTES = 24 << 20
"""Enough for segments, and not for the reserve, which would only make the tests slow."""
DOCUMENT = document_of(3)
VALUES = {b"a": b"1", b"b": b"2"}
LEASED = {b"locks/x": b"me"}


def header_of() -> BackupHeader:
    header = decode_backup_header(backup_of(machine_of(VALUES, LEASED)))
    assert header is not None
    return header


def settings_of(tmp_path: Path, node_id: int = 1) -> NodeSettings:
    settings = Settings(tmp_path / "raftd.yaml", DOCUMENT).node(node_id)
    return replace(settings, data_directory=Path(f"/data/{node_id}"))


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return settings_of(tmp_path)


@pytest.fixture
def filesystem() -> SimulatedFileSystem:
    filesystem = SimulatedFileSystem(SPACE_BYTES)
    filesystem.make_directory(DATA.parent)
    filesystem.sync_directory(Path("/"))
    return filesystem


def restore(settings: NodeSettings, filesystem: SimulatedFileSystem, time: str = "now") -> None:
    found_node(header_of(), machine_of(VALUES, LEASED), settings, time, filesystem=filesystem)


def opened(settings: NodeSettings, filesystem: SimulatedFileSystem) -> Opened:
    found = open_storage(settings, filesystem)
    found.log.close()
    found.directory.close()
    return found


def check(settings: NodeSettings, filesystem: SimulatedFileSystem) -> Opened:
    """The node starts with everything that the backup has."""
    found = opened(settings, filesystem)
    before = machine_of(VALUES, LEASED)
    assert list(found.machine.items()) == list(before.items())
    assert (found.machine.last_applied, found.machine.revision) == (before.last_applied + GAP, before.revision + GAP)
    assert found.machine.session_count == 1
    assert len(found.machine.leases) == 1
    assert found.machine.history.compacted_revision == found.machine.revision
    assert found.snapshot is not None
    assert found.snapshot.membership == bootstrap_membership(settings)
    assert found.recovered.hard_state == HardState(Term(3), None)
    assert found.recovered.first_index == found.machine.last_applied + 1
    return found


def test_a_node_has_all_of_the_backup(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Also if the power fails just after; and where an empty directory waits for it."""
    filesystem.make_directory(DATA)
    filesystem.sync_directory(DATA.parent)
    restore(settings, filesystem)
    filesystem.lose_power(lambda _: False)
    check(settings, filesystem)
    assert filesystem.list_directory(DATA.parent) == ["1"]


def test_all_nodes_begin_alike(tmp_path: Path, filesystem: SimulatedFileSystem) -> None:
    """Same state, index, term and membership: they agree on everything that is behind them."""
    founds = []
    for node_id in (1, 2, 3):
        settings = settings_of(tmp_path, node_id)
        restore(settings, filesystem)
        founds.append(check(settings, filesystem))
    assert len({found.machine.digest() for found in founds}) == 1
    assert len({(found.snapshot, found.recovered.hard_state) for found in founds}) == 1


def test_what_a_client_repeats(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Of before the backup: the remembered answer; of after it: done once, here; of a later session: it is unknown."""
    restore(settings, filesystem)
    machine = opened(settings, filesystem).machine
    stamp = Stamp("alice").at(0)
    index = machine.last_applied

    def send(session: int, sequence: int, value: bytes) -> answers.Answer:
        nonlocal index
        index = LogIndex(index + 1)
        command = commands.put(SessionId(session), sequence, 2, b"a", value)
        return answers.decode(machine.apply(index, Term(4), stamp + command))

    before = machine.revision
    assert send(1, 2, b"again").revision < before
    assert machine.get(b"a") == b"1"
    assert [send(1, 5, b"after").revision for _ in range(3)] == [before + 1] * 3
    assert machine.get(b"a") == b"after"
    assert send(77, 2, b"later").outcome is Outcome.SESSION_EXPIRED
    index = LogIndex(index + 1)
    answer = answers.decode(machine.apply(index, Term(4), stamp + commands.open_session()))
    assert answers.decode_open_session(answer.body).session > GAP


def test_the_cluster_must_be_another_one(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """By its id: nodes of the old one may come back."""
    same = replace(settings, cluster=replace(settings.cluster, id=uuid.UUID(bytes=CLUSTER_ID)))
    with pytest.raises(SettingsError, match="a new cluster needs a new one"):
        restore(same, filesystem)
    assert filesystem.list_directory(DATA.parent) == []


def test_a_node_that_joins_needs_none(tmp_path: Path, filesystem: SimulatedFileSystem) -> None:
    """It is sent the state by the others."""
    nodes = (*DOCUMENT.nodes[:2], replace(DOCUMENT.nodes[2], joins=True))
    settings = Settings(tmp_path / "raftd.yaml", replace(DOCUMENT, nodes=nodes)).node(3)
    with pytest.raises(SettingsError, match="node 3 joins"):
        restore(replace(settings, data_directory=Path("/data/3")), filesystem)


def test_nothing_is_restored_over_data(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Of whatever kind it is; it is found out before the state is loaded."""
    restore(settings, filesystem)
    with pytest.raises(DataDirectoryError, match="there is data already"):
        check_place(header_of(), settings, filesystem)
    with pytest.raises(DataDirectoryError, match="there is data already"):
        restore(settings, filesystem)
    check(settings, filesystem)


def test_a_place_that_cannot_be_taken_is_told_before_anything_is_made(
    settings: NodeSettings, filesystem: SimulatedFileSystem
) -> None:
    """No directory can be renamed to where a disk is mounted, be it empty or with what mkfs leaves in it."""
    for name in ("", "lost+found"):
        filesystem.make_directory(DATA / name)
        filesystem.mount_points = {DATA}
        with pytest.raises(DataDirectoryError, match="mount the disk one level higher, at /data, "):
            check_place(header_of(), settings, filesystem)
        with pytest.raises(DataDirectoryError, match="is where a disk is mounted"):
            restore(settings, filesystem)
    assert filesystem.list_directory(DATA.parent) == ["1"]
    assert filesystem.list_directory(DATA) == ["lost+found"]


def test_what_cannot_be_handed_over_does_not_get_its_name(
    settings: NodeSettings, filesystem: SimulatedFileSystem
) -> None:
    """It is whole by then, and named where it is."""
    seen: list[list[str]] = []

    def refuse(path: Path) -> None:
        seen.append(sorted(filesystem.list_directory(path)))
        raise OSError(errno.EPERM, "Operation not permitted", str(path))

    with pytest.raises(StorageError, match=r"/data/1\.restoring-now: cannot become /data/1: Operation not permitted"):
        found_node(header_of(), machine_of(VALUES, LEASED), settings, "now", filesystem=filesystem, hand_over=refuse)
    assert {"identity", "snapshots", "wal"} <= set(seen[0])
    assert filesystem.list_directory(DATA.parent) == ["1.restoring-now"]
    with pytest.raises(StorageError, match="there is one of this time already"):
        restore(settings, filesystem)


def test_a_crash_leaves_none_or_all_of_it(settings: NodeSettings) -> None:
    """Whichever call of the operating system is the last; and the next try succeeds."""
    calls = 0

    def count(_: Call) -> None:
        nonlocal calls
        calls += 1

    rehearsal = SimulatedFileSystem(SPACE_BYTES)
    rehearsal.make_directory(DATA.parent)
    rehearsal.before_call = count
    restore(settings, rehearsal)
    assert calls > 10
    for last in range(calls):
        disk = SimulatedFileSystem(SPACE_BYTES)
        disk.make_directory(DATA.parent)
        disk.sync_directory(Path("/"))
        left = last

        def crash(_: Call) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise SimulatedCrash

        disk.before_call = crash
        with pytest.raises((SimulatedCrash, RaftdError)):
            restore(settings, disk)
        disk.kill()
        disk.lose_power(lambda _: False)
        if "1" not in disk.list_directory(DATA.parent):
            restore(settings, disk, "later")
        check(settings, disk)


def test_a_parent_that_is_not_there_is_told(settings: NodeSettings) -> None:
    """In one line."""
    with pytest.raises(StorageError, match="cannot be looked into"):
        restore(settings, SimulatedFileSystem(SPACE_BYTES))
