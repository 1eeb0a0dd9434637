"""Bounds of the state machine."""

import pytest

from raftd.kv.commands import Revision, SessionId, put
from raftd.kv.limits import COMMAND_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX, Limits

U64_MAX = (1 << 64) - 1


def test_the_longest_command_fits() -> None:
    """A conditional PUT of a longest key and value is not longer than a command may be."""
    key, value = b"k" * KEY_BYTES_MAX, bytes(VALUE_BYTES_MAX)
    command = put(SessionId(U64_MAX), U64_MAX, U64_MAX, key, value, expected_revision=Revision(U64_MAX))
    assert len(command) <= COMMAND_BYTES_MAX


def test_the_default_lies_within_its_bounds() -> None:
    """A session that asks for nothing lives as long as one that asks for something allowed."""
    limits = Limits()
    assert limits.ttl_ms_min <= limits.ttl_ms_default <= limits.ttl_ms_max < 1 << 32


@pytest.mark.parametrize("field", ["sessions_max", "sessions_per_user_max", "in_flight_max", "answer_bytes_max"])
def test_nothing_is_unbounded(field: str) -> None:
    """Every bound is a positive number."""
    assert getattr(Limits(), field) > 0
