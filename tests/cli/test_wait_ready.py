import json
from collections.abc import Callable
from typing import Any

import pytest

from raftd.cli.wait_ready import Goal, wait
from raftd.client import Unavailable
from raftd.errors import ExitCode
from tests.cli.conftest import Raftctl
from tests.cli.test_can_stop import answers, cluster, status


def test_what_is_not_given_is_noted_at_first() -> None:
    """Of the leader, as soon as there is one; what was noted or given stays."""
    leaderless = answers(*(status(each, role="follower", leader_id=None) for each in (1, 2, 3)))
    goal = Goal(2).noted(leaderless)
    assert goal == Goal(2)
    goal = goal.noted(cluster())
    assert goal == Goal(2, 100, 3)
    later = answers(*(status(each, commit_index=900) for each in (1, 2, 3)))
    assert goal.noted(later) == goal
    assert Goal(2, 7, 5).noted(cluster()) == Goal(2, 7, 5)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"draining": True}, "stopping"),
        ({"leader_id": None}, "follows no leader"),
        ({"leader_id": 1}, "follows no leader, or another"),
        ({"replayed": False}, "not applied yet what it had before"),
        ({"last_applied": 99}, "applied 99 of 100 entries"),
        ({"proven": False}, "disk is new"),
    ],
)
def test_a_node_that_is_not_ready_says_what_is_missing(changes: dict[str, Any], missing: str) -> None:
    """And one that is, nothing; the others' troubles are not its own."""
    goal = Goal(2, 100, 3)
    assert missing in (goal.missing(cluster(**changes)) or "")
    assert Goal(1, 100, 3).missing(cluster(**changes)) is None


def test_the_cluster_must_be_as_it_was() -> None:
    """As many voters, the node among the members and within the leader's reach, no change under way."""
    goal = Goal(2, 100, 3)
    cut = [{"node_id": 1, "connected": True, "lag_entries": 0}, {"node_id": 2, "connected": False, "lag_entries": 0}]
    for seen, missing in (
        (answers(status(1), Unavailable("no"), status(3)), "does not answer"),
        (answers(status(1), status(2), Unavailable("no")), "no node leads"),
        (answers(status(1), status(2), status(3, voters=(1, 2))), "2 voters, and 3 are expected"),
        (answers(status(1), status(2), status(3, voters=(1, 3, 4))), "no member"),
        (answers(status(1), status(2), status(3, membership={"outgoing": [1, 2]})), "change of members"),
        (answers(status(1), status(2), status(3, peers=cut)), "the leader cannot reach it"),
    ):
        assert missing in (goal.missing(seen) or "")


def test_it_is_asked_until_nothing_is_missing() -> None:
    """Or until the time is over: then with what was missing at last."""
    looks = [answers(status(1), Unavailable("no"), status(3)), cluster(last_applied=90), cluster()]
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def ask() -> dict[str, Any]:
        return looks.pop(0) if len(looks) > 1 else looks[0]

    goal, missing = wait(ask, Goal(2), 10.0, clock=lambda: now, sleep=sleep)
    assert (goal.commit_index, missing) == (100, None)
    looks[:] = [cluster(last_applied=90)]
    _, missing = wait(ask, Goal(2), 10.0, clock=lambda: now, sleep=sleep)
    assert missing == "it has applied 90 of 100 entries"
    assert 10.0 <= now < 12.0


def test_as_a_command(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """A node that is ready is so at once; one that is not says why, with exit code 8."""
    done = raftctl_json("wait-ready", "1")
    assert (done["node"], done["ready"], done["voters"]) == (1, True, 1)
    said = raftctl("wait-ready", "1", "--timeout", "300ms", "--voters", "3", code=ExitCode.UNHEALTHY)
    assert b"node 1 is not ready within 0.3 s: there are 1 voters, and 3 are expected" in said
    assert json.loads(raftctl("wait-ready", "1", "--commit-index", "1", "-o", "json"))["commit_index"] == 1
