import dataclasses
from collections.abc import Callable

import pytest

from raftd.http.view import NodeCounters, NodeStatus


def test_a_status_is_a_moment(leader_with: Callable[..., NodeStatus]) -> None:
    """Nobody can change a status after the fact: two readers of one see the same."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        leader_with().keys = 1  # type: ignore[misc]  # that this is refused is the point


def test_counters_start_at_zero() -> None:
    """A counter starts at zero, so that Prometheus sees the first increment as one."""
    assert set(dataclasses.asdict(NodeCounters()).values()) == {0}
