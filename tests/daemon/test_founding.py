"""Data directories with which a cluster begins that is not empty."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from raftd.consensus import Membership, Raft, Role, SnapshotMetadata
from raftd.consensus.types import HardState, LogIndex, NodeId, Term
from raftd.daemon.founding import check_can_be_replaced, found_data_directory
from raftd.daemon.opening import open_storage
from raftd.errors import DataDirectoryError, InvariantViolation, StorageError
from raftd.kv.machine import StateMachine
from raftd.settings import NodeSettings, Settings
from raftd.storage.simulated import SimulatedFileSystem
from tests.cli.backups import machine_of
from tests.daemon.process import document_of

DATA = Path("/data/1")
SPACE_BYTES = 24 << 20
"""Enough for segments, and not for the reserve, which would only make the tests slow."""
THREE = Membership(frozenset(map(NodeId, (1, 2, 3))))


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return replace(Settings(tmp_path / "raftd.yaml", document_of(3)).node(1), data_directory=DATA)


@pytest.fixture
def filesystem() -> SimulatedFileSystem:
    filesystem = SimulatedFileSystem(SPACE_BYTES)
    filesystem.make_directory(DATA.parent)
    filesystem.sync_directory(Path("/"))
    return filesystem


def metadata_of(machine: StateMachine) -> SnapshotMetadata:
    return SnapshotMetadata(machine.last_applied, Term(4), THREE)


def test_a_node_begins_with_it(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """With the state, the membership, the term and no vote, and behind it an empty log; after a power cut too."""
    machine = machine_of({b"a": b"1", b"b": b"2"})
    digest = machine.digest()
    found_data_directory(settings, metadata_of(machine), Term(9), machine, filesystem)
    filesystem.lose_power(lambda _: False)
    opened = open_storage(settings, filesystem)
    assert opened.machine.digest() == digest
    assert opened.snapshot == metadata_of(machine)
    assert opened.recovered.hard_state == HardState(Term(9), None)
    assert opened.recovered.entries == []
    assert opened.recovered.first_index == machine.last_applied + 1
    assert not opened.directory.is_proven
    opened.log.close()
    opened.directory.close()


def test_one_that_is_alone_has_begun_it(settings: NodeSettings, filesystem: SimulatedFileSystem) -> None:
    """Else it would ask others, who are not there, whether its log is all there was."""
    machine = machine_of({b"a": b"1"})
    metadata = SnapshotMetadata(machine.last_applied, Term(4), Membership(frozenset({NodeId(1)})))
    found_data_directory(settings, metadata, Term(9), machine, filesystem)
    opened = open_storage(settings, filesystem)
    opened.log.close()
    opened.directory.close()
    raft = Raft(
        node_id=NodeId(1),
        membership=metadata.membership,
        hard_state=opened.recovered.hard_state,
        entries=(),
        random=random.Random(1),
        snapshot=opened.snapshot,
        unproven=True,
    )
    raft.campaign()
    while raft.has_ready:
        ready = raft.ready()
        if ready.must_store:
            raft.stored(ready.stored_term, ready.stored_index)
    assert raft.role is Role.LEADER


def test_what_is_not_what_was_to_be_written_is_found_out(
    settings: NodeSettings, filesystem: SimulatedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read through before anybody relies on it."""
    machine = machine_of({b"a": b"1"})
    whole = StateMachine.begin_snapshot

    def and_go_on(machine: StateMachine) -> object:
        reader = whole(machine)
        machine.skip(LogIndex(machine.last_applied + 1))
        return reader

    monkeypatch.setattr(StateMachine, "begin_snapshot", and_go_on)
    with pytest.raises(InvariantViolation, match="does not hold the state"):
        found_data_directory(settings, metadata_of(machine), Term(9), machine, filesystem)


def test_without_its_parent_there_is_none(settings: NodeSettings) -> None:
    """One line that names it."""
    machine = machine_of({b"a": b"1"})
    with pytest.raises(StorageError, match="/data"):
        found_data_directory(settings, metadata_of(machine), Term(9), machine, SimulatedFileSystem(SPACE_BYTES))


def test_where_a_disk_is_mounted_no_other_directory_can_be(filesystem: SimulatedFileSystem) -> None:
    """Anywhere else it can, be there something or not."""
    check_can_be_replaced(DATA, filesystem)
    filesystem.mount_points = {DATA}
    with pytest.raises(DataDirectoryError, match="/data/1: is where a disk is mounted"):
        check_can_be_replaced(DATA, filesystem)
