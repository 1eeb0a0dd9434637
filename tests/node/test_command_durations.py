"""Durations of commands go where /metrics shows them, by what the commands do and how they end."""

import pytest

from raftd.consensus.types import LogIndex, Term
from raftd.http.durations import CommandKind
from raftd.http.metrics import Metrics
from raftd.kv import commands
from raftd.kv.commands import Opcode
from raftd.kv.machine import StateMachine
from raftd.kv.operations import DeleteRange, Increment, Transaction, Write
from raftd.kv.stamps import Stamp
from raftd.kv.types import LeaseId, Revision, SessionId
from raftd.node import command_durations
from raftd.node.command_durations import CommandDurations

SESSION = SessionId(1)
NOBODY_S = SessionId(99)
LEASE = LeaseId(99)

COMMANDS = [
    (commands.put(SESSION, 1, 1, b"key", b"1"), CommandKind.PUT, True),
    (commands.put(SESSION, 1, 1, b"key", b"1", expected_revision=Revision(7)), CommandKind.PUT, False),
    (commands.put(NOBODY_S, 1, 1, b"key", b"1"), CommandKind.PUT, False),
    (commands.delete(SESSION, 1, 1, b"key"), CommandKind.DELETE, False),
    (commands.write(SESSION, 1, 1, Write(Increment(b"key", 1))), CommandKind.INCREMENT, True),
    (commands.write(SESSION, 1, 1, Write(DeleteRange(b"a", b"z"))), CommandKind.DELETE_RANGE, True),
    (commands.write(SESSION, 1, 1, Write(Transaction((), (Increment(b"key", 1),)))), CommandKind.TRANSACTION, True),
    (commands.open_session(), CommandKind.SESSION, True),
    (commands.keep_alive(NOBODY_S), CommandKind.SESSION, False),
    (commands.close_session(SESSION), CommandKind.SESSION, True),
    (commands.lease_grant(SESSION, 1, 1), CommandKind.LEASE, True),
    (commands.lease_revoke(SESSION, 1, 1, LEASE), CommandKind.LEASE, False),
    (commands.put(SESSION, 1, 1, b"key", b"1")[:-1], CommandKind.INVALID, False),
    (b"", CommandKind.INVALID, False),
    (b"\xff", CommandKind.INVALID, False),
]


@pytest.mark.parametrize(("command", "kind", "is_ok"), COMMANDS)
def test_a_command_is_counted_by_what_it_does_and_how_it_ended(command: bytes, kind: CommandKind, is_ok: bool) -> None:
    """And nowhere else, with its index."""
    assert counted(Stamp("alice").at(0) + command) == {(kind, is_ok): (1, 0.25, 2)}


@pytest.mark.parametrize("data", [b"", b"\0", commands.open_session()])
def test_data_without_a_stamp_is_invalid(data: bytes) -> None:
    """Whatever an entry holds, it is counted."""
    assert counted(data) == {(CommandKind.INVALID, False): (1, 0.25, 2)}


@pytest.mark.parametrize("command", [commands.advance_clock(1), commands.expire_leases([LEASE])])
def test_what_servers_write_is_counted_too(command: bytes) -> None:
    """The clock's kind is its own."""
    ((kind, is_ok),) = counted(Stamp("").at(0) + command)
    assert (kind, is_ok) == (CommandKind.CLOCK if command[0] == Opcode.ADVANCE_CLOCK else CommandKind.LEASE, True)


def test_each_opcode_has_a_kind() -> None:
    """A new one must not stop the node that measures it."""
    assert command_durations._KINDS.keys() == set(Opcode)


def counted(data: bytes) -> dict[tuple[CommandKind, bool], tuple[int, float, int]]:
    """(kind, is ok) -> (how many, seconds, index), after a machine with one session has applied this as entry 2."""
    machine, metrics = StateMachine(), Metrics()
    machine.apply(LogIndex(1), Term(1), Stamp("alice").at(0) + commands.open_session())
    answer = machine.apply(LogIndex(2), Term(1), data)
    CommandDurations(metrics.command_seconds).observe(LogIndex(2), data, answer, 0.25)
    seen = {}
    for key, histogram in metrics.command_seconds.items():
        buckets, total = histogram.cumulative()
        if count := int(buckets[-1][1]):
            (index,) = [exemplar[0] for exemplar in histogram.exemplars() if exemplar is not None]
            seen[key] = (count, total, index)
    return seen
