"""What a command does to the keys, as values; `raftd.kv.commands` has their bytes.

A `Write` is what one command of a session does: one operation, and the fence that it depends on. A transaction holds
operations of its own, which cannot have everything that a whole command may: no fence, nothing that is expected
(compares are there for that), and of transactions one level only.

The `check_…` functions are the bounds, each in one place: encoders, decoders and whoever else takes keys from outside
call them.
"""

import enum
from typing import Final, NamedTuple, NoReturn, TypeAlias

from raftd.kv.limits import (
    BOUND_BYTES_MAX,
    COMPARES_MAX,
    DELETE_RANGE_KEYS_MAX,
    KEY_BYTES_MAX,
    OPERATIONS_MAX,
    VALUE_BYTES_MAX,
)
from raftd.kv.types import NO_LEASE, CommandTooLarge, InvalidCommand, LeaseId, Revision

U64_MAX: Final = (1 << 64) - 1
U32_MAX: Final = (1 << 32) - 1
I64_MAX: Final = (1 << 63) - 1


class Opcode(enum.IntEnum):
    """What a command does. The numbers are on disk and on the wire: never renumber."""

    OPEN_SESSION = 1
    CLOSE_SESSION = 2
    KEEP_ALIVE = 3
    PUT = 16
    DELETE = 17
    INCREMENT = 18
    DELETE_RANGE = 19
    TRANSACTION = 20
    LEASE_GRANT = 21
    LEASE_REVOKE = 22
    ADVANCE_CLOCK = 128
    EXPIRE_LEASES = 129


class OperationCode(enum.IntEnum):
    """What an operation does; as a command it has the same number. On disk and on the wire: never renumber."""

    GET = 1
    RANGE = 2
    PUT = 16
    DELETE = 17
    INCREMENT = 18
    DELETE_RANGE = 19
    TRANSACTION = 20


class CompareTarget(enum.IntEnum):
    """What of a key is compared. The numbers are on disk and on the wire: never renumber."""

    VERSION = 1
    CREATE_REVISION = 2
    MODIFY_REVISION = 3
    VALUE = 4
    LEASE = 5


class Relation(enum.IntEnum):
    """How the key's own must be to the operand. The numbers are on disk and on the wire: never renumber."""

    EQUAL = 0
    NOT_EQUAL = 1
    LESS = 2
    GREATER = 3


class Compare(NamedTuple):
    """One condition of a transaction.

    An absent key has 0 for each number, so VERSION EQUAL 0 asks whether it is absent. A compare of the VALUE of an
    absent key is false, whatever the relation.
    """

    target: CompareTarget
    relation: Relation
    key: bytes
    operand: int | bytes
    """Bytes with VALUE, a number with all others."""


class Get(NamedTuple):
    """Read one key."""

    key: bytes


class Range(NamedTuple):
    """Read the keys in [low, high), see `raftd.kv.ranges`."""

    low: bytes
    high: bytes
    limit: int = 0
    """At most so many; 0: as many as fit into a page."""
    keys_only: bool = False
    count_only: bool = False


class Put(NamedTuple):
    """Write one key."""

    key: bytes
    value: bytes
    lease: LeaseId = NO_LEASE
    """The key ends with it; a put without one leaves the key without."""
    expected_revision: Revision | None = None
    """Only if the key's modify revision is this; 0: only if it is absent."""
    expected_value: bytes | None = None
    """Only if the key is there with this value."""
    previous: bool = False
    """The answer tells what was there."""


class Delete(NamedTuple):
    """Delete one key; fields as of `Put`."""

    key: bytes
    expected_revision: Revision | None = None
    expected_value: bytes | None = None
    previous: bool = False


class Increment(NamedTuple):
    """Add to a number that is kept as decimal ASCII; an absent key counts as 0."""

    key: bytes
    delta: int
    """Within 64 bits, with its sign."""
    expected_revision: Revision | None = None


class DeleteRange(NamedTuple):
    """Delete the first `limit` keys in [low, high)."""

    low: bytes
    high: bytes
    limit: int = DELETE_RANGE_KEYS_MAX
    previous: bool = False


class Transaction(NamedTuple):
    """Do `then` if all compares are true, else `otherwise`: all of it or nothing, in one step."""

    compares: "tuple[Compare, ...]"
    then: "tuple[Operation, ...]"
    otherwise: "tuple[Operation, ...]" = ()


Operation: TypeAlias = Get | Range | Put | Delete | Increment | DeleteRange | Transaction
"""What a transaction may hold."""

WriteOperation: TypeAlias = Put | Delete | Increment | DeleteRange | Transaction
"""What a command may do."""


class Fence(NamedTuple):
    """The write happens only while `key` has this create revision: while a lock is held, say."""

    key: bytes
    revision: Revision
    """0: while there is no such key."""


class Write(NamedTuple):
    """What one command of a session does."""

    operation: WriteOperation
    fence: Fence | None = None


def check_key(key: bytes) -> None:
    """Check a key's length.

    Raises:
        CommandTooLarge: it is longer than 4096 bytes.
        InvalidCommand: it is empty.
    """
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        refuse_key(len(key))


def refuse_key(length: int) -> NoReturn:
    """Say what is wrong with a key of this length.

    Raises:
        CommandTooLarge: it is too long.
        InvalidCommand: it is empty.
    """
    if length == 0:
        raise InvalidCommand("a key has at least one byte")
    raise CommandTooLarge(f"a key has at most {KEY_BYTES_MAX} bytes, not {length}")


def refuse_value(length: int) -> NoReturn:
    """Say that a value is too long.

    Raises:
        CommandTooLarge: always.
    """
    raise CommandTooLarge(f"a value has at most {VALUE_BYTES_MAX} bytes, not {length}")


def check_key_length(length: int) -> None:
    """Check a key that is only announced; as `check_key`."""
    if not 1 <= length <= KEY_BYTES_MAX:
        refuse_key(length)


def check_value_length(length: int) -> None:
    """Check a value that is only announced.

    Raises:
        CommandTooLarge: it is longer than 1 MiB.
    """
    if length > VALUE_BYTES_MAX:
        refuse_value(length)


def check_bound_length(length: int) -> None:
    """Check the length of a range's low or high.

    Raises:
        CommandTooLarge: it is longer than a longest key and one byte.
    """
    if length > BOUND_BYTES_MAX:
        raise CommandTooLarge(f"a bound of a range has at most {BOUND_BYTES_MAX} bytes, not {length}")


def check_delete_limit(limit: int) -> None:
    """Check how many keys a DELETE_RANGE may delete.

    Raises:
        InvalidCommand: none, or too many.
    """
    if not 1 <= limit <= DELETE_RANGE_KEYS_MAX:
        raise InvalidCommand(f"a DELETE_RANGE deletes 1 to {DELETE_RANGE_KEYS_MAX} keys, not {limit}")


def check_lease(lease: int) -> None:
    """Check a lease that is named.

    Raises:
        InvalidCommand: it is 0, which is none.
    """
    if lease == NO_LEASE:
        raise InvalidCommand("a lease is named by a number from 1 on, not 0")


def check_operation_count(count: int) -> None:
    """Check how many operations a transaction has, nested ones included.

    Raises:
        InvalidCommand: too many.
    """
    if count > OPERATIONS_MAX:
        raise InvalidCommand(f"a transaction has at most {OPERATIONS_MAX} operations in all, not {count}")


def check_compare_count(count: int) -> None:
    """Check how many compares a transaction has, nested ones included.

    Raises:
        InvalidCommand: too many.
    """
    if count > COMPARES_MAX:
        raise InvalidCommand(f"a transaction has at most {COMPARES_MAX} compares in all, not {count}")


def check_u64(value: int, field: str) -> None:
    """Check a number that is to become 64 bits without a sign.

    Raises:
        InvalidCommand: it does not fit.
    """
    if not 0 <= value <= U64_MAX:
        raise InvalidCommand(f"{field} is 0 to {U64_MAX}, not {value}")


def check_limit(limit: int) -> None:
    """Check how many items a page may have; 0: as many as fit.

    Raises:
        InvalidCommand: it does not fit into 32 bits.
    """
    if not 0 <= limit <= U32_MAX:
        raise InvalidCommand(f"a limit is 0 to {U32_MAX}, not {limit}")


def check_delta(delta: int) -> None:
    """Check what is to be added.

    Raises:
        InvalidCommand: it does not fit into 64 bits with its sign.
    """
    if not -I64_MAX - 1 <= delta <= I64_MAX:
        raise InvalidCommand(f"a number to add is {-I64_MAX - 1} to {I64_MAX}, not {delta}")
