import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from raftd.cli.status import Overview, leader_of, look, with_patience
from raftd.client import Client, ClientConfig, ClientError, ClientTls, Denied, TlsError, Unavailable
from raftd.errors import ExitCode

ADDRESSES = {node: f"n{node}:7400" for node in (1, 2, 3)}


def document(node: int, **changes: Any) -> dict[str, Any]:
    """What a healthy node of three says, of which node 3 leads."""
    return {
        "node_id": node,
        "role": "leader" if node == 3 else "follower",
        "current_term": 5,
        "voted_for": 3,
        "leader_id": 3,
        "commit_index": 100,
        "last_applied": 100,
        "election_timer_seconds": 0.75,
        "storing_seconds": 0.0,
        "disk_low": False,
        "keys": 7,
        "draining": False,
        "replayed": True,
        "state_hash": "0a0b0c0d",
        "peers": [{"node_id": peer, "connected": True} for peer in ADDRESSES if peer != node],
        "members": [{"node_id": each, "client_address": address} for each, address in ADDRESSES.items()],
        **changes,
    }


def overview(*documents: dict[str, Any] | ClientError) -> Overview:
    """The answers of nodes 1, 2 and 3."""
    return Overview(dict(zip(ADDRESSES.values(), documents, strict=True)))


def health(row: dict[str, object]) -> str:
    return str(cast("Any", row["health"]).value)


def test_a_healthy_cluster() -> None:
    """A row for each node, in order; the leader has no timer; exit code 0."""
    seen = overview(document(1), document(2, last_applied=97), document(3))
    assert [row["node"] for row in seen.rows] == [1, 2, 3]
    assert [row["lag"] for row in seen.rows] == [0, 3, 0]
    assert [row["timer"] for row in seen.rows] == ["0.75 s", "0.75 s", None]
    assert {health(row) for row in seen.rows} == {"ok"}
    assert seen.exit_code is ExitCode.OK


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"draining": True}, "stopping"),
        ({"leader_id": None}, "no leader"),
        ({"replayed": False}, "replaying"),
        ({"storing_seconds": 3.4}, "disk busy for 3 s"),
        ({"disk_low": True}, "disk full: deletes only"),
        (
            {"peers": [{"node_id": peer, "connected": True, "diverged": peer == 2} for peer in (1, 2)]},
            "state differs from node 2's",
        ),
        (
            {"peers": [{"node_id": peer, "connected": False, "diverged": True} for peer in (1, 2)]},
            "state differs from node 1's, node 2's",
        ),
        ({"peers": [{"node_id": 1, "connected": True}, {"node_id": 2, "connected": False}]}, "cannot reach 2"),
        ({"state_hash": "ffffffff"}, "state differs from node 1's, node 2's"),
    ],
)
def test_trouble_is_named(changes: dict[str, Any], trouble: str) -> None:
    """In a few words, at the node that has it; exit code 8."""
    seen = overview(document(1), document(2), document(3, **changes))
    assert health(seen.rows[2]) == trouble
    assert seen.exit_code is ExitCode.UNHEALTHY


def test_two_leaders_are_unhealthy() -> None:
    """Each node may be well by itself, and yet they do not agree."""
    seen = overview(document(1, leader_id=1), document(2), document(3))
    assert {health(row) for row in seen.rows} == {"ok"}
    assert seen.exit_code is ExitCode.UNHEALTHY


def test_states_at_different_indexes_may_differ() -> None:
    """A hash is compared with that of a node which has applied just as much."""
    seen = overview(document(1), document(2, last_applied=99, state_hash="ffffffff"), document(3))
    assert seen.exit_code is ExitCode.OK


def test_a_silent_node_keeps_its_place() -> None:
    """Another node's member list knows who should be there; the reason does not repeat the endpoint."""
    seen = overview(document(1), Unavailable("n2:7400: connection refused"), document(3))
    row = seen.rows[1]
    assert (row["node"], row["endpoint"], health(row)) == (2, "n2:7400", "connection refused")
    assert seen.exit_code is ExitCode.UNHEALTHY


def test_a_stranger_s_endpoint_comes_last() -> None:
    """Nobody knows which node that should be."""
    seen = Overview({"wrong:1": Unavailable("wrong:1: connection refused"), "n3:7400": document(3)})
    assert [row["node"] for row in seen.rows] == [3, None]


def test_a_node_at_two_addresses_is_one_node() -> None:
    """Through a tunnel, for example, when its own address cannot be reached from here."""
    seen = Overview({"localhost:1": document(3), "n3:7400": Unavailable("n3:7400: no route to host")})
    assert [(row["node"], row["endpoint"]) for row in seen.rows] == [(3, "localhost:1")]
    both = Overview({"localhost:1": document(3), "n3:7400": document(3)})
    assert len(both.rows) == 1


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([Unavailable("a")] * 3, ExitCode.UNAVAILABLE),
        ([Denied("a")] * 3, ExitCode.ERROR),
        ([TlsError("a")] * 3, ExitCode.TLS),
        ([Unavailable("a"), TlsError("b"), Denied("c")], ExitCode.UNAVAILABLE),
    ],
)
def test_when_nobody_says_how_it_is(errors: list[ClientError], code: ExitCode) -> None:
    """The exit code is the reason's, when there is one for all."""
    assert overview(*errors).exit_code is code


def test_who_leads() -> None:
    """Of two leaders that of the newer term; a node that does not answer leads nobody that one could ask."""
    assert leader_of(overview(document(1), document(2), document(3)).answers) == document(3)
    newer = document(1, role="leader", current_term=6)
    assert leader_of(overview(newer, document(2), document(3)).answers) == newer
    assert leader_of(overview(document(1), document(2), Unavailable("a")).answers) is None


@pytest.mark.parametrize(("timeout", "taken"), [(5.0, 2.0), (0.5, 0.5)])
def test_nobody_is_waited_for_long(timeout: float, taken: float) -> None:
    """What a node says of itself needs neither disk nor quorum; a user may be less patient still."""
    tls = ClientTls(Path("ca.crt"), Path("me.crt"), Path("me.key"))
    assert with_patience(ClientConfig(("n1:7400",), tls, timeout)) == ClientConfig(("n1:7400",), tls, taken)


def test_where_a_node_is() -> None:
    """The leader without a number; a refusal says more than "no node answers"."""
    seen = overview(document(1), Unavailable("a"), document(3))
    assert (seen.endpoint_of(None), seen.endpoint_of(1)) == ("n3:7400", "n1:7400")
    with pytest.raises(Unavailable, match="no node 2 answers; asked were n1:7400, n2:7400, n3:7400"):
        seen.endpoint_of(2)
    with pytest.raises(Unavailable, match="no node leads; name one with --node"):
        overview(document(1, leader_id=None), document(2, leader_id=None), Unavailable("a")).endpoint_of(None)
    with pytest.raises(Denied):
        overview(Unavailable("a"), Denied("b"), Denied("b")).endpoint_of(None)
    with pytest.raises(Unavailable, match="no node answers: a; b; c"):
        overview(Unavailable("a"), Unavailable("b"), Unavailable("c")).endpoint_of(None)


class Told:
    """A client whose nodes answer as they are told to."""

    def __init__(self, answer: Callable[[str], dict[str, Any]]) -> None:
        self.status = answer


def test_one_endpoint_finds_the_others_and_asks_each_once() -> None:
    """Members that are found are asked at the same time: each waits for the other, and both get an answer."""
    asked: list[str] = []
    together = threading.Barrier(2, timeout=10)

    def answer(endpoint: str) -> dict[str, Any]:
        asked.append(endpoint)
        if endpoint != "n1:7400":
            together.wait()
        if endpoint == "n2:7400":
            raise Unavailable("n2:7400: connection refused")
        return document(int(endpoint[1]))

    seen = look(cast("Client", Told(answer)), ["n1:7400"])
    assert asked[0] == "n1:7400"
    assert sorted(asked) == ["n1:7400", "n2:7400", "n3:7400"]
    assert [row["node"] for row in seen.rows] == [1, 2, 3]
