from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raftd import pki
from raftd.daemon.credentials import check_files, read_credentials, readable_certificates
from raftd.errors import TlsError
from raftd.pki.rotation import trust_both
from raftd.settings import load


def test_all_certificates_of_a_node_are_found(settings: Path) -> None:
    """Its own and the authorities of both ports, each of a bundle, with what tells them apart."""
    trust_both(settings.parent / "pki", "peer")
    credentials = read_credentials(load(settings).node(1))
    kinds = [(each.port, each.kind) for each in credentials.statuses]
    assert kinds == [("peer", "certificate"), ("peer", "authority"), ("peer", "authority"),
                     ("client", "certificate"), ("client", "authority")]  # fmt: skip
    assert len({each.key_id for each in credentials.statuses}) == 5
    assert len(credentials.peer_trust.fingerprints) == 2
    assert all(each.not_after_seconds > datetime.now(UTC).timestamp() for each in credentials.statuses)


def test_what_can_be_read_is_found_without_the_rest(settings: Path) -> None:
    """One broken file hides no other; behind a node's own certificate nothing counts."""
    pki_directory = settings.parent / "pki"
    peer, client = pki_directory / "node-1.peer.crt", pki_directory / "node-1.client.crt"
    client.write_bytes(client.read_bytes() + peer.read_bytes())
    peer.write_text("broken")
    names = [info.path.name for info in readable_certificates(load(settings).node(1))]
    assert names == ["peer-ca.crt", "node-1.client.crt", "client-ca.crt"]


def test_what_has_changed_is_said_in_words(settings: Path) -> None:
    """By port, and by what it is."""
    node, directory = load(settings).node(1), settings.parent / "pki"
    before = read_credentials(node)
    assert before.differences(before) == []
    trust_both(directory, "client")
    pki.issue_node(directory, 1, ["localhost"], overwrite=True)
    after = read_credentials(node)
    assert after.differences(before) == ["the peer certificate", "the client certificate", "the client authorities"]


def test_what_expires_soon_is_told(settings: Path) -> None:
    """A month before, of authorities too."""
    credentials = read_credentials(load(settings).node(1))
    now = datetime.now(UTC)
    assert list(credentials.expiring(now)) == []
    late = [info.path.name for info in credentials.expiring(now + timedelta(days=340))]
    assert late == ["node-1.peer.crt", "node-1.client.crt"]


def test_a_file_that_cannot_be_used_is_named(settings: Path) -> None:
    """In one line, whatever else is wrong."""
    node = load(settings).node(1)
    node.client_tls.authority.write_text("nothing")
    node.peer_tls.key.unlink()
    assert len(check_files(node)) == 2
    with pytest.raises(TlsError) as caught:
        read_credentials(node)
    assert "\n" not in str(caught.value)
    assert str(node.client_tls.authority) in str(caught.value)
    assert str(node.peer_tls.key) in str(caught.value)
