import stat
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftd import pki
from raftd.errors import TlsError
from raftd.pki.certificates import load_certificate, validity
from raftd.pki.issue import create_next_authority
from raftd.wire.identity import IdentityError
from tests.pki.test_certificates import foreign

BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def key_usage(*, digital_signature: bool, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def test_an_authority_can_sign_certificates_and_nothing_else(directory: Path) -> None:
    """Basic constraints and key usage are critical; no authority below it; its cluster is its identity."""
    for name in ("peer", "client"):
        certificate = load_certificate(directory / f"{name}-ca.crt")
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
        assert usage.critical
        assert usage.value == key_usage(digital_signature=False, certificates=True)
        critical = {type(each.value) for each in certificate.extensions if each.critical}
        assert critical == {x509.BasicConstraints, x509.KeyUsage}
        assert pki.identity_of_certificate(certificate).uri == f"raftd://demo/authority/{name}"
    assert pki.cluster_of(directory) == "demo"


@pytest.mark.parametrize(
    ("file", "uri", "usages", "hosts"),
    [
        ("node-1.peer", "raftd://demo/node/1", BOTH, ("localhost", "127.0.0.1", "::1")),
        ("node-1.client", "raftd://demo/node/1", BOTH[:1], ("localhost", "127.0.0.1", "::1")),
        ("user-admin", "raftd://demo/user/admin", BOTH[1:], ()),
    ],
)
def test_a_leaf_says_whose_it_is_and_what_for(
    directory: Path, file: str, uri: str, usages: list[x509.ObjectIdentifier], hosts: tuple[str, ...]
) -> None:
    """Identity, use and hosts, on a P-256 key, with the extensions that strict verification asks for."""
    certificate = load_certificate(directory / f"{file}.crt")
    extensions = certificate.extensions
    assert pki.describe(directory / f"{file}.crt").alternative_names == (uri, *hosts)
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert not constraints.value.ca
    assert usage.critical
    assert usage.value == key_usage(digital_signature=True, certificates=False)
    assert len(extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest) == 20
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier is not None
    assert {type(each.value) for each in extensions if each.critical} == {x509.BasicConstraints, x509.KeyUsage}
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_certificates_hold_from_a_little_before_to_the_given_day(directory: Path) -> None:
    """Clocks differ by minutes; a leaf holds a year by default, an authority ten."""
    now = datetime(2030, 1, 1, 12, tzinfo=UTC)
    files = pki.issue_user(directory, "eve", days=10, now=now)
    assert validity(load_certificate(files.certificate)) == (now - timedelta(minutes=5), now + timedelta(days=10))
    node = pki.issue_node(directory, 7, ["n7"], days=9, now=now)
    for pair in (node.peer, node.client):
        assert validity(load_certificate(pair.certificate)) == (now - timedelta(minutes=5), now + timedelta(days=9))
    pki.renew(directory, files, "client", days=8, now=now)
    assert validity(load_certificate(files.certificate)) == (now - timedelta(minutes=5), now + timedelta(days=8))
    following = create_next_authority(directory, "peer", days=7, now=now)
    assert validity(load_certificate(following.certificate)) == (now - timedelta(minutes=5), now + timedelta(days=7))
    (first, _) = pki.create_authorities(directory / "new", "demo", days=36_500, now=now)
    assert validity(load_certificate(first.certificate)) == (now - timedelta(minutes=5), now + timedelta(days=36_500))
    brief = pki.issue_user(directory, "brief", days=60 / 86_400, now=now)
    assert validity(load_certificate(brief.certificate))[1] == now + timedelta(minutes=1)
    briefest = pki.issue_user(directory, "briefest", days=1 / 86_400, now=now)
    assert validity(load_certificate(briefest.certificate))[1] == now + timedelta(seconds=1)
    for file, days in (("user-admin", 365), ("node-1.peer", 365), ("peer-ca", 3650)):
        start, end = validity(load_certificate(directory / f"{file}.crt"))
        assert end - start == timedelta(days=days, minutes=5)


def test_a_leaf_does_not_outlive_its_authority(tmp_path: Path) -> None:
    """It could not be used any more, and would seem to be usable."""
    pki.create_authorities(tmp_path, "demo", days=10)
    files = pki.issue_user(tmp_path, "eve", days=365)
    authority_end = validity(load_certificate(tmp_path / "client-ca.crt"))[1]
    assert validity(load_certificate(files.certificate))[1] == authority_end
    last = pki.issue_user(tmp_path, "last", now=authority_end)
    assert validity(load_certificate(last.certificate))[1] == authority_end
    with pytest.raises(TlsError, match="expired"):
        pki.issue_user(tmp_path, "late", now=authority_end + timedelta(seconds=1))


def test_the_longest_names_and_the_most_hosts_are_issued_to(directory: Path) -> None:
    """A common name has 64 characters at most, which is no bound for who is meant; a host is named once."""
    name = "x" * 63
    certificate = load_certificate(pki.issue_user(directory, name).certificate)
    assert pki.identity_of_certificate(certificate).user == name
    (shown,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert shown.value == f"user {name}"[:64]
    hosts = [f"n{number}" for number in range(100)]
    files = pki.issue_node(directory, 2, hosts)
    assert pki.describe(files.peer.certificate).alternative_names[1:] == tuple(hosts)
    files = pki.issue_node(directory, 3, ["n3", "10.0.0.3", "n3"])
    names = load_certificate(files.peer.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value)[1:] == [x509.DNSName("n3"), x509.IPAddress(IPv4Address("10.0.0.3"))]


def test_serials_and_keys_are_never_the_same(directory: Path) -> None:
    """Not even those of one node's two certificates."""
    certificates = [load_certificate(path) for path in directory.glob("*.crt")]
    assert len(certificates) == 5
    assert len({certificate.serial_number for certificate in certificates}) == 5
    assert len({path.read_bytes() for path in directory.glob("*.key")}) == 5


def test_modes_are_closed(directory: Path) -> None:
    """Keys 0600, their directory 0700."""
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.glob("*.key")} == {0o600}


def test_nothing_is_overwritten_unless_asked(directory: Path) -> None:
    """One file that is there keeps all of them as they are; overwriting makes new ones."""
    before = {path: path.read_bytes() for path in directory.iterdir()}
    (directory / "node-1.peer.crt").unlink()
    with pytest.raises(pki.WouldOverwriteError, match="nothing was written"):
        pki.issue_node(directory, 1, ["n1"])
    with pytest.raises(pki.WouldOverwriteError):
        pki.issue_user(directory, "admin")
    with pytest.raises(pki.WouldOverwriteError):
        pki.create_authorities(directory, "demo")
    assert not (directory / "node-1.peer.crt").exists()
    assert all(path.read_bytes() == data for path, data in before.items() if path.exists())
    pki.issue_node(directory, 1, ["n1"], overwrite=True)
    assert (directory / "node-1.client.key").read_bytes() != before[directory / "node-1.client.key"]


def test_half_of_a_pair_keeps_the_other_half_away(directory: Path) -> None:
    """A certificate without its key is not given another one, nor is an authority the half of a new pair."""
    for name in ("user-admin.key", "peer-ca.crt", "peer-ca.key", "client-ca.key"):
        (directory / name).rename(directory / f"{name}.away")
    before = sorted(directory.iterdir())
    with pytest.raises(pki.WouldOverwriteError, match=r"client-ca\.crt; nothing was written"):
        pki.create_authorities(directory, "demo")
    assert sorted(directory.iterdir()) == before
    (directory / "client-ca.key.away").rename(directory / "client-ca.key")
    with pytest.raises(pki.WouldOverwriteError, match=r"user-admin\.crt; nothing was written"):
        pki.issue_user(directory, "admin")
    assert not (directory / "user-admin.key").exists()


def test_only_what_is_of_this_cluster_and_of_raftd_is_renewed(directory: Path, tmp_path: Path) -> None:
    """Anything else is left as it is: its uses and names would be somebody else's."""
    pki.create_authorities(tmp_path / "other", "other")
    files = pki.issue_user(tmp_path / "other", "eve")
    with pytest.raises(TlsError, match="is of the cluster other, not demo"):
        pki.renew(directory, files, "client")
    files.certificate.write_bytes(foreign().public_bytes(serialization.Encoding.PEM))
    before = (files.certificate.read_bytes(), files.key.read_bytes())
    with pytest.raises(TlsError, match="is not a certificate that raftd made"):
        pki.renew(directory, files, "client")
    assert (files.certificate.read_bytes(), files.key.read_bytes()) == before


def test_whose_cluster_it_is_only_an_authority_says(directory: Path) -> None:
    """Neither a foreign one nor a user that is called client."""
    path = directory / "client-ca.crt"
    pki.issue_user(directory, "client").certificate.replace(path)
    with pytest.raises(TlsError, match="is raftd://demo/user/client, not a client authority"):
        pki.cluster_of(directory)
    path.write_bytes(foreign().public_bytes(serialization.Encoding.PEM))
    with pytest.raises(TlsError, match="is not an authority that raftd made"):
        pki.cluster_of(directory)


def test_wrong_arguments_write_nothing(directory: Path) -> None:
    """Names, ids, hosts and days are checked before any file is made."""
    before = sorted(directory.iterdir())
    for name in ("../x", "", "a b", "x" * 64):
        with pytest.raises(IdentityError):
            pki.issue_user(directory, name)
    with pytest.raises(IdentityError):
        pki.issue_node(directory, 0, ["n1"])
    for hosts in ([], ["n1:7400"], ["[::1]"], ["*.example.net"], ["a b"], ["n"] * 101):
        with pytest.raises(TlsError):
            pki.issue_node(directory, 2, hosts)
    for days in (0, -1, 1e-9, 0.9 / 86_400, 36_501):
        with pytest.raises(TlsError, match="days"):
            pki.issue_user(directory, "eve", days=days)
        with pytest.raises(TlsError, match="days"):
            pki.issue_node(directory, 2, ["n1"], days=days)
    with pytest.raises(IdentityError):
        pki.create_authorities(directory / "new", "Demo")
    assert sorted(directory.iterdir()) == before


def test_an_authority_that_cannot_issue_is_refused_with_the_reason(directory: Path, tmp_path: Path) -> None:
    """Absent, expired, with another's key, damaged, of the other kind, or of another cluster."""
    with pytest.raises(TlsError, match="raftctl pki init"):
        pki.issue_user(tmp_path / "none", "eve")
    with pytest.raises(TlsError, match="expired"):
        pki.issue_user(directory, "eve", now=datetime.now(UTC) + timedelta(days=3651))
    key = directory / "client-ca.key"
    good = key.read_bytes()
    for data, reason in (
        ((directory / "peer-ca.key").read_bytes(), "is not the key of"),
        (b"x", "holds no private key"),
        (good[:100] + b"\n-----END PRIVATE KEY-----\n", "holds no private key"),
    ):
        key.write_bytes(data)
        with pytest.raises(TlsError, match=reason):
            pki.issue_user(directory, "eve")
    key.write_bytes((directory / "peer-ca.key").read_bytes())
    (directory / "client-ca.crt").write_bytes((directory / "peer-ca.crt").read_bytes())
    with pytest.raises(TlsError, match="not a client authority"):
        pki.issue_user(directory, "eve")
    pki.create_authorities(tmp_path / "other", "other")
    for name in ("client-ca.crt", "client-ca.key"):
        (directory / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(TlsError, match="two clusters"):
        pki.issue_node(directory, 2, ["n2"])
