"""The state machine as a whole: total, deterministic, and exactly once."""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, Term
from raftd.errors import InvariantViolation
from raftd.kv import answers, commands
from raftd.kv.answers import Answer, Outcome
from raftd.kv.commands import Revision, SessionId, Stamp
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine

TERM = Term(3)
ONE = SessionId(1)


class Driver:
    """Applies commands one after another, as a log would hand them over."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.machine = StateMachine(limits)

    def raw(self, data: bytes) -> bytes:
        return self.machine.apply(LogIndex(self.machine.last_applied + 1), TERM, data)

    def send(self, command: bytes, user: str = "alice") -> bytes:
        return self.raw(Stamp(user, "192.0.2.1:5000").at(0) + command)

    def ask(self, command: bytes, user: str = "alice") -> Answer:
        return answers.decode(self.send(command, user))

    def open(self, ttl_ms: int = 0, user: str = "alice") -> SessionId:
        return answers.decode_open_session(self.ask(commands.open_session(ttl_ms), user).body).session

    def advance_clock(self, elapsed_ms: int) -> Answer:
        return self.ask(commands.advance_clock(elapsed_ms), user="")

    def content(self) -> tuple[object, ...]:
        """All that commands can change, besides what every entry changes."""
        machine = self.machine
        return (
            list(machine._store),
            machine.revision,
            machine.bytes_total,
            machine.clock_ms,
            machine.sessions_expired_total,
            machine.answer_bytes,
            [
                (session_id, s.user, s.ttl_ms, s.last_active_ms, s.first_unanswered, sorted(s.answers.items()))
                for session_id, s in machine._sessions
            ],
        )


def driver_with_session() -> Driver:
    driver = Driver()
    assert driver.open() == ONE
    return driver


def test_a_key_is_put_read_and_deleted() -> None:
    """Each answer says what happened, with term and revision; the session's id is its entry's index."""
    driver = driver_with_session()
    answer = driver.ask(commands.put(ONE, 1, 1, b"k", b"one"))
    assert answer[:3] == (Outcome.OK, TERM, 1)
    assert answers.decode_put(answer.body) == (1, 1, None)
    answer = driver.ask(commands.put(ONE, 2, 2, b"k", b"two"))
    assert answers.decode_put(answer.body) == (2, 1, None)
    assert driver.machine.get(b"k") == b"two"
    read = answers.decode(driver.machine.answer_get(b"k", Term(9)))
    assert read[:3] == (Outcome.OK, 9, 2)
    assert answers.decode_get(read.body) == (1, 2, 2, 0, b"alice", b"two")
    assert driver.ask(commands.delete(ONE, 3, 3, b"k")) == (Outcome.OK, TERM, 3, b"")
    assert driver.machine.get(b"k") is None
    assert answers.decode(driver.machine.answer_get(b"k", Term(9))) == (Outcome.NOT_FOUND, 9, 3, b"")


def test_deleting_an_absent_key_is_an_answer() -> None:
    """It is neither an exception nor a change, and it is remembered like any answer (pitfall 14)."""
    driver = driver_with_session()
    first = driver.send(commands.delete(ONE, 1, 1, b"absent"))
    assert answers.decode(first) == (Outcome.NOT_FOUND, TERM, 0, b"")
    driver.ask(commands.put(ONE, 2, 1, b"absent", b"now"))
    assert driver.send(commands.delete(ONE, 1, 1, b"absent")) == first
    assert driver.machine.get(b"absent") == b"now"


@pytest.mark.parametrize(
    ("present", "expected", "put", "delete"),
    [
        (False, 0, Outcome.OK, Outcome.NOT_FOUND),
        (False, 1, Outcome.COMPARE_FAILED, Outcome.COMPARE_FAILED),
        (True, 0, Outcome.COMPARE_FAILED, Outcome.COMPARE_FAILED),
        (True, 1, Outcome.OK, Outcome.OK),
        (True, 2, Outcome.COMPARE_FAILED, Outcome.COMPARE_FAILED),
    ],
)
def test_an_expected_revision(*, present: bool, expected: int, put: Outcome, delete: Outcome) -> None:
    """A write that expects a revision happens if and only if the key has it; else it learns which the key has."""
    revision = Revision(expected)
    for command, outcome, after in (
        (commands.put(ONE, 2, 1, b"k", b"new", expected_revision=revision), put, b"new"),
        (commands.delete(ONE, 2, 1, b"k", expected_revision=revision), delete, None),
    ):
        driver = driver_with_session()
        if present:
            driver.ask(commands.put(ONE, 1, 1, b"k", b"old"))
        before, revision_before = driver.machine.get(b"k"), driver.machine.revision
        answer = driver.ask(command)
        assert answer.outcome is outcome
        assert answer.revision == driver.machine.revision == revision_before + (outcome is Outcome.OK)
        if outcome is Outcome.COMPARE_FAILED:
            assert answers.decode_compare_failed(answer.body) == int(present)
            assert driver.machine.get(b"k") == before
        else:
            assert driver.machine.get(b"k") == after


def test_a_session_belongs_to_its_user() -> None:
    """Another user's command in it is answered as if there were no session, and changes nothing."""
    driver = driver_with_session()
    driver.ask(commands.put(ONE, 1, 1, b"k", b"v"))
    before = driver.content()
    stranger = SessionId(99)
    for session in (ONE, stranger):
        for command in (
            commands.put(session, 1, 1, b"k", b"stolen"),
            commands.put(session, 2, 2, b"k", b"stolen"),
            commands.delete(session, 3, 3, b"k"),
            commands.keep_alive(session, 3),
            commands.close_session(session),
        ):
            assert driver.ask(command, user="mallory") == (Outcome.SESSION_EXPIRED, TERM, 1, b"")
    assert driver.content() == before


def test_a_closed_session_is_over() -> None:
    """After CLOSE_SESSION nothing is applied in it, and what it had remembered is forgotten."""
    driver = driver_with_session()
    driver.ask(commands.put(ONE, 1, 1, b"k", b"v"))
    assert driver.ask(commands.close_session(ONE)).outcome is Outcome.OK
    assert driver.ask(commands.put(ONE, 1, 1, b"k", b"again")).outcome is Outcome.SESSION_EXPIRED
    assert driver.ask(commands.close_session(ONE)).outcome is Outcome.SESSION_EXPIRED
    assert (driver.machine.session_count, driver.machine.answer_bytes) == (0, 0)
    assert driver.machine.get(b"k") == b"v"


def test_sessions_have_a_limit() -> None:
    """One too many gets an answer, and a session that ends makes room."""
    driver = Driver(Limits(sessions_max=1))
    session = driver.open()
    assert driver.ask(commands.open_session()).outcome is Outcome.SESSION_LIMIT
    driver.ask(commands.close_session(session))
    assert driver.open() == SessionId(driver.machine.last_applied)


def test_too_many_in_flight_is_not_remembered() -> None:
    """The very same bytes are applied once earlier sequences are answered."""
    driver = Driver(Limits(in_flight_max=2))
    session = driver.open()
    early = commands.put(session, 3, 1, b"k", b"v")
    assert driver.ask(early).outcome is Outcome.TOO_MANY_IN_FLIGHT
    assert driver.machine.revision == 0
    driver.ask(commands.keep_alive(session, 2))
    assert driver.ask(early).outcome is Outcome.OK
    assert driver.machine.revision == 1


def test_sessions_expire_by_logged_time_only() -> None:
    """However many entries are applied, only ADVANCE_CLOCK makes a session expire (pitfall 25)."""
    driver = Driver(Limits(ttl_ms_min=10, advance_ms_max=9))
    idle, busy = driver.open(10), driver.open(10)
    for number in range(1, 100):
        driver.ask(commands.put(busy, number, number, b"k", b""))
        driver.machine.skip(LogIndex(driver.machine.last_applied + 1))
    assert driver.machine.session_count == 2
    driver.advance_clock(9)
    driver.advance_clock(9)
    assert driver.ask(commands.keep_alive(busy)).outcome is Outcome.OK
    driver.advance_clock(1)
    assert driver.ask(commands.keep_alive(idle)).outcome is Outcome.SESSION_EXPIRED
    assert driver.ask(commands.keep_alive(busy)).outcome is Outcome.OK
    assert (driver.machine.clock_ms, driver.machine.sessions_expired_total) == (19, 1)


def test_an_expired_session_never_applies_a_retry() -> None:
    """The retry of a write that was applied before its session expired is an error, not a second write."""
    driver = driver_with_session()
    write = commands.put(ONE, 1, 1, b"k", b"v")
    driver.ask(write)
    limits = Limits()
    for _ in range(limits.ttl_ms_default // limits.advance_ms_max + 1):
        driver.advance_clock(limits.advance_ms_max)
    assert driver.ask(write).outcome is Outcome.SESSION_EXPIRED
    assert driver.machine.revision == 1


def test_a_client_cannot_advance_the_clock() -> None:
    """ADVANCE_CLOCK with a user in its stamp is invalid, even if a gateway let it through."""
    driver = driver_with_session()
    assert driver.ask(commands.advance_clock(1 << 62), user="mallory").outcome is Outcome.INVALID
    assert (driver.machine.clock_ms, driver.machine.session_count) == (0, 1)


def test_entries_are_applied_in_order_without_a_gap() -> None:
    """An index that does not follow is a bug of the caller's, and changes nothing."""
    driver = driver_with_session()
    digest = driver.machine.digest()
    for index in (0, 1, 3, 100):
        with pytest.raises(InvariantViolation):
            driver.machine.apply(LogIndex(index), TERM, b"")
        with pytest.raises(InvariantViolation):
            driver.machine.skip(LogIndex(index))
    assert driver.machine.digest() == digest


# --- exactly once ---------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 10))
@settings(deadline=None)
def test_each_sequence_has_one_effect_and_one_answer(deliveries: list[int], acknowledged_every: int) -> None:
    """However copies of a session's ten writes are repeated and reordered, each is applied at most once.

    Every copy gets the same bytes, or is told that its answer was no longer awaited.
    """
    writes = [
        commands.put(ONE, number + 1, 1 + number // acknowledged_every * acknowledged_every, b"k", bytes((number,)))
        for number in range(10)
    ]
    driver = driver_with_session()
    seen: dict[int, bytes] = {}
    for number in deliveries:
        revision = driver.machine.revision
        answer = driver.send(writes[number])
        if answers.decode(answer).outcome is Outcome.SEQUENCE_ANSWERED:
            assert driver.machine.revision == revision
        elif number in seen:
            assert answer == seen[number]
            assert driver.machine.revision == revision
        else:
            seen[number] = answer
            assert driver.machine.revision == revision + 1
            assert driver.machine.get(b"k") == bytes((number,))
    assert driver.machine.revision == len(seen)


# --- total ----------------------------------------------------------------------------------------------------------


def populated() -> Driver:
    """A machine with keys, two sessions and remembered answers."""
    driver = driver_with_session()
    other = driver.open(user="bob")
    for number in range(1, 5):
        driver.send(commands.put(ONE, number, 1, b"key %d" % number, b"value"))
        driver.send(commands.delete(other, number, 1, b"key %d" % (number - 1)), user="bob")
    return driver


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
        ("", commands.advance_clock(1000)),
    )
]

mutations = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=3)


def check_total(data: bytes) -> None:
    """Apply `data` to two equal machines: the same answer, and no change at all if it is INVALID."""
    driver, twin = populated(), populated()
    before = driver.content()
    answer = driver.raw(data)
    assert answer == twin.raw(data)
    assert driver.machine.digest() == twin.machine.digest()
    if answers.decode(answer).outcome is Outcome.INVALID:
        assert driver.content() == before
    after = driver.ask(commands.open_session())
    assert after.outcome is Outcome.OK


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
@settings(deadline=None, max_examples=200)
def test_damaged_commands_are_answered(data: bytes, changes: list[tuple[int, int]], tail: bytes) -> None:
    """What is nearly a command is answered as well, with its whole effect or none."""
    damaged = bytearray(data + tail)
    for offset, byte in changes:
        damaged[offset % len(damaged)] = byte
    check_total(bytes(damaged))


# --- deterministic --------------------------------------------------------------------------------------------------

REPLAY = """
import random
from raftd.kv import commands
from raftd.kv.commands import Stamp
from raftd.kv.machine import StateMachine

machine = StateMachine()
rng = random.Random(7)
opened = [1]
for index in range(1, 2001):
    session = rng.choice(opened[-20:])
    user = rng.choice(["alice", "bob", "carol"])
    command = rng.choice([
        lambda: commands.open_session(rng.randrange(40_000)),
        lambda: commands.close_session(session),
        lambda: commands.put(session, rng.randrange(1, 2000), 1, b"k%d" % rng.randrange(50), rng.randbytes(9)),
        lambda: commands.put(session, rng.randrange(9, 2000), 9, b"k%d" % rng.randrange(50), rng.randbytes(9)),
        lambda: commands.delete(session, rng.randrange(1, 2000), 1, b"k%d" % rng.randrange(50)),
        lambda: rng.randbytes(30),
    ])()
    if index % 50 == 0:
        user, command = "", commands.advance_clock(rng.randrange(3000))
    if command[:1] == b"\\1":
        opened.append(index)
    machine.apply(index, 1, Stamp(user).at(rng.randrange(1000)) + command)
assert machine.key_count and machine.session_count and machine.sessions_expired_total and machine.answer_bytes
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
    delete = commands.delete(ONE, 5, 5, b"key 4", expected_revision=Revision(1))
    assert driver.send(delete) != twin.send(delete)
    for _ in range(2):
        assert driver.machine.state_hash != twin.machine.state_hash
        assert driver.send(b"not a command") == twin.send(b"not a command")
    before = driver.machine.state_hash
    driver.machine.skip(LogIndex(driver.machine.last_applied + 1))
    assert driver.machine.state_hash == before


def test_the_counts_are_those_of_the_contents() -> None:
    """What the metrics show is what is there."""
    driver = populated()
    machine = driver.machine
    assert (machine.key_count, machine.session_count, machine.revision) == (1, 2, 7)
    assert machine.bytes_total == len(b"key 4" + b"value")
    assert machine.answer_bytes == 4 * 33 + 4 * 17
