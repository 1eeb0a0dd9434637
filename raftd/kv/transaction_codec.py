"""The bytes of transactions, and of any write as a whole.

A TRANSACTION's flags (see `raftd.kv.write_codec`) are followed by its body, little-endian::

    compare_count u8 | compares | then_count u8 | operations | else_count u8 | operations

    compare       target u8 | relation u8 | key_length u16 | key | operand
                  target    1 VERSION, 2 CREATE_REVISION, 3 MODIFY_REVISION, 4 VALUE, 5 LEASE
                  relation  0 EQUAL, 1 NOT_EQUAL, 2 LESS, 3 GREATER
                  operand   value_length u32, value with VALUE; u64 with all others

    operation     opcode u8, and then
       1  GET           key_length u16 | key
       2  RANGE         flags u8 (1 KEYS_ONLY, 2 COUNT_ONLY) | limit u32 | low_length u16 | low | high_length u16 | high
      16  PUT           as a command, but of the flags only LEASE and PREVIOUS
      17  DELETE        as a command, but of the flags only PREVIOUS
      18  INCREMENT     as a command, but without flags: the byte is 0
      19  DELETE_RANGE  as a command, but of the flags only PREVIOUS
      20  TRANSACTION   a body as this one, without flags, in which there is no further TRANSACTION

There are at most 128 operations and at most 128 compares, those of nested transactions included; a nested TRANSACTION
itself is an operation too.
"""

from typing import Final, assert_never

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError
from raftd.kv.limits import COMMAND_BYTES_MAX
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Get,
    Increment,
    Operation,
    OperationCode,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
    check_compare_count,
    check_limit,
    check_operation_count,
    check_u64,
)
from raftd.kv.types import CommandTooLarge, InvalidCommand
from raftd.kv.write_codec import (
    ALLOWED_IN_A_COMMAND,
    ALLOWED_IN_A_TRANSACTION,
    Head,
    SingleCode,
    WriteCode,
    code_of,
    head_of,
    read_bounds,
    read_fields,
    read_head,
    read_key,
    read_value,
    write_bounds,
    write_fields,
    write_head,
    write_key,
    write_value,
)

RANGE_FLAG_KEYS_ONLY: Final = 1
RANGE_FLAG_COUNT_ONLY: Final = 2

_CODES: Final = {code.value: code for code in OperationCode}
_TARGETS: Final = {target.value: target for target in CompareTarget}
_RELATIONS: Final = {relation.value: relation for relation in Relation}


def encode_write(write: Write) -> tuple[WriteCode, bytes]:
    """Encode all of a write but the head that each command has: its code, and its flags and fields.

    Raises:
        CommandTooLarge: something is too long.
        InvalidCommand: something else is out of bounds.
    """
    operation, fence = write
    writer = Writer()
    if isinstance(operation, Transaction):
        write_head(writer, Head(fence=fence))
        _TransactionWriter(writer).write(operation)
        return OperationCode.TRANSACTION, writer.finish()
    write_head(writer, head_of(operation, fence))
    write_fields(writer, operation)
    return code_of(operation), writer.finish()


def decode_write(code: WriteCode, data: bytes, offset: int) -> Write:
    """Decode a write, whose flags are at `offset` and whose fields reach to the end of `data`.

    Raises:
        CommandTooLarge: something is too long.
        InvalidCommand: it is no valid write.
    """
    reader = Reader(data, offset)
    if reader.remaining > COMMAND_BYTES_MAX:
        raise CommandTooLarge(f"a command has at most {COMMAND_BYTES_MAX} bytes")
    try:
        head = read_head(reader, code, ALLOWED_IN_A_COMMAND)
        if code is OperationCode.TRANSACTION:
            write = Write(_TransactionReader(reader).read(), head.fence)
        else:
            write = Write(read_fields(reader, code, head), head.fence)
        reader.finish()
    except InvalidCommand:
        raise
    except DecodeError as error:
        raise InvalidCommand(str(error)) from None
    return write


def write_range(writer: Writer, wanted: Range, *, flags: int = 0, revision: int | None = None) -> None:
    """Encode a range: its flags with `flags` added, its limit, `revision` if there is one, and its bounds.

    Raises:
        CommandTooLarge: a bound is too long.
        InvalidCommand: the limit or the revision does not fit.
    """
    check_limit(wanted.limit)
    writer.u8(
        flags | (RANGE_FLAG_KEYS_ONLY if wanted.keys_only else 0) | (RANGE_FLAG_COUNT_ONLY if wanted.count_only else 0)
    )
    writer.u32(wanted.limit)
    if revision is not None:
        check_u64(revision, "a revision")
        writer.u64(revision)
    write_bounds(writer, wanted.low, wanted.high)


def read_range(reader: Reader, *, revision_flag: int = 0) -> tuple[Range, int | None]:
    """Decode a range, and the revision that is there if the flag `revision_flag` is.

    Raises:
        CommandTooLarge: a bound is too long.
        DecodeError: a flag is unknown, or it is cut short.
    """
    flags = reader.u8("flags")
    unknown = flags & ~(RANGE_FLAG_KEYS_ONLY | RANGE_FLAG_COUNT_ONLY | revision_flag)
    if unknown:
        raise InvalidCommand(f"RANGE may not have flags {unknown:#x} here")
    limit = reader.u32("a limit")
    revision = reader.u64("a revision") if flags & revision_flag else None
    low, high = read_bounds(reader)
    return Range(low, high, limit, bool(flags & RANGE_FLAG_KEYS_ONLY), bool(flags & RANGE_FLAG_COUNT_ONLY)), revision


class _Counts:
    """What a transaction has so far, nested ones included; each list is counted before it is dealt with."""

    def __init__(self) -> None:
        self._compares = 0
        self._operations = 0

    def add_compares(self, count: int) -> None:
        self._compares += count
        check_compare_count(self._compares)

    def add_operations(self, count: int) -> None:
        self._operations += count
        check_operation_count(self._operations)


class _TransactionWriter:
    """Encodes one transaction with what is nested in it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._counts = _Counts()

    def write(self, transaction: Transaction, *, nested: bool = False) -> None:
        writer = self._writer
        self._counts.add_compares(len(transaction.compares))
        writer.u8(len(transaction.compares))
        for compare in transaction.compares:
            _write_compare(writer, compare)
        for operations in (transaction.then, transaction.otherwise):
            self._counts.add_operations(len(operations))
            writer.u8(len(operations))
            for operation in operations:
                self._write_operation(operation, nested=nested)

    def _write_operation(self, operation: Operation, *, nested: bool) -> None:
        writer = self._writer
        match operation:
            case Get(key):
                writer.u8(OperationCode.GET)
                write_key(writer, key)
            case Range():
                writer.u8(OperationCode.RANGE)
                write_range(writer, operation)
            case Transaction():
                _check_nesting(nested)
                writer.u8(OperationCode.TRANSACTION)
                self.write(operation, nested=True)
            case Put() | Delete() | Increment() | DeleteRange():
                code = code_of(operation)
                head = head_of(operation, None)
                _check_flags(head.flags, code)
                writer.u8(code)
                write_head(writer, head)
                write_fields(writer, operation)
            case _:
                assert_never(operation)


class _TransactionReader:
    """Decodes one transaction with what is nested in it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._counts = _Counts()

    def read(self, *, nested: bool = False) -> Transaction:
        count = self._reader.u8("a number of compares")
        self._counts.add_compares(count)
        compares = tuple([_read_compare(self._reader) for _ in range(count)])
        then = self._read_operations(nested=nested)
        return Transaction(compares, then, self._read_operations(nested=nested))

    def _read_operations(self, *, nested: bool) -> tuple[Operation, ...]:
        count = self._reader.u8("a number of operations")
        self._counts.add_operations(count)
        return tuple([self._read_operation(nested=nested) for _ in range(count)])

    def _read_operation(self, *, nested: bool) -> Operation:
        reader = self._reader
        number = reader.u8("an operation")
        code = _CODES.get(number)
        match code:
            # Those that most transactions are made of come first.
            case OperationCode.PUT | OperationCode.DELETE | OperationCode.INCREMENT | OperationCode.DELETE_RANGE:
                return read_fields(reader, code, read_head(reader, code, ALLOWED_IN_A_TRANSACTION))
            case OperationCode.GET:
                return Get(read_key(reader))
            case OperationCode.RANGE:
                return read_range(reader)[0]
            case OperationCode.TRANSACTION:
                _check_nesting(nested)
                return self.read(nested=True)
            case None:
                raise InvalidCommand(f"a transaction has no operation {number}")
            case _:
                assert_never(code)


def _check_nesting(nested: bool) -> None:
    if nested:
        raise InvalidCommand("a transaction within a transaction holds no further one")


def _check_flags(flags: int, code: SingleCode) -> None:
    unwanted = flags & ~ALLOWED_IN_A_TRANSACTION[code]
    if unwanted:
        raise InvalidCommand(f"{code.name} in a transaction may not have flags {unwanted:#x}")


def _write_compare(writer: Writer, compare: Compare) -> None:
    writer.u8(compare.target)
    writer.u8(compare.relation)
    write_key(writer, compare.key)
    operand = compare.operand
    if isinstance(operand, bytes) != (compare.target is CompareTarget.VALUE):
        raise InvalidCommand(f"a compare of {compare.target.name} has the wrong kind of operand")
    if isinstance(operand, bytes):
        write_value(writer, operand)
    else:
        check_u64(operand, f"a {compare.target.name}")
        writer.u64(operand)


def _read_compare(reader: Reader) -> Compare:
    number = reader.u8("a compare")
    target = _TARGETS.get(number)
    if target is None:
        raise InvalidCommand(f"nothing of a key is called {number} in a compare")
    number = reader.u8("a relation")
    relation = _RELATIONS.get(number)
    if relation is None:
        raise InvalidCommand(f"a compare has no relation {number}")
    key = read_key(reader)
    operand = read_value(reader) if target is CompareTarget.VALUE else reader.u64("an operand")
    return Compare(target, relation, key, operand)
