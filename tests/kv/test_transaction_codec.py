"""The bytes of transactions."""

import pytest
from hypothesis import given, settings

from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    Fence,
    Get,
    Increment,
    Operation,
    OperationCode,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
)
from raftd.kv.transaction_codec import decode_write, encode_write
from raftd.kv.types import InvalidCommand, LeaseId, Revision
from tests.kv.samples import writes

GET = Get(b"k")
COMPARE = Compare(CompareTarget.VERSION, Relation.EQUAL, b"k", 0)


def encode(transaction: Transaction) -> bytes:
    return encode_write(Write(transaction))[1]


def decode(data: bytes) -> Transaction:
    operation = decode_write(OperationCode.TRANSACTION, data, 0).operation
    assert isinstance(operation, Transaction)
    return operation


def test_layout() -> None:
    """The bytes are those of the module's table: logs and clients in other languages depend on each of them."""
    transaction = Transaction(
        (
            COMPARE,
            Compare(CompareTarget.VALUE, Relation.GREATER, b"k", b"v"),
            Compare(CompareTarget.LEASE, Relation.NOT_EQUAL, b"k", 7),
        ),
        (GET, Range(b"a", b"b", 5, count_only=True), Put(b"k", b"v", LeaseId(7), previous=True)),
        (Increment(b"k", 1), Transaction((), (Delete(b"k"),))),
    )
    expected = """
        04 0200000000000000 0400 6c6f636b
        03  01 00 0100 6b 0000000000000000   04 03 0100 6b 01000000 76   05 01 0100 6b 0700000000000000
        03  01 0100 6b   02 02 05000000 0100 61 0100 62   10 12 0700000000000000 0100 6b 01000000 76
        02  12 00 0100 6b 0100000000000000   14 00 01 11 00 0100 6b 00
    """
    write = Write(transaction, Fence(b"lock", Revision(2)))
    code, fields = encode_write(write)
    assert code is OperationCode.TRANSACTION
    assert fields.hex() == "".join(expected.split())
    assert decode_write(code, fields, 0) == write


@given(writes)
@settings(deadline=None)
def test_any_write_is_read_as_it_was_written(write: Write) -> None:
    """Whatever can be encoded decodes to itself."""
    code, fields = encode_write(write)
    assert decode_write(code, b"in front" + fields, 8) == write


def transaction_of(count: int, *, nested: int = 0) -> Transaction:
    """A transaction of `count` operations in all, some of them nested."""
    inner: tuple[Operation, ...] = (Transaction((), (GET,) * (nested - 1)),) if nested else ()
    return Transaction((), (*inner, *(GET,) * (count // 2)), (GET,) * (count - nested - count // 2))


@pytest.mark.parametrize("nested", [0, 1, 10])
def test_there_are_at_most_128_operations(nested: int) -> None:
    """In both lists together, a nested transaction and its own included."""
    assert decode(encode(transaction_of(128, nested=nested))) == transaction_of(128, nested=nested)
    with pytest.raises(InvalidCommand, match="at most 128 operations"):
        encode(transaction_of(129, nested=nested))


def test_there_are_at_most_128_compares() -> None:
    """Those of nested transactions included."""
    for inner in (0, 28):
        most = Transaction((COMPARE,) * (128 - inner), (Transaction((COMPARE,) * inner, ()),))
        assert decode(encode(most)) == most
        with pytest.raises(InvalidCommand, match="at most 128 compares"):
            encode(Transaction((COMPARE,) * (129 - inner), (Transaction((COMPARE,) * inner, ()),)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("00 81", "at most 128 compares in all, not 129"),
        ("00 00 81", "at most 128 operations in all, not 129"),
        ("00 00 00 ff", "at most 128 operations in all, not 255"),
        ("00 00 01 14 00 80", "at most 128 operations in all, not 129"),
        ("00 80" + "01 00 0100 6b 0000000000000000" * 128 + "01 14 01", "at most 128 compares in all, not 129"),
        ("00 00 01 14 00 01 14 00 00 00 00 00", "holds no further one"),
        ("00 00 01 03", "no operation 3"),
        ("00 01 06 00 0100 6b", "called 6"),
        ("00 01 00 00 0100 6b", "called 0"),
        ("00 01 01 04 0100 6b", "no relation 4"),
        ("00 00 01 02 04", "RANGE may not have flags 0x4 here"),
        ("00 00 01 10 01", "PUT in a transaction may not have flags 0x1"),
        ("00 00 01 11 02", "DELETE in a transaction may not have flags 0x2"),
        ("00 00 01 12 10", "INCREMENT in a transaction may not have flags 0x10"),
        ("00 00 01 13 04", "DELETE_RANGE in a transaction may not have flags 0x4"),
        ("10", "TRANSACTION may not have flags 0x10"),
        ("00 00 01 01 0000", "a key has at least one byte"),
        ("00 00 01 01 0110", "a key has at most 4096 bytes, not 4097"),
        ("00 00 01 02 00 00000000 0210", "a bound of a range has at most 4097 bytes, not 4098"),
        ("00 00 01 13 00 00000000", "1 to 10000 keys, not 0"),
        ("00 00 01 13 00 11270000", "1 to 10000 keys, not 10001"),
        ("00 01 04 00 0100 6b 01001000", "a value has at most 1048576 bytes, not 1048577"),
        ("00 00 00 00 00", "1 bytes too many"),
        ("00 00 00", "a number of operations needs 1 bytes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(data: str, said: str) -> None:
    """Counts and lengths are refused as soon as they are read, before what they announce."""
    with pytest.raises(InvalidCommand, match=said) as refused:
        decode(bytes.fromhex(data))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "operation",
    [
        Put(b"k", b"", expected_revision=Revision(1)),
        Put(b"k", b"", expected_value=b""),
        Delete(b"k", Revision(1)),
        Increment(b"k", 1, Revision(1)),
        Transaction((), (Transaction((), ()),)),
    ],
)
def test_the_encoder_refuses_what_only_a_command_may_have(operation: Operation) -> None:
    """Expectations of single operations belong into compares, and nesting has one level."""
    with pytest.raises(InvalidCommand):
        encode(Transaction((), (operation,)))


@pytest.mark.parametrize(
    "compare",
    [
        Compare(CompareTarget.VALUE, Relation.EQUAL, b"k", 0),
        Compare(CompareTarget.VERSION, Relation.EQUAL, b"k", b""),
        Compare(CompareTarget.VERSION, Relation.EQUAL, b"k", 1 << 64),
        Compare(CompareTarget.VERSION, Relation.EQUAL, b"", 0),
    ],
)
def test_the_encoder_refuses_senseless_compares(compare: Compare) -> None:
    """An operand is of the kind of what it is compared with, and fits."""
    with pytest.raises(InvalidCommand):
        encode(Transaction((compare,), ()))
