import dataclasses
import random
from pathlib import Path

import pytest

from raftd.consensus import Raft
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.daemon.opening import Opened, bootstrap_membership, open_storage
from raftd.errors import CorruptionError, DataDirectoryError, StorageError
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.storage.snapshot_format import SnapshotMetadata as StoredMetadata
from tests.node.snapshot_parts import SNAPSHOTS, FullServer, alone, new_filesystem, settings_of, with_session, write


def used(count: int = 40) -> FullServer:
    """A node that has snapshotted, compacted, and written some more."""
    server = alone()
    client = with_session(server)
    for number in range(count):
        write(server, client, b"key %d" % number)
        server.run()
    assert server.latest
    return server


def opened_after(server: FullServer) -> Opened:
    server.close()
    server.filesystem.kill()
    return open_storage(settings_of(1), server.filesystem)


def add_snapshot(server: FullServer, index: int, *, membership: bytes | None = None, payload: bytes = b"") -> None:
    """Put a snapshot there that consensus does not know of."""
    latest = server.snapshots.latest()
    assert latest is not None
    writer = server.snapshots.begin(
        StoredMetadata(LogIndex(index), Term(1), latest.membership if membership is None else membership)
    )
    writer.write(payload)
    writer.commit()


def test_a_new_directory_is_empty_and_stays_so() -> None:
    """There is no snapshot, no entry and an empty machine; and again so the next time."""
    filesystem = new_filesystem()
    for _ in range(2):
        opened = open_storage(settings_of(1), filesystem)
        assert (opened.snapshot, opened.recovered.entries, opened.machine.last_applied) == (None, [], 0)
        opened.log.close()
        opened.directory.close()


@pytest.mark.parametrize(("segment_bytes", "reserve_bytes"), [(4096, 10_000), (20_480, 21_480)])
def test_the_reserve_is_more_than_a_segment(
    monkeypatch: pytest.MonkeyPatch, segment_bytes: int, reserve_bytes: int
) -> None:
    """On a full disk the log goes on in what it gives back, and a new segment is allocated whole."""
    monkeypatch.setattr("raftd.daemon.opening.RESERVE_BYTES", 10_000)
    monkeypatch.setattr("raftd.daemon.opening.RESERVE_MARGIN_BYTES", 1000)
    filesystem, settings = new_filesystem(), settings_of(1)
    limits = dataclasses.replace(settings.limits, segment_bytes=segment_bytes)
    opened = open_storage(dataclasses.replace(settings, limits=limits), filesystem)
    assert filesystem.open(settings.data_directory / "reserve").size() == reserve_bytes
    opened.log.close()
    opened.directory.close()


def test_what_a_node_left_is_found() -> None:
    """The newest snapshot, loaded, with the membership; and the log behind it, which makes the state whole again."""
    server = used()
    digest, membership, last_index = server.machine.digest(), server.raft.membership, server.raft.last_index
    opened = opened_after(server)
    assert opened.snapshot is not None
    assert opened.snapshot.membership == membership
    assert opened.machine.last_applied == opened.snapshot.last_included_index == server.latest
    assert opened.recovered.first_index <= server.latest + 1
    for index, term, kind, data in opened.recovered.entries:
        if index > server.latest:
            opened.machine.apply(index, term, data) if kind.name == "COMMAND" else opened.machine.skip(index)
    assert (opened.machine.digest(), opened.machine.last_applied) == (digest, last_index)


def test_commit_and_applied_begin_at_the_snapshot() -> None:
    """And the term and vote are those that were stored."""
    server = used()
    hard_state = server.raft.current_term, server.raft.voted_for
    server.close()
    server.filesystem.kill()
    again = FullServer(1, 1, filesystem=server.filesystem)
    raft = again.raft
    assert (raft.commit_index, raft.last_applied, raft.base_index) == (server.latest,) * 3
    assert (raft.current_term, raft.voted_for) == hard_state
    assert raft.last_index == server.raft.last_index
    assert raft.snapshot is not None


def test_only_one_process_opens_a_directory() -> None:
    """The second one is told, and the first keeps what it has."""
    filesystem = new_filesystem()
    open_storage(settings_of(1), filesystem)
    with pytest.raises(DataDirectoryError, match="in use"):
        open_storage(settings_of(1), filesystem)


@pytest.mark.parametrize("offset", [0, 30, 60, 100, 500, 1000, -1])
def test_a_damaged_newest_snapshot_stops_the_start(offset: int) -> None:
    """An older one may not do: the log was compacted by this one. The directory is free again for whoever mends it."""
    server = used()
    path = SNAPSHOTS / max(server.snapshot_names)
    position = offset % len(server.filesystem.contents(path))
    server.filesystem.damage(path, position, bytes([server.filesystem.contents(path)[position] ^ 1]))
    with pytest.raises(CorruptionError, match=path.name):
        opened_after(server)
    server.filesystem.unlink(path)
    with pytest.raises(CorruptionError, match="the log begins at entry"):
        open_storage(settings_of(1), server.filesystem)


@pytest.mark.parametrize(
    ("membership", "payload", "reason"),
    [(b"none", b"", "snapshot 1000"), (None, b"no state", "snapshot 1000"), (None, b"state", "entry")],
)
def test_a_snapshot_that_nobody_could_have_made_stops_the_start(
    membership: bytes | None, payload: bytes, reason: str
) -> None:
    """Its checksums are right, and what is in it is not: a later version's, or another entry's state."""
    server = used()
    if payload == b"state":
        reader = server.machine.begin_snapshot()
        payload = b""
        while (piece := reader.read(10_000)) is not None:
            payload += piece
    elif membership is not None:
        reader = server.machine.begin_snapshot()
        payload = reader.read(1 << 20) or b""
    add_snapshot(server, 1000, membership=membership, payload=payload)
    with pytest.raises(CorruptionError, match=reason):
        opened_after(server)


@pytest.mark.parametrize("call", ["create", "write", "sync", "allocate"])
def test_a_disk_that_fails_at_the_start_is_told_of(call: str) -> None:
    """In one line; and the directory is not left locked."""
    filesystem = new_filesystem()

    def before_call(made: Call) -> None:
        if made.name == call and made.path.name not in {"lock", "reserve"}:
            raise OSError(5, "Input/output error")

    filesystem.before_call = before_call
    with pytest.raises(StorageError, match="Input/output error"):
        open_storage(settings_of(1), filesystem)
    filesystem.before_call = lambda _: None
    open_storage(settings_of(1), filesystem)


def run_until_crash(filesystem: SimulatedFileSystem, last_call: int) -> tuple[bool, int, bytes]:
    """Write and snapshot until a call of the disk is the last; returns (whether it came, what was answered, state)."""
    calls = 0

    def before_call(_: Call) -> None:
        nonlocal calls
        calls += 1
        if calls > last_call:
            raise SimulatedCrash

    server = alone(filesystem=filesystem)
    client = with_session(server)
    answered, digest = server.machine.last_applied, server.machine.digest()
    filesystem.before_call = before_call
    try:
        for number in range(40):
            write(server, client, b"key %d" % (number % 10))
            answered, digest = server.machine.last_applied, server.machine.digest()
            server.background.finish()
            server.scheduler.advance(0.01)
    except SimulatedCrash:
        return True, answered, digest
    return False, answered, digest


@pytest.mark.parametrize("seed", range(2))
def test_every_answered_write_survives_a_power_cut_at_any_call(seed: int) -> None:
    """While snapshots are written, renamed, pruned and the log is compacted: the start finds all that was answered."""
    last_call, has_crashed = 0, True
    while has_crashed:
        filesystem, draw = new_filesystem(), random.Random(f"{seed}, {last_call}")
        has_crashed, answered, digest = run_until_crash(filesystem, last_call)
        filesystem.lose_power(lambda _, draw=draw: draw.random() < 0.5)  # type: ignore[misc]  # bound for the loop
        again = FullServer(1, 1, filesystem=filesystem)
        again.become_leader()
        while again.machine.last_applied < answered:
            again.run()
            assert again.raft.last_index >= answered, f"seed {seed}, call {last_call}"
        if again.machine.last_applied == answered:
            assert again.machine.digest() == digest
        assert again.machine.key_count == min(10, again.machine.revision)
        last_call += 1 + seed
    assert last_call > 60


def follower() -> FullServer:
    """A node with three entries in its log."""
    server = FullServer(2, 3)
    server.follow(1, 1, b"one", b"two", b"three")
    server.run()
    return server


def take_in(server: FullServer, donor: FullServer) -> None:
    """Make the donor's newest snapshot the server's, on the disk alone."""
    source = donor.snapshots.open(donor.snapshots.latest() or pytest.fail("none"))
    receiver = server.snapshots.receive(LogIndex(donor.latest), Term(1))
    receiver.write(0, source.read(0, source.size))
    receiver.commit()


def test_a_durable_snapshot_whose_log_was_not_reset_counts() -> None:
    """The process ended between the two: the log that ends before the snapshot, or contradicts it, is reset then."""
    server, donor = follower(), used()
    take_in(server, donor)
    server.close()
    server.filesystem.lose_power(lambda _: False)
    opened = open_storage(settings_of(2), server.filesystem)
    assert opened.snapshot is not None
    assert [entry[0] for entry in opened.recovered.entries] == [1, 2, 3]
    raft = Raft(
        node_id=NodeId(2),
        membership=bootstrap_membership(settings_of(2)),
        hard_state=opened.recovered.hard_state,
        entries=opened.recovered.entries,
        random=random.Random(1),
        snapshot=opened.snapshot,
    )
    assert raft.commit_index == raft.last_index == opened.machine.last_applied == donor.latest
    assert raft.ready().log_base == (donor.latest, 1)


def test_a_snapshot_that_a_killed_process_left_is_durable_before_the_log_is_reset() -> None:
    """It had its name, and the directory was not synced: a power cut must not take back what the log begins behind."""
    server, donor = follower(), used()

    def before_call(call: Call) -> None:
        if call == Call("sync_directory", server.opened.directory.snapshots_path):
            raise SimulatedCrash

    server.filesystem.before_call = before_call
    with pytest.raises(SimulatedCrash):
        take_in(server, donor)
    server.close()
    server.filesystem.kill()
    again = FullServer(2, 3, filesystem=server.filesystem)
    again.run()
    assert again.opened.log.first_index == donor.latest + 1
    again.close()
    again.filesystem.lose_power(lambda _: False)
    opened = open_storage(settings_of(2), again.filesystem)
    assert opened.snapshot is not None
    assert opened.recovered.first_index == opened.snapshot.last_included_index + 1 == donor.latest + 1


def test_who_joins_knows_of_no_members() -> None:
    """Or two nodes that are to be added could elect each other."""
    settings = settings_of(1)
    nodes = tuple(dataclasses.replace(node, joins=node.id == 1) for node in settings.nodes)
    assert bootstrap_membership(settings).voters == {node.id for node in settings.nodes}
    assert not bootstrap_membership(dataclasses.replace(settings, nodes=nodes)).members
    other = dataclasses.replace(settings, nodes=nodes, node_id=2)
    assert bootstrap_membership(other).voters == {node.id for node in nodes if node.id != 1}
    assert Path("/data/1") == settings.data_directory
