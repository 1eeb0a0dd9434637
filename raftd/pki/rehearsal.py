"""A TLS handshake in memory, to learn what the other end would say of a certificate."""

import enum
import ssl
from pathlib import Path

STEPS_MAX = 20


class Purpose(enum.Enum):
    """What a certificate is used for."""

    PEER = "peer"
    """On links between nodes, at both of their ends."""
    SERVER = "server"
    """By a node, on the port that clients use."""
    USER = "user"
    """By a user, towards that port."""


def rehearse(*, authority: Path, certificate: Path, key: Path, purpose: Purpose) -> str | None:
    """Show `certificate` to an end that trusts `authority`; what that end has against it, or None.

    Identity and host names are not looked at, as raftd does that by itself after the handshake.
    """
    try:
        if purpose in (Purpose.PEER, Purpose.SERVER):
            judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            shower = _shower(ssl.PROTOCOL_TLS_SERVER, certificate, key)
            _judge(judge, authority)
            if (refusal := _handshake(client=judge, server=shower)) is not None:
                return f"as a server: {refusal}"
        if purpose in (Purpose.PEER, Purpose.USER):
            # A server needs some certificate for itself; whose it is, the client here does not ask.
            judge = _shower(ssl.PROTOCOL_TLS_SERVER, certificate, key)
            shower = _shower(ssl.PROTOCOL_TLS_CLIENT, certificate, key)
            shower.check_hostname = False
            shower.verify_mode = ssl.CERT_NONE
            _judge(judge, authority)
            if (refusal := _handshake(client=shower, server=judge)) is not None:
                return f"as a client: {refusal}"
    except (ssl.SSLError, OSError) as error:
        return str(error.strerror or error)
    return None


def _shower(protocol: int, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Without a password given, OpenSSL would ask for one on the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context


def _judge(context: ssl.SSLContext, authority: Path) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)


def _handshake(*, client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done: set[int] = set()
    # The client of TLS 1.3 is done before the server has judged it; so both must be.
    for _ in range(STEPS_MAX):
        for number, end in enumerate(ends):
            if number in done:
                continue
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return error.reason or str(error)
            done.add(number)
        if len(done) == len(ends):
            return None
    return "the handshake does not come to its end"
