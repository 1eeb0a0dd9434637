"""Changing members and leader: the way to the leader, and how it may end."""

import pytest

from raftd.client import (
    AsyncClient,
    ChangeKind,
    Client,
    Denied,
    InvalidRequest,
    NotPossible,
    OutcomeUnknown,
    Unavailable,
)
from raftd.client.results import BackupHistory
from raftd.wire.administration import encode_change, encode_transfer
from raftd.wire.backup import BackupOutcome, encode_backup_piece_body, encode_backup_report_body
from raftd.wire.client import Refusal, RefusalCode, RequestKind, encode_document, encode_pong
from raftd.wire.frames import encode_frame
from tests.client.fake import BACKUP, Cut, FakeCluster, Pki, Refuse, Say, Silent
from tests.client.playing import Scenario, play

PLACES = "client=n4:7400,peer=n4:7401,http=n4:7402"


def play_it(pki: Pki, scenario: Scenario, **arguments: float) -> None:
    """With reactions of nodes to what is tested here only."""

    async def planned(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.plan_for = lambda kind, _: kind in (RequestKind.MEMBERSHIP_CHANGE, RequestKind.TRANSFER_LEADERSHIP)
        await scenario(cluster, client)

    play(pki, planned, **arguments)


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

    play_it(pki, scenario)


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

    play_it(pki, scenario)


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

    play_it(pki, scenario)


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

    play_it(pki, scenario)


def test_a_read_does_not_show_who_leads(pki: Pki) -> None:
    """A follower may answer it: whoever writes next still goes to the leader, once that is known."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        await client.get("a")
        assert [bool(node.data_requests) for node in cluster.nodes] == [True, False, False]

    play_it(pki, scenario)


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


def test_a_reload_without_an_answer(pki: Pki) -> None:
    """Once it is sent the node may have done it, be it late, or without an answer that one can read; before, not."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        node = cluster.nodes[1]
        node.plan_for = lambda kind, _: kind is RequestKind.RELOAD
        for reaction, message in (
            (Silent(apply=True), "no answer within 1 s"),
            (Cut(), ""),
            (Say(lambda request_id: encode_document(request_id, "[]")), "cannot be read"),
            (Say(lambda request_id: encode_document(request_id, '{"a":' * 100_000)), "cannot be read"),
        ):
            node.plan.append(reaction)
            with pytest.raises(OutcomeUnknown, match=f"{node.address}: .*{message}"):
                await client.reload(node.address)
        await node.stop()
        with pytest.raises(Unavailable):
            await client.reload(node.address)

    play(pki, scenario, timeout=1)


def test_a_backup_is_read_piece_by_piece(pki: Pki) -> None:
    """From the node that is named, whoever leads, until there is no more of it."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        node = cluster.nodes[1]
        backup = await client.begin_backup(node.address, stale=True)
        assert (backup.endpoint, backup.backup_id, backup.size_bytes) == (node.address, 5, len(BACKUP))
        received = b""
        while piece := await client.read_backup(backup, len(received)):
            received += piece
        assert received == BACKUP
        history = await client.report_backup(node.address, 1_700_000_000_000)
        assert history == BackupHistory(1_700_000_000_000, 7)
        await client.report_backup(node.address, None)
        assert node.requests == [
            (RequestKind.BACKUP, b"\x01"),
            *((RequestKind.BACKUP_PIECE, encode_backup_piece_body(5, offset)) for offset in (0, 4, 8, 9)),
            (RequestKind.BACKUP_REPORT, encode_backup_report_body(BackupOutcome.VERIFIED, 1_700_000_000_000)),
            (RequestKind.BACKUP_REPORT, encode_backup_report_body(BackupOutcome.FAILED)),
        ]

    play_backup(pki, scenario)


def test_a_backup_that_cannot_go_on_says_why(pki: Pki) -> None:
    """A refusal, a connection that ends, and an answer that is none."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        node = cluster.nodes[0]
        node.plan.append(Refuse(Refusal(RefusalCode.DENIED, "not for you")))
        with pytest.raises(Denied, match="not for you"):
            await client.begin_backup(node.address)
        backup = await client.begin_backup(node.address)
        node.plan.append(Refuse(Refusal(RefusalCode.NOT_POSSIBLE, "there is no backup 5")))
        with pytest.raises(NotPossible, match="there is no backup 5"):
            await client.read_backup(backup, 0)
        node.plan.append(Cut())
        with pytest.raises(Unavailable, match=node.address):
            await client.read_backup(backup, 0)
        node.plan.append(Say(encode_pong))
        with pytest.raises(Unavailable, match="PONG came"):
            await client.read_backup(backup, 0)
        with pytest.raises(InvalidRequest):
            await client.report_backup(node.address, 0)

    play_backup(pki, scenario)


def play_backup(pki: Pki, scenario: Scenario) -> None:
    """With reactions of nodes to backups only."""

    async def planned(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.plan_for = lambda kind, _: kind in BACKUP_KINDS
        await scenario(cluster, client)

    play(pki, planned)


BACKUP_KINDS = (RequestKind.BACKUP, RequestKind.BACKUP_PIECE, RequestKind.BACKUP_REPORT)
