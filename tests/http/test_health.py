from collections.abc import Callable
from typing import Any

import pytest

from raftd.http.health import Check, HealthLimits, explain, liveness, readiness, summarize
from raftd.http.view import NodeStatus

LIMITS = HealthLimits(loop_lag_seconds_max=1.0, storing_seconds_max=2.0, apply_lag_entries_max=10)


def failures(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if check.failure is not None]


@pytest.mark.parametrize(
    ("fields", "dead", "unready"),
    [
        ({}, [], []),
        ({"loop_lag_seconds": 1.0}, [], []),
        ({"loop_lag_seconds": 1.1}, ["loop"], ["loop"]),
        ({"storing_seconds": 2.0}, [], []),
        ({"storing_seconds": 2.1}, ["disk"], ["disk"]),
        ({"replayed": False}, [], ["replay"]),
        ({"leader_id": None}, [], ["leader"]),
        ({"commit_index": 20, "last_applied": 10}, [], []),
        ({"commit_index": 20, "last_applied": 9}, [], ["apply"]),
        ({"draining": True}, [], ["drain"]),
        ({"draining": True, "leader_id": None}, [], ["leader", "drain"]),
    ],
)
def test_what_makes_a_node_unwell(
    leader_with: Callable[..., NodeStatus], fields: dict[str, Any], dead: list[str], unready: list[str]
) -> None:
    """Only this process's own troubles end its life; whatever a client would notice ends its readiness."""
    status = leader_with(**fields)
    assert failures(liveness(status, LIMITS)) == dead
    assert failures(readiness(status, LIMITS)) == unready


def test_explanation_names_each_check_and_the_sum() -> None:
    """A person sees what was asked, what failed, and why."""
    checks = (Check("loop", None), Check("disk", "it hangs"))
    assert explain("livez", checks) == "[+]loop ok\n[-]disk failed: it hangs\nlivez check failed"
    assert explain("livez", checks[:1]) == "[+]loop ok\nlivez check passed"


def test_summary_is_one_line() -> None:
    """Without failures the summary is `ok`, otherwise it holds all of them."""
    assert summarize((Check("loop", None),)) == "ok"
    assert summarize((Check("a", "x"), Check("b", None), Check("c", "y"))) == "a: x; c: y"
