"""Who is asked for the members, and whose word counts."""

import asyncio
from typing import Any

import pytest

from raftd.client import Denied, Members, Unavailable
from raftd.client.members import find_members


def status(node_id: int, leader_id: int | None = 3, index: int = 9) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "leader_id": leader_id,
        "commit_index": 8,
        "membership": {
            "index": index,
            "committed": index <= 8,
            "voters": [1, 2],
            "outgoing": [1, 2, 3],
            "learners": [4, 5],
            "joining": {"4": 3, "5": None},
            "addresses": {"4": "client=n4:1,peer=n4:2,http=n4:3"},
        },
        "members": [{"node_id": node, "client_address": f"n{node}"} for node in (1, 2, 3)],
        "peers": [{"node_id": 4, "lag_entries": 7}],
    }


def find(answers: dict[str, Any], *endpoints: str) -> tuple[Members, list[str]]:
    """What came of it, and who was asked, in order."""
    asked = []

    async def ask(endpoint: str) -> dict[str, Any]:
        asked.append(endpoint)
        answer = answers.get(endpoint, Unavailable(f"{endpoint}: nobody is there"))
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    return asyncio.run(find_members(ask, endpoints)), asked


def test_the_leader_s_word_counts() -> None:
    """Whoever knows it names it, and it is asked next."""
    members, asked = find({"n1": status(1, index=5), "n3": status(3)}, "n1", "n2")
    assert asked == ["n1", "n3"]
    assert members == Members(
        node_id=3,
        leader_id=3,
        index=9,
        committed=False,
        commit_index=8,
        voters=frozenset({1, 2}),
        outgoing=frozenset({1, 2, 3}),
        learners=frozenset({4, 5}),
        joining={4: 3, 5: None},
        addresses={4: "client=n4:1,peer=n4:2,http=n4:3"},
        lag_entries={4: 7},
    )
    assert members.all == {1, 2, 3, 4, 5}


def test_without_a_leader_the_newest_word_counts() -> None:
    """It may be taken back, and says so; nobody is asked twice."""
    members, asked = find({"n1": status(1, None, 7), "n2": status(2, 1, 9)}, "n1", "n2", "n1")
    assert (members.node_id, asked) == (2, ["n1", "n2"])
    members, _ = find({"n1": status(1, None, 9), "n2": status(2, None, 7)}, "n1", "n2")
    assert members.node_id == 1
    with pytest.raises(Unavailable, match="there is nobody to ask"):
        find({})


def test_who_is_down_or_talks_nonsense_is_passed_over() -> None:
    """As long as somebody answers."""
    members, _ = find({"n1": {"node_id": 1}, "n2": {"membership": []}, "n3": status(3)}, "n0", "n1", "n2", "n3")
    assert members.node_id == 3
    with pytest.raises(Unavailable, match="n1: its status does not say"):
        find({"n1": {"node_id": 1}}, "n0", "n1")
    with pytest.raises(Unavailable, match="n0: nobody is there"):
        find({}, "n0")


def test_a_denial_ends_it() -> None:
    """Another node would say the same."""
    with pytest.raises(Denied):
        find({"n1": Denied("no"), "n3": status(3)}, "n1", "n3")


@pytest.mark.parametrize(
    "membership", [{"voters": None}, {"joining": {"four": 3}}, {"addresses": []}, {"voters": [[1]]}]
)
def test_a_status_of_another_shape(membership: dict[str, Any]) -> None:
    """Whatever in it cannot be read, the next node is asked."""
    odd = status(1)
    odd["membership"].update(membership)
    assert find({"n1": odd, "n3": status(3)}, "n1", "n3")[0].node_id == 3
