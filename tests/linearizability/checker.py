"""Whether a history of one key is linearizable: Wing & Gong's search with Lowe's memory.

The model is a register that is absent or holds a value: put, get, delete, and both writes under the condition that the
register is in an expected state. Linearizability is local (Herlihy & Wing, 1990, theorem 1): a history of operations
that touch one key each is linearizable if and only if each key's part is, so keys are checked one by one.

The search tries, as the next operation to take effect, each one that was invoked before the earliest return of those
that have not (Wing & Gong, 1993). It remembers (set of operations done, state) so that no such configuration is
explored twice (Lowe, 2017). An operation whose outcome is unknown may take effect at any time after its invocation,
or never: it stays open for ever.

What keeps it short where many operations overlap: one that changed nothing, a read or what did not succeed, may as well
take effect as soon as its result fits, for whatever follows is possible with it too; so nothing else is tried there. Of
the others those that return first are tried first, and those whose outcome is unknown last, and only right before one
that needs them (`_needs`): otherwise every set of them would be tried wherever the search has gone wrong.
"""

import enum
import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

State: TypeAlias = bytes | None
"""The register's value; None: absent."""

STEPS_MAX: Final = 2_000_000


class Kind(enum.Enum):
    """What an operation does to the register."""

    GET = "get"
    PUT = "put"
    DELETE = "delete"
    COMPARE_AND_PUT = "compare-and-put"
    COMPARE_AND_DELETE = "compare-and-delete"


class Operation(NamedTuple):
    """One operation of one client; times by one clock."""

    kind: Kind
    invoked: float
    returned: float = math.inf
    """Infinite: the outcome is unknown."""
    value: State = None
    """GET: what was read; PUT, COMPARE_AND_PUT: what was to be written."""
    expected: State = None
    """COMPARE_…: the state under which it was to happen."""
    succeeded: bool | None = None
    """DELETE: whether there was anything to delete; COMPARE_…: whether the state was as expected; None if unknown."""


class Exhausted(AssertionError):  # noqa: N818 - of a search, which has no other error
    """The search gave up: whether the history is linearizable is not known, which counts as a failure."""


def step(operation: Operation, state: State) -> tuple[bool, State]:
    """Let an operation take effect in a state; returns whether its result is possible there, and the state behind."""
    match operation.kind:
        case Kind.GET:
            return operation.value == state, state
        case Kind.PUT:
            return True, operation.value
        case Kind.DELETE:
            succeeds, behind = state is not None, None
        case Kind.COMPARE_AND_PUT:
            succeeds = state == operation.expected
            behind = operation.value if succeeds else state
        case Kind.COMPARE_AND_DELETE:
            # A condition that the key be absent is met by an absent key, and then there is nothing to delete.
            succeeds = state == operation.expected and state is not None
            behind = None if succeeds else state
    return operation.succeeded in {None, succeeds}, behind


class _Event:
    """An invocation or a return, in a doubly linked list by time; done operations are lifted out of it."""

    __slots__ = ("following", "index", "match", "preceding")

    def __init__(self, index: int) -> None:
        self.index = index
        self.match: _Event | None = None
        """Of an invocation: its return."""
        self.preceding: _Event | None = None
        self.following: _Event | None = None


def is_linearizable(history: Sequence[Operation], *, initial: State = None, steps_max: int = STEPS_MAX) -> bool:
    """Whether there is one order of all operations that explains every result.

    Args:
        history: Operations on one key, in any order. GETs without an outcome say nothing and are left out.
        initial: The register's state before.
        steps_max: How many configurations to look at.

    Raises:
        Exhausted: `steps_max` was not enough.
    """
    operations = [one for one in history if one.kind is not Kind.GET or one.returned < math.inf]
    head = _linked(operations)
    open_returns = sum(one.returned < math.inf for one in operations)
    seen: set[tuple[int, State]] = set()
    done, state = 0, initial
    choices = [_choices(head, operations, state)]
    chosen: list[tuple[_Event, State]] = []
    for _ in range(steps_max):
        if open_returns == 0:
            return True
        choice = next(choices[-1], None)
        if choice is None:  # the last choice was wrong
            choices.pop()
            if not chosen:
                return False
            invocation, state = chosen.pop()
            done ^= 1 << invocation.index
            _unlift(invocation)
            open_returns += operations[invocation.index].returned < math.inf
            continue
        invocation, behind = choice
        configuration = (done | 1 << invocation.index, behind)
        if configuration not in seen:
            seen.add(configuration)
            chosen.append((invocation, state))
            done, state = configuration
            _lift(invocation)
            open_returns -= operations[invocation.index].returned < math.inf
            choices.append(_choices(head, operations, state))
    raise Exhausted(f"{len(operations)} operations were not decided in {steps_max} steps")


def _choices(head: _Event, operations: Sequence[Operation], state: State) -> Iterator[tuple[_Event, State]]:
    """What may take effect next, each with the state behind it, in the order in which it is to be tried."""
    found: list[tuple[float, int, _Event, State]] = []
    open_for_ever: list[tuple[float, int, _Event, State]] = []
    entry = head.following
    while entry is not None and entry.match is not None:
        operation = operations[entry.index]
        possible, behind = step(operation, state)
        if possible and (operation.kind is Kind.GET or operation.succeeded is False):
            return iter(((entry, state),))
        if possible and (operation.returned < math.inf or behind != state):
            choices = found if operation.returned < math.inf else open_for_ever
            choices.append((operation.returned, entry.index, entry, behind))
        entry = entry.following
    if open_for_ever:
        eligible = list(_eligible(head, operations))
        found += [choice for choice in open_for_ever if any(_needs(one, state, choice[3]) for one in eligible)]
    found.sort(key=lambda choice: choice[:2])
    return ((invocation, behind) for _, _, invocation, behind in found)


def _eligible(head: _Event, operations: Sequence[Operation]) -> Iterator[Operation]:
    entry = head.following
    while entry is not None and entry.match is not None:
        yield operations[entry.index]
        entry = entry.following


def _needs(operation: Operation, state: State, behind: State) -> bool:
    """Whether `operation` can be next in the state `behind` that a write of unknown outcome leaves, and only there.

    Where it can be next without that write, it may as well be: the write can take effect later, or never if what
    follows replaces it. So a write of unknown outcome need only be tried right before an operation that needs it.
    """
    possible, after = step(operation, behind)
    if not possible or (operation.returned == math.inf and after in (behind, state)):
        return False
    possible, after = step(operation, state)
    return not possible or (operation.returned == math.inf and after == state)


def _linked(operations: Sequence[Operation]) -> _Event:
    """Make the list of events; returns a head that is no event itself."""
    timed: list[tuple[float, int, int, _Event]] = []
    for index, operation in enumerate(operations):
        invocation, ending = _Event(index), _Event(index)
        invocation.match = ending
        # At one instant, invocations come first: then the two operations count as concurrent.
        timed.append((operation.invoked, 0, index, invocation))
        timed.append((operation.returned, 1, index, ending))
    timed.sort(key=lambda item: item[:3])
    head = previous = _Event(-1)
    for _, _, _, event in timed:
        previous.following, event.preceding = event, previous
        previous = event
    return head


def _lift(invocation: _Event) -> None:
    for event in (invocation, invocation.match):
        if event is not None:
            if event.preceding is not None:
                event.preceding.following = event.following
            if event.following is not None:
                event.following.preceding = event.preceding


def _unlift(invocation: _Event) -> None:
    for event in (invocation.match, invocation):
        if event is not None:
            if event.preceding is not None:
                event.preceding.following = event
            if event.following is not None:
                event.following.preceding = event
