"""Kinds of errors."""

from raftd.errors import DecodeError
from raftd.kv.types import NO_LEASE, CommandTooLarge, InvalidCommand


def test_errors_are_told_apart_by_their_classes() -> None:
    """Who handles what cannot be decoded handles invalid commands, and among them those that are too large."""
    assert issubclass(CommandTooLarge, InvalidCommand)
    assert issubclass(InvalidCommand, DecodeError)


def test_no_lease_is_no_log_index() -> None:
    """A lease is named by the index of its entry, and the first entry has index 1."""
    assert NO_LEASE == 0
