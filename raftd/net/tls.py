"""TLS contexts: version 1.3, both sides with a certificate, always.

Who is at the other end is the URI in its certificate (`raftd.wire.identity`), so host names are not checked: an address
may change, an identity may not.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from raftd.errors import TlsError
from raftd.regular_file import open_regular
from raftd.wire.identity import Identity, IdentityError, identity_of_alternative_names

ConnectError: TypeAlias = OSError | UnicodeDecodeError

CONNECT_ERRORS: Final = (OSError, UnicodeDecodeError)
"""What the other side can make dialling and accepting raise.

`ssl.SSLError` and `TimeoutError` are OSErrors. The other one comes of a certificate that an authority did sign, with an
alternative name that is not UTF-8: Python reads all of them, whoever asks.
"""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """One side of one port: PEM files."""

    authority: Path
    """Who may be at the other end: the authority that signed their certificates."""
    certificate: Path
    key: Path


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context for accepting connections.

    Raises:
        TlsError: a file cannot be read or is not a regular one, or key and certificate do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A resumed session would be admitted by its ticket, and not by its certificate as of now.
    context.num_tickets = 0
    return _furnish(context, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context for dialling; raises as `server_context`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _furnish(context, files)


def remote_identity(transport: asyncio.BaseTransport) -> Identity:
    """Whose certificate the other side has shown.

    Raises:
        IdentityError: the certificate does not name exactly one identity.
    """
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        raise IdentityError("the other side has shown no certificate")
    return identity_of_alternative_names(certificate.get("subjectAltName", ()))


def remote_expiry(transport: asyncio.BaseTransport) -> float:
    """Until when the other side's certificate holds, in seconds since the epoch.

    Raises:
        IdentityError: it does not say so in a way that can be read.
    """
    certificate = transport.get_extra_info("peercert") or {}
    try:
        return float(ssl.cert_time_to_seconds(certificate.get("notAfter", "")))
    except ValueError:
        raise IdentityError("its certificate does not say until when it holds") from None


def remote_certificate(transport: asyncio.BaseTransport) -> bytes:
    """The certificate that the other side has shown, as DER; empty where the connection is gone already."""
    connection: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return b"" if connection is None else connection.getpeercert(binary_form=True) or b""


def explain(error: ConnectError) -> str:
    """Why a connection failed, in words for people."""
    if isinstance(error, UnicodeDecodeError):
        return "its certificate has a name that is no text"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, TimeoutError) and not error.strerror:
        return str(error) or "no answer in time"
    return error.strerror or str(error) or type(error).__name__


def _furnish(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    for file in (files.authority, files.certificate, files.key):
        # OpenSSL's own message names neither the file nor what is wrong with it.
        try:
            with open_regular(file):
                pass
        except OSError as error:
            raise TlsError(f"{file}: {error.strerror}") from None
    try:
        context.load_verify_locations(files.authority)
    except ssl.SSLError:
        raise TlsError(f"{files.authority}: not a PEM certificate of an authority") from None
    try:
        # With a password, even an empty one, OpenSSL does not ask the terminal for that of an encrypted key.
        context.load_cert_chain(files.certificate, files.key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{files.key}: not the key of the certificate {files.certificate}") from None
        raise TlsError(f"{files.certificate}, {files.key}: not a PEM certificate and its key") from None
    return context
