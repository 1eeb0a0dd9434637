"""Results: the bodies of what is answered to the writes that say more than a PUT.

All numbers are little-endian::

    INCREMENT     value i64 | version u64 | create_revision u64 (of the key, after the write)
    DELETE_RANGE  deleted u32 | more u8 [| deleted times: key_length u16 | key | item]
    TRANSACTION   succeeded u8 | count u8 | count times: outcome u8 | length u32 | body

    more          1: the range holds further keys, which are left, else 0
    succeeded     1: all compares were true and the first list was done; 0: the second
    outcome       of one operation: 0 OK, with the body that it has by itself; or 1 NOT_FOUND, of a GET or DELETE whose
                  key is absent, without a body
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias, assert_never

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError
from raftd.kv.answers import DeleteResult, Outcome, PutResult, decode_delete, decode_get, decode_outcome, decode_put
from raftd.kv.items import KeyedItem, KeyValue, decode_keyed_items
from raftd.kv.operations import Delete, DeleteRange, Get, Increment, Operation, Put, Range, Transaction
from raftd.kv.pages import RangePage, decode_range
from raftd.kv.types import Revision

_INCREMENT: Final = struct.Struct("<qQQ")
_DELETE_RANGE: Final = struct.Struct("<IB")


class IncrementResult(NamedTuple):
    """What a successful INCREMENT says."""

    value: int
    version: int
    create_revision: Revision


class DeleteRangeResult(NamedTuple):
    """What a successful DELETE_RANGE says."""

    deleted_count: int
    more: bool
    """Whether keys of the range are left."""
    previous: Sequence[KeyedItem] = ()
    """What was deleted, if it was asked for."""


class TransactionResult(NamedTuple):
    """What a successful TRANSACTION says."""

    succeeded: bool
    """Whether all compares were true."""
    results: "Sequence[OperationResult | None]"
    """One for each operation of the list that was done, in its order; None: the key to get or delete is absent."""


OperationResult: TypeAlias = (
    KeyValue | RangePage | PutResult | DeleteResult | IncrementResult | DeleteRangeResult | TransactionResult
)
"""What one operation of a transaction says."""


def increment_body(value: int, version: int, create_revision: Revision) -> bytes:
    """Make the body of an INCREMENT's OK."""
    return _INCREMENT.pack(value, version, create_revision)


def decode_increment(body: bytes) -> IncrementResult:
    """Decode the body of an INCREMENT's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    if len(body) != _INCREMENT.size:
        raise DecodeError(f"the answer to INCREMENT has a body of {len(body)} bytes instead of {_INCREMENT.size}")
    return IncrementResult(*_INCREMENT.unpack(body))


def delete_range_body(deleted_count: int, items: Sequence[bytes] = (), *, more: bool) -> bytes:
    """Make the body of a DELETE_RANGE's OK; `items` are of `encode_keyed`, if they were asked for."""
    return b"".join((_DELETE_RANGE.pack(deleted_count, more), *items))


def decode_delete_range(body: bytes, *, previous: bool = False) -> DeleteRangeResult:
    """Decode the body of a DELETE_RANGE's OK; `previous`: whether what was deleted was asked for.

    Raises:
        DecodeError: it is not one.
    """
    reader = Reader(body)
    deleted_count = reader.u32("a number of keys")
    more = reader.boolean("more")
    items: Sequence[KeyedItem] = ()
    end = _DELETE_RANGE.size
    if previous:
        items, end = decode_keyed_items(body, end, deleted_count)
    if end != len(body):
        raise DecodeError(f"{len(body) - end} bytes follow the answer to DELETE_RANGE")
    return DeleteRangeResult(deleted_count, more, items)


def transaction_body(results: Iterable[tuple[Outcome, bytes]], *, succeeded: bool) -> bytes:
    """Make the body of a TRANSACTION's OK of the outcomes and bodies of its operations."""
    writer = Writer()
    encoded = tuple(results)
    writer.boolean(succeeded)
    writer.u8(len(encoded))
    for outcome, body in encoded:
        writer.u8(outcome)
        writer.bytes_u32(body)
    return writer.finish()


def decode_transaction(body: bytes, transaction: Transaction) -> TransactionResult:
    """Decode the body of the OK of this TRANSACTION.

    Raises:
        DecodeError: it is not one.
    """
    reader = Reader(body)
    succeeded = reader.boolean("succeeded")
    operations = transaction.then if succeeded else transaction.otherwise
    count = reader.u8("a number of results")
    if count != len(operations):
        raise DecodeError(f"{count} results came, of {len(operations)} operations")
    results = tuple([_read_result(reader, operation) for operation in operations])
    reader.finish()
    return TransactionResult(succeeded, results)


def _read_result(reader: Reader, operation: Operation) -> OperationResult | None:
    outcome = decode_outcome(reader.u8("an outcome"))
    body = reader.bytes_u32("a result", reader.remaining)
    match outcome:
        case Outcome.OK:
            return _decode_result(body, operation)
        case Outcome.NOT_FOUND if isinstance(operation, Get | Delete) and not body:
            return None
        case _:
            raise DecodeError(f"an operation of a transaction ended with {outcome.name}")


def _decode_result(  # noqa: PLR0911 - one for each operation
    body: bytes, operation: Operation
) -> OperationResult:
    match operation:
        case Get():
            return decode_get(body)
        case Range():
            return decode_range(body, keys_only=operation.keys_only)
        case Put():
            return decode_put(body, previous=operation.previous)
        case Delete():
            return decode_delete(body, previous=operation.previous)
        case Increment():
            return decode_increment(body)
        case DeleteRange():
            return decode_delete_range(body, previous=operation.previous)
        case Transaction():
            return decode_transaction(body, operation)
        case _:
            assert_never(operation)
