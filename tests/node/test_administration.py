"""What administrators are answered, and that a refusal changes nothing."""

import json

import pytest

from raftd.consensus.types import NodeId, RefusalReason
from raftd.node.administration import EXPLANATIONS, Administration
from raftd.node.connection import UNREAD_BYTES_MAX
from raftd.wire.administration import ChangeKind, decode_change, encode_change, encode_transfer
from raftd.wire.client import BODY_OFFSET, Refusal, RefusalCode, RequestKind, ResponseKind, decode_document
from tests.node.parts import Client, Cluster, Server

Request = tuple[RequestKind, bytes]


def places(node_id: int) -> str:
    return f"client=n{node_id}:7400,peer=n{node_id}:7401,http=n{node_id}:7402"


def cluster() -> tuple[Cluster, Server]:
    """Three nodes with a leader that has committed in its term."""
    nodes = Cluster(3)
    nodes.advance_until(lambda: nodes.leader is not None and nodes.leader.raft.commit_index > 0)
    leader = nodes.leader
    assert leader is not None
    return nodes, leader


def change(kind: ChangeKind, node_id: int, *, old: int = 0, address: str | None = None) -> Request:
    if address is None:
        address = "" if kind in (ChangeKind.PROMOTE, ChangeKind.REMOVE) else places(node_id)
    return RequestKind.MEMBERSHIP_CHANGE, encode_change(kind, node_id, old_node_id=old, address=address)


def transfer(target: int | None = None) -> Request:
    return RequestKind.TRANSFER_LEADERSHIP, encode_transfer(target)


def ask(nodes: Cluster, client: Client, request: Request) -> dict[str, int] | Refusal:
    """What a node answers; it must do so at once."""
    (request_id,) = client.send(request)
    nodes.scheduler.advance(0.001)
    kind, payload = client.responses[request_id]
    if kind is ResponseKind.REFUSED:
        return client.refusal(request_id)
    assert kind is ResponseKind.DOCUMENT
    found = json.loads(decode_document(payload))
    assert isinstance(found, dict)
    return found


def refusal_of(nodes: Cluster, client: Client, request: Request) -> Refusal:
    answer = ask(nodes, client, request)
    assert isinstance(answer, Refusal), answer
    assert "\n" not in answer.message
    return answer


def why_not(nodes: Cluster, client: Client, request: Request) -> str:
    refusal = refusal_of(nodes, client, request)
    assert refusal.code is RefusalCode.NOT_POSSIBLE
    return refusal.message


def test_every_reason_is_explained() -> None:
    """In one line that goes on after "cannot add node 4: "."""
    assert set(EXPLANATIONS) == set(RefusalReason)
    for text in EXPLANATIONS.values():
        assert text
        assert text.isprintable()
        assert not text.endswith(".")


def test_a_change_is_answered_with_its_place_in_the_log() -> None:
    """And is in force there; asking again for it changes nothing."""
    nodes, leader = cluster()
    client = leader.client()
    learner = change(ChangeKind.ADD_LEARNER, 4)
    index = leader.raft.last_index + 1
    assert ask(nodes, client, learner) == {"index": index}
    nodes.advance_until(lambda: leader.raft.commit_index >= index)
    assert ask(nodes, client, learner) == {"index": index}
    assert leader.raft.membership.learners == {4}
    assert leader.raft.membership.addresses == {4: places(4)}
    assert leader.raft.last_index == index


def test_every_kind_of_change_is_tried() -> None:
    """And describes itself when it cannot be."""
    nodes, leader = cluster()
    client = leader.client()
    member = "it is not a member of the cluster"
    votes = "it votes already, and a voter cannot become what is asked for"
    for request, message in (
        (change(ChangeKind.ADD_LEARNER, 2), f"cannot add node 2 as a learner: {votes}"),
        (change(ChangeKind.PROMOTE, 9), f"cannot promote node 9: {member}"),
        (change(ChangeKind.REMOVE, 9), f"cannot remove node 9: {member}"),
        (change(ChangeKind.REPLACE, 9, old=8), f"cannot put node 9 in the place of node 8: {member}"),
        (change(ChangeKind.UPDATE_ADDRESS, 9), f"cannot change the addresses of node 9: {member}"),
        (transfer(9), f"cannot hand over to node 9: {member}"),
    ):
        assert why_not(nodes, client, request) == message
    assert leader.raft.membership_index == 0


def test_bad_changes_change_nothing() -> None:
    """A learner cannot lead, and a voter that is promoted votes as before."""
    nodes, leader = cluster()
    client = leader.client()
    ask(nodes, client, change(ChangeKind.ADD_LEARNER, 4))
    nodes.advance_until(lambda: leader.raft.commit_index == leader.raft.last_index)
    index = leader.raft.last_index
    assert why_not(nodes, client, transfer(4)) == "cannot hand over to node 4: it does not vote"
    assert ask(nodes, client, change(ChangeKind.PROMOTE, 2)) == {"index": index}
    assert leader.raft.last_index == index


def test_a_second_change_waits_for_the_first() -> None:
    """It is refused, and the first one goes on."""
    nodes, leader = cluster()
    client = leader.client()
    _, second = client.send(change(ChangeKind.ADD_LEARNER, 4), change(ChangeKind.ADD_LEARNER, 5))
    nodes.advance_until(lambda: leader.raft.commit_index == leader.raft.last_index)
    assert "another change is under way" in client.refusal(second).message
    assert leader.raft.membership.learners == {4}


def test_the_last_voter_stays() -> None:
    """A cluster without voters could never change again."""
    server = Server(size=1)
    server.become_leader()
    removal = decode_change(bytes(BODY_OFFSET) + encode_change(ChangeKind.REMOVE, 1))
    assert Administration(server.raft).change(removal) == Refusal(
        RefusalCode.NOT_POSSIBLE, "cannot remove node 1: it is the last voter, and a cluster has at least one"
    )
    assert server.raft.membership.voters == {1}


def test_two_members_are_never_in_one_place() -> None:
    """Unless the one is to take the other's."""
    nodes, leader = cluster()
    client = leader.client()
    ask(nodes, client, change(ChangeKind.UPDATE_ADDRESS, 2))
    nodes.advance_until(lambda: leader.raft.commit_index == leader.raft.last_index)
    shared = "client=n4:7400,peer=n2:7401,http=n4:7402"
    for request in (
        change(ChangeKind.ADD_VOTER, 4, address=shared),
        change(ChangeKind.UPDATE_ADDRESS, 3, address=shared),
        change(ChangeKind.REPLACE, 4, old=3, address=shared),
    ):
        assert why_not(nodes, client, request).endswith(": peer=n2:7401 is node 2's")
    assert isinstance(ask(nodes, client, change(ChangeKind.UPDATE_ADDRESS, 2)), dict)
    assert isinstance(ask(nodes, client, change(ChangeKind.REPLACE, 4, old=2, address=places(2))), dict)


def test_leadership_is_handed_over() -> None:
    """To whoever is best prepared, or to whom it was told; to itself there is nothing to do."""
    nodes, leader = cluster()
    client = leader.client()
    assert ask(nodes, client, transfer(leader.node_id)) == {"target": leader.node_id}
    answer = ask(nodes, client, transfer())
    assert isinstance(answer, dict)
    target = NodeId(answer["target"])
    assert target != leader.node_id
    nodes.advance_until(lambda: nodes.leader is not None and nodes.leader.node_id == target)
    back = ask(nodes, nodes.servers[target].client(), transfer(leader.node_id))
    assert back == {"target": leader.node_id}


@pytest.mark.parametrize("request_", [change(ChangeKind.ADD_VOTER, 4), transfer()], ids=["change", "transfer"])
def test_only_the_leader_and_only_for_administrators(request_: Request) -> None:
    """A follower redirects; whoever may not is denied everywhere; a wrong body is answered; a stopping node stops."""
    nodes, leader = cluster()
    follower = next(server for server in nodes.servers.values() if server is not leader)
    nodes.advance_until(lambda: follower.raft.leader_id == leader.node_id)
    redirected = refusal_of(nodes, follower.client(), request_)
    assert (redirected.code, redirected.leader_id) == (RefusalCode.NOT_LEADER, leader.node_id)
    for server in (leader, follower):
        assert refusal_of(nodes, server.client("bob"), request_).code is RefusalCode.DENIED
    malformed = request_[0], request_[1] + b"x"
    assert refusal_of(nodes, leader.client(), malformed).code is RefusalCode.BAD_REQUEST
    leader.gateway.admission.is_draining = True
    assert refusal_of(nodes, leader.client(), request_).code is RefusalCode.STOPPING
    assert leader.raft.membership_index == 0
    assert leader.raft.transfer_target is None


@pytest.mark.parametrize("request_", [change(ChangeKind.ADD_LEARNER, 4), transfer()], ids=["change", "transfer"])
def test_who_does_not_read_changes_nothing(request_: Request) -> None:
    """OVERLOADED says that nothing was done, so it is said before anything is."""
    nodes, leader = cluster()
    client = leader.client()
    client.channel.unsent_bytes = UNREAD_BYTES_MAX + 1
    assert refusal_of(nodes, client, request_).code is RefusalCode.OVERLOADED
    assert leader.raft.membership_index == 0
    assert leader.raft.transfer_target is None
    client.channel.unsent_bytes = 0
    assert isinstance(ask(nodes, client, request_), dict)


def test_what_passes_by_itself_is_worth_another_try() -> None:
    """A leader that has committed nothing yet says so in a code that clients repeat on."""
    server = Server(size=3)
    server.become_leader()
    body = bytes(BODY_OFFSET) + encode_change(ChangeKind.ADD_VOTER, 4, address=places(4))
    refusal = Administration(server.raft).change(decode_change(body))
    assert refusal == Refusal(RefusalCode.NO_LEADER, "cannot add node 4: the leader has only just been elected")
