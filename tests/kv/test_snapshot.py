"""Snapshots of a machine that goes on meanwhile: what they show, what they cost, and what they leave behind."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, Term
from raftd.errors import LocalProtocolError
from raftd.kv import commands
from raftd.kv.commands import Revision, SessionId, Stamp, Write
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Delete, DeleteRange, Increment, Put, Transaction
from raftd.kv.snapshot import HEAD, SnapshotReader
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.kv.types import NO_LEASE, LeaseId
from tests.kv.test_store import delete, put

TERM = Term(3)
LIMITS = Limits(
    sessions_max=6,
    in_flight_max=4,
    answer_bytes_max=600,
    answer_bytes_per_user_max=400,
    ttl_ms_min=10,
    advance_ms_max=40,
    leases_max=4,
    keys_per_lease_max=3,
    history_changes_max=40,
    history_bytes_max=900,
    history_ms_max=200,
)
KEYS = [b"a", b"aa", b"b", b"b\x00", b"c" * 300, b"\xff", b"\xff\xff"]


def send(machine: StateMachine, command: bytes, user: str = "alice") -> bytes:
    return machine.apply(LogIndex(machine.last_applied + 1), TERM, Stamp(user).at(0) + command)


def read_all(reader: SnapshotReader, budget_bytes: int = 1 << 16) -> bytes:
    pieces = []
    while (piece := reader.read(budget_bytes)) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def load(snapshot: bytes, limits: Limits | None = None) -> StateMachine:
    loader = SnapshotLoader(limits)
    loader.feed(snapshot)
    return loader.finish()


def filled(keys: int = 50, sessions: int = 5) -> StateMachine:
    machine = StateMachine()
    for _ in range(sessions):
        send(machine, commands.open_session())
    for number in range(keys):
        session = SessionId(1 + number % sessions)
        sequence = 1 + number // sessions
        send(machine, commands.put(session, sequence, max(1, sequence - 3), b"key %04d" % number, b"value" * number))
    return machine


def random_command(source: random.Random, machine: StateMachine) -> tuple[bytes, str]:
    """One of all kinds, mostly of sessions that are there, with repeated and skipped sequences."""
    ids = [session_id for session_id, _ in machine._sessions] or [SessionId(1)]
    session = source.choice(ids)
    known = dict(machine._sessions).get(session)
    mark = known.first_unanswered if known is not None else 1
    sequence = mark + source.randrange(5)
    first_unanswered = source.randint(max(1, mark - 1), sequence)
    head = session, sequence, first_unanswered
    expected = Revision(source.randrange(machine.revision + 1)) if source.random() < 0.1 else None
    key = source.choice(KEYS) if source.random() < 0.8 else source.randbytes(source.randint(1, 3))
    lease = source.choice([*(lease.lease_id for lease in machine.leases), LeaseId(1)])
    several = (Put(key, b"", lease), Increment(b"n", 1), Delete(source.choice(KEYS)), Put(source.choice(KEYS), b"1"))
    make: list[Callable[[], bytes]] = [
        lambda: commands.put(*head, key, source.randbytes(9), expected_revision=expected),
        lambda: commands.delete(*head, key, expected_revision=expected),
        lambda: commands.open_session(source.randrange(100)),
        lambda: commands.close_session(session),
        lambda: commands.keep_alive(session, first_unanswered),
        lambda: commands.advance_clock(source.randrange(30)),
        lambda: b"not a command",
        lambda: commands.lease_grant(*head),
        lambda: commands.lease_revoke(*head, lease),
        lambda: commands.expire_leases([lease]),
        lambda: commands.write(*head, Write(Put(key, b"leased", lease, previous=True))),
        lambda: commands.write(*head, Write(Transaction((), several[source.randrange(2) :]))),
        lambda: commands.write(*head, Write(DeleteRange(key, b"", 2))),
    ]
    (kind,) = source.choices(range(13), weights=(12, 6, 3, 1, 2, 2, 1, 4, 1, 1, 5, 5, 2))
    return make[kind](), "" if kind in {5, 9} else source.choice(["alice"] * 9 + ["bob"])


@given(seed=st.integers(0, 1 << 32), before=st.integers(0, 120), budget_bytes=st.sampled_from([1, 40, 200, 1000]))
@settings(deadline=None, max_examples=150)
def test_a_snapshot_shows_the_moment_at_which_it_was_begun(seed: int, before: int, budget_bytes: int) -> None:
    """Whatever is applied between its pieces, it loads as the machine was; and from there on both go the same way."""
    source = random.Random(seed)
    machine = StateMachine(LIMITS)
    for _ in range(before):
        send(machine, *random_command(source, machine))
    digest = machine.digest()
    reader = machine.begin_snapshot()
    assert reader.last_applied == machine.last_applied
    later: list[tuple[bytes, str]] = []
    answers: list[bytes] = []
    pieces: list[bytes] = []
    while (piece := reader.read(budget_bytes)) is not None:
        pieces.append(piece)
        for _ in range(source.randrange(4)):
            later.append(random_command(source, machine))
            answers.append(send(machine, *later[-1]))
    assert reader.kept_count == 0
    loader = SnapshotLoader(LIMITS)
    for piece in pieces:
        loader.feed(piece)
    twin = loader.finish()
    assert twin.digest() == digest
    for _ in range(30):
        later.append(random_command(source, machine))
        answers.append(send(machine, *later[-1]))
    assert [send(twin, *command) for command in later] == answers
    assert twin.digest() == machine.digest()
    assert read_all(twin.begin_snapshot()) == read_all(machine.begin_snapshot())


def test_equal_states_give_equal_bytes() -> None:
    """However the state came about: keys in another order, deleted in between, read with another budget, loaded."""
    one, other = filled(), filled()
    for machine, keys in ((one, [b"x", b"y", b"z"]), (other, [b"y", b"z", b"x"])):
        for key in keys:
            machine._store.change(key, None, (Revision(1), Revision(2), 1, NO_LEASE, b"alice", b""))
    snapshot = read_all(one.begin_snapshot())
    assert read_all(other.begin_snapshot(), 1) == snapshot
    assert read_all(load(snapshot).begin_snapshot(), 100) == snapshot


def test_what_changes_ahead_of_the_reader_is_shown_as_it_was() -> None:
    """Overwritten, deleted, deleted and created again, and new keys, each before, at and behind the reader's place."""
    for reads in range(60):
        machine = filled(10, 1)
        expected = read_all(machine.begin_snapshot(), 60)
        reader = machine.begin_snapshot()
        pieces = [reader.read(60) for _ in range(reads)]
        for number in range(10):
            key = b"key %04d" % number
            if number % 3 != 0:
                delete(machine._store, key)
            if number % 3 != 1:
                put(machine._store, key, b"later")
                put(machine._store, key + b"!", b"new")
            if number % 3 == 2:
                delete(machine._store, key)
        rest = b"" if pieces and pieces[-1] is None else read_all(reader, 60)
        assert b"".join(piece for piece in pieces if piece is not None) + rest == expected


def test_sessions_that_change_ahead_of_the_reader_are_shown_as_they_were() -> None:
    """Written in, closed, opened and all expired at once, while the reader stands at any session."""
    for reads in range(12):
        machine = filled(20, 8)
        expected = read_all(machine.begin_snapshot())
        reader = machine.begin_snapshot()
        pieces = [reader.read(1) for _ in range(reads)]
        for session in range(1, 9):
            send(machine, commands.put(SessionId(session), 9, 9, b"key", b""))
        send(machine, commands.close_session(SessionId(4)))
        send(machine, commands.open_session())
        for _ in range(200):
            send(machine, commands.advance_clock(20_000), "")
        assert machine.session_count == 0
        assert b"".join(piece or b"" for piece in pieces) + read_all(reader, 1) == expected


def test_a_second_snapshot_is_refused_while_one_is_read() -> None:
    """The first goes on undisturbed; when it was read or closed, a further one may begin."""
    machine = filled()
    digest = machine.digest()
    first = machine.begin_snapshot()
    start = first.read(1)
    assert start is not None
    with pytest.raises(LocalProtocolError):
        machine.begin_snapshot()
    send(machine, commands.put(SessionId(1), 90, 80, b"key 0001", b"later"))
    assert load(start + read_all(first)).digest() == digest
    closed = machine.begin_snapshot()
    closed.close()
    second = machine.begin_snapshot()
    closed.close()  # closing again ends nobody else's snapshot
    with pytest.raises(LocalProtocolError):
        machine.begin_snapshot()
    assert load(read_all(second)).digest() == machine.digest()


def test_nothing_is_kept_without_a_reader() -> None:
    """While it reads, old records are kept once each; closed in the middle, it holds nothing up and nothing back."""
    machine = filled()
    reader = machine.begin_snapshot()
    for _ in range(3):
        for number in range(50):
            put(machine._store, b"key %04d" % number, b"later")
            put(machine._store, b"new %04d" % number, b"later")
    assert reader.kept_count == 50
    reader.close()
    assert reader.read(1) is None
    assert (machine._store._walk, machine._sessions._walk, reader._changes) == (None, None, [])


def test_a_session_s_answers_come_in_pieces() -> None:
    """One may remember far more than a piece may have; and what it forgets meanwhile is still shown."""
    machine = StateMachine()
    send(machine, commands.open_session())
    send(machine, commands.write(SessionId(1), 1, 1, Write(Put(b"k", bytes(100_000)))))
    for sequence in range(2, 12):
        send(machine, commands.write(SessionId(1), sequence, 1, Write(Put(b"k", bytes(100_000), previous=True))))
    digest, reader = machine.digest(), machine.begin_snapshot()
    pieces = []
    while (piece := reader.read(1000)) is not None:
        pieces.append(piece)
        if len(pieces) == 4:
            send(machine, commands.keep_alive(SessionId(1), 12))
    assert max(map(len, pieces)) < 102_000
    assert load(b"".join(pieces)).digest() == digest


def test_no_value_is_in_a_snapshot_twice() -> None:
    """What a change wrote is there as the next change's previous value, or as the key's."""
    machine = StateMachine()
    send(machine, commands.open_session())
    for sequence, letter in enumerate("abcdefgh", 1):
        send(machine, commands.put(SessionId(1), sequence, sequence, b"k", letter.encode() * 1000))
    snapshot = read_all(machine.begin_snapshot())
    assert [snapshot.count(letter.encode() * 1000) for letter in "abcdefgh"] == [1] * 8
    assert len(snapshot) < 9000
    loaded = load(snapshot)
    held = loaded.history.held()
    assert all(later[2] is earlier[3] for earlier, later in pairwise(held))
    assert held[-1][3] is loaded._store.get(b"k")
    assert len({id(each[6]) for each in held} | {id(each[7]) for each in held}) == 2


@pytest.mark.parametrize("budget_bytes", [0, 1, 500, 5000, 1 << 20])
def test_pieces_keep_to_their_budget(budget_bytes: int) -> None:
    """A piece exceeds it by one session or key at most, so what is between two turns of a loop is bounded."""
    machine = filled(200, 20)
    longest = 38 + 8 + 5 * 200
    reader = machine.begin_snapshot()
    while (piece := reader.read(budget_bytes)) is not None:
        assert len(piece) <= max(budget_bytes, HEAD.size) + longest


def test_passing_over_new_keys_uses_up_the_budget() -> None:
    """Ten thousand keys that are new since do not make one piece take as long as ten thousand keys."""
    machine = filled(1, 1)
    reader = machine.begin_snapshot()
    for number in range(10_000):
        put(machine._store, b"a%05d" % number, b"")
    pieces = 0
    while (piece := reader.read(3800)) is not None:
        pieces += 1
        assert len(piece) <= 3800
    assert pieces >= 99


def test_a_machine_can_take_over_what_was_loaded() -> None:
    """Whoever holds it goes on with the other state, and the old one is gone."""
    machine, loaded = filled(3), load(read_all(filled(50).begin_snapshot()))
    digest, old = loaded.digest(), machine.digest()
    assert machine.state_hash != loaded.state_hash
    reader = machine.begin_snapshot()
    machine.become(loaded)
    assert load(read_all(reader)).digest() == old
    machine.begin_snapshot().close()
    assert machine.digest() == digest
    assert machine.state_hash == loaded.state_hash
    assert machine.last_applied == 55
    send(machine, commands.open_session())
    assert machine.session_count == 6


def test_an_empty_machine_has_a_snapshot() -> None:
    """It is a head only, and loads as a machine that has applied nothing."""
    snapshot = read_all(StateMachine().begin_snapshot())
    assert len(snapshot) == HEAD.size
    assert load(snapshot).digest() == StateMachine().digest()
