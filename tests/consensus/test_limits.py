"""Limits that make no sense are refused where they are made."""

from dataclasses import fields, replace
from typing import Any

import pytest

from raftd.consensus import Limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits) if type(field.default) is int])
def test_every_limit_is_at_least_one(name: str) -> None:
    """Nothing works with a bound of zero."""
    zero: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=name):
        replace(Limits(), **zero)


@pytest.mark.parametrize("clock_drift", [-0.1, 1.1])
def test_clocks_drift_within_reason(clock_drift: float) -> None:
    """A negative drift would lengthen leases; with more than twice the speed there is nothing to lease."""
    with pytest.raises(ValueError, match="clock_drift"):
        Limits(clock_drift=clock_drift)
    assert Limits(clock_drift=0).clock_drift == 0


def test_heartbeats_come_before_the_election_timeout() -> None:
    """A leader that is as slow as its followers' patience would be deposed for ever."""
    with pytest.raises(ValueError, match="election timeout"):
        Limits(election_timeout_ticks=5, heartbeat_ticks=5)
