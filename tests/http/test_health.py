import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftd.consensus.types import LogIndex, Role
from raftd.http.health import Check, HealthLimits, explain, following, leadership, liveness, readiness, summarize
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
        ({"is_voter": False, "is_learner": True}, [], ["voter"]),
        ({"is_voter": False}, [], ["voter"]),
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


@pytest.mark.parametrize(
    ("read_index", "unready"),
    [(None, ["quorum"]), (0, []), (49, []), (50, ["apply"])],
    ids=["none", "not asked", "near", "far"],
)
def test_readiness_goes_by_what_a_quorum_says(
    leader_with: Callable[..., NodeStatus], read_index: int | None, unready: list[str]
) -> None:
    """Nobody's word, or one of entries that are far ahead, ends readiness."""
    index = None if read_index is None else LogIndex(read_index)
    assert failures(readiness(leader_with(last_applied=39), LIMITS, index)) == unready


@pytest.mark.parametrize(
    ("fields", "read_index", "failed"),
    [
        ({}, 40, []),
        ({}, None, ["quorum"]),
        ({"role": Role.FOLLOWER}, 40, ["role"]),
        ({"role": Role.CANDIDATE}, None, ["role"]),
        ({"draining": True}, 40, ["drain"]),
        ({"storing_seconds": 2.1}, 40, ["disk"]),
    ],
)
def test_who_leads(
    leader_with: Callable[..., NodeStatus], fields: dict[str, Any], read_index: int | None, failed: list[str]
) -> None:
    """A leader that a quorum has confirmed and that stays; why another one fails is told once."""
    index = None if read_index is None else LogIndex(read_index)
    assert failures(leadership(leader_with(**fields), LIMITS, index)) == failed


@pytest.mark.parametrize(
    ("fields", "read_index", "failed"),
    [
        ({}, 42, []),
        ({}, 43, ["apply"]),
        ({}, None, ["quorum"]),
        ({"role": Role.LEADER}, 40, ["role"]),
        ({"leader_id": None}, None, ["leader", "quorum"]),
        ({"replayed": False}, 40, ["replay"]),
        ({"is_voter": False, "is_learner": True}, 40, []),
        ({"draining": True}, 40, ["drain"]),
    ],
)
def test_who_follows(
    leader_with: Callable[..., NodeStatus], fields: dict[str, Any], read_index: int | None, failed: list[str]
) -> None:
    """A follower of a leader that answers, learner or not, which lacks at most so many entries; here three."""
    status = leader_with(**{"role": Role.FOLLOWER, **fields})
    index = None if read_index is None else LogIndex(read_index)
    assert failures(following(status, LIMITS, index, 3)) == failed


def test_explanation_names_each_check_and_the_sum() -> None:
    """A person sees what was asked, what failed, and why."""
    checks = (Check("loop", None), Check("disk", "it hangs"))
    assert explain("livez", checks) == "[+]loop ok\n[-]disk failed: it hangs\nlivez check failed"
    assert explain("livez", checks[:1]) == "[+]loop ok\nlivez check passed"


def test_what_nobody_was_asked_is_not_called_well(leader_with: Callable[..., NodeStatus]) -> None:
    """Docs and node say the same of one that knows no leader, and so asks nobody."""
    alone = leader_with(role=Role.CANDIDATE, leader_id=None)
    text = explain("readyz", readiness(alone, LIMITS))
    shown = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    assert textwrap.indent(text, "    ") in shown
    assert "[?]quorum not asked" in text
    assert "[+]quorum ok" in explain("readyz", readiness(leader_with(), LIMITS, LogIndex(1)))
    assert "[?]quorum" in explain("leader", leadership(alone, LIMITS, None))
    assert "[-]quorum failed" in explain("leader", leadership(leader_with(), LIMITS, None))


def test_summary_is_one_line() -> None:
    """Without failures the summary is `ok`, otherwise it holds all of them."""
    assert summarize((Check("loop", None),)) == "ok"
    assert summarize((Check("a", "x"), Check("b", None), Check("c", "y"))) == "a: x; c: y"
