from typing import Any

import pytest

from raftd.cli.can_stop import judge
from raftd.client import Unavailable
from raftd.errors import ExitCode
from tests.cli.conftest import Raftctl
from tests.cli.test_status import document

MAX_LAG = 10
FIVE = (1, 2, 3, 4, 5)


def status(node: int, *, voters: tuple[int, ...] = (1, 2, 3), membership: Any = None, **changes: Any) -> dict[str, Any]:
    """What a healthy node of a cluster of these voters says, of which node 3 leads."""
    return document(
        node,
        **{
            "proven": True,
            "membership": {
                "index": 5, "committed": True, "voters": list(voters), "outgoing": [], "learners": [], "joining": {},
                "addresses": {}, **(membership or {}),
            },
            "peers": [{"node_id": each, "connected": True, "lag_entries": 0} for each in voters if each != node],
            **changes,
        },
    )  # fmt: skip


def answers(*documents: dict[str, Any] | Unavailable) -> dict[str, Any]:
    return {f"n{number}:7400": each for number, each in enumerate(documents, 1)}


def cluster(voters: tuple[int, ...] = (1, 2, 3), **changes: Any) -> dict[str, Any]:
    """All answers, with the changes of node 2's."""
    return answers(*(status(each, voters=voters, **(changes if each == 2 else {})) for each in voters))


@pytest.mark.parametrize("node", [1, 2, 3])
def test_any_node_of_a_healthy_cluster_can_be_stopped(node: int) -> None:
    """Whether it leads is said, so that the leader can be the last; and what is committed, to wait for later."""
    verdict = judge(cluster(), node, MAX_LAG)
    assert (verdict.can_stop, verdict.reasons) == (True, ())
    assert (verdict.is_leader, verdict.leader) == (node == 3, 3)
    assert (verdict.voters, verdict.commit_index) == ((1, 2, 3), 100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"last_applied": 89}, "node 2 is 11 entries behind"),
        ({"draining": True}, "node 2 is stopping"),
        ({"replayed": False}, "node 2 has started and not caught up"),
        ({"proven": False}, "node 2 has a new disk"),
        ({"leader_id": None}, "node 2 does not follow node 3"),
        ({"leader_id": 1}, "node 2 does not follow node 3"),
        ({"storing_seconds": 2.5}, "the disk of node 2 has been busy for 2 s"),
        ({"peers": [{"node_id": 3, "connected": False, "lag_entries": 0}]}, "node 2 cannot reach node 3"),
    ],
)
@pytest.mark.parametrize("voters", [(1, 2, 3), FIVE])
def test_another_voter_that_is_not_well_is_a_reason(
    changes: dict[str, Any], reason: str, voters: tuple[int, ...]
) -> None:
    """Also where enough others would be left: one trouble at a time. The node itself may have any."""
    seen = cluster(voters, **changes)
    verdict = judge(seen, 1, MAX_LAG)
    assert not verdict.can_stop
    assert any(each.startswith(reason) for each in verdict.reasons)
    assert any("quorum" in each for each in verdict.reasons) == (len(voters) == 3)
    assert judge(seen, 2, MAX_LAG).can_stop


def test_what_the_leader_knows_counts_too() -> None:
    """It has not heard that node 2 has stored the newest entries, or does not reach it at all."""
    behind = [{"node_id": 1, "connected": True, "lag_entries": 0}, {"node_id": 2, "connected": True, "lag_entries": 11}]
    cut = [{"node_id": 1, "connected": True, "lag_entries": 0}, {"node_id": 2, "connected": False, "lag_entries": 0}]
    for peers, reason in ((behind, "node 2 is 11 entries behind"), (cut, "node 3 cannot reach node 2")):
        seen = answers(status(1), status(2), status(3, peers=peers))
        assert reason in judge(seen, 1, MAX_LAG).reasons
        assert judge(seen, 2, MAX_LAG).can_stop


def test_a_node_that_does_not_answer_is_a_reason_but_for_itself() -> None:
    """A node that is down already may be stopped as far as the others are concerned."""
    seen = answers(status(1), Unavailable("no"), status(3, peers=[
        {"node_id": 1, "connected": True, "lag_entries": 0}, {"node_id": 2, "connected": False, "lag_entries": 90},
    ]))  # fmt: skip
    verdict = judge(seen, 1, MAX_LAG)
    assert "node 2 does not answer" in verdict.reasons
    assert verdict.reasons[0] == "the quorum would be lost: 1 voters would be left, and 2 are needed"
    assert judge(seen, 2, MAX_LAG).can_stop


@pytest.mark.parametrize("voters", [(3,), (2, 3)])
def test_the_quorum_comes_first(voters: tuple[int, ...]) -> None:
    """Of one or two voters, none can be spared."""
    seen = answers(*(status(each, voters=voters) for each in voters))
    verdict = judge(seen, 3, MAX_LAG)
    assert verdict.reasons == (
        f"the quorum would be lost: {len(voters) - 1} voters would be left, and {len(voters) // 2 + 1} are needed",
    )


@pytest.mark.parametrize(
    "membership", [{"committed": False}, {"outgoing": [1, 2]}, {"learners": [4], "joining": {"4": None}}]
)
def test_a_change_of_members_is_not_disturbed(membership: dict[str, Any]) -> None:
    """While one is under way, it is not known who will have to be there."""
    seen = answers(status(1), status(2), status(3, membership=membership))
    assert "a change of members is under way" in judge(seen, 1, MAX_LAG).reasons


def test_a_learner_can_be_stopped_and_a_stranger_is_asked_about() -> None:
    """Nothing depends on a learner. An id that nobody has is a mistake of whoever types it."""
    seen = answers(status(1), status(2), status(3, membership={"learners": [4]}))
    assert judge(seen, 4, MAX_LAG).can_stop
    assert "it is no member" in judge(seen, 5, MAX_LAG).reasons[0]


def test_without_a_leader_nothing_is_stopped() -> None:
    """Nobody can say who has what."""
    seen = answers(*(status(each, role="follower", leader_id=None) for each in (1, 2, 3)))
    assert judge(seen, 1, MAX_LAG).reasons == ("no node leads",)


def test_the_newest_leader_counts() -> None:
    """An old one that has not heard of it yet follows nobody."""
    seen = answers(status(1), status(2, role="leader", current_term=4, leader_id=2), status(3))
    assert judge(seen, 1, MAX_LAG).leader == 3
    assert "node 2 does not follow node 3" in judge(seen, 1, MAX_LAG).reasons


def test_as_a_command(raftctl: Raftctl) -> None:
    """A cluster of one cannot spare its node: exit code 8; nobody to ask: 5."""
    raftctl("can-stop", "1", code=ExitCode.UNHEALTHY)
    raftctl("can-stop", "1", "-o", "json", code=ExitCode.UNHEALTHY)
    raftctl("--endpoints", "127.0.0.1:1", "can-stop", "1", code=ExitCode.UNAVAILABLE)
