"""What becomes of a snapshot that a leader sends and of what it is to replace, besides `test_transfers.py`."""

import errno
import struct
from collections.abc import Iterator

import pytest

from raftd import events
from raftd.consensus.messages import Heartbeat
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.kv import letting_go
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import FORMAT_VERSION, MAGIC
from raftd.kv.store import Store
from raftd.node.snapshots import SnapshotLimits
from raftd.node.transfers import UNREADABLE_SECONDS
from raftd.storage.simulated import Call
from tests.node.parts import TICK_SECONDS
from tests.node.snapshot_parts import FullServer
from tests.node.test_transfers import (
    CHUNK,
    append,
    chunk,
    history,
    machine_at,
    receive,
    receive_all,
    replies,
    snapshot_file,
)


def follow(server: FullServer, seconds: float) -> None:
    """Hear of a leader all the time, and of nothing else."""
    for _ in range(round(seconds / TICK_SECONDS)):
        server.hear(1, Heartbeat(Term(1), NodeId(1), LogIndex(0), 0))
        server.run(TICK_SECONDS)


def test_a_state_that_only_a_newer_release_can_read_is_refused_before_it_is_durable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Or the node would end, and never start again; it says so once, and takes a while before it asks anew."""
    server = FullServer(2, 3)
    file = snapshot_file(40, state=struct.pack("<8sI", MAGIC, FORMAT_VERSION + 1) + bytes(500))
    for times in (1, 2):
        receive_all(server, file)
        server.run()
        assert (server.latest, server.machine.last_applied, server.installer.failed_total) == (0, 0, times)
        assert server.snapshot_names == []
        assert replies(server)[-1].next_offset
        follow(server, UNREADABLE_SECONDS - TICK_SECONDS)
        assert replies(server) == []
        follow(server, 2 * TICK_SECONDS)
        assert [reply.next_offset for reply in replies(server)] == [0]
    told = [record for record in caplog.records if getattr(record, "event", None) is events.SNAPSHOT_UNREADABLE]
    assert len(told) == 1
    assert f"format {FORMAT_VERSION + 1}" in told[0].getMessage()
    receive_all(server, snapshot_file(41), index=41)
    server.run()
    assert server.machine.digest() == machine_at(41).digest()


def test_a_state_that_cannot_be_read_is_refused_before_all_of_it_has_come() -> None:
    """However large it is, only its beginning is sent again and again."""
    server, wrong = FullServer(2, 3), struct.pack("<8sI", MAGIC, FORMAT_VERSION + 1) + bytes(700_000)
    file = snapshot_file(40, state=wrong)
    offset, size = 0, 64 << 10
    while server.installer.failed_total == 0:
        receive(server, chunk(file, offset, size=size))
        offset += size
    assert offset < len(file) / 2


def test_an_older_snapshot_does_not_take_the_room_of_the_one_that_comes() -> None:
    """Or a node that lags on a disk that is nearly full would stay behind for ever."""
    server = FullServer(2, 3, snapshot_limits=SnapshotLimits(log_bytes=1 << 30, slice_bytes=300))
    entries, file = history(30), snapshot_file(40)
    for start, end in ((0, 20), (20, 30)):
        server.hear(1, append(entries[start:end], end))
        server.run()
        server.maker.begin()
        server.run()
    newest = max(server.snapshot_names)
    assert len(server.snapshot_names) == 2

    def before_call(call: Call) -> None:
        if call.name == "write" and call.path.name == "snapshot.received" and len(server.snapshot_names) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    server.filesystem.before_call = before_call
    offset = 0
    while server.machine.last_applied < 40:
        offset = receive(server, chunk(file, offset))[-1].next_offset
        assert server.installer.failed_total <= 1
    assert server.installer.failed_total == 1
    assert len(server.snapshot_names) == 2
    assert newest in server.snapshot_names


def test_what_was_given_up_for_its_room_is_sent_again() -> None:
    """From its beginning, whichever chunk comes next: the leader is told that there is nothing."""
    server, file = FullServer(2, 3), snapshot_file(40)
    offsets = range(0, len(file), CHUNK)
    for end in (2, len(offsets) - 1):
        for offset in offsets[:end]:
            assert receive(server, chunk(file, offset))[-1].next_offset == offset + CHUNK
        assert server.snapshots.prune(1) == 1
        assert receive(server, chunk(file, offsets[end]))[-1].next_offset == 0
    receive_all(server, file)
    server.run()
    assert server.machine.digest() == machine_at(40).digest()


def keys_of(store: Store) -> int:
    return sum(map(len, store._shards))


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_the_state_that_is_not_used_is_freed_in_pieces(monkeypatch: pytest.MonkeyPatch, *, is_overtaken: bool) -> None:
    """Be it the old one or the loaded one: all at once would hold up the loop, by most of a second at the largest."""
    monkeypatch.setattr(letting_go, "PIECE_ITEMS", 4)
    server, file, entries = FullServer(2, 3), snapshot_file(40), history(50)
    server.hear(1, append(entries[:30], 30))
    server.run()
    unused: list[Store] = []
    give_up = StateMachine.let_go

    def let_go(machine: StateMachine) -> Iterator[int]:
        unused.append(machine._store)
        return give_up(machine)

    monkeypatch.setattr(StateMachine, "let_go", let_go)
    receive_all(server, file)
    server.background.step()
    if is_overtaken:
        server.hear(3, append(entries[30:], 50, leader_id=3, term=2))
        server.scheduler.run()
        server.store()
    while not unused:
        server.background.step()
    (store,) = unused
    assert server.installer.installed_total == (not is_overtaken)
    assert server.machine.digest() == machine_at(50 if is_overtaken else 40).digest()
    assert store is not server.machine._store
    before = keys_of(store)
    assert before > 20
    passes = 0
    while server.scheduler.one_pass():
        assert before - keys_of(store) <= 2 * 4
        before, passes = keys_of(store), passes + 1
    assert (before, len(list(store.sorted_keys))) == (0, 0)
    assert passes > 10
