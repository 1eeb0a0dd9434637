import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from raftd import pki
from raftd.pki import Purpose, check_files
from raftd.pki.certificates import load_certificate, validity
from raftd.wire.identity import Identity, authority_identity, node_identity, user_identity
from tests.pki.test_certificates import foreign

NODE = node_identity("demo", 1)


def check(directory: Path, *, identity: Identity = NODE, now: datetime | None = None) -> list[str]:
    return check_files(
        authority=directory / "peer-ca.crt",
        certificate=directory / "node-1.peer.crt",
        key=directory / "node-1.peer.key",
        identity=identity,
        purpose=Purpose.PEER,
        now=now,
    )


def test_what_was_issued_is_without_problem(directory: Path) -> None:
    """For each of the three purposes."""
    assert check(directory) == []
    for file, identity, purpose in (
        ("node-1.client", NODE, Purpose.SERVER),
        ("user-admin", user_identity("demo", "admin"), Purpose.USER),
    ):
        problems = check_files(
            authority=directory / "client-ca.crt",
            certificate=directory / f"{file}.crt",
            key=directory / f"{file}.key",
            identity=identity,
            purpose=purpose,
        )
        assert problems == []


def encrypt(path: Path) -> None:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )


def unknown_kind(path: Path) -> None:
    """A whole key, whose algorithm nobody has heard of."""
    key = ed25519.Ed25519PrivateKey.generate()
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_text(ssl.DER_cert_to_PEM_cert(der.replace(b"\x2b\x65\x70", b"\x2b\x65\x63")))
    path.write_text(path.read_text().replace("CERTIFICATE", "PRIVATE KEY"))


@pytest.mark.parametrize(
    ("file", "damage", "problem"),
    [
        ("peer-ca.crt", Path.unlink, "cannot read {}: No such file"),
        ("node-1.peer.crt", Path.unlink, "cannot read {}: No such file"),
        ("node-1.peer.key", Path.unlink, "cannot read {}: No such file"),
        ("peer-ca.crt", lambda path: path.write_text("x"), "{} holds no certificate in PEM form"),
        (
            "node-1.peer.crt",
            lambda path: path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "{} holds a damaged certificate",
        ),
        (
            "node-1.peer.crt",
            lambda path: path.write_bytes(foreign().public_bytes(serialization.Encoding.PEM)),
            "{}: the certificate names no identity",
        ),
        ("node-1.peer.key", lambda path: path.write_text("x"), "{} holds no private key"),
        ("node-1.peer.key", encrypt, "{} is encrypted"),
        ("node-1.peer.key", lambda path: path.chmod(0o644), "{} is open to others (mode 0644)"),
        ("node-1.peer.key", lambda path: path.chmod(0o601), "{} is open to others (mode 0601)"),
        ("node-1.peer.key", lambda path: path.chmod(0o660), "{} is open to others (mode 0660)"),
        (
            "node-1.peer.key",
            lambda path: path.write_bytes((path.parent / "peer-ca.key").read_bytes()),
            "{} is not the key of ",
        ),
        (
            "node-1.peer.crt",
            lambda path: path.write_bytes((path.parent / "user-admin.crt").read_bytes()),
            "{} is the certificate of user admin of demo, not of node 1 of demo",
        ),
        (
            "peer-ca.crt",
            lambda path: path.write_bytes((path.parent / "client-ca.crt").read_bytes()),
            "as a server: unable to get local issuer certificate",
        ),
    ],
)
def test_each_defect_is_named(directory: Path, file: str, damage: Callable[[Path], object], problem: str) -> None:
    """In one line, with the file's name."""
    damage(directory / file)
    problems = check(directory)
    assert any(problem.format(directory / file) in found for found in problems)
    assert all("\n" not in found for found in problems)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_group_may_read_a_key(directory: Path, mode: int) -> None:
    """Packages install keys as root:raftd 0640."""
    (directory / "node-1.peer.key").chmod(mode)
    assert check(directory) == []


def test_all_defects_are_named_at_once(directory: Path) -> None:
    """One run is enough."""
    (directory / "peer-ca.crt").unlink()
    (directory / "node-1.peer.key").chmod(0o666)
    assert len(check(directory, identity=node_identity("other", 2))) == 3


def test_another_node_or_cluster_is_told(directory: Path) -> None:
    """Both what the certificate says and what is expected."""
    (problem,) = check(directory, identity=node_identity("demo", 2))
    assert "is the certificate of node 1 of demo, not of node 2 of demo" in problem
    problems = check(directory, identity=node_identity("prod", 1))
    assert any("is an authority of the cluster demo, not of prod" in found for found in problems)
    assert any("is the certificate of node 1 of demo, not of node 1 of prod" in found for found in problems)
    (problem,) = check(directory, identity=user_identity("demo", "1"))
    assert "is the certificate of node 1 of demo, not of user 1 of demo" in problem
    (problem,) = check(directory, identity=authority_identity("demo", "peer"))
    assert "is the certificate of node 1 of demo, not of authority peer of demo" in problem


def test_a_key_of_an_unknown_kind_is_named(directory: Path) -> None:
    """Some versions of the library call it unsupported, and older ones damaged."""
    path = directory / "node-1.peer.key"
    unknown_kind(path)
    (problem,) = check(directory)
    assert problem.startswith((f"{path} cannot be used: ", f"{path} holds no private key"))


def test_an_authority_need_not_be_one_of_raftd(directory: Path) -> None:
    """An enterprise's says nothing of a cluster, and is judged by its time alone."""
    path = directory / "peer-ca.crt"
    path.write_bytes(foreign().public_bytes(serialization.Encoding.PEM) + path.read_bytes())
    (problem,) = check(directory)
    assert problem.startswith(f"{path} expired on ")


def test_expiry_is_told_with_its_date(directory: Path) -> None:
    """For the leaf alone, then for the authority too; and a clock that is behind is suspected."""
    now = datetime.now(UTC)
    assert [("expired on" in found) for found in check(directory, now=now + timedelta(days=366))] == [True]
    assert len(check(directory, now=now + timedelta(days=3651))) == 2
    early = check(directory, now=now - timedelta(days=1))
    assert [("is this machine's clock right?" in found) for found in early] == [True, True]
    first, last = validity(load_certificate(directory / "node-1.peer.crt"))
    assert check(directory, now=first) == check(directory, now=last) == []
    assert len(check(directory, now=last + timedelta(seconds=1))) == 1
    files = pki.issue_node(directory, 1, ["n1"], days=1, now=now - timedelta(days=9), overwrite=True)
    assert [str(files.peer.certificate) in found for found in check(directory)] == [True]


def test_what_only_time_can_mend_is_told_apart(directory: Path) -> None:
    """In the very words of the check, and nothing else that is wrong."""
    authority, certificate = directory / "peer-ca.crt", directory / "node-1.peer.crt"
    now = datetime.now(UTC)
    assert pki.not_yet_valid(authority=authority, certificate=certificate) == []
    assert pki.not_yet_valid(authority=authority, certificate=certificate, now=now + timedelta(days=3651)) == []
    yesterday = now - timedelta(days=1)
    early = pki.not_yet_valid(authority=authority, certificate=certificate, now=yesterday)
    assert early == check(directory, now=yesterday)
    authority.write_text("nothing")
    assert pki.not_yet_valid(authority=authority, certificate=certificate, now=yesterday) == early[1:]
