"""Where members are: by the replicated membership, which is the truth, and before it says anything by the settings.

The two may differ: a change through `raftctl member` is in the one and not in the other, until somebody edits the file.
That is shown and never acted on. A file is not replicated, so a node that followed it could follow it alone.
"""

from collections.abc import Iterator, Mapping

from raftd.consensus.membership import Membership
from raftd.consensus.types import NodeId
from raftd.http.view import SettingsDifference
from raftd.wire.address import AddressError
from raftd.wire.members import MemberAddresses, parse_member_addresses


def replicated_addresses(membership: Membership, node_id: NodeId) -> MemberAddresses | None:
    """Where the membership says that a node is; None if it does not, or not in words that this version knows."""
    try:
        return parse_member_addresses(membership.addresses.get(node_id, ""))
    except AddressError:
        return None


def client_address(membership: Membership, node_id: NodeId, settings: Mapping[NodeId, str]) -> str:
    """Where clients reach a node, `host:port`; empty if nobody says."""
    addresses = replicated_addresses(membership, node_id)
    return settings.get(node_id, "") if addresses is None else str(addresses.client)


def http_address(membership: Membership, node_id: NodeId, settings: Mapping[NodeId, MemberAddresses]) -> str:
    """Where a node serves its status, `host:port`; empty if nobody says."""
    addresses = replicated_addresses(membership, node_id) or settings.get(node_id)
    return "" if addresses is None else str(addresses.http)


def settings_differ(membership: Membership, settings: Mapping[NodeId, MemberAddresses]) -> Iterator[SettingsDifference]:
    """In what `raftd.yaml` is not what the cluster has become, node by node; nothing where no membership is known."""
    if not membership.members:
        return
    for node_id in sorted(membership.members | settings.keys()):
        if node_id not in settings:
            yield SettingsDifference(node_id, "a member, and not in raftd.yaml")
            continue
        if node_id not in membership.members:
            yield SettingsDifference(node_id, "in raftd.yaml, and no member")
            continue
        replicated, here = replicated_addresses(membership, node_id), settings[node_id]
        if replicated is None:
            continue
        for name, there_address, here_address in zip(("client", "peer", "http"), replicated.all, here.all, strict=True):
            if there_address != here_address:
                yield SettingsDifference(
                    node_id, f"{name} address is {there_address}, and in raftd.yaml {here_address}"
                )
