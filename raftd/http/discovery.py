"""Whom Prometheus should scrape, by any node's word: its HTTP service discovery (`http_sd_configs`)."""

from raftd.http.view import NodeStatus


def discovery_document(status: NodeStatus) -> list[dict[str, object]]:
    """One target for each member whose HTTP address is known, with the labels `cluster` and `node`.

    Prometheus keeps what it was told last when nobody answers, so one node is enough to ask, and all may be.
    """
    members = {peer.node_id: peer.http_address for peer in status.peers}
    if status.is_voter or status.is_learner:
        members[status.node_id] = status.http_address
    return [
        {"targets": [address], "labels": {"cluster": status.cluster, "node": str(node_id)}}
        for node_id, address in sorted(members.items())
        if address
    ]
