"""The bytes of queries."""

import pytest
from hypothesis import given, settings

from raftd.kv.operations import Get, Range
from raftd.kv.queries import (
    HistoryQuery,
    LeaseQuery,
    LeasesQuery,
    Query,
    QueryOpcode,
    RangeQuery,
    encode_query,
    parse_query,
)
from raftd.kv.types import CommandTooLarge, InvalidCommand, LeaseId, Revision
from tests.kv.samples import queries


@pytest.mark.parametrize(
    ("query", "opcode", "expected"),
    [
        (Get(b"key"), 1, "6b6579"),
        (RangeQuery(Range(b"a", b"", 5, keys_only=True)), 2, "01 05000000 0100 61 0000"),
        (
            RangeQuery(Range(b"", b"b", count_only=True), Revision(9)),
            2,
            "06 00000000 0900000000000000 0000 0100 62",
        ),
        (HistoryQuery(b"k", 5, Revision(9), values=True), 3, "01 05000000 0900000000000000 0100 6b"),
        (LeaseQuery(LeaseId(9)), 4, "0900000000000000"),
        (LeasesQuery(LeaseId(9), 5), 5, "0900000000000000 05000000"),
    ],
)
def test_layout(query: Query, opcode: int, expected: str) -> None:
    """The bytes are those of the module's table: clients in other languages depend on each of them."""
    assert encode_query(query) == (opcode, bytes.fromhex(expected))


@given(queries)
@settings(deadline=None)
def test_a_query_is_read_as_it_was_written(query: Query) -> None:
    """Whatever can be encoded parses to itself, wherever it lies."""
    opcode, data = encode_query(query)
    assert parse_query(opcode, data) == query
    assert parse_query(opcode, b"in front" + data, 8) == query


@pytest.mark.parametrize(
    ("opcode", "data", "said"),
    [
        (QueryOpcode.GET, "", "at least one byte"),
        (QueryOpcode.RANGE, "08 00000000 0000 0000", "RANGE may not have flags 0x8"),
        (QueryOpcode.HISTORY, "02 00000000 0000000000000000 0100 6b", "HISTORY may not have flags 0x2"),
        (QueryOpcode.HISTORY, "00 00000000 0000000000000000 0000", "at least one byte"),
        (QueryOpcode.LEASE, "0000000000000000", "from 1 on"),
        (QueryOpcode.LEASE, "0100000000000000 00", "1 bytes too many"),
        (QueryOpcode.LEASES, "0100000000000000 000000", "a limit needs 4 bytes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(opcode: QueryOpcode, data: str, said: str) -> None:
    """Unknown flags, empty keys, cuts and what follows the end are refused."""
    with pytest.raises(InvalidCommand, match=said) as refused:
        parse_query(opcode, bytes.fromhex(data))
    assert not isinstance(refused.value, CommandTooLarge)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("opcode", "data"),
    [
        (QueryOpcode.GET, bytes(4097)),
        (QueryOpcode.RANGE, bytes.fromhex("00 00000000 0210")),
        (QueryOpcode.HISTORY, bytes.fromhex("00 00000000 0000000000000000 0110")),
    ],
)
def test_what_is_too_long_is_told_apart(opcode: QueryOpcode, data: bytes) -> None:
    """By its announcement alone."""
    with pytest.raises(CommandTooLarge):
        parse_query(opcode, data)


@pytest.mark.parametrize(
    "query",
    [
        Get(b""),
        RangeQuery(Range(b"", b"", 1 << 32)),
        RangeQuery(Range(b"", b""), Revision(1 << 64)),
        RangeQuery(Range(bytes(4098), b"")),
        HistoryQuery(b""),
        HistoryQuery(b"k", -1),
        HistoryQuery(b"k", 1 << 32),
        HistoryQuery(b"k", 0, Revision(-1)),
        HistoryQuery(b"k", 0, Revision(1 << 64)),
        LeaseQuery(LeaseId(0)),
        LeaseQuery(LeaseId(1 << 64)),
        LeasesQuery(LeaseId(-1)),
        LeasesQuery(LeaseId(0), 1 << 32),
    ],
)
def test_the_encoder_keeps_the_bounds(query: Query) -> None:
    """A client learns of a bad query before it sends anything."""
    with pytest.raises(InvalidCommand):
        encode_query(query)


def test_a_page_goes_on_behind_the_longest_key() -> None:
    """The longest key and one zero byte is a bound."""
    query = RangeQuery(Range(bytes(4096) + b"\x00", b""))
    assert parse_query(*encode_query(query)) == query
