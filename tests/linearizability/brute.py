"""A second, dumb decision of what `checker` decides: try every order."""

import math
from collections.abc import Sequence
from itertools import combinations, permutations

from tests.linearizability.checker import Kind, Operation, State


def is_linearizable_by_force(history: Sequence[Operation], initial: State = None) -> bool:
    """Whether any order of the operations, with any part of those of unknown outcome, explains every result."""
    known = [one for one in history if one.returned < math.inf]
    unknown = [one for one in history if one.returned == math.inf and one.kind is not Kind.GET]
    return any(
        _explains(order, initial)
        for count in range(len(unknown) + 1)
        for chosen in combinations(unknown, count)
        for order in permutations([*known, *chosen])
    )


def _explains(order: Sequence[Operation], state: State) -> bool:
    latest_invocation = -math.inf
    for operation in order:
        if operation.returned < latest_invocation:
            return False
        latest_invocation = max(latest_invocation, operation.invoked)
    for operation in order:
        holds = state == operation.expected
        if operation.kind is Kind.GET:
            if state != operation.value:
                return False
        elif operation.kind is Kind.PUT:
            state = operation.value
        elif operation.kind is Kind.DELETE:
            if operation.succeeded is not None and operation.succeeded != (state is not None):
                return False
            state = None
        elif operation.kind is Kind.COMPARE_AND_PUT:
            if operation.succeeded is not None and operation.succeeded != holds:
                return False
            state = operation.value if holds else state
        else:
            met = holds and state is not None
            if operation.succeeded is not None and operation.succeeded != met:
                return False
            state = None if met else state
    return True
