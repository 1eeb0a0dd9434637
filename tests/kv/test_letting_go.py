"""A state is given up in pieces, down to nothing; each class's own `let_go` is tried here with the rest."""

from collections.abc import Iterator
from itertools import count

import pytest

from raftd.kv import commands, letting_go
from raftd.kv.commands import SessionId, Write
from raftd.kv.letting_go import PIECE_ITEMS, drop_all, drop_items, in_pieces
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Put
from raftd.kv.types import LeaseId
from tests.kv.test_snapshot import filled, send


def many() -> StateMachine:
    """A machine that has something of everything."""
    machine = filled(200)
    sequences = count(1000)

    def head() -> tuple[SessionId, int, int]:
        sequence = next(sequences)
        return SessionId(1), sequence, sequence - 3

    for _ in range(5):
        send(machine, commands.lease_grant(*head()))
        lease = LeaseId(machine.last_applied)
        for number in range(20):
            send(machine, commands.write(*head(), Write(Put(b"%d %d" % (lease, number), b"leased", lease))))
    for number in range(20):
        send(machine, commands.delete(*head(), b"key %04d" % number))
    return machine


@pytest.mark.parametrize("length", [0, 1, PIECE_ITEMS, PIECE_ITEMS + 1, 5 * PIECE_ITEMS])
def test_collections_are_emptied_in_pieces(length: int) -> None:
    """As far as is asked, and no piece is larger than it may be."""
    items, numbers = dict.fromkeys(range(length)), list(range(length))
    for collection, steps in ((items, drop_items(items)), (numbers, drop_all(numbers))):
        left = len(collection)
        for dropped in steps:
            assert 0 < dropped <= PIECE_ITEMS
            left -= dropped
            assert len(collection) == left
        assert len(collection) == left == 0


def test_small_steps_are_joined() -> None:
    """So that many small collections take few turns of the loop; nothing is done before it is asked for."""
    asked: list[int] = []

    def steps() -> Iterator[int]:
        for dropped in (*[1] * PIECE_ITEMS, PIECE_ITEMS - 1, 7, 3):
            asked.append(dropped)
            yield dropped

    joined = in_pieces(steps())
    assert asked == []
    assert next(joined) == PIECE_ITEMS == len(asked)
    assert list(joined) == [PIECE_ITEMS + 6, 3]
    assert list(in_pieces([])) == []


def test_all_of_a_state_goes() -> None:
    """Keys, records, sessions, answers, leases, changes and their index."""
    machine = many()
    store, sessions, leases, history, _, _ = machine._state()
    assert all((len(store), len(sessions), len(leases), len(history), len(history.absent_keys)))
    assert sum(machine.let_go()) >= len(store)
    assert not any(store._shards)
    assert not any((store.sorted_keys._runs, sessions._sessions, sessions._deadlines))
    assert not any((leases._leases, leases._all.ids, leases._leases_of))
    assert not any((history._changes, history._older, history._newest_of, history._absent_keys._runs))


def test_no_piece_of_a_state_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease with its 20 keys goes whole, and so does a run of sorted keys, of which there is one here."""
    monkeypatch.setattr(letting_go, "PIECE_ITEMS", 10)
    machine = many()
    *steps, longest = sorted(machine.let_go())
    assert longest < machine.key_count + 10
    assert all(0 < step < 10 + 21 for step in steps)
    assert len(steps) > 50


def test_a_machine_that_becomes_another_gives_up_its_own_state_and_not_that() -> None:
    """Whether it is given up piece by piece or dropped."""
    for is_dropped in (False, True):
        machine, loaded = many(), filled(50)
        digest, store = loaded.digest(), machine._store
        remains = machine.become(loaded)
        if not is_dropped:
            assert sum(remains)
            assert not any(store._shards)
        del remains
        assert machine.digest() == digest
        assert len(machine._store) == machine.key_count > 0
