import pytest

from raftd.consensus.types import LogIndex, Term
from raftd.kv import commands
from raftd.kv.audit import AUDIT_ENTRIES, AUDIT_KEYS
from raftd.kv.commands import SessionId, Stamp
from raftd.kv.machine import StateMachine

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
