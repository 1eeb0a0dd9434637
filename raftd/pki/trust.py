"""Whether a certificate that was accepted earlier still would be, once other authorities are trusted.

A connection's handshake is judged by OpenSSL. Here only the certificate is left of it, and the question is narrower: is
it of one of these authorities, by its signature? A certificate that reaches an authority through others in between is
not recognised: its connection ends, and a new handshake decides. So the error is always on the safe side, and costs its
owner a reconnection.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from raftd.pki.certificates import load_certificates


class Trust:
    """The authorities of one port."""

    def __init__(self, authorities: Iterable[x509.Certificate]) -> None:
        self._authorities = tuple(authorities)
        self.fingerprints = frozenset(fingerprint_of(authority) for authority in self._authorities)
        """SHA-256 over the DER bytes of each, in hexadecimal."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """All authorities of a PEM file. Raises: as `load_certificates`."""
        return cls(load_certificates(path))

    def has_issued(self, der: bytes) -> bool:
        """Whether one of the authorities has signed a certificate, given as DER; its time is not looked at."""
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            return False
        return any(is_issued_by(certificate, authority) for authority in self._authorities)


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` has signed `certificate` itself; anything that cannot be found out counts as no."""
    # cryptography 40 has this as Certificate.verify_directly_issued_by, and 38 must do.
    try:
        if certificate.issuer != authority.subject:
            return False
        _verify(authority.public_key(), certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    except Exception:  # noqa: BLE001 - UnsupportedAlgorithm and what else a foreign certificate may meet in OpenSSL
        return False
    return True


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER bytes, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _verify(key: object, certificate: x509.Certificate) -> None:
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    digest = certificate.signature_hash_algorithm
    match key:
        case ec.EllipticCurvePublicKey() if digest is not None:
            key.verify(signature, signed, ec.ECDSA(digest))
        case rsa.RSAPublicKey() if digest is not None:
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            key.verify(signature, signed)
        case _:
            raise InvalidSignature
