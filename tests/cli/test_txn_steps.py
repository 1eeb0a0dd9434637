import pytest

from raftd.cli.txn_format import Draft
from raftd.cli.txn_steps import rows_of, steps_of
from raftd.client import (
    Delete,
    DeleteRange,
    DeleteRangeResult,
    DeleteResult,
    Get,
    Increment,
    IncrementResult,
    KeyValue,
    Page,
    Put,
    PutResult,
    Range,
    TransactionResult,
)

ITEM = KeyValue(b"k", b"v", 1, 2, 3, 9, user="alice")
DRAFT = Draft(
    then=[
        Get(b"a"),
        Get(b"k"),
        Put(b"a", b"1"),
        Put(b"k", b"1", previous=True),
        Delete(b"a", previous=True),
        Increment(b"n"),
        Range(b"", b"", keys_only=True),
        DeleteRange(b"", b""),
        Draft(otherwise=[Delete(b"k")]),
    ]
)
RESULT = TransactionResult(
    9,
    succeeded=True,
    results=[
        None,
        ITEM,
        PutResult(9, 1, 9),
        PutResult(9, 4, 1, ITEM),
        DeleteResult(9, deleted=False),
        IncrementResult(9, 5, 1, 9),
        Page([ITEM], 9, 7, None, more=True),
        DeleteRangeResult(9, 2, more=True),
        TransactionResult(9, succeeded=False, results=[DeleteResult(9, deleted=True)]),
    ],
)


def test_each_operation_has_its_result() -> None:
    """What JSON shows: what was found or done, with what was there before only where it was asked for."""
    steps = steps_of(DRAFT, RESULT)
    assert [step["operation"] for step in steps] == [
        *("get", "get", "put", "put", "delete", "increment", "range", "delete-range", "transaction")
    ]
    assert (steps[0]["found"], steps[1]["found"], steps[1]["value"]) == (False, True, b"v")
    assert "previous" not in steps[2]
    assert (steps[3]["previous"]["value"], steps[4]["previous"]) == (b"v", None)
    assert steps[6]["items"] == [{key: value for key, value in steps[1].items() if key in steps[6]["items"][0]}]
    assert "value" not in steps[6]["items"][0]
    assert steps[8]["results"] == [{"operation": "delete", "key": b"k", "deleted": True}]


def test_as_a_table() -> None:
    """A line for each, with the lines of what is inside below it."""
    rows = [(row["step"], row.get("operation"), row.get("outcome")) for row in rows_of(steps_of(DRAFT, RESULT))]
    assert rows == [
        ("1", "get", "absent"),
        ("2", "get", "found"),
        ("3", "put", "written"),
        ("4", "put", "written"),
        ("4", "previous", None),
        ("5", "delete", "absent"),
        ("5", "previous", "absent"),
        ("6", "increment", "written"),
        ("7", "range", "1 of 7 keys"),
        ("7", None, None),
        ("8", "delete-range", "2 deleted, others left"),
        ("9", "transaction", "else"),
        ("9.1", "delete", "deleted"),
    ]


def test_a_result_of_another_kind_is_a_bug() -> None:
    """It is not shown as if it were right."""
    with pytest.raises(TypeError, match="Get has no result like PutResult"):
        steps_of(Draft(then=[Get(b"a")]), TransactionResult(1, succeeded=True, results=[PutResult(1, 1, 1)]))
