"""Backups as nodes hand them out: whole, of one moment, no faster than they may be, and to whom they belong."""

import errno
import json
import random

import pytest

from raftd.consensus.types import NodeId
from raftd.kv import commands
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.node.snapshots import SnapshotLimits
from raftd.storage.backup_format import BackupHeader, BackupParser
from raftd.storage.simulated import Call
from raftd.wire.backup import (
    BackupOutcome,
    encode_backup_body,
    encode_backup_piece_body,
    encode_backup_report_body,
)
from raftd.wire.client import BODY_OFFSET, Consistency, RefusalCode, RequestKind, ResponseKind, decode_document
from tests.node.parts import Client
from tests.node.snapshot_parts import (
    BACKUP_LIMITS,
    NOW_MS,
    SNAPSHOTS,
    FullCluster,
    FullServer,
    alone,
    with_session,
    write,
)

MANY = SnapshotLimits(log_bytes=1 << 30, tail_entries=3, slice_bytes=300, queued_pieces_max=4)
"""Nothing is due by itself."""


def filled(count: int = 20) -> tuple[FullServer, Client]:
    server = alone(snapshot_limits=MANY)
    client = with_session(server)
    for number in range(count):
        write(server, client, b"key %d" % number)
    return server, client


def ask(client: Client, consistency: Consistency = Consistency.LINEARIZABLE) -> int:
    return client.send((RequestKind.BACKUP, encode_backup_body(consistency)))[0]


def document(client: Client, request_id: int) -> dict[str, int]:
    kind, payload = client.responses[request_id]
    assert kind is ResponseKind.DOCUMENT, client.refusal(request_id)
    found: dict[str, int] = json.loads(decode_document(payload))
    return found


def ask_piece(client: Client, backup: int, offset: int) -> int:
    return client.send((RequestKind.BACKUP_PIECE, encode_backup_piece_body(backup, offset)))[0]


def piece(client: Client, request_id: int) -> bytes:
    kind, payload = client.responses[request_id]
    assert kind is ResponseKind.PIECE, client.refusal(request_id)
    return payload[BODY_OFFSET:]


def download(server: FullServer, client: Client, request_id: int) -> bytes:
    """All of a backup that was asked for; the server does what there is to do."""
    server.run(1.0)
    begun = document(client, request_id)
    data = b""
    while len(data) < begun["size"]:
        part = ask_piece(client, begun["backup"], len(data))
        server.run(1.0)
        data += piece(client, part)
    return data


def loaded(data: bytes) -> tuple[BackupHeader, StateMachine]:
    """The header, and the state."""
    parser, loader = BackupParser(), SnapshotLoader()
    for payload in parser.feed(data):
        loader.feed(payload)
    return parser.finish(len(data)), loader.finish()


def keys_of(machine: StateMachine) -> tuple[int, int, int, bytes | None]:
    """What there is of keys; the clock, which goes on while a backup is read, makes no difference."""
    return machine.revision, machine.key_count, machine.bytes_total, machine.get(b"key 7")


def test_a_backup_is_the_state_when_it_was_confirmed() -> None:
    """It is this node's, of this cluster, at what was applied then, and made of one moment while writes go on."""
    server, client = filled()
    index, digest, revision = server.machine.last_applied, server.machine.digest(), server.machine.revision
    request_id = ask(client)
    server.scheduler.run()
    number = 0
    while request_id not in client.responses:
        write(server, client, b"key %d" % (number % 20), value=b"later")
        server.background.step()
        server.scheduler.run()
        number += 1
    assert number > 5
    header, found = loaded(download(server, client, request_id))
    assert found.digest() == digest
    assert (header.last_included_index, header.revision) == (index, revision)
    assert (header.cluster_name, header.node_id, header.wall_clock_ms) == ("test", 1, NOW_MS)
    assert header.cluster_id == server.opened.directory.identity.cluster_id
    assert server.backups.backup_count == 0
    assert server.backups.sent_bytes_total == header.file_length


def test_it_has_what_was_answered_before() -> None:
    """Also where an older snapshot is on the disk, and where one was begun before."""
    server, client = filled()
    server.maker.begin()
    write(server, client, b"acknowledged", value=b"yes")
    header, machine = loaded(download(server, client, ask(client)))
    assert keys_of(machine) == keys_of(server.machine)
    assert (machine.get(b"acknowledged"), header.revision) == (b"yes", server.machine.revision)


def test_nothing_new_takes_no_new_snapshot() -> None:
    """Two backups of one state have the same body, byte for byte."""
    server, client = filled()
    client.send((RequestKind.WRITE, commands.close_session(client.session)))  # else the clock would be new
    server.run()
    first, second = (download(server, client, ask(client)) for _ in range(2))
    assert first == second
    assert server.maker.made_total == 1


@pytest.mark.parametrize("consistency", Consistency)
def test_a_follower_hands_out_its_own_state(consistency: Consistency) -> None:
    """Linearizable: at least what the leader had committed. Stale: what it has, with nobody to ask."""
    cluster = FullCluster(3, MANY)
    client = cluster.client()
    cluster.write(client, b"a", b"b")
    cluster.agree()
    follower = next(server for server in cluster.full.values() if server is not cluster.leader)
    if consistency is Consistency.STALE:
        cluster.cut = {*range(1, 4)}
    asking = follower.client()
    request_id = ask(asking, consistency)
    cluster.advance_until(lambda: request_id in asking.responses)
    begun = document(asking, request_id)
    data = b""
    while len(data) < begun["size"]:
        part = ask_piece(asking, begun["backup"], len(data))
        cluster.advance_until(lambda part=part: part in asking.responses)  # type: ignore[misc]  # bound at once
        data += piece(asking, part)
    header, machine = loaded(data)
    assert (header.node_id, keys_of(machine)) == (follower.node_id, keys_of(follower.machine))
    assert machine.get(b"b") is not None


def test_without_a_leader_there_is_no_confirmed_backup() -> None:
    """It is refused at once, and nothing is begun."""
    server = FullServer(1, 3)
    client = server.client()
    request_id = ask(client)
    server.run()
    assert client.refusal(request_id).code is RefusalCode.NO_LEADER
    stale = ask(client, Consistency.STALE)
    server.run()
    assert client.refusal(stale).code is RefusalCode.UNAVAILABLE
    assert server.backups.backup_count == 0


def test_all_backups_together_keep_to_the_rate() -> None:
    """However many ask, and however soon."""
    server, client = filled(60)
    server.run(1.0)
    others = [client, server.client()]
    begun = []
    for other in others:
        request_id = ask(other)
        server.run(1.0)
        begun.append(document(other, request_id)["backup"])
    offsets = [0, 0]
    waiting: list[int | None] = [None, None]
    started = server.scheduler.now
    while max(offsets) < 4000:
        for number, other in enumerate(others):
            part = waiting[number]
            if part in other.responses:
                offsets[number] += len(piece(other, part))
                waiting[number] = part = None
            if part is None:
                waiting[number] = ask_piece(other, begun[number], offsets[number])
        server.run(0.01)
    taken = server.scheduler.now - started
    assert sum(offsets) / taken <= BACKUP_LIMITS.bytes_per_second_max * 1.1 + 2 * BACKUP_LIMITS.piece_bytes
    assert abs(offsets[0] - offsets[1]) <= 2 * BACKUP_LIMITS.piece_bytes


def test_only_so_many_at_a_time() -> None:
    """A further one is refused, whether the others wait, or are being read; then there is room again."""
    server, client = filled()
    others = [server.client() for _ in range(3)]
    ids = [ask(other) for other in others]
    server.run(1.0)
    assert [others[number].responses[ids[number]][0] for number in range(3)].count(ResponseKind.REFUSED) == 1
    refused = next(number for number in range(3) if others[number].responses[ids[number]][0] is ResponseKind.REFUSED)
    assert others[refused].refusal(ids[refused]).code is RefusalCode.OVERLOADED
    again = ask(client)
    server.run()
    assert client.refusal(again).code is RefusalCode.OVERLOADED
    others[(refused + 1) % 3].connection.closed()
    again = ask(client)
    server.run(1.0)
    assert document(client, again)["size"]


def test_a_backup_belongs_to_its_connection() -> None:
    """Nobody else can read it, and it is gone when the connection is; so is its file."""
    server, client = filled()
    request_id = ask(client)
    server.run(1.0)
    backup = document(client, request_id)["backup"]
    stranger = server.client()
    part = ask_piece(stranger, backup, 0)
    server.run(1.0)
    assert stranger.refusal(part).code is RefusalCode.NOT_POSSIBLE
    client.connection.closed()
    server.run(1.0)
    assert server.backups.backup_count == 0
    part = ask_piece(client, backup, 0)
    server.run(1.0)
    assert client.refusal(part).code is RefusalCode.NOT_POSSIBLE


@pytest.mark.parametrize("steps", range(12))
def test_a_connection_that_ends_at_any_time_leaves_nothing(steps: int) -> None:
    """While the snapshot is made, while it is opened, while a piece is read."""
    server, client = filled()
    request_id = ask(client)
    server.scheduler.run()
    for _ in range(steps):
        if server.background:
            server.background.step()
        server.scheduler.run()
        if request_id in client.responses and client.responses[request_id][0] is ResponseKind.DOCUMENT:
            ask_piece(client, document(client, request_id)["backup"], 0)
    client.channel.is_closed = True
    client.connection.closed()
    server.run(1.0)
    assert server.backups.backup_count == 0
    assert keys_of(loaded(download(server, other := server.client(), ask(other)))[1]) == keys_of(server.machine)


def test_who_asks_for_no_piece_for_long_loses_it() -> None:
    """But not who asks now and then."""
    server, client = filled()
    request_id = ask(client)
    server.run(1.0)
    backup = document(client, request_id)["backup"]
    for _ in range(4):
        server.run(BACKUP_LIMITS.idle_seconds_max * 0.9)
        part = ask_piece(client, backup, 0)
        server.run(1.0)
        assert piece(client, part)
    server.run(BACKUP_LIMITS.idle_seconds_max * 1.1)
    assert server.backups.backup_count == 0


def test_what_cannot_be_read_is_refused() -> None:
    """An offset behind the end, a second piece while one is on its way, and a client that does not read."""
    server, client = filled()
    request_id = ask(client)
    server.run(1.0)
    begun = document(client, request_id)
    far, first, second = (ask_piece(client, begun["backup"], offset) for offset in (begun["size"] + 1, 0, 0))
    server.run(1.0)
    assert client.refusal(far).code is RefusalCode.BAD_REQUEST
    assert client.refusal(second).code is RefusalCode.OVERLOADED
    assert len(piece(client, first)) == BACKUP_LIMITS.piece_bytes
    client.channel.unsent_bytes = 1 << 30
    behind = ask_piece(client, begun["backup"], 0)
    server.run(1.0)
    assert client.refusal(behind).code is RefusalCode.OVERLOADED
    client.channel.unsent_bytes = 0
    end = ask_piece(client, begun["backup"], begun["size"])
    server.run(1.0)
    assert piece(client, end) == b""
    assert server.backups.backup_count == 0


def test_a_full_disk_is_told_and_remembered() -> None:
    """In one line with the reason; the node goes on, and the next backup succeeds."""
    server, client = filled()

    def refuse(call: Call) -> None:
        if call.path == SNAPSHOTS / "snapshot.new":
            raise OSError(errno.ENOSPC, "No space left on device")

    server.filesystem.before_call = refuse
    request_id = ask(client)
    server.run(1.0)
    assert client.refusal(request_id).code is RefusalCode.UNAVAILABLE
    assert "No space left" in client.refusal(request_id).message
    assert (server.backups.backup_count, server.backups.failure_ms) == (0, NOW_MS)
    server.filesystem.before_call = lambda _: None
    assert keys_of(loaded(download(server, client, ask(client)))[1]) == keys_of(server.machine)


def test_reports_are_remembered_over_a_restart() -> None:
    """Of when the newest good one is, and when one failed."""
    server, client = filled(1)
    client.send((RequestKind.BACKUP_REPORT, encode_backup_report_body(BackupOutcome.VERIFIED, NOW_MS - 5)))
    server.run()
    (last,) = client.send((RequestKind.BACKUP_REPORT, encode_backup_report_body(BackupOutcome.FAILED)))
    server.run()
    assert document(client, last) == {"success_ms": NOW_MS - 5, "failure_ms": NOW_MS}
    server.close()
    again = FullServer(1, 1, filesystem=server.filesystem)
    assert (again.backups.success_ms, again.backups.failure_ms) == (NOW_MS - 5, NOW_MS)


def test_one_report_is_stored_at_a_time() -> None:
    """A further one, whoever it is of, is to come again; else each would be a write and a sync that others wait for."""
    server, client = filled(1)
    other = server.client()
    request = (RequestKind.BACKUP_REPORT, encode_backup_report_body(BackupOutcome.VERIFIED, NOW_MS - 5))
    first, second = client.send(request, request)
    (third,) = other.send(request)
    assert (client.connection.in_flight, other.connection.in_flight) == (1, 0)
    server.run()
    assert document(client, first)["success_ms"] == NOW_MS - 5
    assert client.refusal(second).code is other.refusal(third).code is RefusalCode.OVERLOADED
    assert client.connection.in_flight == 0
    (again,) = other.send(request)
    server.run()
    assert document(other, again)["success_ms"] == NOW_MS - 5


def test_a_report_that_cannot_be_stored_is_refused() -> None:
    """And nothing else comes of it."""
    server, client = filled(1)

    def refuse(call: Call) -> None:
        if call.path.name == "backup.new":
            raise OSError(errno.EIO, "Input/output error")

    server.filesystem.before_call = refuse
    body = encode_backup_report_body(BackupOutcome.VERIFIED, NOW_MS)
    (request_id,) = client.send((RequestKind.BACKUP_REPORT, body))
    server.run()
    assert client.refusal(request_id).code is RefusalCode.UNAVAILABLE
    assert server.backups.success_ms == 0
    server.filesystem.before_call = lambda _: None
    (again,) = client.send((RequestKind.BACKUP_REPORT, body))
    server.run()
    assert document(client, again)["success_ms"] == NOW_MS
    assert client.connection.in_flight == 0


def test_a_node_that_goes_down_gives_no_more() -> None:
    """Who waits is told so, and so is who asks for the next piece."""
    server, client = filled()
    reading, waiting = server.client(), server.client()
    request_id = ask(reading)
    server.run(1.0)
    backup = document(reading, request_id)["backup"]
    write(server, client, b"new")
    waits = ask(waiting)
    server.scheduler.run()
    server.gateway.drain()
    part = ask_piece(reading, backup, 0)
    server.run(1.0)
    assert waiting.refusal(waits).code is RefusalCode.UNAVAILABLE
    assert reading.refusal(part).code is RefusalCode.STOPPING
    assert server.backups.backup_count == 0


@pytest.mark.parametrize("seed", range(10))
def test_backups_survive_other_snapshots(seed: int) -> None:
    """What is read is one file from its first byte to its last, whatever is snapshotted and pruned meanwhile."""
    chance = random.Random(seed)
    server = alone(snapshot_limits=SnapshotLimits(log_bytes=1500, tail_entries=3, slice_bytes=300, kept=1))
    client = with_session(server)
    for number in range(20):
        write(server, client, b"key %d" % number)
    request_id = ask(client)
    server.run(1.0)
    begun = document(client, request_id)
    data = b""
    made = server.maker.made_total
    while len(data) < begun["size"]:
        for _ in range(chance.randrange(8)):
            write(server, client, b"key %d" % chance.randrange(20))
        part = ask_piece(client, begun["backup"], len(data))
        server.run(1.0)
        data += piece(client, part)
    assert server.maker.made_total > made
    header, _ = loaded(data)
    assert header.node_id == NodeId(1)
