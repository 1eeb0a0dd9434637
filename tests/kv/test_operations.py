"""Bounds of what operations are made of."""

from collections.abc import Callable

import pytest

from raftd.kv import operations
from raftd.kv.limits import (
    BOUND_BYTES_MAX,
    COMPARES_MAX,
    DELETE_RANGE_KEYS_MAX,
    KEY_BYTES_MAX,
    OPERATIONS_MAX,
    VALUE_BYTES_MAX,
)
from raftd.kv.operations import I64_MAX, U32_MAX, U64_MAX, CompareTarget, Opcode, OperationCode, Relation
from raftd.kv.types import CommandTooLarge, InvalidCommand


@pytest.mark.parametrize(
    ("check", "lowest", "highest", "too_large"),
    [
        (operations.check_key_length, 1, KEY_BYTES_MAX, True),
        (operations.check_value_length, 0, VALUE_BYTES_MAX, True),
        (operations.check_bound_length, 0, BOUND_BYTES_MAX, True),
        (operations.check_delete_limit, 1, DELETE_RANGE_KEYS_MAX, False),
        (operations.check_operation_count, 0, OPERATIONS_MAX, False),
        (operations.check_compare_count, 0, COMPARES_MAX, False),
        (operations.check_limit, 0, U32_MAX, False),
        (lambda value: operations.check_u64(value, "a number"), 0, U64_MAX, False),
        (operations.check_delta, -I64_MAX - 1, I64_MAX, False),
        (lambda length: operations.check_key(bytes(length)), 1, KEY_BYTES_MAX, True),
    ],
)
def test_bounds(check: Callable[[int], None], lowest: int, highest: int, *, too_large: bool) -> None:
    """The lowest and the highest are allowed, and what is beyond them is refused in one line."""
    check(lowest)
    check(highest)
    with pytest.raises(InvalidCommand) as refused:
        check(highest + 1)
    assert isinstance(refused.value, CommandTooLarge) is too_large
    assert "\n" not in str(refused.value)
    if lowest:
        with pytest.raises(InvalidCommand):
            check(lowest - 1)


def test_no_lease_is_not_named() -> None:
    """0 stands for no lease, and is spelled by leaving the lease out."""
    operations.check_lease(1)
    with pytest.raises(InvalidCommand, match="from 1 on"):
        operations.check_lease(0)


OPCODES = (
    "OPEN_SESSION 1, CLOSE_SESSION 2, KEEP_ALIVE 3, PUT 16, DELETE 17, INCREMENT 18, DELETE_RANGE 19, TRANSACTION 20, "
    "LEASE_GRANT 21, LEASE_REVOKE 22, ADVANCE_CLOCK 128, EXPIRE_LEASES 129"
)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (Opcode, OPCODES),
        (OperationCode, "GET 1, RANGE 2, PUT 16, DELETE 17, INCREMENT 18, DELETE_RANGE 19, TRANSACTION 20"),
        (CompareTarget, "VERSION 1, CREATE_REVISION 2, MODIFY_REVISION 3, VALUE 4, LEASE 5"),
        (Relation, "EQUAL 0, NOT_EQUAL 1, LESS 2, GREATER 3"),
    ],
)
def test_numbers_are_kept(numbers: type[Opcode], expected: str) -> None:
    """They are in logs and in clients."""
    assert ", ".join(f"{each.name} {each.value}" for each in numbers) == expected
