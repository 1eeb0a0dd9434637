"""The state machine as a whole: what commands do, and that they do it exactly once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, Term
from raftd.errors import InvariantViolation
from raftd.kv import answers, commands
from raftd.kv.answers import Answer, Outcome
from raftd.kv.commands import Revision, SessionId, Stamp
from raftd.kv.items import KeyValue
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Delete, Get, Put, Transaction, Write
from raftd.kv.results import decode_transaction
from raftd.kv.snapshot_loader import SnapshotLoader
from tests.cli.backups import machine_of

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
            [(lease.lease_id, lease.user, lease.ttl_ms, sorted(lease.keys)) for lease in machine.leases],
            machine.history.held(),
            machine.history.compacted_revision,
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


def test_a_long_answer_waits_until_there_is_room_for_it() -> None:
    """With too much remembered a write whose answer is long is not done; a short answer is always remembered."""
    driver = Driver(Limits(answer_bytes_max=3000))
    sessions = [driver.open() for _ in range(20)]
    driver.ask(commands.put(sessions[0], 1, 1, b"k", bytes(1000)))

    def long(session: SessionId) -> bytes:
        return commands.write(session, 1, 1, Write(Put(b"k", bytes(1000), previous=True)))

    outcomes = [driver.ask(long(session)).outcome for session in sessions[1:]]
    assert outcomes == 3 * [Outcome.OK] + 16 * [Outcome.TOO_MANY_IN_FLIGHT]
    assert (driver.machine.revision, driver.machine.answer_bytes < 5000) == (4, True)
    last = sessions[-1]
    driver.ask(commands.keep_alive(sessions[1], 2))
    driver.ask(commands.keep_alive(sessions[2], 2))
    assert driver.ask(long(last)).outcome is Outcome.OK
    assert driver.ask(long(sessions[-2])).outcome is Outcome.OK
    assert driver.ask(long(sessions[-3])).outcome is Outcome.TOO_MANY_IN_FLIGHT
    assert driver.ask(commands.put(sessions[-3], 1, 1, b"k", b"v")).outcome is Outcome.OK


def test_what_one_user_has_remembered_is_nobody_else_s_loss() -> None:
    """Who reads a long value in one transaction after another, and never says what he has got, is the one who waits.

    So it is on a node that has it all from a snapshot.
    """
    driver = Driver(Limits(answer_bytes_max=1 << 20, answer_bytes_per_user_max=1 << 17))
    greedy, another, modest = driver.open(), driver.open(), driver.open(user="bob")
    driver.ask(commands.put(modest, 1, 1, b"k", bytes(5000)), "bob")
    look = Write(Transaction((), (Get(b"k"),)))
    outcomes = [driver.ask(commands.write(greedy, sequence, 1, look)).outcome for sequence in range(1, 101)]
    assert outcomes == 26 * [Outcome.OK] + 74 * [Outcome.TOO_MANY_IN_FLIGHT]
    follower = Driver()
    follower.machine = restored(driver.machine)
    previous = Write(Put(b"k", bytes(2000), previous=True))
    for each in (driver, follower):
        # Of his other session one short answer is remembered.
        assert each.ask(commands.write(another, 1, 1, previous)).outcome is Outcome.TOO_MANY_IN_FLIGHT
        assert each.ask(commands.put(another, 1, 1, b"own", b"")).outcome is Outcome.OK
        assert each.ask(commands.put(another, 2, 1, b"own", b"")).outcome is Outcome.TOO_MANY_IN_FLIGHT
        # The other user has as many in flight, and as long ones, as before.
        assert each.ask(commands.put(modest, 2, 1, b"own", b""), "bob").outcome is Outcome.OK
        written = each.ask(commands.write(modest, 3, 1, previous), "bob")
        assert (written.outcome, len(written.body) > 5000) == (Outcome.OK, True)
        assert each.ask(commands.write(modest, 4, 1, previous), "bob").outcome is Outcome.OK
    assert follower.machine.digest() == driver.machine.digest()


def test_what_a_transaction_shows_and_undoes_has_no_revision() -> None:
    """A key that it creates and deletes again leaves nothing, and another write gets the revision that was shown."""
    driver = Driver()
    session = driver.open()
    driver.ask(commands.put(session, 1, 1, b"k", b""))
    passing = Transaction((), (Put(b"n", b""), Get(b"n"), Delete(b"n")))
    answer = driver.ask(commands.write(session, 2, 2, Write(passing)))
    shown = decode_transaction(answer.body, passing).results[1]
    assert isinstance(shown, KeyValue)
    assert (answer.revision, shown.create_revision, driver.machine.revision) == (1, 2, 1)
    assert driver.ask(commands.put(session, 3, 3, b"other", b"")).revision == 2


def restored(machine: StateMachine) -> StateMachine:
    """Another machine, of a snapshot of this one."""
    reader = machine.begin_snapshot()
    loader = SnapshotLoader(machine.limits)
    while (piece := reader.read(1 << 20)) is not None:
        loader.feed(piece)
    return loader.finish()


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


def test_the_counts_are_those_of_the_contents() -> None:
    """What the metrics show is what is there."""
    driver = driver_with_session()
    for number in range(1, 5):
        driver.send(commands.put(ONE, number, 1, b"key %d" % number, b"value"))
    driver.send(commands.delete(ONE, 5, 1, b"key 1"))
    machine = driver.machine
    assert (machine.key_count, machine.session_count, machine.revision) == (3, 1, 5)
    assert machine.bytes_total == 3 * len(b"key 4" + b"value")
    assert machine.answer_bytes == 4 * 33 + 17


def test_it_goes_on_as_another_cluster_s() -> None:
    """Keys, sessions and leases stay; index and revision leave out what the old cluster may have used; history goes."""
    machine = machine_of({b"a": b"1", b"b": b"2"}, {b"leased": b"3"})
    keys, index, revision = list(machine.items()), machine.last_applied, machine.revision
    assert [key for key, _ in keys] == [b"a", b"b", b"leased"]
    machine.begin_anew(1000)
    assert list(machine.items()) == keys
    assert (machine.last_applied, machine.revision) == (index + 1000, revision + 1000)
    assert (machine.session_count, len(machine.leases), len(machine.history)) == (1, 1, 0)
    assert machine.history.compacted_revision == revision + 1000
    loader = SnapshotLoader()
    reader = machine.begin_snapshot()
    while (piece := reader.read(1 << 16)) is not None:
        loader.feed(piece)
    assert loader.finish().digest() == machine.digest()
