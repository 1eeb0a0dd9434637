from collections.abc import Callable

import pytest

from raftd.consensus.types import LogIndex, Term
from raftd.kv import commands
from raftd.kv.audit import AUDIT_ENTRIES, AUDIT_KEYS
from raftd.kv.commands import SessionId, Stamp
from raftd.kv.digest import totals_of
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Put, Write
from raftd.kv.types import NO_LEASE, LeaseId, Revision

KEYS = 5 * AUDIT_KEYS + 3
SESSION = SessionId(1)


def apply(machine: StateMachine, command: bytes) -> bytes:
    return machine.apply(LogIndex(machine.last_applied + 1), Term(1), Stamp("alice").at(0) + command)


def machine_with_keys() -> StateMachine:
    """A machine with some keys, whose last entry is one after which an audit is due."""
    machine = StateMachine()
    apply(machine, commands.open_session())
    for number in range(KEYS):
        apply(machine, commands.put(SESSION, number + 1, 1, b"key%03d" % number, b"value%d" % number))
    while machine.last_applied % AUDIT_ENTRIES:
        machine.skip(LogIndex(machine.last_applied + 1))
    return machine


def audits_of(machine: StateMachine, count: int) -> list[int]:
    """This and the following audits, of entries that change nothing."""
    audits = []
    for _ in range(count):
        audits.append(machine.audit())
        for _ in range(AUDIT_ENTRIES):
            machine.skip(LogIndex(machine.last_applied + 1))
    return audits


def test_equal_states_have_equal_audits() -> None:
    """Two machines that applied the same agree in every audit."""
    assert audits_of(machine_with_keys(), 12) == audits_of(machine_with_keys(), 12)


def test_an_empty_store_has_an_audit() -> None:
    """Before the first key there are the totals."""
    one, other = StateMachine(), StateMachine()
    assert one.audit() == other.audit()
    apply(other, commands.open_session())
    assert one.audit() != other.audit()


@pytest.mark.parametrize("field", range(6))
@pytest.mark.parametrize("number", [0, AUDIT_KEYS, KEYS - 1])
def test_a_changed_record_shows_within_a_round(number: int, field: int) -> None:
    """Whichever record, and whatever of it, is changed behind everybody's back: one audit in a round differs."""
    machine, changed = machine_with_keys(), machine_with_keys()
    key = b"key%03d" % number
    record = changed._store.get(key)
    assert record is not None
    fields: list[int | bytes] = list(record)
    value = fields[field]
    fields[field] = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    changed._store._shards[hash(key) & 63][key] = tuple(fields)  # type: ignore[assignment]  # of the same types as before
    count = KEYS // AUDIT_KEYS + 1
    differing = [one != other for one, other in zip(audits_of(machine, count), audits_of(changed, count), strict=True)]
    assert 1 <= sum(differing) <= 2


def test_a_missing_key_shows_at_once() -> None:
    """The totals are in each audit."""
    machine, changed = machine_with_keys(), machine_with_keys()
    record = changed._store.get(b"key001")
    changed._store.change(b"key001", record, None)
    assert all(one != other for one, other in zip(audits_of(machine, 6), audits_of(changed, 6), strict=True))


def machine_with_everything() -> StateMachine:
    """A machine that has something of each part, and a session without answers."""
    machine = machine_with_keys()
    apply(machine, commands.lease_grant(SESSION, KEYS + 1, 1))
    granted = LeaseId(machine.last_applied)
    apply(machine, commands.write(SESSION, KEYS + 2, 1, Write(Put(b"leased", b"", granted))))
    apply(machine, commands.open_session())
    return machine


def attribute(part: str, name: str) -> Callable[[StateMachine], None]:
    """A damage that makes one number larger."""

    def damage(machine: StateMachine) -> None:
        owner = getattr(machine, part) if part else machine
        setattr(owner, name, getattr(owner, name) + 1)

    return damage


def add_key(machine: StateMachine) -> None:
    store = machine._store
    bytes_total = store.bytes_total
    store.create(b"another", (Revision(1), Revision(1), 1, NO_LEASE, b"alice", b""))
    store.bytes_total = bytes_total


def drop_change(machine: StateMachine) -> None:
    machine.history._changes.pop()


def remember_nothing(machine: StateMachine) -> None:
    session = dict(machine._sessions)[SESSION]
    machine._sessions.remember(session, KEYS + 3, b"")


def end_session(machine: StateMachine) -> None:
    *_, (session_id, session) = machine._sessions
    assert not session.answers
    assert machine._sessions.close(session_id, b"alice")


DAMAGES: dict[str, Callable[[StateMachine], None]] = {
    "applied entries": attribute("", "last_applied"),
    "answers given": attribute("", "state_hash"),
    "revision": attribute("_store", "revision"),
    "keys": add_key,
    "bytes of keys": attribute("_store", "bytes_total"),
    "clock": attribute("_sessions", "clock_ms"),
    "open sessions": end_session,
    "expired sessions": attribute("_sessions", "expired_total"),
    "remembered answers": remember_nothing,
    "bytes of remembered answers": attribute("_sessions", "answer_bytes"),
    "leases": lambda machine: machine.leases.remove(next(iter(machine.leases))),
    "keys on leases": lambda machine: machine.leases.detach(next(iter(machine.leases)).lease_id, b"leased"),
    "let go changes": attribute("history", "compacted_revision"),
    "held changes": drop_change,
    "bytes of held changes": attribute("history", "bytes_total"),
}


@pytest.mark.parametrize("part", DAMAGES)
def test_each_part_that_is_more_or_less_shows_at_once(part: str) -> None:
    """On one node alone, with everything else as it was: the totals of all parts are in each audit."""
    machine, damaged = machine_with_everything(), machine_with_everything()
    assert machine.audit() == damaged.audit()
    DAMAGES[part](damaged)
    assert totals_of(machine._state()) != totals_of(damaged._state())
    assert machine.audit() != damaged.audit()
