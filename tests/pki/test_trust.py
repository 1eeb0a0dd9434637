import datetime as dt
import shutil
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from raftd import pki
from raftd.pki.certificates import load_certificate
from raftd.pki.trust import Trust, fingerprint_of, is_issued_by


def der(path: Path) -> bytes:
    return load_certificate(path).public_bytes(serialization.Encoding.DER)


def test_what_an_authority_has_issued_is_accepted_and_nothing_else(directory: Path, tmp_path: Path) -> None:
    """The same names under another key do not count, nor does the cluster's other authority."""
    client = Trust.load(directory / "client-ca.crt")
    assert client.has_issued(der(directory / "user-admin.crt"))
    assert client.has_issued(der(directory / "node-1.client.crt"))
    assert not client.has_issued(der(directory / "node-1.peer.crt"))
    pki.create_authorities(tmp_path / "other", "demo")
    other = pki.issue_user(tmp_path / "other", "admin")
    assert not client.has_issued(der(other.certificate))
    assert not client.has_issued(b"")


def test_any_authority_of_a_bundle_will_do(directory: Path, tmp_path: Path) -> None:
    """Both are trusted, in whatever order, although their names are the same."""
    pki.create_authorities(tmp_path / "other", "demo")
    other = pki.issue_user(tmp_path / "other", "admin")
    texts = [(each / "client-ca.crt").read_bytes() for each in (directory, tmp_path / "other")]
    for order in (texts, texts[::-1]):
        (tmp_path / "bundle.crt").write_bytes(b"".join(order))
        trust = Trust.load(tmp_path / "bundle.crt")
        assert trust.has_issued(der(other.certificate))
        assert trust.has_issued(der(directory / "user-admin.crt"))
        assert len(trust.fingerprints) == 2


def test_a_changed_byte_is_noticed(directory: Path) -> None:
    """It is the signature that is looked at, and not who the certificate says that it is of."""
    trust = Trust.load(directory / "client-ca.crt")
    data = bytearray(der(directory / "user-admin.crt"))
    data[-5] ^= 1
    assert not trust.has_issued(bytes(data))


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_foreign_authorities_may_have_other_keys(kind: str) -> None:
    """An enterprise's authority is as good as one of raftd's."""
    keys = {
        "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    key, stranger = keys[kind](), keys[kind]()
    authority, leaf, forged = (
        _sign(key, key),
        _sign(ec.generate_private_key(ec.SECP256R1()), key),
        _sign(key, stranger),
    )
    assert is_issued_by(leaf, authority)
    assert not is_issued_by(forged, authority)
    assert len(fingerprint_of(authority)) == 64


@pytest.mark.parametrize("stranger", ["enterprise", "another"])
def test_who_has_signed_must_be_named_too(stranger: str) -> None:
    """A key that signs for two names is two authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _sign(ec.generate_private_key(ec.SECP256R1()), key, issuer=stranger)
    assert is_issued_by(leaf, _sign(key, key)) is (stranger == "enterprise")


def test_a_key_that_nobody_can_check_with_has_issued_nothing() -> None:
    """Neither one that only agrees on secrets, nor one of a kind that nobody has heard of."""
    key = ed25519.Ed25519PrivateKey.generate()
    leaf = _sign(ec.generate_private_key(ec.SECP256R1()), key)
    assert is_issued_by(leaf, _sign(key, key))
    assert not is_issued_by(leaf, _sign(x25519.X25519PrivateKey.generate(), key))
    # The second of the three places that name its kind is the one of the key itself.
    kind, unknown = b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x63"
    first, second, third, rest = _sign(key, key).public_bytes(serialization.Encoding.DER).split(kind)
    garbled = first + kind + second + unknown + third + kind + rest
    assert not is_issued_by(leaf, x509.load_der_x509_certificate(garbled))


def _sign(subject_key: object, issuer_key: object, *, issuer: str = "enterprise") -> x509.Certificate:
    name, issuer_name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in ("enterprise", issuer)
    )
    moment = dt.datetime.now(UTC).replace(tzinfo=None)
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(subject_key.public_key())  # type: ignore[attr-defined]  # any private key has it
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(hours=1))
        .sign(issuer_key, digest)  # type: ignore[arg-type]  # as above
    )


def test_a_directory_copied_elsewhere_is_the_same_authority(directory: Path, tmp_path: Path) -> None:
    """What counts is the certificate and not where it lies."""
    shutil.copy(directory / "client-ca.crt", tmp_path / "copy.crt")
    assert Trust.load(tmp_path / "copy.crt").fingerprints == Trust.load(directory / "client-ca.crt").fingerprints
