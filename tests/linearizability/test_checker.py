"""The checker: histories that are known to be right or wrong, and a dumb second opinion on small random ones."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.brute import is_linearizable_by_force
from tests.linearizability.checker import Exhausted, Kind, Operation, State, is_linearizable

OPEN = math.inf


def put(value: bytes, invoked: float, returned: float = OPEN) -> Operation:
    return Operation(Kind.PUT, invoked, returned, value)


def get(value: State, invoked: float, returned: float = OPEN) -> Operation:
    return Operation(Kind.GET, invoked, returned, value)


def delete(invoked: float, returned: float = OPEN, *, succeeded: bool | None = None) -> Operation:
    return Operation(Kind.DELETE, invoked, returned, succeeded=succeeded)


def swap(expected: State, value: bytes, invoked: float, returned: float = OPEN, *, succeeded: bool | None) -> Operation:
    return Operation(Kind.COMPARE_AND_PUT, invoked, returned, value, expected, succeeded)


GOOD = {
    "nothing": [],
    "one after the other": [put(b"a", 0, 1), get(b"a", 2, 3), delete(4, 5, succeeded=True), get(None, 6, 7)],
    "a write of what is there may be needed later": [
        put(b"a", 0, 20),
        put(b"a", 1, 2),
        put(b"b", 3, 20),
        get(b"b", 4, 5),
        swap(b"a", b"a", 6, 7, succeeded=True),
    ],
    "a read in the middle of a write sees the old": [
        put(b"a", 0, 1),
        put(b"b", 2, 6),
        get(b"a", 3, 4),
        get(b"b", 5, 7),
    ],
    "a read in the middle of a write sees the new": [
        put(b"a", 0, 1),
        put(b"b", 2, 6),
        get(b"b", 3, 4),
        get(b"b", 5, 7),
    ],
    "two writes at once, in the order that reads say": [put(b"a", 0, 9), put(b"b", 1, 8), get(b"b", 10, 11)],
    "an unknown write that took effect late": [put(b"a", 0, 1), put(b"b", 2), get(b"a", 3, 4), get(b"b", 90, 91)],
    "an unknown write that never took effect": [put(b"a", 0, 1), put(b"b", 2), get(b"a", 90, 91)],
    "an unknown delete": [put(b"a", 0, 1), delete(2), get(b"a", 3, 4), get(None, 5, 6)],
    "a read without an answer says nothing": [put(b"a", 0, 1), get(b"z", 2)],
    "one of two swaps wins": [
        put(b"a", 0, 1),
        swap(b"a", b"b", 2, 9, succeeded=True),
        swap(b"a", b"c", 3, 8, succeeded=False),
        get(b"b", 10, 11),
    ],
    "an unknown swap that won": [
        swap(None, b"a", 0, succeeded=None),
        swap(None, b"b", 5, 6, succeeded=False),
        get(b"a", 7, 8),
    ],
    "returned when the next was invoked": [put(b"a", 0, 1), get(None, 1, 2)],
}

BAD = {
    "a stale read": [put(b"a", 0, 1), put(b"b", 2, 3), get(b"a", 4, 5)],
    "a read of what was never written": [put(b"a", 0, 1), get(b"b", 2, 3)],
    "a lost write": [put(b"a", 0, 1), get(None, 2, 3)],
    "a read before the write was asked": [get(b"a", 0, 1), put(b"a", 2, 3)],
    "new, then old": [put(b"a", 0, 1), put(b"b", 2, 9), get(b"b", 3, 4), get(b"a", 5, 6)],
    "an unknown write that took effect twice": [
        put(b"a", 0, 1),
        put(b"b", 2),
        get(b"b", 3, 4),
        put(b"c", 5, 6),
        get(b"c", 7, 8),
        get(b"b", 9, 10),
    ],
    "two swaps win": [
        put(b"a", 0, 1),
        swap(b"a", b"b", 2, 9, succeeded=True),
        swap(b"a", b"c", 3, 8, succeeded=True),
    ],
    "a swap loses for no reason": [put(b"a", 0, 1), swap(b"a", b"b", 2, 3, succeeded=False)],
    "a delete of nothing": [delete(0, 1, succeeded=True)],
    "a write that was deleted comes back": [put(b"a", 0, 1), delete(2, 3, succeeded=True), get(b"a", 4, 5)],
    "two readers disagree about the order": [
        put(b"a", 0, 20),
        put(b"b", 0, 20),
        get(b"a", 1, 2),
        get(b"b", 3, 4),
        get(b"a", 5, 6),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_linearizable_history_is_accepted(history: list[Operation]) -> None:
    """What some order explains is right."""
    assert is_linearizable(history)
    assert is_linearizable_by_force(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_history_that_nothing_explains_is_rejected(history: list[Operation]) -> None:
    """What no order explains is wrong."""
    assert not is_linearizable(history)
    assert not is_linearizable_by_force(history)


STATES = st.sampled_from((None, b"a", b"b"))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    invoked = draw(st.integers(0, 12))
    returned = draw(st.one_of(st.just(OPEN), st.integers(invoked, 14).map(float)))
    kind = draw(st.sampled_from(Kind))
    known = returned < OPEN
    succeeded = draw(st.booleans()) if known and kind not in {Kind.GET, Kind.PUT} else None
    value = draw(STATES) if kind is Kind.GET else draw(st.sampled_from((b"a", b"b")))
    expected = draw(STATES) if kind in {Kind.COMPARE_AND_PUT, Kind.COMPARE_AND_DELETE} else None
    return Operation(kind, float(invoked), returned, value, expected, succeeded)


@settings(max_examples=600, deadline=None)
@given(st.lists(operations(), max_size=6))
def test_the_checker_agrees_with_trying_every_order(history: list[Operation]) -> None:
    """Cleverness changes how long it takes, and not what comes out."""
    assert is_linearizable(history) == is_linearizable_by_force(history)


def test_a_long_history_is_decided_quickly() -> None:
    """A thousand operations of ten clients at once are within the bound on steps."""
    history = []
    for number in range(500):
        value = b"%d" % number
        history += [put(value, number, number + 3), get(value, number + 0.5, number + 4)]
    ordered = [put(b"%d" % number, 10 * number, 10 * number + 9) for number in range(500)]
    ordered += [get(b"%d" % number, 10 * number + 9.5, 10 * number + 9.6) for number in range(500)]
    assert is_linearizable(ordered, steps_max=10_000)
    assert is_linearizable(history, steps_max=200_000)


def test_what_changed_nothing_costs_no_alternatives() -> None:
    """Twenty reads and failed swaps at once, between two writes, are decided in as many steps."""
    writes = [put(b"%d" % number, 100 * number, 100 * number + 1) for number in range(50)]
    others = [
        (
            get(b"%d" % number, 100 * number + 2, 100 * number + 90),
            swap(b"x", b"y", 100 * number + 2, 100 * number + 90, succeeded=False),
        )
        for number in range(50)
        for _ in range(10)
    ]
    history = writes + [each for pair in others for each in pair]
    assert is_linearizable(history, steps_max=len(history) + 1)
    assert not is_linearizable([*history, get(b"never", 4950, 4960)], steps_max=3 * len(history))


def test_what_may_have_happened_costs_no_alternatives_where_nobody_saw_it() -> None:
    """Forty puts and deletes of unknown outcome do not multiply what is tried, whether there is an order or none."""
    unknown = [put(b"unknown %d" % number, number) for number in range(20)]
    unknown += [swap(b"unknown", b"swapped %d" % number, number, succeeded=None) for number in range(20)]
    known = [put(b"%d" % number, 10 * number, 10 * number + 19) for number in range(100)]
    known += [get(b"%d" % number, 10 * number + 19.5, 10 * number + 19.7) for number in range(0, 100, 2)]
    known += [get(b"unknown 7", 995, 1020), swap(b"unknown 7", b"seen", 1021, 1022, succeeded=True)]
    history = unknown + known
    assert is_linearizable(history, steps_max=2 * len(history))
    assert not is_linearizable([*history, get(b"never", 1030, 1040)], steps_max=50 * len(history))


def test_giving_up_is_not_an_answer() -> None:
    """A history that takes too many steps is neither right nor wrong."""
    history = [put(b"%d" % number, 0, 100) for number in range(30)] + [get(b"never", 50, 60)]
    with pytest.raises(Exhausted):
        is_linearizable(history, steps_max=1000)
