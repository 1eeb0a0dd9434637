from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import serialization

from raftd.cli.cert_probe import Port, ports_of, row_of, shortened, unreachable
from raftd.client import Unavailable
from raftd.pki import create_authorities, describe, issue_node
from raftd.pki.certificates import load_certificate
from raftd.wire.address import Address
from tests.cli.test_can_stop import answers, status

ADDRESSES = {str(node): f"client=n{node}:7400,peer=n{node}:7401,http=n{node}:7402" for node in (1, 2, 3)}
NOW = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    create_authorities(directory, "demo")
    issue_node(directory, 1, ["localhost"], days=90)
    return directory


def der(path: Path) -> bytes:
    return load_certificate(path).public_bytes(serialization.Encoding.DER)


def told(directory: Path) -> dict[str, Any]:
    """What a node tells of the authorities that it trusts."""
    authority = describe(directory / "peer-ca.crt")
    entry = {"port": "peer", "kind": "authority", "fingerprint": authority.fingerprint, "key_id": authority.key_id}
    return {"configuration": {"certificates": [entry, {**entry, "kind": "certificate"}, {**entry, "port": "client"}]}}


def test_both_ports_of_each_member_are_looked_at() -> None:
    """Where the membership says that they are, whether the node answers or not; else where the client would go."""
    three = status(3, membership={"addresses": ADDRESSES})
    ports = ports_of(answers(status(1), Unavailable("no"), three), ["n1:7400"])
    assert [(port.node, port.name, str(port.address)) for port in ports] == [
        (node, name, f"n{node}:{number}") for node in (1, 2, 3) for name, number in (("client", 7400), ("peer", 7401))
    ]
    assert [bool(port.told) for port in ports] == [True, True, False, False, True, True]
    (port,) = ports_of(answers(Unavailable("no")), ["n1:7400"])
    assert (port.node, port.name, str(port.address)) == (None, "client", "n1:7400")


def test_a_certificate_is_described_and_judged(directory: Path) -> None:
    """Whose, by which authority, until when; the issuer by its fingerprint where the node tells it, else by its key."""
    served = der(directory / "node-1.peer.crt")
    row = row_of(Port(1, "peer", Address("n1", 7401), told(directory)), served, NOW, 30)
    assert row["subject"] == "raftd://demo/node/1"
    assert row["issuer"] == describe(directory / "peer-ca.crt").fingerprint
    assert (row["days_left"], row["trusted"], row["ok"]) == (89, 1, True)
    assert shortened(row)["issuer"] == str(row["issuer"])[:16]
    silent = row_of(Port(1, "peer", Address("n1", 7401), {}), served, NOW, 30)
    assert (silent["issuer"], silent["trusted"]) == (None, None)
    assert str(shortened(silent)["issuer"]).startswith("key ")


@pytest.mark.parametrize(
    ("node", "later_days", "warn_days", "verdict"),
    [(1, 0, 90, "less than 90 days left"), (1, 91, 30, "expired"), (2, 0, 30, "not this node's"), (None, 0, 30, "ok")],
)
def test_what_is_wrong_is_said(
    directory: Path, node: int | None, later_days: int, warn_days: int, verdict: str
) -> None:
    """One thing, the worst."""
    now = NOW + timedelta(days=later_days)
    row = row_of(Port(node, "peer", Address("n1", 7401), {}), der(directory / "node-1.peer.crt"), now, warn_days)
    assert cast("Any", row["verdict"]).value == verdict
    assert row["ok"] == (verdict == "ok")


def test_a_port_that_shows_nothing_is_a_row_too() -> None:
    """With the reason."""
    row = shortened(unreachable(Port(1, "peer", Address("n1", 7401), {}), ConnectionRefusedError(111, "Refused")))
    assert (row["node"], row["ok"], cast("Any", row["verdict"]).value) == (1, False, "refused")
