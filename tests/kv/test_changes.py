"""The bytes of changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import DecodeError, InvariantViolation
from raftd.kv.changes import Change, PreviousValue, decode_change, decode_changes, encode_change
from raftd.kv.types import LeaseId, Record, Revision
from tests.kv.samples import changes

BEFORE: Record = (Revision(1), Revision(2), 3, LeaseId(4), b"bob", b"old")
AFTER: Record = (Revision(1), Revision(9), 4, LeaseId(0), b"eve", b"new!")
PUT = Change(Revision(9), b"k", BEFORE, AFTER, False, 0x0A0B, b"eve", b"::1")
DELETE = PUT._replace(record=None, by_lease=True)
HEAD = "0900000000000000 0100 6b"
WHO = "0b0a000000000000 03 657665 03 3a3a31"

OLD = "0200000000000000 03000000 6f6c64"


@pytest.mark.parametrize(
    ("change", "values", "previous", "expected"),
    [
        (PUT, False, False, f"00 {HEAD} 0100000000000000 0400000000000000 0000000000000000 {WHO}"),
        (
            PUT,
            True,
            True,
            f"0c {HEAD} 0100000000000000 0400000000000000 0000000000000000 {WHO} 04000000 6e657721 {OLD}",
        ),
        (
            PUT._replace(previous=None),
            True,
            True,
            f"04 {HEAD} 0100000000000000 0400000000000000 0000000000000000 {WHO} 04000000 6e657721",
        ),
        (
            DELETE,
            True,
            True,
            f"0b {HEAD} 0100000000000000 0300000000000000 0400000000000000 {WHO} {OLD}",
        ),
    ],
)
def test_layout(change: Change, expected: str, *, values: bool, previous: bool) -> None:
    """The bytes are those of the module's table: clients in other languages depend on each of them."""
    assert encode_change(change, values=values, previous=previous).hex() == expected.replace(" ", "")


@given(change=changes(), values=st.booleans(), previous=st.booleans())
@settings(deadline=None)
def test_a_change_is_read_as_it_was_written(*, change: Change, values: bool, previous: bool) -> None:
    """All that is shown comes back; every cut is refused."""
    data = encode_change(change, values=values, previous=previous)
    shown, end = decode_change(b"in front" + data, 8)
    assert end == 8 + len(data)
    record = change.record or change.previous
    assert record is not None
    assert shown[:2] == change[:2]
    assert (shown.is_delete, shown.by_lease) == (change.record is None, change.by_lease)
    assert (shown.create_revision, shown.version, shown.lease) == (record[0], record[2], record[3])
    assert (shown.wall_clock_ms, shown.user, shown.address) == change[5:]
    assert shown.value == (change.record[-1] if values and change.record else None)
    before = change.previous
    assert shown.previous == (PreviousValue(before[1], before[-1]) if previous and before else None)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode_change(data[:length])


def test_several_changes() -> None:
    """They come back in their order, and a count that is too high is refused where the bytes end."""
    data = b"".join(encode_change(change, values=True, previous=False) for change in (PUT, DELETE))
    shown, end = decode_changes(data, 0, 2)
    assert ([change.is_delete for change in shown], end) == ([False, True], len(data))
    with pytest.raises(DecodeError):
        decode_changes(data, 0, 0xFFFFFFFF)


@pytest.mark.parametrize("flags", [2, 5, 7, 16, 128])
def test_flags_that_contradict_each_other_are_refused(flags: int) -> None:
    """A value of what was deleted, a put by a lease, and what is unknown."""
    with pytest.raises(DecodeError, match=f"flags {flags:#x}"):
        decode_change(bytes((flags,)) + bytes(100))


def test_a_change_of_nothing_is_a_bug() -> None:
    """A key that was absent and is absent has not changed."""
    with pytest.raises(InvariantViolation):
        encode_change(PUT._replace(previous=None, record=None), values=True, previous=True)
