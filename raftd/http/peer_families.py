"""The metrics of the other members, as this node sees them."""

from collections.abc import Iterable
from typing import Final

from raftd.http.family import Sample, counter, labelled_gauge, peer_counter, peer_gauge
from raftd.http.view import NodeStatus, ReplicationState


def _states(status: NodeStatus) -> Iterable[Sample]:
    return [
        ((str(peer.node_id), state.value), peer.state is state) for peer in status.peers for state in ReplicationState
    ]


PEER_FAMILIES: Final = (
    peer_gauge("raftd_peer_connected", "Whether the link to the peer stands.", lambda p: p.connected),
    labelled_gauge(
        "raftd_peer_state",
        "1 for the way in which this node, as leader, feeds the peer.",
        ("peer", "state"),
        _states,
    ),
    peer_gauge(
        "raftd_peer_contact_age_seconds",
        "How long ago the peer was heard; absent where this node does not lead.",
        lambda p: p.contact_seconds,
    ),
    peer_gauge(
        "raftd_peer_match_index",
        "Last entry known to be stored by the peer; 0 where this node does not lead.",
        lambda p: p.match_index,
    ),
    peer_gauge(
        "raftd_peer_lag_entries",
        "Entries that the peer is not known to have stored; 0 where this node does not lead.",
        lambda p: p.lag_entries,
    ),
    peer_gauge(
        "raftd_peer_in_flight_bytes", "Entries sent to the peer and not answered yet.", lambda p: p.in_flight_bytes
    ),
    peer_gauge("raftd_peer_queued_bytes", "Frames that wait for the peer's socket.", lambda p: p.queued_bytes),
    peer_gauge(
        "raftd_peer_queued_bytes_max",
        "With more bytes waiting, messages to the peer are dropped.",
        lambda p: p.queued_bytes_max,
    ),
    peer_counter("raftd_peer_sent_bytes_total", "Bytes of messages sent to the peer.", lambda p: p.sent_bytes),
    peer_counter(
        "raftd_peer_received_bytes_total", "Bytes of messages received from the peer.", lambda p: p.received_bytes
    ),
    peer_counter("raftd_peer_connect_failures_total", "Vain attempts to reach the peer.", lambda p: p.connect_failures),
    peer_counter("raftd_peer_disconnects_total", "Links to the peer that were lost.", lambda p: p.disconnects),
    peer_gauge(
        "raftd_clock_difference_seconds",
        "How far this node's wall clock is ahead of the peer's; a follower knows of its leader's only.",
        lambda p: p.clock_difference_seconds,
    ),
    peer_gauge(
        "raftd_peer_state_diverged",
        "Whether the peer's state was found to differ from this node's as of the same entry.",
        lambda p: p.diverged,
    ),
    counter(
        "raftd_messages_dropped_total",
        "Messages to peers that were not connected or whose queue was full.",
        lambda c: c.messages_dropped,
    ),
)
