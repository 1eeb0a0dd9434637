"""The bytes of what is shown of a key."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import DecodeError
from raftd.kv import items
from raftd.kv.items import KeyValue
from raftd.kv.types import LeaseId, Record, Revision
from tests.kv.samples import keys, records

RECORD: Record = (Revision(1), Revision(2), 3, LeaseId(4), b"bob", b"value")
NUMBERS = "0100000000000000 0200000000000000 0300000000000000 0400000000000000"


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (items.encode_item(RECORD), f"{NUMBERS} 03 626f62 05000000 76616c7565"),
        (items.encode_keyed(b"k", RECORD), f"0100 6b {NUMBERS} 03 626f62 05000000 76616c7565"),
        (items.encode_keyed(b"k", RECORD, keys_only=True), f"0100 6b {NUMBERS} 03 626f62"),
        (items.encode_previous(None), "00"),
        (items.encode_previous(RECORD), f"01 {NUMBERS} 03 626f62 05000000 76616c7565"),
    ],
)
def test_layout(encoded: bytes, expected: str) -> None:
    """The bytes are those of the module's table."""
    assert encoded.hex() == expected.replace(" ", "")


@given(pairs=st.lists(st.tuples(keys, records), max_size=5), keys_only=st.booleans())
@settings(deadline=None)
def test_items_are_read_as_they_were_written(*, pairs: list[tuple[bytes, Record]], keys_only: bool) -> None:
    """Every item comes back, without its value if only keys were asked for; every cut is refused."""
    data = b"".join(items.encode_keyed(key, record, keys_only=keys_only) for key, record in pairs)
    expected = tuple((key, KeyValue(*record[:-1], b"" if keys_only else record[-1])) for key, record in pairs)
    assert items.decode_keyed_items(b"in front" + data, 8, len(pairs), keys_only=keys_only) == (
        expected,
        8 + len(data),
    )
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            items.decode_keyed_items(data[:length], 0, len(pairs), keys_only=keys_only)


def test_a_count_is_not_believed() -> None:
    """A count that is far too high is refused where the bytes end."""
    data = items.encode_keyed(b"k", RECORD)
    with pytest.raises(DecodeError, match="4294967295 items are announced, and 1 are there"):
        items.decode_keyed_items(data, 0, 0xFFFFFFFF)


@given(st.none() | records)
@settings(deadline=None)
def test_a_previous_item_is_read_as_it_was_written(record: Record | None) -> None:
    """It comes back, or its absence does; every cut is refused, and so is a presence of another kind."""
    data = items.encode_previous(record)
    assert items.decode_previous(data, 0) == (None if record is None else KeyValue(*record), len(data))
    for wrong in [data[:length] for length in range(len(data))] + [b"\x02" + data[1:]]:
        with pytest.raises(DecodeError):
            items.decode_previous(wrong, 0)
