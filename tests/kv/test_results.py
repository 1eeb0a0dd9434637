"""The bytes of results."""

import pytest

from raftd.errors import DecodeError
from raftd.kv import results
from raftd.kv.answers import DeleteResult, Outcome, PutResult, put_body
from raftd.kv.items import KeyValue, encode_item, encode_keyed, encode_previous
from raftd.kv.operations import Delete, DeleteRange, Get, Increment, Put, Range, Transaction
from raftd.kv.pages import RangePage, range_body
from raftd.kv.results import DeleteRangeResult, IncrementResult, TransactionResult
from raftd.kv.types import LeaseId, Record, Revision

RECORD: Record = (Revision(1), Revision(2), 3, LeaseId(4), b"bob", b"value")
ITEM = KeyValue(*RECORD)
OK = Outcome.OK


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (results.increment_body(-2, 3, Revision(9)), "feffffffffffffff 0300000000000000 0900000000000000"),
        (results.delete_range_body(3, more=True), "03000000 01"),
        (results.delete_range_body(1, [b"x"], more=False), "01000000 00 78"),
        (
            results.transaction_body([(OK, b"x"), (Outcome.NOT_FOUND, b"")], succeeded=True),
            "01 02 00 01000000 78 01 00000000",
        ),
    ],
)
def test_layout(body: bytes, expected: str) -> None:
    """The bytes are those of the module's table: clients in other languages depend on each of them."""
    assert body.hex() == expected.replace(" ", "")


def test_results_are_read_as_they_were_written() -> None:
    """Every field comes back, and every cut is refused."""
    body = results.increment_body(-(1 << 63), 3, Revision(9))
    assert results.decode_increment(body) == IncrementResult(-(1 << 63), 3, Revision(9))
    body = results.delete_range_body(1, [encode_keyed(b"k", RECORD)], more=True)
    assert results.decode_delete_range(body, previous=True) == DeleteRangeResult(1, True, ((b"k", ITEM),))
    with pytest.raises(DecodeError):
        results.decode_delete_range(body)
    for length in range(len(body)):
        with pytest.raises(DecodeError):
            results.decode_delete_range(body[:length], previous=True)


TRANSACTION = Transaction(
    (),
    (
        Get(b"k"),
        Get(b"absent"),
        Range(b"", b"", keys_only=True),
        Put(b"k", b"v"),
        Put(b"k", b"v", previous=True),
        Delete(b"k", previous=True),
        Delete(b"absent", previous=True),
        Increment(b"n", 1),
        DeleteRange(b"", b"", previous=True),
        Transaction((), (), (Delete(b"k"),)),
    ),
    (Get(b"k"),),
)
BODY = results.transaction_body(
    [
        (OK, encode_item(RECORD)),
        (Outcome.NOT_FOUND, b""),
        (OK, range_body(Revision(9), 5, [encode_keyed(b"k", RECORD, keys_only=True)], more=True)),
        (OK, put_body(4, Revision(5))),
        (OK, put_body(4, Revision(5), encode_previous(None))),
        (OK, encode_previous(RECORD)),
        (Outcome.NOT_FOUND, b""),
        (OK, results.increment_body(7, 1, Revision(9))),
        (OK, results.delete_range_body(1, [encode_keyed(b"k", RECORD)], more=False)),
        (OK, results.transaction_body([(OK, b"")], succeeded=False)),
    ],
    succeeded=True,
)


def test_a_transaction_s_results_are_of_its_operations_types() -> None:
    """Each is what the operation alone would have said; an absent key is None."""
    keys_only = ITEM._replace(value=b"")
    assert results.decode_transaction(BODY, TRANSACTION) == TransactionResult(
        succeeded=True,
        results=(
            ITEM,
            None,
            RangePage(Revision(9), 5, True, ((b"k", keys_only),)),
            PutResult(4, Revision(5)),
            PutResult(4, Revision(5), None),
            DeleteResult(ITEM),
            None,
            IncrementResult(7, 1, Revision(9)),
            DeleteRangeResult(1, False, ((b"k", ITEM),)),
            TransactionResult(succeeded=False, results=(DeleteResult(),)),
        ),
    )


def test_every_cut_is_refused() -> None:
    """No proper prefix of a transaction's results is one, nor are they with something after them."""
    for wrong in [BODY[:length] for length in range(len(BODY))] + [BODY + b"\x00"]:
        with pytest.raises(DecodeError):
            results.decode_transaction(wrong, TRANSACTION)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (results.transaction_body([], succeeded=True), "0 results came, of 10 operations"),
        (results.transaction_body([(Outcome.FENCED, b"")], succeeded=False), "ended with FENCED"),
        (results.transaction_body([(Outcome.NOT_FOUND, b"x")], succeeded=False), "ended with NOT_FOUND"),
        (b"\x02\x00", "may be 0 or 1"),
        (b"\x00\x01\x63\x00\x00\x00\x00", "unknown outcome 99"),
    ],
)
def test_results_that_cannot_be_are_refused(body: bytes, said: str) -> None:
    """They are of the list that was done, one for each operation, and each OK or NOT_FOUND."""
    with pytest.raises(DecodeError, match=said):
        results.decode_transaction(body, TRANSACTION)


def test_only_a_get_or_delete_finds_nothing() -> None:
    """NOT_FOUND of a put is refused."""
    body = results.transaction_body([(Outcome.NOT_FOUND, b"")], succeeded=True)
    with pytest.raises(DecodeError, match="NOT_FOUND"):
        results.decode_transaction(body, Transaction((), (Put(b"k", b""),)))
