"""Stamps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv.stamps import Stamp, parse_stamp
from raftd.kv.types import InvalidCommand

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.integers(0, (1 << 64) - 1), names, names, st.binary(max_size=9))
@settings(deadline=None)
def test_a_stamp_is_read_as_it_was_written(wall_clock_ms: int, user: str, address: str, command: bytes) -> None:
    """All fields come back, and so does where the command starts."""
    data = Stamp(user, address).at(wall_clock_ms) + command
    stamp, start = parse_stamp(data)
    assert stamp == (wall_clock_ms, user.encode(), address.encode())
    assert data[start:] == command


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_what_is_read_is_written_again(data: bytes) -> None:
    """Any bytes are refused, or are a stamp with one spelling."""
    try:
        (wall_clock_ms, user, address), start = parse_stamp(data)
    except InvalidCommand:
        return
    if start <= len(data):
        fields = bytes((len(user),)) + user + bytes((len(address),)) + address
        assert data[:start] == (8 + len(fields)).to_bytes(2, "little") + wall_clock_ms.to_bytes(8, "little") + fields


def test_a_name_is_never_cut() -> None:
    """It decides on access."""
    with pytest.raises(ValueError, match="at most 255 bytes"):
        Stamp("u" * 256)
