"""Limits that make no sense are refused where they are made."""

from dataclasses import fields, replace

import pytest

from raftd.consensus import Limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_every_limit_is_at_least_one(name: str) -> None:
    """Nothing works with a bound of zero."""
    with pytest.raises(ValueError, match=name):
        replace(Limits(), **{name: 0})


def test_heartbeats_come_before_the_election_timeout() -> None:
    """A leader that is as slow as its followers' patience would be deposed for ever."""
    with pytest.raises(ValueError, match="election timeout"):
        Limits(election_timeout_ticks=5, heartbeat_ticks=5)
