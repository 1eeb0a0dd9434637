from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raftd import pki
from raftd.daemon.credentials import (
    Credentials,
    check_files,
    read_credentials,
    readable_certificates,
    wait_for_credentials,
)
from raftd.daemon.patience import PATIENCE_SECONDS
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


def issue(settings: Path, days: float) -> None:
    """Give the node certificates as they would have been issued so many days from now."""
    issued = datetime.now(UTC) + timedelta(days=days)
    pki.issue_node(settings.parent / "pki", 1, ["localhost"], overwrite=True, now=issued)


class Boot:
    """A host whose clock is behind, and is set at some time, if it is; its seconds are the test's."""

    def __init__(self, settings: Path, set_after: float | None = None) -> None:
        self.settings = settings
        self.set_after = set_after
        self.now = 0.0
        self.statuses: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.set_after is not None and self.now >= self.set_after:
            issue(self.settings, 0.0)

    def wait(self) -> Credentials:
        node = load(self.settings).node(1)
        return wait_for_credentials(node, self.statuses.append, clock=lambda: self.now, sleep=self.sleep)


def test_a_clock_that_is_not_set_yet_is_waited_for(settings: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a host that boots with one would use up the starts that systemd allows; it is told what is waited for."""
    issue(settings, 2.0)
    boot = Boot(settings, set_after=30.0)
    assert boot.wait().found
    assert 30.0 <= boot.now <= 36.0
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("waits for the time: ")
    assert line.count("is valid only from") == 2
    assert set(boot.statuses) == {line.replace("waits", "waiting")}


def test_a_clock_that_is_never_set_ends_the_node(settings: Path) -> None:
    """With the reason; after so long that systemd starts it again for as long as it takes."""
    issue(settings, 2.0)
    boot = Boot(settings)
    with pytest.raises(TlsError, match="is this machine's clock right"):
        boot.wait()
    assert boot.now >= PATIENCE_SECONDS


@pytest.mark.parametrize("days", [-800.0, 2.0])
def test_what_time_does_not_mend_is_told_at_once(settings: Path, days: float, caplog: pytest.LogCaptureFixture) -> None:
    """An expired certificate; and what is wrong besides one that is not valid yet."""
    issue(settings, days)
    if days > 0:
        load(settings).node(1).client_tls.key.unlink()
    boot = Boot(settings)
    with pytest.raises(TlsError, match="expired on" if days < 0 else r"client\.key"):
        boot.wait()
    assert (boot.now, boot.statuses, caplog.records) == (0.0, [], [])
