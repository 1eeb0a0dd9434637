"""Reading certificates and keys, and saying what they are."""

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raftd.errors import TlsError
from raftd.pki.files import read_file
from raftd.wire.identity import Identity, IdentityError, identity_among

_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What a certificate says, for people and for checks."""

    path: Path
    identity: Identity | None
    """Whose it is; None when it does not say so in raftd's way."""
    kind: str
    """`node`, `user`, `authority`; `other` without an identity."""
    not_before: datetime
    """Aware, UTC; likewise `not_after`."""
    not_after: datetime
    issuer: str
    """The issuer's distinguished name (RFC 4514)."""
    serial: int
    fingerprint: str
    """SHA-256 over the DER bytes, in hexadecimal."""
    key_id: str
    """Its key's (RFC 5280 §4.2.1.2), in hexadecimal; empty where it does not say."""
    issuer_key_id: str
    """The key's that has signed it: tells authorities of one name apart. Empty where it does not say."""
    alternative_names: tuple[str, ...]
    """All of them: URIs, host names, IP addresses."""

    def is_expired(self, now: datetime) -> bool:
        """Whether its time is over. `now` is aware."""
        return now > self.not_after


def load_certificates(path: Path) -> list[x509.Certificate]:
    """All certificates of a PEM file, in its order, at least one.

    Raises:
        PkiFileError: the file cannot be read.
        TlsError: there is no certificate in it, or a damaged one.
    """
    blocks = _PEM_CERTIFICATE.findall(read_file(path))
    if not blocks:
        raise TlsError(f"{path} holds no certificate in PEM form")
    try:
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise TlsError(f"{path} holds a damaged certificate") from error


def load_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file: the leaf, where a chain follows. Raises: as `load_certificates`."""
    return load_certificates(path)[0]


def load_authority_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """An authority's private key.

    Raises:
        PkiFileError: the file cannot be read.
        TlsError: it is no private key, or one of another kind than raftd makes.
    """
    try:
        key = serialization.load_pem_private_key(read_file(path), password=None)
    except TypeError as error:
        raise TlsError(f"{path} is encrypted; raftd has nobody to ask for its password") from error
    except ValueError as error:
        raise TlsError(f"{path} holds no private key in PEM form, or a damaged one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TlsError(f"{path} is not an elliptic-curve key; raftd makes and uses no other for an authority")
    return key


def validity(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """From when and until when a certificate holds, aware, UTC."""
    # cryptography 42 brought the aware attributes and deprecated the naive ones, which are all that 38 has.
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate.not_valid_before.replace(tzinfo=UTC), certificate.not_valid_after.replace(tzinfo=UTC)


def identity_of_certificate(certificate: x509.Certificate) -> Identity:
    """Whose a certificate is. Raises: IdentityError."""
    names = _alternative_names(certificate)
    return identity_among(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))


def identity_of(der: bytes) -> Identity:
    """Whose a certificate is, from its DER bytes as a TLS connection has them.

    Raises:
        IdentityError: it names no identity, several or a malformed one, or is no certificate.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise IdentityError("what was presented is not a certificate") from error
    return identity_of_certificate(certificate)


def describe(path: Path) -> CertificateInfo:
    """What the first certificate of a PEM file says. Raises: as `load_certificates`."""
    return _describe(path, load_certificate(path))


def describe_all(path: Path) -> list[CertificateInfo]:
    """What each certificate of a PEM file says. Raises: as `load_certificates`."""
    return [_describe(path, certificate) for certificate in load_certificates(path)]


def _describe(path: Path, certificate: x509.Certificate) -> CertificateInfo:
    names: list[x509.GeneralName] = []
    identity = None
    with contextlib.suppress(IdentityError):
        names = _alternative_names(certificate)
        identity = identity_of_certificate(certificate)
    not_before, not_after = validity(certificate)
    try:
        issuer = certificate.issuer.rfc4514_string()
    except ValueError as error:
        raise TlsError(f"{path} holds a damaged certificate") from error
    return CertificateInfo(
        path=path,
        identity=identity,
        kind=identity.kind.value if identity is not None else "other",
        not_before=not_before,
        not_after=not_after,
        issuer=issuer,
        serial=certificate.serial_number,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        key_id=_key_id(certificate, x509.SubjectKeyIdentifier, "digest"),
        issuer_key_id=_key_id(certificate, x509.AuthorityKeyIdentifier, "key_identifier"),
        alternative_names=tuple(str(getattr(name, "value", name)) for name in names),
    )


def describe_der(der: bytes, path: Path) -> CertificateInfo:
    """What a certificate says, from its DER bytes as a TLS connection has them; `path` stands for where it is from.

    Raises:
        TlsError: it is none.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise TlsError(f"{path} shows what is not a certificate") from error
    return _describe(path, certificate)


def _key_id(certificate: x509.Certificate, kind: type[x509.ExtensionType], attribute: str) -> str:
    try:
        value: bytes | None = getattr(certificate.extensions.get_extension_for_class(kind).value, attribute)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ""
    return (value or b"").hex()


def _alternative_names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension) as error:
        raise IdentityError("the certificate's extensions are malformed") from error
