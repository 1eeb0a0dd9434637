"""Bounds of the state machine."""

from dataclasses import asdict

import pytest

from raftd.kv.audit import AUDIT_ENTRIES, AUDIT_KEYS
from raftd.kv.commands import Revision, SessionId, put
from raftd.kv.limits import (
    ADDRESS_BYTES_MAX,
    ANSWER_BYTES_MAX,
    ANSWER_OVERHEAD_BYTES,
    COMMAND_BYTES_MAX,
    COMPARES_MAX,
    DELETE_RANGE_KEYS_MAX,
    EXPIRED_KEYS_MAX,
    EXPIRED_LEASES_MAX,
    KEY_BYTES_MAX,
    OPERATIONS_MAX,
    PAGE_BYTES_MAX,
    PAGE_ITEMS_MAX,
    SHORT_ANSWER_BYTES_MAX,
    USER_BYTES_MAX,
    VALUE_BYTES_MAX,
    Limits,
)

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


@pytest.mark.parametrize(
    "field",
    ["sessions_max", "sessions_per_user_max", "in_flight_max", "answer_bytes_max", "answer_bytes_per_user_max"],
)
def test_nothing_is_unbounded(field: str) -> None:
    """Every bound is a positive number."""
    assert getattr(Limits(), field) > 0


def test_no_user_has_more_than_all() -> None:
    """Each bound of one user's leaves room for others."""
    limits = Limits()
    assert 2 * limits.sessions_per_user_max <= limits.sessions_max
    assert 2 * limits.leases_per_user_max <= limits.leases_max
    assert 8 * limits.answer_bytes_per_user_max <= limits.answer_bytes_max


def test_the_bounds_are_those_of_this_version() -> None:
    """Nodes of two releases with different ones would answer one entry differently: nobody changes one by the way."""
    assert asdict(Limits()) == {
        "sessions_max": 100_000,
        "sessions_per_user_max": 20_000,
        "in_flight_max": 1024,
        "answer_bytes_max": 268_435_456,
        "answer_bytes_per_user_max": 33_554_432,
        "advance_ms_max": 20_000,
        "ttl_ms_min": 10_000,
        "ttl_ms_max": 86_400_000,
        "ttl_ms_default": 3_600_000,
        "leases_max": 100_000,
        "leases_per_user_max": 50_000,
        "keys_per_lease_max": 4096,
        "lease_ttl_ms_min": 1000,
        "lease_ttl_ms_max": 604_800_000,
        "lease_ttl_ms_default": 60_000,
        "history_bytes_max": 67_108_864,
        "history_changes_max": 100_000,
        "history_ms_max": 86_400_000,
    }
    assert (KEY_BYTES_MAX, VALUE_BYTES_MAX, COMMAND_BYTES_MAX) == (4096, 1_048_576, 2_097_152)
    assert (OPERATIONS_MAX, COMPARES_MAX, DELETE_RANGE_KEYS_MAX) == (128, 128, 10_000)
    assert (EXPIRED_LEASES_MAX, EXPIRED_KEYS_MAX) == (4096, 10_000)
    assert (PAGE_ITEMS_MAX, PAGE_BYTES_MAX) == (1000, 524_288)
    assert (ANSWER_BYTES_MAX, SHORT_ANSWER_BYTES_MAX, ANSWER_OVERHEAD_BYTES) == (1_572_864, 1024, 112)
    assert (USER_BYTES_MAX, ADDRESS_BYTES_MAX) == (255, 255)
    assert (AUDIT_ENTRIES, AUDIT_KEYS) == (128, 16)
