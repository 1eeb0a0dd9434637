import asyncio
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from raftd.client import AsyncClient, ClientTls, TlsError
from raftd.client.tls import RejectedByServer, cluster_of, explain, keeping_the_last
from raftd.pki import issue_node, issue_user
from tests.client.conftest import server_context
from tests.client.fake import FakeCluster, Pki

MakePki = Callable[[str], tuple[Pki, Path]]


async def fails_at_once(client: AsyncClient) -> str:
    """The message of the TlsError in which a get ends, long before its deadline."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(TlsError) as caught:
        await client.get("a")
    assert loop.time() - start < 2.5
    assert "\n" not in str(caught.value)
    return str(caught.value)


def client_for(cluster: FakeCluster, tls: ClientTls) -> AsyncClient:
    return AsyncClient(cluster.endpoints, tls=tls, timeout=5.0)


def test_files_that_cannot_be_used(pki: Pki, tmp_path: Path) -> None:
    """A missing, unreadable or wrong file is named in one line before anything is dialled."""
    good = pki.user
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not PEM")
    missing = tmp_path / "missing.pem"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for files, message in (
        (ClientTls(missing, good.cert, good.key), f"{missing}: No such file"),
        (ClientTls(good.cacert, missing, good.key), f"{missing}: No such file"),
        (ClientTls(good.cacert, good.cert, tmp_path), f"{tmp_path}: Is a directory"),
        (ClientTls(good.cacert, good.cert, fifo), f"{fifo}: not a regular file"),
        (ClientTls(garbage, good.cert, good.key), f"{garbage}: holds no certificate"),
        (ClientTls(good.cacert, garbage, good.key), f"{garbage} and {good.key}: not a certificate"),
        (ClientTls(good.cacert, good.cert, garbage), f"{good.cert} and {garbage}: not a certificate"),
    ):
        with pytest.raises(TlsError) as caught:
            AsyncClient(["127.0.0.1:1"], tls=files)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def test_key_of_another_certificate(pki: Pki, pki_directory: Path) -> None:
    """A key that does not belong to the certificate is told apart from garbage."""
    bob = issue_user(pki_directory, "bob", overwrite=True)
    with pytest.raises(TlsError, match="is not the key of the certificate"):
        ClientTls(pki.user.cacert, pki.user.cert, bob.key).context()


def test_encrypted_key(pki: Pki, tmp_path: Path) -> None:
    """An encrypted key is refused, instead of asking on a terminal that may not be there."""
    key = serialization.load_pem_private_key(pki.user.key.read_bytes(), None)
    path = tmp_path / "encrypted.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsError, match="encrypted"):
        ClientTls(pki.user.cacert, pki.user.cert, path).context()


def test_tls_13_only(pki: Pki) -> None:
    """A client never speaks an older TLS, and never skips the check of the node's certificate."""
    context = pki.user.context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_authorities_name_the_cluster(pki: Pki, make_pki: MakePki, tmp_path: Path) -> None:
    """The cluster is the one that all authorities name; two that disagree name none."""
    assert cluster_of(pki.user.context()) == "test"
    other, _ = make_pki("other")
    both = tmp_path / "both.crt"
    both.write_bytes(pki.user.cacert.read_bytes() + other.user.cacert.read_bytes())
    assert cluster_of(ClientTls(both, pki.user.cert, pki.user.key).context()) is None


def test_nodes_of_another_authority(pki: Pki, make_pki: MakePki) -> None:
    """Nodes whose authority this client does not know: said at once, not at the deadline."""

    async def scenario() -> None:
        other, _ = make_pki("other")
        async with other.cluster() as cluster, client_for(cluster, pki.user) as client:
            assert "the node's certificate is not accepted" in await fails_at_once(client)

    asyncio.run(scenario())


def test_client_of_another_authority(pki: Pki, make_pki: MakePki) -> None:
    """Under TLS 1.3 the rejection comes after the handshake seemed to succeed; it is still told as what it is."""

    async def scenario() -> None:
        other, _ = make_pki("other")
        mixed = ClientTls(pki.user.cacert, other.user.cert, other.user.key)
        async with pki.cluster() as cluster, client_for(cluster, mixed) as client:
            message = await fails_at_once(client)
            assert "this client's certificate" in message

    asyncio.run(scenario())


def test_alert_of_a_server_that_sends_it(pki: Pki, make_pki: MakePki) -> None:
    """A server that does send its alert (OpenSSL's own loop does; asyncio's does not) is understood word for word."""
    other, _ = make_pki("other")
    context = pki.node_context(1)
    mixed = ClientTls(pki.user.cacert, other.user.cert, other.user.key)

    def serve(listening: socket.socket) -> None:
        accepted, _ = listening.accept()
        with accepted, pytest.raises(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True)

    async def scenario(listening: socket.socket) -> None:
        host, port = listening.getsockname()
        async with AsyncClient([f"{host}:{port}"], tls=mixed) as client:
            message = await fails_at_once(client)
            assert "refused this client: it does not know the authority" in message

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        asyncio.run(scenario(listening))
        thread.join(10)


def test_expired_client(pki: Pki, pki_directory: Path) -> None:
    """An expired certificate of the client is told as such."""
    past = datetime.now(UTC) - timedelta(days=9)
    carol = issue_user(pki_directory, "carol", days=2, now=past, overwrite=True)

    async def scenario() -> None:
        tls = ClientTls(pki.user.cacert, carol.certificate, carol.key)
        async with pki.cluster() as cluster, client_for(cluster, tls) as client:
            assert "this client's certificate; most likely it has expired" in await fails_at_once(client)

    asyncio.run(scenario())


def test_expired_node_is_passed_over(pki: Pki, pki_directory: Path, tmp_path: Path) -> None:
    """One node's expired certificate does not keep a client from the others."""
    copy = tmp_path / "authority"
    shutil.copytree(pki_directory, copy)
    past = datetime.now(UTC) - timedelta(days=9)
    expired = issue_node(copy, 1, ["127.0.0.1"], days=2, now=past, overwrite=True).client

    async def scenario() -> None:
        cluster = FakeCluster(
            lambda node_id: server_context(expired, pki.user.cacert) if node_id == 1 else pki.node_context(node_id)
        )
        async with cluster, client_for(cluster, pki.user) as client:
            cluster.leader = cluster.nodes[1]
            await client.put("a", "1")
            cluster.leader = None
            await cluster.nodes[1].stop()
            await cluster.nodes[2].stop()
            short = AsyncClient(cluster.endpoints[:1], tls=pki.user)
            assert "certificate has expired" in await fails_at_once(short)
            await short.close()

    asyncio.run(scenario())


def test_a_user_is_no_node(pki: Pki, pki_directory: Path, tmp_path: Path) -> None:
    """What answers with a certificate that is not a node's is refused, though its authority is right."""
    mallory = tmp_path / "mallory"
    shutil.copytree(pki_directory, mallory)
    # A user's certificate is for clients; so this one is issued as a node of a name that the client must refuse.
    pair = issue_node(mallory, 1, ["127.0.0.1"], overwrite=True).client

    async def scenario() -> None:
        cluster = FakeCluster(lambda _: server_context(pair, pki.user.cacert), size=1)
        async with cluster:
            client = AsyncClient(cluster.endpoints, tls=pki.user.context)
            client._asker.nodes._cluster = "elsewhere"
            assert "a node of cluster 'elsewhere' is expected" in await fails_at_once(client)
            await client.close()

    asyncio.run(scenario())


def test_renewed_certificates_are_used_without_a_restart(pki: Pki, pki_directory: Path, tmp_path: Path) -> None:
    """A client that lives longer than its certificate presents the renewed one on its next connection."""
    past = datetime.now(UTC) - timedelta(days=9)
    old = issue_user(pki_directory, "dave", days=2, now=past, overwrite=True)
    files = ClientTls(pki.user.cacert, tmp_path / "dave.crt", tmp_path / "dave.key")
    shutil.copy(old.certificate, files.cert)
    shutil.copy(old.key, files.key)

    async def scenario() -> None:
        async with pki.cluster() as cluster, client_for(cluster, files) as client:
            assert "has expired" in await fails_at_once(client)
            new = issue_user(pki_directory, "dave", overwrite=True)
            shutil.copy(new.certificate, files.cert)
            shutil.copy(new.key, files.key)
            await client.put("a", "1")

    asyncio.run(scenario())


def test_other_failures_are_not_about_certificates() -> None:
    """A refused connection, and an alert about something else, are no TlsError."""
    assert explain("a:1", ConnectionRefusedError()) is None
    assert explain("a:1", ssl.SSLError(1, "whatever")) is None
    rejected = RejectedByServer("x")
    assert explain("a:1", rejected) is rejected


def test_a_client_goes_on_with_what_it_has_read(pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a certificate is being replaced its files do not fit together; a client that connects then keeps the old.

    The first failure has nothing to fall back on.
    """
    key = tmp_path / "user.key"
    with pytest.raises(TlsError):
        keeping_the_last(ClientTls(pki.user.cacert, pki.user.cert, key).context)()
    shutil.copy(pki.user.key, key)
    make = keeping_the_last(ClientTls(pki.user.cacert, pki.user.cert, key).context)
    first = make()
    second = make()
    assert second is not first
    key.write_text("half of a")
    assert make() is second
    assert str(key) in caplog.text
    shutil.copy(pki.user.key, key)
    assert make() is not second
