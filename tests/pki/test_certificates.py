import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from raftd import pki
from raftd.errors import TlsError
from raftd.pki.certificates import load_authority_key, load_certificate, load_certificates
from raftd.wire.identity import IdentityError, node_identity


def foreign(*uris: str, extensions: Sequence[x509.ExtensionType] = ()) -> x509.Certificate:
    """A certificate that raftd did not make, with these URIs, and expired since yesterday."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "raftd://demo/node/1")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def test_identity_is_the_uri_and_never_the_common_name() -> None:
    """One URI raftd://… counts; a common name that looks like one does not."""
    assert pki.identity_of_certificate(foreign("https://x", "raftd://demo/node/7")) == node_identity("demo", 7)
    for uris in ((), ("https://x",), ("raftd://demo/node/1", "raftd://demo/node/2"), ("raftd://demo/node/01",)):
        with pytest.raises(IdentityError):
            pki.identity_of_certificate(foreign(*uris))


def test_identity_is_read_from_der(directory: Path) -> None:
    """As a connection presents it; garbage is an identity error, too."""
    der = ssl.PEM_cert_to_DER_cert((directory / "node-1.peer.crt").read_text())
    assert pki.identity_of(der) == node_identity("demo", 1)
    for garbage in (b"", b"x", der[:-1], der[: len(der) // 2]):
        with pytest.raises(IdentityError):
            pki.identity_of(garbage)


def test_a_description_says_what_openssl_would(directory: Path) -> None:
    """Whose, until when, by whom, and its fingerprint."""
    path = directory / "node-1.peer.crt"
    info = pki.describe(path)
    certificate = load_certificate(path)
    assert (info.kind, info.identity) == ("node", node_identity("demo", 1))
    assert info.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert info.serial == certificate.serial_number
    assert info.issuer == "CN=peer authority,O=demo"
    assert info.not_after.tzinfo is UTC
    assert not info.is_expired(datetime.now(UTC))
    assert info.is_expired(datetime.now(UTC) + timedelta(days=366))
    assert not info.is_expired(info.not_after)
    assert info.is_expired(info.not_after + timedelta(seconds=1))
    assert info.not_after - info.not_before == timedelta(days=365, minutes=5)
    assert info.alternative_names == ("raftd://demo/node/1", "localhost", "127.0.0.1", "::1")
    authority = pki.describe(directory / "peer-ca.crt")
    assert (len(authority.key_id), authority.issuer_key_id) == (40, "")
    assert info.issuer_key_id == authority.key_id != info.key_id


def test_a_foreign_certificate_is_described_too(tmp_path: Path) -> None:
    """Without an identity."""
    path = tmp_path / "f.crt"
    path.write_bytes(foreign().public_bytes(serialization.Encoding.PEM))
    info = pki.describe(path)
    assert (info.kind, info.identity, info.serial, info.alternative_names) == ("other", None, 7, ())
    assert info.is_expired(datetime.now(UTC))


def test_what_cannot_be_read_of_a_certificate_is_left_out(tmp_path: Path) -> None:
    """Names that are none, and an issuer's key that is named in another way, are no reason to show nothing."""
    path = tmp_path / "f.crt"
    garbled = foreign(extensions=[x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"x")])
    with pytest.raises(IdentityError, match="malformed"):
        pki.identity_of_certificate(garbled)
    path.write_bytes(garbled.public_bytes(serialization.Encoding.PEM))
    info = pki.describe(path)
    assert (info.kind, info.identity, info.alternative_names) == ("other", None, ())
    assert (info.key_id, info.issuer_key_id) == ("", "")
    by_serial = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(garbled.subject)], 7)
    der = foreign(extensions=[by_serial]).public_bytes(serialization.Encoding.DER)
    assert pki.describe_der(der, path).issuer_key_id == ""


def test_damage_is_one_line(tmp_path: Path) -> None:
    """Bytes that are no certificate, and one whose names are not text."""
    der = foreign().public_bytes(serialization.Encoding.DER)
    for data, reason in ((b"x", "what is not a certificate"), (der.replace(b"raftd:", b"\xff" * 6), "damaged")):
        with pytest.raises(TlsError, match=reason):
            pki.describe_der(data, tmp_path)


def test_a_file_may_hold_several(directory: Path, tmp_path: Path) -> None:
    """As a bundle of an old and a new authority does; text around them is ignored."""
    path = tmp_path / "bundle.crt"
    parts = [(directory / f"{name}-ca.crt").read_text() for name in ("peer", "client")]
    path.write_text("old:\n" + parts[0] + "new:\n" + parts[1])
    assert len(load_certificates(path)) == 2
    assert [info.kind for info in pki.describe_all(path)] == ["authority", "authority"]


def test_an_authority_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """RSA, encrypted, or no key at all: each with its reason."""
    path = tmp_path / "k"
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = rsa.generate_private_key(65537, 2048)
    for data, reason in (
        (key.private_bytes(pem, form, serialization.NoEncryption()), "not an elliptic-curve key"),
        (key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"x")), "is encrypted"),
        (b"x", "holds no private key"),
    ):
        path.write_bytes(data)
        with pytest.raises(TlsError, match=reason):
            load_authority_key(path)
