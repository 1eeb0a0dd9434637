"""How much of what is committed one turn applies; that nothing is lost, doubled or answered early by that."""

from collections.abc import Callable
from itertools import count

import pytest

from raftd.consensus.types import Entry, EntryKind, LogIndex, Term
from raftd.kv.audit import AUDIT_ENTRIES
from raftd.kv.commands import open_session
from raftd.kv.machine import StateMachine
from raftd.kv.stamps import Stamp
from raftd.node import applying
from raftd.node.applying import Applier
from raftd.node.requests import Requests
from raftd.node.tracing import Tracer

OPEN = Stamp("alice").at(0) + open_session()


def entries(first: int, last: int) -> tuple[Entry, ...]:
    return tuple((LogIndex(index), Term(1), EntryKind.COMMAND, OPEN) for index in range(first, last + 1))


def ticking(seconds: float) -> Callable[[], float]:
    """A stopwatch by which that much goes by between two looks."""
    numbers = count()
    return lambda: next(numbers) * seconds


class Parts:
    def __init__(self, stopwatch: Callable[[], float]) -> None:
        self.machine = StateMachine()
        self.observed: list[float] = []
        self.commands: list[tuple[LogIndex, bytes, int, float]] = []
        self.applier = Applier(
            self.machine,
            Requests(self.machine),
            Tracer(stopwatch),
            stopwatch,
            observe=self.observed.append,
            observe_command=self.observe_command,
        )

    def observe_command(self, index: LogIndex, data: bytes, answer: bytes, seconds: float) -> None:
        self.commands.append((index, data, answer[0], seconds))

    def turn(self) -> LogIndex | None:
        self.applier.begin_turn()
        return self.applier.apply()


def test_a_turn_applies_for_so_long_and_the_next_one_goes_on() -> None:
    """The entry during which the time ends is the last one of the turn, and none is left out."""
    parts = Parts(ticking(applying.APPLY_SECONDS_MAX / 4))
    parts.applier.take(entries(1, 10))
    assert (parts.turn(), parts.applier.is_behind) == (4, True)
    assert (parts.turn(), parts.applier.is_behind) == (8, True)
    assert (parts.turn(), parts.applier.is_behind) == (10, False)
    assert parts.turn() is None
    assert parts.machine.session_count == 10
    assert parts.observed == pytest.approx([0.01, 0.01, 0.005])


def test_all_of_a_turn_s_readies_share_its_time() -> None:
    """Once it is over, what a further one brings waits, however little that is."""
    parts = Parts(ticking(applying.APPLY_SECONDS_MAX))
    parts.applier.begin_turn()
    parts.applier.take(entries(1, 2))
    assert parts.applier.apply() == 1
    parts.applier.take(entries(3, 3))
    assert parts.applier.apply() is None
    assert parts.turn() == 2
    assert parts.turn() == 3


def test_each_turn_applies_something() -> None:
    """Even if one entry takes longer than all the time there is."""
    parts = Parts(ticking(60.0))
    parts.applier.take(entries(1, 3))
    assert [parts.turn() for _ in range(4)] == [1, 2, 3, None]


def test_turns_are_longer_with_much_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more, turns are longer, but not without a bound: a slow node must slow its leader down, and live."""
    monkeypatch.setattr(applying, "BEHIND_ENTRIES", 3)
    monkeypatch.setattr(applying, "BEHIND_SECONDS_MAX", 3 * applying.APPLY_SECONDS_MAX)
    parts = Parts(ticking(applying.APPLY_SECONDS_MAX))
    parts.applier.take(entries(1, 10))
    assert parts.turn() == 3
    parts.applier.take(entries(11, 12))
    assert parts.applier.apply() is None
    assert [parts.turn() for _ in range(4)] == [6, 9, 10, 11]


def test_what_a_snapshot_has_brought_is_passed_over() -> None:
    """The state machine of a node that is sent a snapshot jumps over entries that wait."""
    parts = Parts(ticking(60.0))
    parts.applier.take(entries(1, 3))
    assert parts.turn() == 1
    later = StateMachine()
    for index, term, _, data in entries(1, 5):
        later.apply(index, term, data)
    parts.machine.become(later)
    assert (parts.turn(), parts.applier.is_behind) == (None, False)
    parts.applier.take(entries(6, 6))
    assert parts.turn() == 6


def test_entries_of_other_kinds_are_counted() -> None:
    """A no-op and a membership change nothing, and are applied all the same."""
    parts = Parts(ticking(0.0))
    parts.applier.take(((LogIndex(1), Term(1), EntryKind.NOOP, b""), *entries(2, 2)))
    assert parts.turn() == 2
    assert parts.machine.session_count == 1


def test_some_commands_are_measured_by_themselves() -> None:
    """Each of an index that all nodes measure, without what comes before and after it; nothing that is no command."""
    parts = Parts(ticking(1e-6))
    every = applying.MEASURED_ENTRIES
    noop = (LogIndex(2 * every), Term(1), EntryKind.NOOP, b"")
    parts.applier.take((*entries(1, 2 * every - 1), noop, *entries(2 * every + 1, 3 * every)))
    assert parts.turn() == 3 * every
    assert [told[:3] for told in parts.commands] == [(index, OPEN, 0) for index in (every, 3 * every)]
    assert [seconds for *_, seconds in parts.commands] == pytest.approx([1e-6, 1e-6])


def test_the_state_is_hashed_at_the_entries_that_all_nodes_hash() -> None:
    """Wherever turns begin and end."""
    hashes = []
    for seconds in (0.0, 60.0):
        parts = Parts(ticking(seconds))
        parts.applier.take(entries(1, AUDIT_ENTRIES))
        while parts.turn():
            pass
        hashes.append(parts.applier.comparison.take_untold())
    assert hashes[0] is not None
    assert hashes[0] == hashes[1]
