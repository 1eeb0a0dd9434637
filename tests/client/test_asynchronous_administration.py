"""Changing members and leader: the way to the leader, and how it may end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftd.client import AsyncClient, ChangeKind, Client, Denied, InvalidRequest, NotPossible, OutcomeUnknown
from raftd.wire.administration import encode_change, encode_transfer
from raftd.wire.client import Refusal, RefusalCode, RequestKind
from raftd.wire.frames import encode_frame
from tests.client.fake import Cut, FakeCluster, Pki, Refuse, Say

PLACES = "client=n4:7400,peer=n4:7401,http=n4:7402"
Scenario = Callable[[FakeCluster, AsyncClient], Awaitable[None]]


def play(pki: Pki, scenario: Scenario, *, timeout: float = 5.0) -> None:
    async def run() -> None:
        async with pki.cluster() as cluster, AsyncClient(cluster.endpoints, tls=pki.user, timeout=timeout) as client:
            for node in cluster.nodes:
                node.plan_for = lambda kind, _: kind in (RequestKind.MEMBERSHIP_CHANGE, RequestKind.TRANSFER_LEADERSHIP)
            await scenario(cluster, client)

    asyncio.run(run())


def test_it_goes_to_the_leader(pki: Pki) -> None:
    """By redirection, and in the very bytes of the protocol."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.leader = cluster.nodes[2]
        assert await client.change_membership(ChangeKind.REPLACE, 4, old_node_id=2, address=PLACES) == 7
        body = encode_change(ChangeKind.REPLACE, 4, old_node_id=2, address=PLACES)
        assert cluster.nodes[2].requests == [(RequestKind.MEMBERSHIP_CHANGE, body)]
        assert await client.transfer_leadership() == 2
        assert await client.transfer_leadership(2) == 2
        assert cluster.nodes[2].requests[1:] == [
            (RequestKind.TRANSFER_LEADERSHIP, encode_transfer(None)),
            (RequestKind.TRANSFER_LEADERSHIP, encode_transfer(2)),
        ]

    play(pki, scenario)


def test_what_is_not_possible_ends_it(pki: Pki) -> None:
    """At once, with the leader's word; what passes by itself does not."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        leader = cluster.nodes[0]
        leader.plan.extend(
            [
                Refuse(Refusal(RefusalCode.NO_LEADER, "the leader has only just been elected")),
                Refuse(Refusal(RefusalCode.NOT_POSSIBLE, "cannot promote node 4: no")),
                Refuse(Refusal(RefusalCode.DENIED, "not an administrator")),
            ]
        )
        with pytest.raises(NotPossible, match="cannot promote node 4: no"):
            await client.change_membership(ChangeKind.PROMOTE, 4)
        with pytest.raises(Denied):
            await client.change_membership(ChangeKind.PROMOTE, 4)

    play(pki, scenario)


def test_without_word_it_is_repeated_and_in_doubt_it_says_so(pki: Pki) -> None:
    """A repetition does no harm, and one that is refused does not tell whether the first was carried out."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        leader = cluster.nodes[0]
        leader.plan.append(Cut())
        assert await client.change_membership(ChangeKind.REMOVE, 3) == 7
        leader.plan.extend([Cut(), Refuse(Refusal(RefusalCode.NOT_POSSIBLE, "it is not a member"))])
        with pytest.raises(OutcomeUnknown, match="it is not a member"):
            await client.change_membership(ChangeKind.REMOVE, 3)
        leader.plan.append(Say(lambda request_id: encode_frame(b"\3" + request_id.to_bytes(8, "little") + b"no JSON")))
        assert await client.transfer_leadership(2) == 2

    play(pki, scenario)


def test_what_makes_no_sense_is_not_sent(pki: Pki) -> None:
    """Ids are of 63 bits, from 1 on."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(InvalidRequest):
            await client.change_membership(ChangeKind.REMOVE, 0)
        with pytest.raises(InvalidRequest):
            await client.change_membership(ChangeKind.REPLACE, 4, old_node_id=1 << 63, address=PLACES)
        with pytest.raises(InvalidRequest):
            await client.transfer_leadership(0)
        assert not any(node.requests for node in cluster.nodes)

    play(pki, scenario)


def test_a_read_does_not_show_who_leads(pki: Pki) -> None:
    """A follower may answer it: whoever writes next still goes to the leader, once that is known."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        await client.get("a")
        assert [bool(node.data_requests) for node in cluster.nodes] == [True, False, False]

    play(pki, scenario)


def test_the_blocking_client_does_the_same(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """Members too: by the leader's word."""
    status = {
        "node_id": 1,
        "leader_id": 1,
        "commit_index": 1,
        "membership": {
            "index": 0, "committed": True, "voters": [1], "outgoing": [], "learners": [],
            "joining": {}, "addresses": {},
        },
        "members": [],
        "peers": [],
    }  # fmt: skip
    cluster_in_thread.nodes[0].status = status
    with Client(cluster_in_thread.endpoints, tls=pki.user) as client:
        assert client.change_membership(ChangeKind.PROMOTE, 4) == 7
        assert client.transfer_leadership(2) == 2
        assert client.members().voters == {1}


def test_one_node_reloads(pki: Pki) -> None:
    """The one that is asked, leader or not; a file that it cannot use is no reason to ask another one."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        node = cluster.nodes[1]
        node.plan_for = lambda kind, _: kind is RequestKind.RELOAD
        assert await client.reload(node.address) == {"changed": ["access"], "waiting": []}
        node.plan.extend(
            [
                Refuse(Refusal(RefusalCode.NOT_POSSIBLE, "raftd.yaml: is not YAML")),
                Refuse(Refusal(RefusalCode.DENIED, "not an administrator")),
            ]
        )
        with pytest.raises(NotPossible, match=r"raftd.yaml: is not YAML"):
            await client.reload(node.address)
        with pytest.raises(Denied):
            await client.reload(node.address)

    play(pki, scenario)
