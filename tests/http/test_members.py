import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape

import pytest

from raftd.consensus.types import LogIndex, NodeId, Role
from raftd.http.health import Check
from raftd.http.members import BEHIND_ENTRIES, members_section, peer_health
from raftd.http.view import NodeStatus, PeerStatus, ReplicationState

StatusOf = Callable[..., NodeStatus]
WELL = (Check("loop", None),)


def rows(status: NodeStatus, checks: tuple[Check, ...] = WELL) -> list[dict[str, str]]:
    """The table's body, each row by its columns' names."""
    body = re.findall(r"<tr.*?</tr>", members_section(status, checks).partition("<tbody>")[2], re.DOTALL)
    found = []
    for row in body:
        cells = re.findall(r'<td[^>]*data-label="([^"]*)"[^>]*>(.*?)</td>', row)
        named = {name: text(cell) for name, cell in cells}
        named["node"] = text(re.search(r"<th.*?</th>", row)[0])  # type: ignore[index]  # each row has one
        found.append(named)
    return found


def text(markup: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", markup)).strip()


def test_a_leader_knows_how_far_the_others_are(leader_with: StatusOf) -> None:
    """Roles, terms, what is stored, lag and health, in the order of the ids."""
    own, second, third = rows(leader_with())
    assert (own["node"], own["role"], own["term"], own["stored up to"], own["health"]) == (
        "1",
        "leader",
        "5",
        "41",
        "ready",
    )
    assert (second["role"], second["term"], second["stored up to"], second["lag"]) == ("follower", "5", "42", "0")
    assert (second["round trip"], second["health"]) == ("0.40 ms", "ok")
    assert (third["role"], third["term"], third["lag"], third["link"]) == ("-", "-", "30", "down")
    assert third["health"] == "no link from here"


def test_a_follower_does_not_pretend(leader_with: StatusOf) -> None:
    """Of the others it shows the links and who leads, and says where to look."""
    peers = (
        PeerStatus(NodeId(1), connected=True, http_address="n1.example:7402"),
        PeerStatus(NodeId(3), connected=True),
    )
    status = leader_with(node_id=NodeId(2), role=Role.FOLLOWER, leader_id=NodeId(1), peers=peers)
    leader, own, other = rows(status)
    assert (leader["node"], leader["role"], leader["term"], leader["lag"]) == ("1", "leader", "5", "-")
    assert (own["node"], own["role"]) == ("2", "follower")
    assert [other[name] for name in ("role", "term", "stored up to", "lag", "health")] == ["-"] * 4 + ["link stands"]
    assert '<a href="http://n1.example:7402/">node 1</a>' in members_section(status, WELL)


def test_without_a_leader_it_says_so(leader_with: StatusOf) -> None:
    """Nobody is called the leader then, and nobody is linked to as one."""
    status = leader_with(role=Role.PRE_CANDIDATE, leader_id=None)
    assert "no leader is known" in members_section(status, WELL)
    assert [row["role"] for row in rows(status)] == ["pre-candidate", "-", "-"]


def test_a_node_that_is_not_ready_says_so(leader_with: StatusOf) -> None:
    """In its own row."""
    assert rows(leader_with(), (Check("leader", "no leader is known"),))[0]["health"] == "not ready"


def test_learners_are_told_apart(leader_with: StatusOf) -> None:
    """By leaders and followers: the membership says it, whoever leads."""
    learner = PeerStatus(NodeId(4), connected=True, is_learner=True)
    for role in (Role.LEADER, Role.FOLLOWER):
        assert rows(leader_with(role=role, peers=(learner,)))[-1]["role"] == "learner"
    assert rows(leader_with(role=Role.FOLLOWER, is_learner=True))[0]["role"] == "learner"


def test_a_learner_that_leads_is_called_the_leader(leader_with: StatusOf) -> None:
    """On its own page and on those of the others."""
    assert rows(leader_with(role=Role.LEADER, is_learner=True))[0]["role"] == "leader"
    learner = PeerStatus(NodeId(4), connected=True, is_learner=True)
    assert rows(leader_with(role=Role.FOLLOWER, leader_id=NodeId(4), peers=(learner,)))[-1]["role"] == "leader"


@pytest.mark.parametrize(
    ("changes", "health"),
    [
        ({}, "ok"),
        ({"lag_entries": BEHIND_ENTRIES + 1}, "behind"),
        ({"state": ReplicationState.SNAPSHOT}, "is sent a snapshot"),
        ({"state": ReplicationState.PROBE}, "has not answered yet"),
        ({"connected": False}, "no link from here"),
        ({"diverged": True}, "state differs from this node's"),
        ({"contact_seconds": 0.3}, "ok"),
        ({"contact_seconds": 2.5}, "silent for 2.5 s"),
    ],
)
def test_the_health_of_a_peer(leader_with: StatusOf, changes: dict[str, object], health: str) -> None:
    """What a leader can tell of it, in a few words."""
    peer = replace(PeerStatus(NodeId(2), True, ReplicationState.REPLICATE), **changes)  # type: ignore[arg-type]  # a table
    assert peer_health(leader_with(), peer)[0] == health


@pytest.mark.parametrize("sign", [1, -1])
def test_clocks_are_told_with_their_direction(leader_with: StatusOf, sign: int) -> None:
    """The difference is this node's clock to the peer's; shown is where the peer's is."""
    peer = PeerStatus(NodeId(2), connected=True, clock_difference_seconds=sign * 0.25)
    assert rows(leader_with(peers=(peer,)))[1]["clock"] == ("250 ms behind" if sign > 0 else "250 ms ahead")
    near = replace(peer, clock_difference_seconds=sign * 0.0009)
    assert rows(leader_with(peers=(near,)))[1]["clock"] == "as here"


@pytest.mark.parametrize(("lag", "width"), [(0, "0.0"), (1, "2.0"), (5000, "50.0"), (1 << 40, "100.0")])
def test_bars_are_as_long_as_the_lag(leader_with: StatusOf, lag: int, width: str) -> None:
    """A single entry is seen, and nothing leaves the bar."""
    peer = PeerStatus(NodeId(2), True, ReplicationState.REPLICATE, lag_entries=lag)
    shown = members_section(leader_with(peers=(peer,), last_log_index=LogIndex(1_000_000)), WELL)
    assert f'width="{width}"' in shown.partition('data-label="lag"')[2].partition('data-label="lag"')[2]
