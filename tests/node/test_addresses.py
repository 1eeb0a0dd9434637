"""Whose word counts on where a member is, and what is shown when the file says otherwise."""

from raftd.consensus import NO_MEMBERSHIP, Membership
from raftd.consensus.types import NodeId
from raftd.node.addresses import client_address, replicated_addresses, settings_differ
from raftd.wire.address import Address
from raftd.wire.members import MemberAddresses

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def places(host: str) -> MemberAddresses:
    return MemberAddresses(Address(host, 7400), Address(host, 7401), Address(host, 7402))


SETTINGS = {ONE: places("n1"), TWO: places("n2")}


def differences(membership: Membership) -> list[tuple[int, str]]:
    return [(each.node_id, each.difference) for each in settings_differ(membership, SETTINGS)]


def test_the_membership_comes_first() -> None:
    """The settings are for what the cluster has never said."""
    membership = Membership(frozenset({ONE, TWO}), addresses={ONE: str(places("moved")), TWO: "from the future"})
    settings = {node: str(addresses.client) for node, addresses in SETTINGS.items()}
    assert client_address(membership, ONE, settings) == "moved:7400"
    assert client_address(membership, TWO, settings) == "n2:7400"
    assert client_address(membership, THREE, settings) == ""
    assert replicated_addresses(membership, ONE) == places("moved")
    assert replicated_addresses(membership, TWO) is None


def test_no_difference() -> None:
    """Addresses that were never replicated cannot differ, and a node that knows no membership says nothing."""
    assert differences(Membership(frozenset({ONE, TWO}))) == []
    here = Membership(frozenset({ONE}), learners=frozenset({TWO}), addresses={ONE: str(places("n1"))})
    assert differences(here) == []
    assert differences(NO_MEMBERSHIP) == []


def test_every_difference_is_named() -> None:
    """By whom it is about, and with what both say."""
    moved = MemberAddresses(Address("n1", 7400), Address("n9", 7401), Address("n9", 7402))
    membership = Membership(frozenset({ONE}), learners=frozenset({THREE}), addresses={ONE: str(moved)})
    assert differences(membership) == [
        (1, "peer address is n9:7401, and in raftd.yaml n1:7401"),
        (1, "http address is n9:7402, and in raftd.yaml n1:7402"),
        (2, "in raftd.yaml, and no member"),
        (3, "a member, and not in raftd.yaml"),
    ]
