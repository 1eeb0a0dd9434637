import errno
from itertools import pairwise

import pytest

from raftd.consensus import Membership
from raftd.consensus.membership_codec import encode_membership
from raftd.consensus.messages import AppendEntries, InstallSnapshot, InstallSnapshotReply
from raftd.consensus.ready import SnapshotChunk
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId, ReadId, Role, Term
from raftd.errors import CorruptionError, InvariantViolation, LocalProtocolError
from raftd.kv import commands
from raftd.kv.commands import SessionId, Stamp
from raftd.kv.machine import StateMachine
from raftd.node.connection import ClientConnection
from raftd.node.snapshots import SnapshotLimits
from raftd.node.transfers import TransferLimits
from raftd.storage.simulated import Call
from raftd.storage.snapshot_format import SnapshotMetadata as StoredMetadata
from raftd.wire.client import Consistency
from tests.node.parts import Client
from tests.node.snapshot_parts import (
    SNAPSHOTS,
    FullServer,
    alone,
    new_filesystem,
    with_session,
    write,
)

MEMBERSHIP = Membership(frozenset({NodeId(1), NodeId(2), NodeId(3)}))
CHUNK = 200


def history(count: int) -> list[Entry]:
    """A log of term 1: a session, and puts in it."""
    stamp = Stamp("alice").at(0)
    data = [stamp + commands.open_session()]
    data += [
        stamp + commands.put(SessionId(1), number, number, b"key %d" % (number % 30), bytes(50))
        for number in range(1, count)
    ]
    return [(LogIndex(index), Term(1), EntryKind.COMMAND, command) for index, command in enumerate(data, 1)]


def machine_at(index: int) -> StateMachine:
    machine = StateMachine()
    for entry in history(index):
        machine.apply(entry[0], entry[1], entry[3])
    return machine


def snapshot_file(
    index: int, *, membership: bytes | None = None, state_index: int | None = None, state: bytes | None = None
) -> bytes:
    """The file of a snapshot of `history`, as any node would have made it."""
    server = FullServer(7, 1, filesystem=new_filesystem())
    stored = StoredMetadata(
        LogIndex(index), Term(1), encode_membership(MEMBERSHIP) if membership is None else membership
    )
    writer = server.snapshots.begin(stored)
    reader = machine_at(index if state_index is None else state_index).begin_snapshot()
    while (piece := reader.read(1000)) is not None:
        if state is None:
            writer.write(piece)
    writer.write(state or b"")
    writer.commit()
    source = server.snapshots.open(stored)
    return source.read(0, source.size)


def chunk(
    file: bytes, offset: int, *, index: int = 40, leader_id: int = 1, term: int = 1, size: int = CHUNK
) -> InstallSnapshot:
    data = file[offset : offset + size]
    done = offset + len(data) >= len(file)
    return InstallSnapshot(Term(term), NodeId(leader_id), LogIndex(index), Term(1), offset, data, done)


def replies(server: FullServer) -> list[InstallSnapshotReply]:
    return [message for _, message in server.take_sent() if isinstance(message, InstallSnapshotReply)]


def receive(server: FullServer, message: InstallSnapshot) -> list[InstallSnapshotReply]:
    """Hear a chunk, and take it in."""
    server.hear(message.leader_id, message)
    server.run()
    return replies(server)


def receive_all(server: FullServer, file: bytes, start: int = 0, **options: int) -> None:
    """Hear chunks until the last one is there, but not what comes of it."""
    for offset in range(start, len(file), CHUNK):
        message = chunk(file, offset, **options)
        server.hear(message.leader_id, message)
        server.scheduler.run()
        if not message.done:
            server.run()


def append(entries: list[Entry], commit: int, *, leader_id: int = 1, term: int = 1) -> AppendEntries:
    prev = entries[0][0] - 1
    return AppendEntries(
        Term(term), NodeId(leader_id), LogIndex(prev), Term(1 if prev else 0), LogIndex(commit), tuple(entries)
    )


# Sending.


def sender_of_snapshots(**options: object) -> tuple[FullServer, Client]:
    """A leader with a snapshot of a few hundred bytes."""
    server = alone(**options)
    client = with_session(server)
    for number in range(40):
        write(server, client, b"key %d" % number)
    server.run()
    assert server.latest
    server.take_sent()
    return server, client


def wanted(server: FullServer, peer: int, offset: int = 0, *, index: int | None = None) -> SnapshotChunk:
    term = server.raft.current_term
    return SnapshotChunk(NodeId(peer), term, LogIndex(server.latest if index is None else index), term, offset)


def chunks_sent(server: FullServer, peer: int) -> list[InstallSnapshot]:
    return [message for to, message in server.sent if isinstance(message, InstallSnapshot) and to == peer]


def newest_file(server: FullServer) -> bytes:
    metadata = server.snapshots.latest()
    assert metadata is not None
    source = server.snapshots.open(metadata)
    return source.read(0, source.size)


def test_chunks_make_the_file() -> None:
    """One after the other, they are its bytes; the last one says so, and nothing is held open for it any longer."""
    server, _ = sender_of_snapshots()
    index, file = server.latest, newest_file(server)
    for offset in range(0, len(file), CHUNK):
        server.sender.send(wanted(server, 2, offset, index=index))
        server.run(1.0)
    sent = chunks_sent(server, 2)
    assert b"".join(message.data for message in sent) == file
    assert [message.offset for message in sent] == list(range(0, len(file), CHUNK))
    assert [message.done for message in sent] == [False] * (len(sent) - 1) + [True]
    assert {(message.leader_id, message.term) for message in sent} == {(1, server.raft.current_term)}
    assert server.sender.sent_bytes_total == len(file)
    assert server.sender._sources == {}


def test_a_snapshot_is_sent_to_its_end_whatever_is_made_and_removed_meanwhile() -> None:
    """Two peers are sent two snapshots in turn, while newer ones are made and both files pruned."""
    server, client = sender_of_snapshots()
    first, file = server.latest, newest_file(server)
    server.sender.send(wanted(server, 2))
    server.run()
    write(server, client, *(b"more %d" % number for number in range(40)))
    server.run(1.0)
    second, second_file = server.latest, newest_file(server)
    server.sender.send(wanted(server, 3))
    server.run()
    for _ in range(3):
        write(server, client, *(b"more %d" % number for number in range(40)))
        server.run(1.0)
    assert not any(int(name[:20]) in {first, second} for name in server.snapshot_names)
    for offset in range(CHUNK, max(len(file), len(second_file)), CHUNK):
        for peer, index, length in ((2, first, len(file)), (3, second, len(second_file))):
            if offset < length:
                server.sender.send(wanted(server, peer, offset, index=index))
        server.run(1.0)
    assert b"".join(message.data for message in chunks_sent(server, 2)) == file
    assert b"".join(message.data for message in chunks_sent(server, 3)) == second_file


def test_a_snapshot_that_is_gone_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Consensus hears of it for each chunk, and the log once."""
    server, _ = sender_of_snapshots()
    told: list[NodeId] = []
    monkeypatch.setattr(type(server.raft), "snapshot_unavailable", lambda _, peer: told.append(peer))
    for _ in range(3):
        server.sender.send(wanted(server, 2, index=1))
        server.run(0.1)
    assert (told, chunks_sent(server, 2)) == ([2, 2, 2], [])
    assert len([record for record in caplog.records if "cannot be opened" in record.getMessage()]) == 1


@pytest.mark.parametrize("bug", [ValueError("bug"), LocalProtocolError("bug"), InvariantViolation("bug")])
def test_a_bug_is_not_taken_for_a_missing_file(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    """It ends the process, so it must get out of the callback."""
    server, _ = sender_of_snapshots()

    def fail(_: object) -> None:
        raise bug

    monkeypatch.setattr(server.snapshots, "open", fail)
    server.sender.send(wanted(server, 2))
    with pytest.raises(type(bug), match="bug"):
        server.run()


def test_the_rate_is_bounded_over_all_peers() -> None:
    """So many bytes a second, whoever they go to; after a pause nothing is made up for."""
    limits = TransferLimits(chunk_bytes=100, bytes_per_second_max=1000)
    server, _ = sender_of_snapshots(transfer_limits=limits)
    server.scheduler.advance(100.0)
    times: list[float] = []
    for number in range(10):
        for peer in (2, 3):
            server.sender.send(wanted(server, peer, number * 100))
        while len(chunks_sent(server, 2)) + len(chunks_sent(server, 3)) < 2 * number + 2:
            before = len(server.sent)
            server.run(0.01)
            times += [server.scheduler.now] * sum(isinstance(m, InstallSnapshot) for _, m in server.sent[before:])
    assert len(times) == 20
    assert times[-1] - times[0] >= 1.9 - 0.02
    assert all(later - earlier >= 0.1 - 0.02 for earlier, later in pairwise(times))


def test_a_chunk_that_is_asked_for_again_before_it_is_read_is_read_once() -> None:
    """Or a slow disk, whose followers are asked again and again, would be given ever more to do."""
    server, _ = sender_of_snapshots()
    for _ in range(5):
        server.sender.send(wanted(server, 2, CHUNK))
    assert len(server.background) == 1
    server.run(1.0)
    assert [message.offset for message in chunks_sent(server, 2)] == [CHUNK]


def test_of_two_chunks_that_one_peer_waits_for_the_later_is_sent() -> None:
    """The transfer has begun anew meanwhile: what is read for the old one is of no use."""
    server, _ = sender_of_snapshots()
    server.sender.send(wanted(server, 2, CHUNK))
    server.sender.send(wanted(server, 2, 0))
    server.run(1.0)
    assert [message.offset for message in chunks_sent(server, 2)] == [0]


@pytest.mark.parametrize("end", ["another leads", "the peer is removed"])
def test_what_the_rate_holds_up_is_not_opened_afterwards(end: str) -> None:
    """The time for a chunk may come when nobody is to be sent it any more, and nobody would close what it opens."""
    server = FullServer(1, 3, transfer_limits=TransferLimits(chunk_bytes=CHUNK, bytes_per_second_max=CHUNK))
    server.hear(2, append(history(40), 40, leader_id=2))
    server.run()
    server.become_leader()
    server.run()
    first, second = (
        wanted(server, 3, offset, index=server.latest)._replace(last_included_term=Term(1)) for offset in (0, CHUNK)
    )
    server.sender.send(first)
    server.run()
    assert len(server.sender._sources) == 1
    server.sender.send(second)
    if end == "another leads":
        server.hear(2, append(history(1), 1, leader_id=2, term=server.raft.current_term + 1))
    else:
        del server.raft._replication.progress[NodeId(3)]
        server.sender.keep(frozenset(server.raft.progress))
    server.run()
    assert server.sender._sources == {}
    server.run(5.0)
    assert (server.sender._sources, server.sender._wanted) == ({}, {})
    assert [message.offset for message in chunks_sent(server, 3)] == [0]


def test_what_was_asked_for_in_an_earlier_term_is_not_sent() -> None:
    """Who leads again begins anew: the chunk speaks of a term that is over."""
    server, _ = sender_of_snapshots()
    server.sender.send(wanted(server, 2)._replace(term=Term(server.raft.current_term - 1)))
    server.run(1.0)
    assert chunks_sent(server, 2) == []
    server.sender.send(wanted(server, 2))
    server.run(1.0)
    assert len(chunks_sent(server, 2)) == 1


def test_who_leads_no_more_sends_no_more() -> None:
    """What was asked for as a leader is not sent after that, and the files are closed."""
    server = FullServer(1, 3)
    server.hear(1 + 1, append(history(40), 40, leader_id=2))
    server.run()
    server.become_leader()
    server.run()
    assert server.latest
    server.sender.send(wanted(server, 3, 0, index=server.latest)._replace(last_included_term=Term(1)))
    server.run()
    assert len(chunks_sent(server, 3)) == 1
    assert len(server.sender._sources) == 1
    server.sender.send(wanted(server, 3, CHUNK, index=server.latest)._replace(last_included_term=Term(1)))
    server.scheduler.advance(0.001)
    report = server.background.work()
    server.hear(2, append(history(1), 1, leader_id=2, term=server.raft.current_term + 1))
    server.scheduler.run()
    report()
    server.run()
    assert server.raft.role is Role.FOLLOWER
    assert len(chunks_sent(server, 3)) == 1
    assert (server.sender._sources, server.sender._wanted) == ({}, {})


# Receiving.


def test_a_snapshot_takes_the_place_of_the_state_machine() -> None:
    """It is durable before it counts; everyone who holds the machine has the new state."""
    server, file = FullServer(2, 3), snapshot_file(40)
    server.follow(1, 1)
    machine = server.machine
    receive_all(server, file)
    assert machine.last_applied == 0
    server.run()
    assert server.machine is machine
    assert machine.digest() == machine_at(40).digest()
    raft = server.raft
    assert (raft.commit_index, raft.last_applied, raft.base_index, raft.last_index) == (40, 40, 40, 40)
    assert server.installer.installed_total == 1
    assert server.installer.received_bytes_total == len(file)
    assert replies(server)[-1].installed
    survivor = server.filesystem.copy()
    survivor.lose_power(lambda _: False)
    again = FullServer(2, 3, filesystem=survivor)
    assert again.machine.digest() == machine.digest()
    assert (again.raft.commit_index, again.raft.last_index) == (40, 40)


def test_the_log_goes_on_behind_an_installed_snapshot() -> None:
    """What is appended after it is stored in the log that was reset, and survives with it."""
    server, file, entries = FullServer(2, 3), snapshot_file(40), history(45)
    server.hear(1, append(entries[:5], 5))
    server.run()
    receive_all(server, file)
    server.run()
    server.hear(1, append(entries[40:], 45))
    server.run()
    survivor = server.filesystem.copy()
    survivor.lose_power(lambda _: False)
    again = FullServer(2, 3, filesystem=survivor)
    assert (again.raft.commit_index, again.raft.last_index) == (40, 45)
    again.hear(1, append(entries[45:] or entries[44:], 45))
    again.run()
    assert again.machine.digest() == server.machine.digest() == machine_at(45).digest()


def test_chunks_that_come_again_or_too_early_change_nothing() -> None:
    """The answer says each time how much is there."""
    server, file = FullServer(2, 3), snapshot_file(40)
    assert [reply.next_offset for reply in receive(server, chunk(file, 0))] == [CHUNK]
    assert [reply.next_offset for reply in receive(server, chunk(file, 0))] == [CHUNK]
    assert [reply.next_offset for reply in receive(server, chunk(file, 3 * CHUNK))] == [CHUNK]
    receive_all(server, file, CHUNK)
    server.run()
    assert server.machine.digest() == machine_at(40).digest()
    assert [reply.installed for reply in receive(server, chunk(file, 0))][-1:] == [True]
    assert server.installer.installed_total == 1


@pytest.mark.parametrize("damaged", range(0, 1000, 97))
def test_a_flipped_bit_is_refused_and_the_snapshot_asked_for_anew(damaged: int) -> None:
    """Wherever it is; and what comes then is taken."""
    server, file = FullServer(2, 3), snapshot_file(40)
    wrong = bytearray(file)
    wrong[damaged] ^= 0x10
    answered: list[InstallSnapshotReply] = []
    offset = 0
    while not answered or answered[-1].next_offset:
        answered += receive(server, chunk(bytes(wrong), offset))
        offset = answered[-1].next_offset
        assert not answered[-1].installed
    assert server.machine.last_applied == 0
    assert server.latest == 0
    receive_all(server, file)
    server.run()
    assert server.machine.digest() == machine_at(40).digest()


def test_a_file_that_ends_too_early_is_refused() -> None:
    """The leader says that it has no more, and there is no footer."""
    server, file = FullServer(2, 3), snapshot_file(40)
    receive(server, chunk(file[:-10], 0))
    answered = receive(server, chunk(file[:-10], CHUNK, size=1 << 20))
    assert [(reply.next_offset, reply.installed) for reply in answered] == [(0, False)]
    assert server.snapshot_names == []


def test_a_membership_that_cannot_be_read_is_refused_before_it_is_durable() -> None:
    """Or the node could not start with it."""
    server, file = FullServer(2, 3), snapshot_file(40, membership=b"no membership")
    receive_all(server, file)
    server.run()
    assert (server.latest, server.machine.last_applied) == (0, 0)
    assert replies(server)[-1].next_offset == 0
    server.close()
    server.filesystem.kill()
    FullServer(2, 3, filesystem=server.filesystem)


def test_a_state_of_another_entry_ends_the_process() -> None:
    """It is durable by then: there is no way back, and going on with it would make this node different."""
    server, file = FullServer(2, 3), snapshot_file(40, state_index=39)
    receive_all(server, file)
    with pytest.raises(CorruptionError, match=r"snapshot of entry 40 cannot be loaded: .* entry 39"):
        server.run()
    assert server.machine.last_applied == 0


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_full_disk_on_the_receiving_side_is_told_of_and_tried_again(call: str) -> None:
    """The node goes on with what it has."""
    server, file = FullServer(2, 3), snapshot_file(40)

    def before_call(made: Call) -> None:
        if made.name == call and SNAPSHOTS.name in made.path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")

    server.filesystem.before_call = before_call
    answered: list[InstallSnapshotReply] = []
    offset = 0
    while not answered or answered[-1].next_offset:
        answered += receive(server, chunk(file, offset))
        offset = answered[-1].next_offset
    assert (server.latest, server.machine.last_applied) == (0, 0)
    server.filesystem.before_call = lambda _: None
    receive_all(server, file)
    server.run()
    assert server.machine.digest() == machine_at(40).digest()


@pytest.mark.parametrize("bug", [ValueError("bug"), LocalProtocolError("bug")])
def test_a_bug_is_not_taken_for_a_bad_snapshot(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    """It ends the process, so it must get out of the callback."""
    server, file = FullServer(2, 3), snapshot_file(40)

    def fail(*_: object) -> None:
        raise bug

    monkeypatch.setattr(server.snapshots, "receive", fail)
    server.hear(1, chunk(file, 0))
    with pytest.raises(type(bug), match="bug"):
        server.run()


def test_a_log_that_overtakes_a_snapshot_keeps_its_state() -> None:
    """While the snapshot is being loaded, another leader's entries go past it: what was loaded is dropped."""
    limits = SnapshotLimits(log_bytes=1 << 30, tail_entries=3)
    server, file, entries = FullServer(2, 3, snapshot_limits=limits), snapshot_file(40), history(50)
    server.hear(1, append(entries[:5], 5))
    server.run()
    receive_all(server, file)
    server.background.step()
    server.hear(3, append(entries[5:], 50, leader_id=3, term=2))
    server.scheduler.run()
    server.store()
    assert server.machine.last_applied == 50
    server.run()
    assert server.machine.digest() == machine_at(50).digest()
    assert (server.installer.installed_total, server.latest) == (0, 40)
    assert server.raft.base_index == 37
    server.close()
    server.filesystem.kill()
    again = FullServer(2, 3, filesystem=server.filesystem)
    assert (again.machine.last_applied, again.raft.last_index) == (40, 50)


@pytest.mark.parametrize("steps", range(8))
def test_a_snapshot_of_its_own_does_not_get_in_the_way(steps: int) -> None:
    """A node that snapshots an old state when a leader's snapshot comes ends with the leader's, and can go on."""
    limits = SnapshotLimits(log_bytes=1 << 30, slice_bytes=300)
    server, file, entries = FullServer(2, 3, snapshot_limits=limits), snapshot_file(40), history(60)
    server.hear(1, append(entries[:20], 20))
    server.run()
    receive_all(server, file)
    server.maker.begin()
    for _ in range(steps):
        server.background.step()
        server.scheduler.run()
    server.run(1.0)
    assert not server.maker.is_running
    assert (server.machine.digest(), server.latest) == (machine_at(40).digest(), 40)
    assert server.maker.failed_total == 0
    server.hear(1, append(entries[40:], 60))
    server.run()
    server.maker.begin()
    server.run(1.0)
    assert server.latest == 60


@pytest.mark.parametrize("steps", range(6))
def test_a_snapshot_of_its_own_that_is_under_way_is_given_up(steps: int) -> None:
    """The state that it is of is replaced under it: at any time."""
    limits = SnapshotLimits(log_bytes=1 << 30, slice_bytes=300)
    server, file = FullServer(2, 3, snapshot_limits=limits), snapshot_file(40)
    server.hear(1, append(history(20), 20))
    server.run()
    receive_all(server, file[:-CHUNK] + b"")
    server.run()
    server.maker.begin()
    for _ in range(steps):
        if server.background:
            server.background.step()
        server.scheduler.run()
    for offset in range((len(file) - CHUNK) // CHUNK * CHUNK, len(file), CHUNK):
        server.hear(1, chunk(file, offset))
        server.run()
    while server.machine.last_applied != 40:
        answered = replies(server)
        server.hear(1, chunk(file, answered[-1].next_offset if answered else 0))
        server.run(0.1)
    server.run(1.0)
    assert server.machine.digest() == machine_at(40).digest()
    assert server.latest == 40
    assert "snapshot.new" not in server.snapshot_names


def test_the_old_state_is_let_go_when_it_is_replaced() -> None:
    """A snapshot of it would keep all of it in memory until its end, for a file that is of no use."""
    limits = SnapshotLimits(log_bytes=1 << 30, slice_bytes=300)
    server, file = FullServer(2, 3, snapshot_limits=limits), snapshot_file(40)
    server.hear(1, append(history(20), 20))
    server.run()
    last = (len(file) - 1) // CHUNK * CHUNK
    for offset in range(0, last, CHUNK):
        receive(server, chunk(file, offset))
    server.maker.begin()
    server.background.step()
    server.hear(1, chunk(file, last))
    server.scheduler.one_pass()
    while server.machine.last_applied != 40:
        assert server.maker.is_running
        server.background.step()
    assert not server.maker.is_running


def test_confirmed_reads_that_wait_are_answered_when_the_snapshot_brings_what_they_wait_for() -> None:
    """Though no entry is applied; they are answered from the new state."""
    server, file = FullServer(2, 3), snapshot_file(40)
    client = server.client()
    connection: ClientConnection = client.connection
    server.requests.queue_read(connection, 77, b"key 1")
    server.requests.reads_requested(ReadId(1))
    server.requests.reads_confirmed(ReadId(1), LogIndex(35), Term(1))
    receive_all(server, file)
    assert 77 not in client.responses
    server.run()
    assert client.answer(77).revision == machine_at(40).revision
    assert server.requests.is_idle


def test_stale_reads_see_the_new_state() -> None:
    """A follower whose machine was replaced has replayed, and answers from what it has now."""
    server, file = FullServer(2, 3), snapshot_file(40)
    client = server.client()
    refused = client.get(b"key 1", Consistency.STALE)
    receive_all(server, file)
    server.run()
    found = client.get(b"key 1", Consistency.STALE)
    server.run()
    assert client.refusal(refused).code
    assert client.answer(found).revision == machine_at(40).revision
    assert server.gateway.is_replayed


def test_another_leader_goes_on_where_the_last_one_ended() -> None:
    """Equal snapshots are equal files: what is there needs not be sent again."""
    server, file = FullServer(2, 3), snapshot_file(40)
    for offset in (0, CHUNK, 2 * CHUNK):
        receive(server, chunk(file, offset))
    answered = receive(server, chunk(file, 0, leader_id=3, term=2))
    assert [reply.next_offset for reply in answered] == [3 * CHUNK]
    receive_all(server, file, 3 * CHUNK, leader_id=3, term=2)
    server.run()
    assert server.machine.digest() == machine_at(40).digest()
