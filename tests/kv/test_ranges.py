"""Ranges of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.kv.ranges import is_in_range, prefix_end

short = st.lists(st.sampled_from([0, 1, 0x61, 0xFE, 0xFF]), max_size=4).map(bytes)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"", b""),
        (b"a", b"b"),
        (b"a/", b"a0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", b""),
        (b"\xff\xff", b""),
        (b"\xfe\xff", b"\xff"),
        (b"\x00", b"\x01"),
    ],
)
def test_prefix_ends(prefix: bytes, end: bytes) -> None:
    """The end of a prefix is the least that is above all that begin with it."""
    assert prefix_end(prefix) == end


@given(short, short)
def test_a_prefix_is_a_range(prefix: bytes, key: bytes) -> None:
    """A key lies in the range of a prefix exactly if it begins with it."""
    assert is_in_range(key, prefix, prefix_end(prefix)) == key.startswith(prefix)


@pytest.mark.parametrize(("low", "high"), [(b"b", b"b"), (b"c", b"b")])
def test_empty_ranges(low: bytes, high: bytes) -> None:
    """A range whose low is not below its high holds nothing."""
    assert not any(is_in_range(key, low, high) for key in (b"", b"a", b"b", b"bb", b"c", b"d"))
