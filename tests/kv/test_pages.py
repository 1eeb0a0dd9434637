"""The bytes of pages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import DecodeError
from raftd.kv import pages
from raftd.kv.changes import Change, encode_change
from raftd.kv.items import KeyValue, encode_keyed
from raftd.kv.pages import LeaseInfo, LeasesPage, ListedLease
from raftd.kv.types import LeaseId, Record, Revision
from tests.kv.samples import changes, keys, leases, names, records, revisions, u32, u64


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (pages.range_body(Revision(9), 5, [], more=True), "0900000000000000 0500000000000000 01 00000000"),
        (
            pages.range_body(Revision(9), None, [b"x", b"y"], more=False),
            f"0900000000000000 {'ff' * 8} 00 02000000 7879",
        ),
        (pages.history_body(Revision(9), [b"x"], more=False), "0900000000000000 00 01000000 78"),
        (
            pages.lease_body(LeaseInfo(5, 3, b"bob", (b"k",))),
            "05000000 03000000 03 626f62 01000000 0100 6b",
        ),
        (
            pages.leases_body([ListedLease(LeaseId(9), 5, 1, b"bob")], more=True),
            "01 01000000 0900000000000000 05000000 01000000 03 626f62",
        ),
    ],
)
def test_layout(body: bytes, expected: str) -> None:
    """The bytes are those of the module's table: clients in other languages depend on each of them."""
    assert body.hex() == expected.replace(" ", "")


def check_cuts(decode: object, body: bytes) -> None:
    assert callable(decode)
    for wrong in [body[:length] for length in range(len(body))] + [body + b"\x00"]:
        with pytest.raises(DecodeError):
            decode(wrong)


@given(revisions, st.none() | u64.filter(lambda count: count != pages.NOT_COUNTED), st.booleans(), st.data())
@settings(deadline=None)
def test_a_range_is_read_as_it_was_written(
    at_revision: Revision, key_count: int | None, more: bool, data: st.DataObject
) -> None:
    """Every field and item comes back, and every cut is refused."""
    shown: list[tuple[bytes, Record]] = data.draw(st.lists(st.tuples(keys, records), max_size=3))
    body = pages.range_body(at_revision, key_count, [encode_keyed(key, record) for key, record in shown], more=more)
    items = tuple((key, KeyValue(*record)) for key, record in shown)
    assert pages.decode_range(body) == (at_revision, key_count, more, items)
    check_cuts(pages.decode_range, body)


@given(compacted_revision=revisions, held=st.lists(changes(), max_size=3), more=st.booleans())
@settings(deadline=None)
def test_a_history_is_read_as_it_was_written(*, compacted_revision: Revision, held: list[Change], more: bool) -> None:
    """Every field comes back, and the changes in their order; every cut is refused."""
    encoded = [encode_change(change, values=True, previous=True) for change in held]
    body = pages.history_body(compacted_revision, encoded, more=more)
    page = pages.decode_history(body)
    assert page[:2] == (compacted_revision, more)
    assert [change.revision for change in page.changes] == [change.revision for change in held]
    check_cuts(pages.decode_history, body)


@given(st.builds(LeaseInfo, u32, u32, names, st.lists(keys, max_size=4).map(tuple)))
@settings(deadline=None)
def test_a_lease_is_read_as_it_was_written(info: LeaseInfo) -> None:
    """Every field comes back, and every cut is refused."""
    body = pages.lease_body(info)
    assert pages.decode_lease(body) == info
    check_cuts(pages.decode_lease, body)


@given(listed=st.lists(st.builds(ListedLease, leases, u32, u32, names), max_size=4).map(tuple), more=st.booleans())
@settings(deadline=None)
def test_a_list_of_leases_is_read_as_it_was_written(*, listed: tuple[ListedLease, ...], more: bool) -> None:
    """Every field comes back, and every cut is refused."""
    body = pages.leases_body(listed, more=more)
    assert pages.decode_leases(body) == LeasesPage(more, listed)
    check_cuts(pages.decode_leases, body)


@pytest.mark.parametrize(("decode", "offset"), [(pages.decode_range, 16), (pages.decode_history, 8)])
def test_more_is_yes_or_no(decode: object, offset: int) -> None:
    """Another number is refused."""
    assert callable(decode)
    body = bytearray(21 if offset == 16 else 13)
    decode(bytes(body))
    body[offset] = 2
    with pytest.raises(DecodeError, match="0 or 1"):
        decode(bytes(body))


@pytest.mark.parametrize("decode", [pages.decode_range, pages.decode_history, pages.decode_lease, pages.decode_leases])
def test_a_count_is_not_believed(decode: object) -> None:
    """A page that announces four thousand million items is refused where its bytes end."""
    assert callable(decode)
    with pytest.raises(DecodeError):
        decode(bytes(9) + b"\xff" * 12)
