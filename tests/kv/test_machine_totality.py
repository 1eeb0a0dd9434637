"""Whatever an entry holds, the machine answers, with the whole effect of a command or none, and everywhere the same."""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import Revision, Stamp, Write
from raftd.kv.limits import Limits
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Operation,
    Put,
    Range,
    Relation,
    Transaction,
)
from raftd.kv.types import LeaseId
from tests.kv import samples
from tests.kv.test_machine import ONE, Driver

OTHER = commands.SessionId(2)
LEASE = LeaseId(3)
LIMITS = Limits(history_changes_max=9, keys_per_lease_max=2, leases_max=2)


def populated() -> Driver:
    """A machine with keys, two sessions and remembered answers, a lease with a key, and a history that is full."""
    driver = Driver(LIMITS)
    assert (driver.open(), driver.open(user="bob")) == (ONE, OTHER)
    assert answers.decode_lease_grant(driver.ask(commands.lease_grant(ONE, 9, 1)).body).lease == LEASE
    for number in range(1, 5):
        driver.send(commands.put(ONE, number, 1, b"key %d" % number, b"value"))
        driver.send(commands.delete(OTHER, number, 1, b"key %d" % (number - 1)), user="bob")
    driver.send(commands.write(ONE, 10, 1, Write(Put(b"leased", b"1", LEASE))))
    driver.send(commands.write(ONE, 11, 1, Write(Increment(b"number", 7))))
    return driver


THERE = Compare(CompareTarget.VALUE, Relation.EQUAL, b"leased", b"1")
INNER = Transaction((THERE,), (Put(b"inner", b"", LEASE), Get(b"inner")), (Delete(b"leased"),))
TRANSACTION = Transaction(
    (THERE, Compare(CompareTarget.LEASE, Relation.NOT_EQUAL, b"number", 5)),
    (
        Put(b"new", b"new"),
        Range(b"", b"", 3),
        INNER,
        Increment(b"number", -1),
        DeleteRange(b"key", b"", 2, previous=True),
    ),
    (Delete(b"number", previous=True),),
)

VALID = [
    Stamp(user, "192.0.2.1:5000").at(7) + command
    for user, command in (
        ("alice", commands.open_session(1000)),
        ("alice", commands.close_session(ONE)),
        ("alice", commands.keep_alive(ONE, 3)),
        ("alice", commands.put(ONE, 5, 3, b"key", b"value")),
        ("alice", commands.put(ONE, 5, 3, b"key", b"value", expected_revision=Revision(0))),
        ("alice", commands.delete(ONE, 5, 3, b"key 4")),
        ("alice", commands.delete(ONE, 5, 3, b"key 4", expected_revision=Revision(1))),
        ("alice", commands.write(ONE, 5, 3, Write(Put(b"key", b"value", LEASE, previous=True)))),
        ("alice", commands.write(ONE, 5, 3, Write(Put(b"leased", b"2", expected_value=b"1")))),
        ("alice", commands.write(ONE, 5, 3, Write(Delete(b"leased", previous=True), Fence(b"leased", Revision(8))))),
        ("alice", commands.write(ONE, 5, 3, Write(Increment(b"number", 5, expected_revision=Revision(9))))),
        ("alice", commands.write(ONE, 5, 3, Write(DeleteRange(b"", b"l", 1, previous=True)))),
        ("alice", commands.write(ONE, 5, 3, Write(TRANSACTION, Fence(b"none", Revision(0))))),
        ("alice", commands.lease_grant(ONE, 5, 3, 5000)),
        ("alice", commands.lease_revoke(ONE, 5, 3, LEASE)),
        ("", commands.expire_leases([LeaseId(1), LEASE])),
        ("", commands.advance_clock(1000)),
    )
]

mutations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)


def check_total(data: bytes) -> None:
    """Apply `data` to two equal machines: the same answer, and without an OK no change of what is kept of keys."""
    driver, twin = populated(), populated()
    before = driver.content()
    kept = kept_of(driver)
    answer = driver.raw(data)
    assert answer == twin.raw(data)
    assert driver.machine.digest() == twin.machine.digest()
    outcome = answers.decode(answer).outcome
    if outcome is Outcome.INVALID:
        assert driver.content() == before
    if outcome is not Outcome.OK:
        assert kept_of(driver) == kept
    # What is kept still fits together, else this would raise.
    driver.send(commands.expire_leases([LEASE]), "")
    driver.ask(commands.write(driver.open(), 1, 1, Write(DeleteRange(b"", b""))))
    assert (driver.machine.key_count, driver.machine.leases.key_total) == (0, 0)


def kept_of(driver: Driver) -> tuple[object, ...]:
    machine = driver.machine
    leases = [(lease.lease_id, sorted(lease.keys)) for lease in machine.leases]
    return list(machine._store), machine.revision, machine.history.held(), leases


@pytest.mark.parametrize("data", VALID)
def test_the_commands_to_be_damaged_are_valid(data: bytes) -> None:
    """Otherwise the tests below would not go deep."""
    driver = populated()
    before = driver.content()
    assert answers.decode(driver.raw(data)).outcome in (Outcome.OK, Outcome.COMPARE_FAILED)
    assert driver.content() != before


@pytest.mark.parametrize("data", VALID)
def test_every_cut_is_answered(data: bytes) -> None:
    """Each proper prefix of an entry's data is INVALID and changes nothing."""
    driver = populated()
    before = driver.content()
    for length in range(len(data)):
        assert answers.decode(driver.raw(data[:length])).outcome is Outcome.INVALID
    assert driver.content() == before


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_any_bytes_are_answered(data: bytes) -> None:
    """No entry makes a node raise: it would again at every restart, on all nodes (pitfalls 14 and 34)."""
    check_total(data)


@given(st.sampled_from(VALID), mutations, st.binary(max_size=2))
@settings(deadline=None, max_examples=400)
def test_damaged_commands_are_answered(data: bytes, changes: list[tuple[int, int]], tail: bytes) -> None:
    """What is nearly a command is answered as well, with its whole effect or none."""
    damaged = bytearray(data + tail)
    for offset, byte in changes:
        damaged[offset % len(damaged)] = byte
    check_total(bytes(damaged))


@given(samples.writes, st.integers(0, 1))
@settings(deadline=None, max_examples=300)
def test_any_valid_write_is_answered(wanted: Write, session: int) -> None:
    """Whatever numbers, bounds and nesting it has."""
    check_total(Stamp("alice").at(0) + commands.write((ONE, OTHER)[session], 20, 1, wanted))


@given(st.lists(samples.writes, max_size=8))
@settings(deadline=None, max_examples=100)
def test_the_same_entries_make_the_same_machine(written: list[Write]) -> None:
    """Answers, hashes and digests of two machines that apply the same are equal after each entry."""
    driver, twin = populated(), populated()
    for sequence, wanted in enumerate(written, 20):
        data = Stamp("alice").at(sequence) + commands.write(ONE, sequence, sequence, wanted)
        assert driver.raw(data) == twin.raw(data)
        assert driver.machine.digest() == twin.machine.digest()


@pytest.mark.parametrize("position", range(3))
def test_a_failing_operation_anywhere_leaves_nothing(position: int) -> None:
    """Before, between and behind operations that could be done."""
    operations: list[Operation] = [Put(b"a", b"1", LEASE), DeleteRange(b"", b"n")]
    operations.insert(position, Increment(b"leased", 1))
    driver = populated()
    driver.send(commands.write(ONE, 12, 1, Write(Put(b"leased", b"no number"))))
    kept = kept_of(driver)
    answer = driver.ask(commands.write(ONE, 13, 1, Write(Transaction((), tuple(operations)))))
    assert answer.outcome is (Outcome.OK if position == 2 else Outcome.NOT_A_NUMBER)
    assert (kept_of(driver) == kept) == (position != 2)


REPLAY = """
import random
from raftd.kv import commands
from raftd.kv.commands import Stamp, Write
from raftd.kv.machine import StateMachine
from raftd.kv.operations import DeleteRange, Increment, Put, Transaction
from raftd.kv.types import LeaseId

machine = StateMachine()
rng = random.Random(7)
opened, leases = [1], [1]
for index in range(1, 2001):
    session = rng.choice(opened[-20:])
    user = rng.choice(["alice", "alice", "alice", "bob", "carol"])
    command = rng.choice([
        lambda: commands.open_session(rng.randrange(40_000)),
        lambda: commands.close_session(session),
        lambda: commands.put(session, rng.randrange(1, 2000), 1, b"k%d" % rng.randrange(50), rng.randbytes(9)),
        lambda: commands.put(session, rng.randrange(9, 2000), 9, b"k%d" % rng.randrange(50), rng.randbytes(9)),
        lambda: commands.delete(session, rng.randrange(1, 2000), 1, b"k%d" % rng.randrange(50)),
        lambda: commands.write(session, rng.randrange(1, 2000), 1, Write(Transaction((), (
            Put(b"t%d" % rng.randrange(50), rng.randbytes(3), LeaseId(rng.choice([0, *leases[-4:]]))),
            Increment(b"n%d" % rng.randrange(5), 1),
            DeleteRange(b"k%d" % rng.randrange(50), b"l", 2),
        )))),
        lambda: commands.lease_grant(session, rng.randrange(1, 2000), 1),
        lambda: rng.randbytes(30),
    ])()
    if index % 50 == 0:
        user, command = "", commands.advance_clock(rng.randrange(3000))
    if index % 170 == 0:
        user, command = "", commands.expire_leases(sorted(set(map(LeaseId, leases[-3:]))))
    if command[:1] == b"\\1":
        opened.append(index)
    answer = machine.apply(index, 1, Stamp(user).at(rng.randrange(1000)) + command)
    if command[:1] == b"\\25" and answer[:1] == b"\\0":
        leases.append(index)
assert machine.key_count and machine.session_count and machine.sessions_expired_total and machine.answer_bytes
assert machine.leases.key_total and len(machine.history.absent_keys)
print(machine.state_hash, machine.digest().hex())
"""


def test_the_state_does_not_depend_on_the_hash_seed() -> None:
    """Processes that hash differently come to the same state and the same digest."""
    shown = {
        subprocess.run(
            [sys.executable, "-c", REPLAY],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(shown) == 1
    assert shown.pop().strip()


def test_the_state_hash_shows_a_diverged_answer() -> None:
    """One different answer makes the hashes differ ever after; entries that are skipped add nothing."""
    driver, twin = populated(), populated()
    assert driver.machine.state_hash == twin.machine.state_hash
    for shard in twin.machine._store._shards:
        shard.clear()
    delete = commands.delete(ONE, 12, 12, b"key 4", expected_revision=Revision(7))
    assert driver.send(delete) != twin.send(delete)
    for _ in range(2):
        assert driver.machine.state_hash != twin.machine.state_hash
        assert driver.send(b"not a command") == twin.send(b"not a command")
    before = driver.machine.state_hash
    driver.machine.skip(LogIndex(driver.machine.last_applied + 1))
    assert driver.machine.state_hash == before
