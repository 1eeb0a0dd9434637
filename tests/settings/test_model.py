import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.consensus.types import NodeId
from raftd.errors import SettingsError
from raftd.kv.access import Operation
from raftd.settings import Address, Settings


def test_each_node_gets_its_own_view(valid: str, load_text: Callable[[str], Settings], tmp_path: Path) -> None:
    """Paths are relative to the file and carry the node's id; the others are its peers."""
    node = load_text(valid).node(2)
    assert node.node_id == 2
    assert [peer.id for peer in node.peers] == [1, 3]
    assert node.data_directory == Path("/var/lib/raftd/2")
    assert node.peer_tls.key == tmp_path / "pki/node-2.peer.key"
    assert node.client_tls.certificate == tmp_path / "pki/node-2.client.crt"
    assert node.client_tls.authority == tmp_path / "pki/client-ca.crt"
    assert node.client_listen == node.client_address == Address("n2.example.net", 7400)


def test_listen_stands_over_the_advertised_address(valid: str, load_text: Callable[[str], Settings]) -> None:
    """Only for binding, and only where it is given."""
    node = load_text(valid + 'listen: {http: "[::]"}\n').node(1)
    assert node.http_listen == Address("::", 7402)
    assert node.http_address == Address("n1.example.net", 7402)
    assert node.peer_listen == node.peer_address


@pytest.mark.parametrize("port", ["client", "peer", "http"])
def test_each_port_can_be_bound_elsewhere(valid: str, load_text: Callable[[str], Settings], port: str) -> None:
    """And only that one is; others are told the same address as ever."""
    plain = load_text(valid).node(2)
    node = load_text(valid + f"listen: {{{port}: 10.0.0.1}}\n").node(2)
    for name in ("client", "peer", "http"):
        advertised = getattr(plain, f"{name}_address")
        bound = Address("10.0.0.1", advertised.port) if name == port else advertised
        assert (getattr(node, f"{name}_address"), getattr(node, f"{name}_listen")) == (advertised, bound)


def test_who_starts_the_cluster_and_where_all_are(valid: str, load_text: Callable[[str], Settings]) -> None:
    """A node that joins has addresses like any other, and is none of the first voters."""
    address = "    http_address: n3.example.net\n"
    node = load_text(valid.replace(address, f"{address}    joins: true\n    no_lead: true\n")).node(3)
    assert node.bootstrap_voters == {1, 2}
    assert [str(addresses.peer) for addresses in node.members.values()] == [
        "n1.example.net:7401", "n2.example.net:7401", "n3.example.net:7401",
    ]  # fmt: skip
    assert (
        str(node.members[NodeId(3)]) == "client=n3.example.net:7400,peer=n3.example.net:7401,http=n3.example.net:7402"
    )
    assert node.no_lead == {NodeId(3)}
    assert not load_text(valid).node(3).no_lead


def test_what_part_two_added_has_defaults(valid: str, load_text: Callable[[str], Settings]) -> None:
    """A file from before is read as one that says nothing about it."""
    node = load_text(valid).node(1)
    assert (node.limits.snapshot_log_bytes, node.limits.log_tail_entries) == (64 << 20, 10_000)
    assert (node.reads.lease, node.reads.clock_drift) == (False, 0.1)
    node = load_text(valid + "limits: {snapshot_log_size: 1MiB}\nreads: {lease: true, clock_drift: 0.05}\n").node(1)
    assert (node.limits.snapshot_log_bytes, node.reads.lease, node.reads.clock_drift) == (1 << 20, True, 0.05)


def test_an_unknown_node_is_refused(valid: str, load_text: Callable[[str], Settings]) -> None:
    """And the known ones are named."""
    with pytest.raises(SettingsError, match="there is no node 4; the file names 1, 2, 3"):
        load_text(valid).node(4)


def test_the_fingerprint_is_about_meaning(valid: str, load_text: Callable[[str], Settings]) -> None:
    """Comments, spelling, order and defaults written out make no difference; any value does."""
    fingerprint = load_text(valid).fingerprint
    assert len(fingerprint) == 16
    assert fingerprint == load_text("# new\n" + valid + "timing: {heartbeat: 0.1s, tick: 50 ms}\n").fingerprint
    assert load_text(valid).node(1).fingerprint == load_text(valid).node(2).fingerprint == fingerprint
    for old, new in (("demo", "demo2"), ("id: 3", "id: 4"), ("app/", "apps/"), ("6f9c", "6f9d"), ("n3", "n4")):
        assert load_text(valid.replace(old, new, 1)).fingerprint != fingerprint
    assert load_text(valid + "log: {level: debug}\n").fingerprint != fingerprint


def test_access_lines_come_to_rules(valid: str, load_text: Callable[[str], Settings]) -> None:
    """Deny by default; a star is the rest of a name; admin is a right of its own."""
    rules = load_text(valid).node(1).access_rules
    assert rules.allows("admin", Operation.WRITE, b"x")
    assert rules.of("admin").administers
    assert rules.allows("app-7", Operation.READ, b"app/x")
    assert not rules.allows("app-7", Operation.WRITE, b"app/x")
    assert not rules.allows("app-7", Operation.READ, b"x")
    assert not rules.of("app-7").administers
    assert not rules.allows("eve", Operation.READ, b"app/x")


def test_a_node_s_settings_are_told_without_secrets(valid: str, load_text: Callable[[str], Settings]) -> None:
    """All of them, as JSON has them; of a key it is told where it is, never what it is."""
    node = load_text(valid).node(1)
    plain = json.loads(json.dumps(node.plain))
    assert set(plain) == {field.name for field in dataclasses.fields(node)} - {"access"}
    assert plain["timing"]["heartbeat_seconds"] == 0.1
    assert plain["client_tls"]["key"] == str(node.client_tls.key)
    assert [line["allow"] for line in plain["whole"]["document"]["access"]] == [["read", "write", "admin"], ["read"]]
    assert plain["whole"]["document"]["listen"] == {"client": None, "peer": None, "http": None}
