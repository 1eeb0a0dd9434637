"""Certificates that an authority should not have signed and did."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from raftd.consensus.types import NodeId
from raftd.net.acceptor import AcceptorLimits
from raftd.net.channel import Channel
from raftd.net.client_listener import ClientListener, ClientReceiver
from raftd.net.tls import TlsFiles, explain
from raftd.pki import authority_files, create_authorities, issue_node, node_files
from raftd.wire.handshake import ConnectionRole, Listener

URI, DNS, MAIL = 0x86, 0x82, 0x81
"""Kinds of alternative names, as their DER has them (RFC 5280 §4.2.1.6)."""

GOOD = (URI, b"raftd://demo/user/ann")


def sign(authority: Path, authority_key: Path, directory: Path, *names: tuple[int, bytes]) -> TlsFiles:
    """A certificate with these alternative names, which no library would write."""
    issuer = x509.load_pem_x509_certificate(authority.read_bytes())
    issuer_key = serialization.load_pem_private_key(authority_key.read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    body = b"".join(bytes((kind, len(value))) + value for kind, value in names)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes((0x30, len(body))) + body),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    files = TlsFiles(authority, directory / "odd.crt", directory / "odd.key")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


class Nobody:
    """Serves no one."""

    def may_administer(self, _user: str) -> bool:
        return False

    def client_connected(self, _channel: Channel, _user: str) -> ClientReceiver:
        raise AssertionError


def dial(port: int, files: TlsFiles) -> None:
    """Shake hands, and wait until the node hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.certificate, files.key)
    # A node that has closed at once may be seen as a reset.
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.recv(1)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(
    "names",
    [
        ((URI, b"raftd://demo/user/\xff\xfe"),),
        (GOOD, (DNS, b"\xff\xff")),
        ((MAIL, b"\xff\xff"), GOOD),
    ],
)
def test_a_name_that_is_no_text_costs_its_owner_the_connection_only(
    tmp_path: Path, loop_factory: "type[asyncio.AbstractEventLoop]", names: tuple[tuple[int, bytes], ...]
) -> None:
    """Python reads all names of a certificate at the end of the handshake; what it cannot read is a stranger."""
    create_authorities(tmp_path, "demo")
    issue_node(tmp_path, 1, ["127.0.0.1"])
    authority = authority_files(tmp_path, "client")
    odd = sign(authority.certificate, authority.key, tmp_path, *names)
    server = node_files(tmp_path, 1, "client")
    uncaught: list[BaseException | None] = []

    async def serve() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context.get("exception")))
        listener = ClientListener(
            files=TlsFiles(authority.certificate, server.certificate, server.key),
            cluster="demo",
            listener=Listener(ConnectionRole.CLIENT, bytes(range(16)), NodeId(1), 1 << 20, 8),
            handler=Nobody(),
            limits=AcceptorLimits(),
        )
        listener.start("127.0.0.1", 0)
        await asyncio.to_thread(dial, listener.port, odd)
        while not listener.refused_total:  # noqa: ASYNC110 - the listener's count is no event
            await asyncio.sleep(0.001)
        assert listener.connections == 0
        await listener.stop()

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await serve()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(bounded())
    # asyncio reports it there, once; nothing of ours does so again.
    assert len(uncaught) == 1
    assert isinstance(uncaught[0], UnicodeDecodeError)
    assert explain(uncaught[0]) == "its certificate has a name that is no text"
