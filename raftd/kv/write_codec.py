"""The bytes of single writes: what PUT, DELETE, INCREMENT and DELETE_RANGE have behind the head of a command.

All numbers are little-endian. First come the flags, and the fields of those that are set, in this order::

    flags u8
       1  EXPECTED_REVISION   expected_revision u64
       2  LEASE               lease u64, not 0
       4  FENCE               fence_revision u64, fence_key_length u16, fence_key
       8  EXPECTED_VALUE      expected_value_length u32, expected_value
      16  PREVIOUS            nothing

                  may have                                          then
    ------------  ------------------------------------------------  --------------------------------------------------
    PUT           all of them                                       key_length u16, key, value_length u32, value
    DELETE        EXPECTED_REVISION, FENCE, EXPECTED_VALUE,         key_length u16, key
                  PREVIOUS
    INCREMENT     EXPECTED_REVISION, FENCE                          key_length u16, key, delta i64
    DELETE_RANGE  FENCE, PREVIOUS                                   limit u32 (1..10000), low_length u16, low,
                                                                    high_length u16, high
    TRANSACTION   FENCE                                             see `raftd.kv.transaction_codec`

    inside of a TRANSACTION  of these only LEASE and PREVIOUS

Any other flag is invalid. `raftd.kv.commands` reads a plain PUT or DELETE by itself, since nearly all writes are that.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias, assert_never

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.kv.operations import (
    Delete,
    DeleteRange,
    Fence,
    Increment,
    OperationCode,
    Put,
    check_bound_length,
    check_delete_limit,
    check_delta,
    check_key,
    check_key_length,
    check_lease,
    check_u64,
    check_value_length,
)
from raftd.kv.types import NO_LEASE, InvalidCommand, LeaseId, Revision

FLAG_EXPECTED_REVISION: Final = 1
FLAG_LEASE: Final = 2
FLAG_FENCE: Final = 4
FLAG_EXPECTED_VALUE: Final = 8
FLAG_PREVIOUS: Final = 16

SingleWrite: TypeAlias = Put | Delete | Increment | DeleteRange

SingleCode: TypeAlias = Literal[
    OperationCode.PUT, OperationCode.DELETE, OperationCode.INCREMENT, OperationCode.DELETE_RANGE
]

WriteCode: TypeAlias = SingleCode | Literal[OperationCode.TRANSACTION]
"""What a command may do."""

ALLOWED_IN_A_COMMAND: Final = {
    OperationCode.PUT: FLAG_EXPECTED_REVISION | FLAG_LEASE | FLAG_FENCE | FLAG_EXPECTED_VALUE | FLAG_PREVIOUS,
    OperationCode.DELETE: FLAG_EXPECTED_REVISION | FLAG_FENCE | FLAG_EXPECTED_VALUE | FLAG_PREVIOUS,
    OperationCode.INCREMENT: FLAG_EXPECTED_REVISION | FLAG_FENCE,
    OperationCode.DELETE_RANGE: FLAG_FENCE | FLAG_PREVIOUS,
    OperationCode.TRANSACTION: FLAG_FENCE,
}
"""The flags that each may have as a command."""

ALLOWED_IN_A_TRANSACTION: Final = {
    OperationCode.PUT: FLAG_LEASE | FLAG_PREVIOUS,
    OperationCode.DELETE: FLAG_PREVIOUS,
    OperationCode.INCREMENT: 0,
    OperationCode.DELETE_RANGE: FLAG_PREVIOUS,
}
"""The flags that each may have inside of a transaction."""


class Head(NamedTuple):
    """The flags and their fields."""

    expected_revision: Revision | None = None
    lease: LeaseId = NO_LEASE
    fence: Fence | None = None
    expected_value: bytes | None = None
    previous: bool = False

    @property
    def flags(self) -> int:
        """The byte in front."""
        return (
            (FLAG_EXPECTED_REVISION if self.expected_revision is not None else 0)
            | (FLAG_LEASE if self.lease else 0)
            | (FLAG_FENCE if self.fence is not None else 0)
            | (FLAG_EXPECTED_VALUE if self.expected_value is not None else 0)
            | (FLAG_PREVIOUS if self.previous else 0)
        )


def code_of(operation: SingleWrite) -> SingleCode:
    """What stands for this kind of operation."""
    match operation:
        case Put():
            return OperationCode.PUT
        case Delete():
            return OperationCode.DELETE
        case Increment():
            return OperationCode.INCREMENT
        case DeleteRange():
            return OperationCode.DELETE_RANGE
        case _:
            assert_never(operation)


def head_of(operation: SingleWrite, fence: Fence | None) -> Head:
    """What belongs into the head."""
    match operation:
        case Put():
            return Head(
                operation.expected_revision, operation.lease, fence, operation.expected_value, operation.previous
            )
        case Delete():
            return Head(operation.expected_revision, NO_LEASE, fence, operation.expected_value, operation.previous)
        case Increment():
            return Head(operation.expected_revision, NO_LEASE, fence)
        case DeleteRange():
            return Head(fence=fence, previous=operation.previous)
        case _:
            assert_never(operation)


def write_head(writer: Writer, head: Head) -> None:
    """Encode flags and their fields.

    Raises:
        CommandTooLarge: the fence's key or the expected value is too long.
        InvalidCommand: a number does not fit.
    """
    writer.u8(head.flags)
    if head.expected_revision is not None:
        check_u64(head.expected_revision, "an expected revision")
        writer.u64(head.expected_revision)
    if head.lease:
        check_u64(head.lease, "a lease")
        writer.u64(head.lease)
    if head.fence is not None:
        check_u64(head.fence.revision, "a fence's revision")
        writer.u64(head.fence.revision)
        write_key(writer, head.fence.key)
    if head.expected_value is not None:
        write_value(writer, head.expected_value)


NO_HEAD: Final = Head()
"""Of most operations."""


def read_head(reader: Reader, code: OperationCode, allowed: Mapping[OperationCode, int]) -> Head:
    """Decode flags and their fields; `allowed` is one of the two tables above.

    Raises:
        CommandTooLarge: the fence's key or the expected value is too long.
        DecodeError: a flag that is not allowed, or it is cut short.
    """
    flags = reader.u8("flags")
    if not flags:
        return NO_HEAD
    unwanted = flags & ~allowed[code]
    if unwanted:
        where = " in a transaction" if allowed is ALLOWED_IN_A_TRANSACTION else ""
        raise InvalidCommand(f"{code.name}{where} may not have flags {unwanted:#x}")
    return Head(
        Revision(reader.u64("an expected revision")) if flags & FLAG_EXPECTED_REVISION else None,
        read_lease(reader) if flags & FLAG_LEASE else NO_LEASE,
        _read_fence(reader) if flags & FLAG_FENCE else None,
        read_value(reader, "an expected value") if flags & FLAG_EXPECTED_VALUE else None,
        bool(flags & FLAG_PREVIOUS),
    )


def write_fields(writer: Writer, operation: SingleWrite) -> None:
    """Encode what follows the head.

    Raises:
        CommandTooLarge: something is too long.
        InvalidCommand: something else is out of bounds.
    """
    match operation:
        case Put(key, value):
            write_key(writer, key)
            write_value(writer, value)
        case Delete(key):
            write_key(writer, key)
        case Increment(key, delta):
            check_delta(delta)
            write_key(writer, key)
            writer.i64(delta)
        case DeleteRange(low, high, limit):
            check_delete_limit(limit)
            writer.u32(limit)
            write_bounds(writer, low, high)
        case _:
            assert_never(operation)


def read_fields(reader: Reader, code: SingleCode, head: Head) -> SingleWrite:
    """Decode what follows the head.

    Raises:
        CommandTooLarge: something is too long.
        DecodeError: something else is out of bounds, or it is cut short.
    """
    match code:
        case OperationCode.PUT:
            key = read_key(reader)
            value = read_value(reader)
            return Put(key, value, head.lease, head.expected_revision, head.expected_value, head.previous)
        case OperationCode.DELETE:
            return Delete(read_key(reader), head.expected_revision, head.expected_value, head.previous)
        case OperationCode.INCREMENT:
            key = read_key(reader)
            return Increment(key, reader.i64("a number to add"), head.expected_revision)
        case OperationCode.DELETE_RANGE:
            limit = reader.u32("a limit")
            check_delete_limit(limit)
            low, high = read_bounds(reader)
            return DeleteRange(low, high, limit, head.previous)
        case _:
            assert_never(code)


def write_key(writer: Writer, key: bytes) -> None:
    """Encode a key behind its length; raises as `check_key`."""
    check_key(key)
    writer.bytes_u16(key)


def read_key(reader: Reader) -> bytes:
    """Decode a key behind its length.

    Raises:
        CommandTooLarge: it is too long.
        DecodeError: it is empty or cut short.
    """
    length = reader.u16("a key's length")
    check_key_length(length)
    return reader.raw(length, "a key")


def write_value(writer: Writer, value: bytes) -> None:
    """Encode a value behind its length.

    Raises:
        CommandTooLarge: it is too long.
    """
    check_value_length(len(value))
    writer.bytes_u32(value)


def read_value(reader: Reader, name: str = "a value") -> bytes:
    """Decode a value behind its length.

    Raises:
        CommandTooLarge: it is too long.
        DecodeError: it is cut short.
    """
    length = reader.u32(name)
    check_value_length(length)
    return reader.raw(length, name)


def write_bounds(writer: Writer, low: bytes, high: bytes) -> None:
    """Encode a range's low and high, each behind its length.

    Raises:
        CommandTooLarge: one is too long.
    """
    for bound in (low, high):
        check_bound_length(len(bound))
        writer.bytes_u16(bound)


def read_bounds(reader: Reader) -> tuple[bytes, bytes]:
    """Decode a range's low and high.

    Raises:
        CommandTooLarge: one is too long.
        DecodeError: it is cut short.
    """
    return _read_bound(reader, "the low bound"), _read_bound(reader, "the high bound")


def read_lease(reader: Reader) -> LeaseId:
    """Decode a lease that must be one.

    Raises:
        DecodeError: it is 0 or cut short.
    """
    lease = reader.u64("a lease")
    check_lease(lease)
    return LeaseId(lease)


def _read_fence(reader: Reader) -> Fence:
    revision = Revision(reader.u64("a fence's revision"))
    return Fence(read_key(reader), revision)


def _read_bound(reader: Reader, name: str) -> bytes:
    length = reader.u16(name)
    check_bound_length(length)
    return reader.raw(length, name)
