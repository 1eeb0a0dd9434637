from collections.abc import Callable

from raftd.consensus.types import NodeId
from raftd.http.discovery import discovery_document
from raftd.http.view import NodeStatus, PeerStatus

PEERS = (PeerStatus(NodeId(2), True, http_address="n2.example:7402"), PeerStatus(NodeId(3), True))


def test_every_member_is_a_target(leader_with: Callable[..., NodeStatus]) -> None:
    """Each member whose address is known, this node among them, with labels that tell it from the others."""
    assert discovery_document(leader_with(peers=PEERS)) == [
        {"targets": ["n1.example:7402"], "labels": {"cluster": "demo", "node": "1"}},
        {"targets": ["n2.example:7402"], "labels": {"cluster": "demo", "node": "2"}},
    ]


def test_a_node_that_is_no_member_is_no_target(leader_with: Callable[..., NodeStatus]) -> None:
    """A node that was removed tells of the others, and not of itself."""
    document = discovery_document(leader_with(peers=PEERS, is_voter=False))
    assert [each["targets"] for each in document] == [["n2.example:7402"]]
