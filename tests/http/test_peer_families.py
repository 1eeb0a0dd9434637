from collections.abc import Callable

from raftd.consensus.types import NodeId
from raftd.http.peer_families import PEER_FAMILIES
from raftd.http.view import NodeStatus, PeerStatus, ReplicationState
from tests.http.families import values_of


def test_each_peer_has_each_metric(leader_with: Callable[..., NodeStatus]) -> None:
    """All that is known of a peer is told under its id, and its state by a 1 among zeros."""
    peer = PeerStatus(
        NodeId(2),
        connected=True,
        state=ReplicationState.SNAPSHOT,
        lag_entries=3,
        queued_bytes_max=9,
        sent_bytes=4,
        received_bytes=5,
        connect_failures=6,
        disconnects=7,
        contact_seconds=0.25,
        diverged=True,
    )
    values = values_of(PEER_FAMILIES, leader_with(peers=(peer,)))
    assert values["raftd_peer_sent_bytes_total", "2"] == 4
    assert values["raftd_peer_received_bytes_total", "2"] == 5
    assert values["raftd_peer_connect_failures_total", "2"] == 6
    assert values["raftd_peer_disconnects_total", "2"] == 7
    assert values["raftd_peer_contact_age_seconds", "2"] == 0.25
    assert values["raftd_peer_lag_entries", "2"] == 3
    assert values["raftd_peer_queued_bytes_max", "2"] == 9
    assert values["raftd_peer_state_diverged", "2"] == 1
    states = {
        state: value for (name, *labels), value in values.items() if name == "raftd_peer_state" for state in labels[1:]
    }
    assert states == {"unknown": 0, "probe": 0, "replicate": 0, "snapshot": 1}
