"""The client's side of mutual TLS: its context, and what a failed handshake means.

TLS 1.3 only. A node is known by the URI in its certificate (`raftd.wire.identity`) and by nothing else, so host names
are not compared: the address that a redirect names may be any, and what answers there must still be a node of the
cluster.

Under TLS 1.3 a client's handshake is complete before the server has looked at the client's certificate (RFC 8446 §2).
So a refusal arrives later, as an alert in the place of the first answer; `explain` recognises both. And many servers,
those of asyncio among them, end the connection without sending their alert: `PerhapsRejected` stands for that.
"""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from raftd.client.errors import TlsError
from raftd.regular_file import open_regular
from raftd.wire.identity import IdentityError, identity_of_alternative_names

_log: Final = logging.getLogger("raftd.client")
_ALERTS: Final = {
    "UNKNOWN_CA": "it does not know the authority that signed this client's certificate",
    "CERTIFICATE_EXPIRED": "this client's certificate has expired, or is not valid yet",
    "CERTIFICATE_REVOKED": "this client's certificate is revoked",
    "CERTIFICATE_REQUIRED": "it demands a certificate, and this client has given none",
    "CERTIFICATE_UNKNOWN": "it does not accept this client's certificate",
    "BAD_CERTIFICATE": "it does not accept this client's certificate",
    "UNSUPPORTED_CERTIFICATE": "this client's certificate is not made for clients",
    "ACCESS_DENIED": "it does not let this client's certificate in",
    "DECRYPT_ERROR": "this client's certificate could not be verified",
}
"""What a server says of the client's certificate by an alert (RFC 8446 §6.2), by the end of OpenSSL's name for it."""


class RejectedByServer(TlsError):  # noqa: N818 - says who did it
    """The other side does not accept this client's certificate; another node will hardly either."""


class PerhapsRejected(TlsError):  # noqa: N818 - says what is suspected
    """The other side ended the connection as soon as it had seen the certificate: once, it may have died just then."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The three PEM files that a client proves itself and checks nodes with."""

    cacert: Path
    """The authority, or several, by which the nodes' certificates are checked."""
    cert: Path
    """This client's certificate, followed by those between it and its authority, if any."""
    key: Path
    """The private key of `cert`, not encrypted."""

    def context(self) -> ssl.SSLContext:
        """Load the files into a fresh context.

        Raises:
            TlsError: a file cannot be read or is not what it should be; one line that names it.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # identity is the URI, which the connection checks
        for path in (self.cacert, self.cert, self.key):
            _require_readable(path)
        try:
            context.load_verify_locations(self.cacert)
        except ssl.SSLError:
            raise TlsError(f"{self.cacert}: holds no certificate of an authority in PEM") from None
        try:
            context.load_cert_chain(self.cert, self.key, password=self._refuse_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsError(f"{self.key}: is not the key of the certificate {self.cert}") from None
            raise TlsError(f"{self.cert} and {self.key}: not a certificate and its private key in PEM") from None
        return context

    def _refuse_password(self) -> NoReturn:
        # Without this, OpenSSL would ask on the terminal, and wait there for ever.
        raise TlsError(f"{self.key}: the key is encrypted; a key without a password is needed")


def keeping_the_last(make_context: Callable[[], ssl.SSLContext]) -> Callable[[], ssl.SSLContext]:
    """Make each context from the files as they are, or take the one before where they cannot be used now.

    A client connects anew at any time, and so also between two files of a certificate that is being replaced. The first
    failure has nothing to fall back on, and raises.
    """
    last: ssl.SSLContext | None = None

    def make() -> ssl.SSLContext:
        nonlocal last
        try:
            last = make_context()
        except TlsError as error:
            if last is None:
                raise
            _log.warning("%s; the certificates that were read before are used", error)
        return last

    return make


def cluster_of(context: ssl.SSLContext) -> str | None:
    """The cluster whose nodes a context trusts, as its authorities name it; None: they do not, or disagree."""
    clusters: set[str] = set()
    for authority in context.get_ca_certs():
        try:
            clusters.add(identity_of_alternative_names(authority.get("subjectAltName", ())).cluster)  # type: ignore[arg-type]  # typeshed is vague
        except IdentityError:
            return None  # an authority of the enterprise, which may well sign for several clusters
    return clusters.pop() if len(clusters) == 1 else None


def explain(endpoint: str, error: BaseException) -> TlsError | None:
    """What a failed connection says about certificates, or None when it failed for another reason."""
    if isinstance(error, TlsError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsError(f"{endpoint}: the node's certificate is not accepted: {error.verify_message}")
    if not isinstance(error, ssl.SSLError):
        return None
    _, _, alert = reason_of(error).partition("ALERT_")
    if alert not in _ALERTS:
        return None
    return RejectedByServer(f"{endpoint}: the node refused this client: {_ALERTS[alert]}")


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's name for what went wrong; empty when the error is not OpenSSL's own."""
    return getattr(error, "reason", None) or ""


def _require_readable(path: Path) -> None:
    try:
        with open_regular(path):
            pass
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror or error}") from None
