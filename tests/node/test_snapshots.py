import dataclasses
import errno
import json
from itertools import pairwise
from pathlib import Path

import pytest

from raftd.consensus import NO_MEMBERSHIP
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.messages import Heartbeat
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.errors import InvariantViolation, LocalProtocolError
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.node.snapshots import SnapshotLimits, stored_metadata
from raftd.node.view import LogDocument
from raftd.storage.simulated import Call
from tests.node.parts import Client
from tests.node.snapshot_parts import SNAPSHOT_LIMITS, SNAPSHOTS, FullServer, alone, with_session, write

MANY = SnapshotLimits(log_bytes=1 << 30, tail_entries=3, slice_bytes=300, queued_pieces_max=4)
"""Nothing is due by itself."""


def filled(count: int = 40, **options: object) -> tuple[FullServer, Client]:
    """A node with some keys, that snapshots when told."""
    server = alone(**{"snapshot_limits": MANY, **options})
    client = with_session(server)
    for number in range(count):
        write(server, client, b"key %d" % number)
    return server, client


def loaded_digest(server: FullServer) -> bytes:
    """Of the state in the newest snapshot on the disk."""
    metadata = server.snapshots.latest()
    assert metadata is not None
    loader = SnapshotLoader()
    for piece in server.snapshots.open(metadata).payload():
        loader.feed(piece)
    machine = loader.finish()
    assert machine.last_applied == metadata.last_included_index
    return machine.digest()


def slices(server: FullServer) -> None:
    """Let a snapshot that the disk keeps up with come to its end, without any time passing."""
    while server.maker.is_running:
        server.background.finish()
        server.scheduler.run()


def fail_at(server: FullServer, name: str, path: Path, error: int = errno.ENOSPC) -> None:
    def before_call(call: Call) -> None:
        if call.name == name and call.path == path:
            raise OSError(error, "the disk failed")

    server.filesystem.before_call = before_call


def test_a_snapshot_is_the_state_at_its_beginning() -> None:
    """Whatever is written while it is made is not in it, and it is what a restart begins with."""
    server, client = filled()
    index, digest = server.machine.last_applied, server.machine.digest()
    server.maker.begin()
    number = 0
    while server.maker.is_running:
        write(server, client, b"key %d" % (number % 40), b"new %d" % number, value=b"later")
        server.background.step()
        number += 1
    assert number > 10
    assert (server.latest, loaded_digest(server)) == (index, digest)
    assert server.machine.digest() != digest
    server.close()
    again = FullServer(1, 1, filesystem=server.filesystem)
    assert (again.machine.last_applied, again.machine.digest()) == (index, digest)


def test_a_snapshot_is_due_when_the_log_has_grown() -> None:
    """Not before, not again before it has grown as much again, and never two at a time."""
    server = alone(snapshot_limits=dataclasses.replace(SNAPSHOT_LIMITS, slice_bytes=1 << 16))
    client = with_session(server)
    began = []
    for number in range(100):
        was_running = server.maker.is_running
        write(server, client, b"key", value=bytes(100))
        if server.maker.is_running and not was_running:
            began.append(server.driver.log_bytes_total)
        if number % 2:
            server.background.finish()
    server.run(1.0)
    assert len(began) >= 4
    assert server.maker.made_total == len(began)
    assert began[0] - SNAPSHOT_LIMITS.log_bytes in range(200)
    for last, this in pairwise(began):
        assert this - last - SNAPSHOT_LIMITS.log_bytes in range(200)


def test_the_log_of_an_earlier_life_counts() -> None:
    """Or a node that is restarted often would never snapshot, and its log grow without bound."""
    server = FullServer(1, 1)
    server.maker.__init__(  # type: ignore[misc]  # the same one, but for one argument
        raft=server.raft,
        machine=server.machine,
        store=server.snapshots,
        compactor=server.log_disk,
        background=server.background,
        scheduler=server.scheduler,
        limits=SNAPSHOT_LIMITS,
        log_bytes=SNAPSHOT_LIMITS.log_bytes,
    )
    assert not server.maker.is_running
    server.become_leader()
    assert server.maker.is_running


def test_nothing_new_needs_no_snapshot() -> None:
    """The log may have grown by what is not applied: a snapshot of what there is a snapshot of would be refused."""
    server, _ = filled()
    server.maker.begin()
    slices(server)
    server.maker.consider(1 << 40)
    assert not server.maker.is_running


def test_a_node_that_does_not_know_the_members_yet_makes_no_snapshot() -> None:
    """One that is added reads the log from its beginning, and what the cluster began with is not written there."""
    server = FullServer(4, 3, membership=NO_MEMBERSHIP)
    for number in range(30):
        server.follow(1, 1, bytes(100), prev=(number, 1 if number else 0))
        server.scheduler.run()
        server.store()
    server.raft._node.commit_to(LogIndex(30))
    server.driver.wake()
    server.run()
    assert (server.machine.last_applied, server.driver.log_bytes_total > SNAPSHOT_LIMITS.log_bytes) == (30, True)
    assert not server.maker.is_running


def test_the_loop_is_left_alone_between_slices() -> None:
    """A slice that takes a second is followed by four that belong to others, however fast the disk is."""
    server, _ = filled()
    times: list[float] = []
    server.maker.begin()
    making = server.maker._making
    assert making is not None
    read = making.reader.read

    def slow(budget_bytes: int) -> bytes | None:
        assert budget_bytes == MANY.slice_bytes
        times.append(server.scheduler.now)
        server.scheduler.now += 1.0
        return read(budget_bytes)

    making.reader = type("SlowReader", (), {"read": staticmethod(slow), "close": making.reader.close})()
    while server.maker.is_running:
        server.background.finish()
        server.scheduler.advance(0.5)
    assert len(times) > 10
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(times))


def test_a_burst_of_written_pieces_makes_no_burst_of_slices() -> None:
    """When a disk that hung has written all that was queued, the next slice still waits for its turn."""
    server, _ = filled(80)
    server.maker.begin()
    making = server.maker._making
    assert making is not None
    server.background.step()
    for _ in range(MANY.queued_pieces_max):
        server.scheduler.run()
    assert making.queued_pieces == MANY.queued_pieces_max
    assert len(server.background) == MANY.queued_pieces_max
    server.scheduler.advance(10.0)
    assert making.queued_pieces == MANY.queued_pieces_max, "more than may be queued"
    making.next_slice_at = server.scheduler.now + 3.0  # As if the last slice had taken long.
    while server.background:
        server.background.step()
    server.scheduler.run()
    assert making.queued_pieces == 0
    server.scheduler.advance(3.0)
    assert making.queued_pieces > 0


def test_no_piece_is_much_longer_than_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop encodes in one go is bounded, whatever the state is: by a slice and one session or key."""
    server, _ = filled(60)
    sizes: list[int] = []
    server.maker.begin()
    server.background.step()
    making = server.maker._making
    assert making is not None
    assert making.writer is not None
    write_piece = making.writer.write

    def measured(piece: bytes) -> None:
        sizes.append(len(piece))
        write_piece(piece)

    monkeypatch.setattr(making.writer, "write", measured)
    slices(server)
    assert len(sizes) > 10
    assert max(sizes[1:]) <= MANY.slice_bytes + 100  # The first one has a session with all of its answers.


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("create", "snapshot.new"),
        ("write", "snapshot.new"),
        ("sync", "snapshot.new"),
        ("rename", "snapshot.new"),
        ("sync_directory", ""),
    ],
)
def test_a_full_disk_costs_a_snapshot_and_nothing_else(call: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is given up, nothing is compacted, the node goes on; and it is tried again, but not at once."""
    server = alone(snapshot_limits=dataclasses.replace(SNAPSHOT_LIMITS, retry_seconds=60.0))
    client = with_session(server)
    fail_at(server, call, SNAPSHOTS / name)
    for number in range(40):
        write(server, client, b"key %d" % number)
    slices(server)
    assert (server.maker.failed_total, server.maker.made_total) == (1, 0)
    assert (server.raft.base_index, server.log_disk.compacted, server.raft.snapshot) == (0, [], None)
    assert len([record for record in caplog.records if "the disk failed" in record.getMessage()]) == 1
    write(server, client, b"more")
    server.run(59.0)
    assert server.maker.failed_total == 1
    server.filesystem.before_call = lambda _: None
    index = server.machine.last_applied
    server.run(2.0)
    slices(server)
    assert (server.maker.failed_total, server.maker.made_total) == (1, 1)
    assert server.latest >= index
    assert "snapshot.new" not in server.filesystem.list_directory(SNAPSHOTS)


def test_a_disk_that_fails_with_pieces_queued_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """What was queued behind the failure finds its file given up: that is no failure of its own, and no bug."""
    server, _ = filled(60)
    server.snapshots._chunk_bytes = 200  # So that each piece is written at once.
    server.maker.begin()
    server.background.step()
    for _ in range(MANY.queued_pieces_max):
        server.scheduler.run()
    fail_at(server, "write", SNAPSHOTS / "snapshot.new")
    for _ in range(3):
        server.background.finish()
        server.scheduler.run()
    assert server.maker.failed_total == 1
    assert len([record for record in caplog.records if "the disk failed" in record.getMessage()]) == 1
    server.filesystem.before_call = lambda _: None
    server.maker.begin()
    slices(server)
    assert loaded_digest(server) == server.machine.digest()


@pytest.mark.parametrize("bug", [ValueError("bug"), InvariantViolation("bug"), LocalProtocolError("bug")])
def test_what_is_no_failure_of_the_disk_is_not_taken_for_one(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends the process; so it must get out of the callback."""
    server, _ = filled()

    def fail(_: object) -> None:
        raise bug

    monkeypatch.setattr(server.snapshots, "begin", fail)
    server.maker.begin()
    with pytest.raises(type(bug), match="bug"):
        server.background.finish()


def test_a_failed_removal_is_told_of_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """An old snapshot that stays costs space."""
    server, client = filled()
    for _ in range(2):
        server.maker.begin()
        slices(server)
        write(server, client, b"more")
    server.background.finish()
    old = server.filesystem.list_directory(SNAPSHOTS)
    assert len(old) == 2
    fail_at(server, "unlink", SNAPSHOTS / min(old))
    server.maker.begin()
    server.run()
    assert server.maker.made_total == 3
    assert len(server.filesystem.list_directory(SNAPSHOTS)) == 3
    assert "cannot be pruned" in caplog.text


def with_two_files() -> tuple[FullServer, Client]:
    """A node with two snapshots, on a disk that has room for half of a third one."""
    server, client = filled()
    for _ in range(2):
        server.maker.begin()
        slices(server)
        write(server, client, b"more")
    server.background.finish()
    sizes = {name: len(server.filesystem.contents(SNAPSHOTS / name)) for name in server.snapshot_names}
    assert len(sizes) == 2
    server.filesystem.space = used_bytes(server) + max(sizes.values()) // 2
    return server, client


def used_bytes(server: FullServer) -> int:
    return sum(len(inode.contents) for _, inode in server.filesystem._files(server.filesystem._root, Path("/")))


def test_an_older_snapshot_does_not_take_the_room_of_the_next_one() -> None:
    """Or no segment of the log would ever go again, and what is deleted would fill the disk to its end."""
    server, _ = with_two_files()
    newest = max(server.snapshot_names)
    server.maker.begin()
    server.run()
    assert (server.maker.failed_total, server.maker.made_total) == (1, 3)
    assert server.latest == server.machine.last_applied
    assert len(server.snapshot_names) == 2
    assert newest in server.snapshot_names
    assert loaded_digest(server) == server.machine.digest()


def test_a_disk_without_room_for_two_is_tried_again_once_and_then_after_its_time() -> None:
    """Nothing but the newest is left to be removed, and that is not."""
    server, client = with_two_files()
    newest = max(server.snapshot_names)
    server.filesystem.space = used_bytes(server) - len(server.filesystem.contents(SNAPSHOTS / newest)) // 2
    heard = need(server, server.machine.last_applied)
    server.run(1.0)
    assert (server.maker.failed_total, server.maker.made_total) == (2, 2)
    assert server.snapshot_names == [newest]
    assert len(heard) == 1
    assert "No space left" in heard[0]
    write(server, client, b"more")
    server.run(30.0)
    assert server.maker.failed_total == 2


def test_whoever_needs_a_snapshot_waits_until_an_older_one_has_made_room() -> None:
    """The second try is for those who wait, too."""
    server, _ = with_two_files()
    heard = need(server, server.machine.last_applied)
    server.run(1.0)
    assert heard == ["ready"]


def test_an_older_snapshot_that_cannot_be_removed_is_told_of_and_ends_the_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the reason why there is no snapshot, not with that."""
    server, _ = with_two_files()
    fail_at(server, "unlink", SNAPSHOTS / min(server.snapshot_names), errno.EIO)
    heard = need(server, server.machine.last_applied)
    server.run(1.0)
    assert "cannot be pruned" in caplog.text
    assert len(heard) == 1
    assert "No space left" in heard[0]
    assert not server.maker.is_running


@pytest.mark.parametrize("steps", range(9))
def test_a_snapshot_given_up_at_any_time_leaves_nothing(steps: int) -> None:
    """Neither a file nor a reader; what was under way comes late and changes nothing, not even the next snapshot."""
    server, client = filled(20)
    server.maker.begin()
    for _ in range(steps):
        if server.background:
            server.background.step()
        server.scheduler.run()
    assert server.maker.is_running
    late = server.background.work() if server.background else None
    server.maker.abandon()
    server.maker.abandon()
    assert not server.maker.is_running
    write(server, client, b"another state")
    index, digest = server.machine.last_applied, server.machine.digest()
    server.maker.begin()  # A reader is free again.
    if late is not None:
        late()
    slices(server)
    assert (server.maker.made_total, server.maker.failed_total) == (1, 0)
    assert (server.latest, loaded_digest(server)) == (index, digest)
    server.background.finish()
    names = server.filesystem.list_directory(SNAPSHOTS)
    assert "snapshot.new" not in names
    for name in names:  # The one that was given up may have been finished before; then it is whole.
        assert int(name[:20]) <= index


def test_a_report_of_a_snapshot_that_was_given_up_does_not_give_the_next_one_its_file() -> None:
    """The file is begun, the state replaced and another snapshot begun before the loop hears of the file."""
    server, client = filled(20)
    server.maker.begin()
    late = server.background.work()
    server.maker.abandon()
    write(server, client, b"another state")
    server.maker.begin()
    late()
    slices(server)
    assert (server.latest, loaded_digest(server)) == (server.machine.last_applied, server.machine.digest())


def test_a_snapshot_that_a_leader_has_overtaken_is_not_made() -> None:
    """A newer one has come and is durable before this one's file is begun: that is no error."""
    server, _ = filled()
    server.maker.begin()
    metadata = server.raft.snapshot_metadata(server.machine.last_applied)
    newer = dataclasses.replace(metadata, last_included_index=LogIndex(metadata.last_included_index + 10))
    writer = server.snapshots.begin(stored_metadata(newer))
    writer.write(b"a leader's")
    writer.commit()
    slices(server)
    assert (server.maker.made_total, server.maker.failed_total) == (0, 0)
    server.maker.begin()  # A reader is free again.


def test_compaction_keeps_a_tail_and_reaches_the_disk() -> None:
    """The log holds the last entries behind a snapshot, in memory and on disk, and none behind the newest is lost."""
    server = alone()
    client = with_session(server)
    for number in range(200):
        write(server, client, b"key %d" % number)
        server.run()
        assert server.raft.base_index <= max(server.latest - SNAPSHOT_LIMITS.tail_entries, 0)
    server.run(1.0)
    assert server.raft.base_index == server.latest - SNAPSHOT_LIMITS.tail_entries
    assert server.log_disk.compacted[-1] == server.raft.base_index
    assert 1 < server.opened.log.first_index <= server.raft.base_index + 1
    assert len(server.filesystem.list_directory(SNAPSHOTS)) == SNAPSHOT_LIMITS.kept


def test_the_log_is_not_compacted_before_the_snapshot_is_durable() -> None:
    """As long as the directory was not synced, a power cut could leave neither the one nor the other."""
    server, _ = filled()
    server.maker.begin()
    while server.maker.is_running:
        assert (server.raft.base_index, server.log_disk.compacted) == (0, [])
        assert server.raft.snapshot is None
        assert not any(name.endswith(".snapshot") for name in server.filesystem.list_directory(SNAPSHOTS))
        server.background.step()
        server.scheduler.run()
    survivor = server.filesystem.copy()
    survivor.lose_power(lambda _: False)
    assert len([name for name in survivor.list_directory(SNAPSHOTS) if name.endswith(".snapshot")]) == 1
    assert server.raft.base_index > 0


def test_long_entries_make_a_short_tail() -> None:
    """What stays in the log is bounded in bytes too: so many entries of the greatest length would fill the memory."""
    limits = SnapshotLimits(log_bytes=5000, tail_entries=1000)
    server = alone(snapshot_limits=limits)
    client = with_session(server)
    for number in range(40):
        write(server, client, b"key %d" % number, value=bytes(1000))
        server.run()
    raft = server.raft
    assert raft.size_bytes(LogIndex(raft.base_index + 1), LogIndex(server.latest + 1)) in range(3000, 5001)
    assert server.latest - raft.base_index == 4


def test_a_long_log_is_dropped_some_entries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """To free hundreds of thousands of entries takes longer than the loop may be held up."""
    limits = dataclasses.replace(MANY, compacted_entries=10)
    server, _ = filled(55, snapshot_limits=limits)
    bases: list[int] = []
    compact = server.raft.compact

    def observed(index: LogIndex) -> None:
        bases.append(index)
        compact(index)

    monkeypatch.setattr(type(server.raft), "compact", lambda _, index: observed(index))
    server.maker.begin()
    slices(server)
    server.run()
    last = server.latest - limits.tail_entries
    assert bases == [*range(10, last, 10), last]
    assert server.raft.base_index == last


def test_a_leaders_snapshot_that_is_ahead_of_what_is_applied_is_no_reason_to_drop_the_rest() -> None:
    """The log has overtaken it, as far as commitment goes; what is not applied yet must stay."""
    limits = dataclasses.replace(MANY, tail_entries=0)
    server, _ = filled(snapshot_limits=limits)
    raft = server.raft
    applied = raft.last_applied
    ahead = SnapshotMetadata(LogIndex(applied + 5), Term(raft.current_term), raft.membership)
    server.maker.available(ahead)
    assert raft.base_index == applied


def test_the_newest_entries_are_shown_as_far_as_the_log_reaches() -> None:
    """Those in the snapshot are gone: who asks for more is given what there is."""
    server, _ = filled()
    server.maker.begin()
    slices(server)
    entries = json.loads("".join(LogDocument(server.raft).newest(1000)))["entries"]
    assert [entry["index"] for entry in entries] == list(range(server.raft.last_index, server.raft.base_index, -1))


def need(server: FullServer, index: int) -> list[str]:
    """Ask for a snapshot; what comes of it: nothing yet, "ready", or why not."""
    heard: list[str] = []
    server.maker.need(LogIndex(index), lambda: heard.append("ready"), heard.append)
    server.driver.wake()
    return heard


def test_a_snapshot_that_is_needed_is_made() -> None:
    """Though none is due; whoever asks again is not made to wait, while nothing is new."""
    server, client = filled()
    index = server.machine.last_applied
    heard = need(server, index)
    assert heard == []
    server.run(1.0)
    assert (heard, server.latest) == (["ready"], index)
    assert need(server, index) == ["ready"]
    assert server.maker.made_total == 1
    write(server, client, b"new")
    again = need(server, server.machine.last_applied)
    server.run(1.0)
    assert (again, server.maker.made_total) == (["ready"], 2)


def test_one_that_was_begun_too_early_is_followed_by_another() -> None:
    """Who came before its beginning is served by it; who came later waits for the next one, all with one."""
    server, client = filled()
    early = need(server, server.machine.last_applied)
    server.scheduler.run()
    assert server.maker.is_running
    write(server, client, b"new")
    late = [need(server, server.machine.last_applied) for _ in range(3)]
    while not early:
        server.background.step()
        server.scheduler.run()
    assert (early, late) == (["ready"], [[], [], []])
    server.run(1.0)
    assert late == [["ready"]] * 3
    assert server.maker.made_total == 2


def test_a_snapshot_that_fails_is_told_to_whoever_needs_it() -> None:
    """With the disk's reason; the next one who asks makes it try again at once."""
    server, _ = filled()
    fail_at(server, "create", SNAPSHOTS / "snapshot.new")
    heard = need(server, server.machine.last_applied)
    server.run(1.0)
    assert len(heard) == 1
    assert "the disk failed" in heard[0]
    server.filesystem.before_call = lambda _: None
    again = need(server, server.machine.last_applied)
    server.run(1.0)
    assert again == ["ready"]


def test_who_needs_a_snapshot_of_a_node_that_does_not_know_the_members() -> None:
    """Is told so, for there will be none before that."""
    server = FullServer(1, 3, membership=NO_MEMBERSHIP)
    server.follow(2, 1, b"a command that is none")
    server.run()
    server.hear(2, Heartbeat(Term(1), NodeId(2), LogIndex(1), 1))
    server.run()
    assert server.machine.last_applied == 1
    (reason,) = need(server, 1)
    assert "does not know yet who belongs to the cluster" in reason


def test_nobody_waits_for_a_node_that_goes_down() -> None:
    """All are told why."""
    server, _ = filled()
    heard = need(server, server.machine.last_applied)
    server.maker.forget_needs("it is over")
    server.run(1.0)
    assert heard == ["it is over"]
