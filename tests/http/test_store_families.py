from collections.abc import Callable

from raftd.http.store_families import STORE_FAMILIES
from raftd.http.view import Bounds, NodeStatus
from tests.http.families import values_of


def test_each_bound_is_beside_what_it_bounds(leader_with: Callable[..., NodeStatus]) -> None:
    """What has a `_max` exists without it too, so that an alert can divide the one by the other."""
    bounds = Bounds(sessions=1, leases=2, watches=3, connections=4, history_changes=5, history_bytes=6)
    values = values_of(STORE_FAMILIES, leader_with(bounds=bounds))
    bounded = {name for name, *_ in values if name.endswith("_max")}
    assert bounded == {
        f"raftd_{each}_max"
        for each in (
            "keys",
            "data_bytes",
            "history_changes",
            "history_bytes",
            "sessions",
            "leases",
            "watches",
            "connections",
        )
    }
    assert all((name.removesuffix("_max"),) in values for name in bounded)
    assert (values["raftd_sessions_max",], values["raftd_history_bytes_max",]) == (1, 6)
