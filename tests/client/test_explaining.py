"""What a client is told of where a write's time went, and what that must never change: the write."""

from typing import Any

import pytest

from raftd.client import AsyncClient, CompareFailed, Explanation, StoredBy
from raftd.wire.client import Refusal, RefusalCode, RequestKind
from tests.client.fake import Cut, FakeCluster, Pki, Refuse
from tests.client.playing import play


def leader_tells(
    cluster: FakeCluster, *, stored: float | None = 0.004, answer_seconds: float = 0.00004
) -> dict[str, Any]:
    """What the first node, which leads, has noted."""
    own = {"write_seconds": 0.0001, "sync_seconds": 0.002}
    return {
        "index": 9,
        "term": 1,
        "queue_seconds": 0.00001,
        "commit_seconds": 0.00002,
        "apply_seconds": 0.00003,
        "answer_seconds": answer_seconds,
        "nodes": [
            {"node_id": 1, "address": cluster.endpoints[0], "stored_seconds": 0.003, **own},
            {"node_id": 2, "address": cluster.endpoints[1], "stored_seconds": stored},
            {"node_id": 3, "address": cluster.endpoints[2], "stored_seconds": 0.005},
        ],
    }


async def explained(client: AsyncClient) -> Explanation | None:
    told: list[Explanation | None] = []
    result = await client.put("key", "value", explain=told.append)
    assert result.version == 1
    (explanation,) = told
    return explanation


def test_the_leader_and_each_node_are_asked(pki: Pki) -> None:
    """The parts and the way make up the total; a node that does not tell of its disk leaves that open."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].traces[0] = [leader_tells(cluster)]
        cluster.nodes[1].traces[9] = [{"node_id": 2, "write_seconds": 0.0002, "sync_seconds": 0.003}]
        explanation = await explained(client)
        assert explanation is not None
        assert explanation.nodes == (
            StoredBy(1, 0.003, 0.0001, 0.002),
            StoredBy(2, 0.004, 0.0002, 0.003),
            StoredBy(3, 0.005, None, None),
        )
        assert explanation.index == 9
        assert explanation.way_seconds == pytest.approx(explanation.total_seconds - 0.0001)
        kinds = [kind for kind, _ in cluster.nodes[0].requests]
        assert kinds == [RequestKind.WRITE, RequestKind.TRACED_WRITE, RequestKind.TRACE]  # the first opens the session

    play(pki, scenario)


def test_what_follows_the_answer_is_no_part_of_the_total(pki: Pki) -> None:
    """The node notes that it has answered when it has answered all that it applied; this client may be the first."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].traces[0] = [leader_tells(cluster, answer_seconds=60.0)]
        explanation = await explained(client)
        assert explanation is not None
        assert explanation.answer_seconds == pytest.approx(explanation.total_seconds - 0.00006)
        assert explanation.way_seconds == pytest.approx(0.0, abs=1e-9)

    play(pki, scenario)


def test_it_waits_a_moment_for_the_last_node(pki: Pki) -> None:
    """Which may store a write some time after it is answered."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].traces[0] = [leader_tells(cluster, stored=None)] * 3 + [leader_tells(cluster)]
        explanation = await explained(client)
        assert explanation is not None
        assert explanation.nodes[1].stored_seconds == 0.004

    play(pki, scenario)


def test_a_node_that_never_stores_it_is_told_as_that(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; it may be down."""
    monkeypatch.setattr("raftd.client.explaining._PATIENCE_SECONDS", 0.2)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].traces[0] = [leader_tells(cluster, stored=None)]
        explanation = await explained(client)
        assert explanation is not None
        assert explanation.nodes[1].stored_seconds is None

    play(pki, scenario)


def test_the_write_counts_and_not_its_explanation(pki: Pki) -> None:
    """Where nothing is remembered the write has happened all the same."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        assert await explained(client) is None

    play(pki, scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"nodes": None},
        {"nodes": [7]},
        {"nodes": [{"node_id": 1, "stored_seconds": 0.1, "address": 7}]},
        {"nodes": [{"node_id": "1", "stored_seconds": 0.1, "address": ""}]},
        {"nodes": [{"node_id": 1, "stored_seconds": "0.1", "address": ""}]},
        {"index": "9"},
        {"index": -1},
        {"queue_seconds": None},
        {"commit_seconds": float("nan")},
        {"apply_seconds": -1},
        {"answer_seconds": float("inf")},
        {"answer_seconds": 10**400},
    ],
)
def test_an_explanation_that_cannot_be_read_is_none(pki: Pki, wrong: dict[str, Any]) -> None:
    """As of a later release: the write has been acknowledged, so nothing is raised."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].traces[0] = [{**leader_tells(cluster), **wrong} if wrong else {"index": 9}]
        assert await explained(client) is None

    play(pki, scenario)


def test_a_write_that_fails_is_not_explained(pki: Pki) -> None:
    """It raises what it raises otherwise."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        told: list[Explanation | None] = []
        with pytest.raises(CompareFailed):
            await client.put("key", "value", expected_revision=5, explain=told.append)
        await client.put("key", "value", expected_value=None, previous=True, explain=told.append)
        assert told == [None]

    play(pki, scenario)


def test_a_traced_write_is_repeated_like_any(pki: Pki) -> None:
    """Once applied, whatever befalls it."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.plan_for = lambda kind, _: kind is RequestKind.TRACED_WRITE
        cluster.nodes[0].plan.extend([Cut(0), Refuse(Refusal(RefusalCode.OVERLOADED, "later"))])
        assert await explained(client) is None
        assert cluster.machine.revision == 1

    play(pki, scenario)
