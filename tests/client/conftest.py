"""Certificates for the tests of the client."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftd.client import ClientTls
from raftd.pki import KeyPairFiles, authority_files, create_authorities, issue_node, issue_user
from tests.client.fake import FakeCluster, Pki


def server_context(pair: KeyPairFiles, authority: Path) -> ssl.SSLContext:
    """What a node's client port uses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority)
    return context


@pytest.fixture(scope="session")
def make_pki(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Pki, Path]]:
    """Makes the authorities of a cluster, three nodes and the user alice."""

    def make(cluster: str) -> tuple[Pki, Path]:
        directory = tmp_path_factory.mktemp(cluster)
        create_authorities(directory, cluster)
        authority = authority_files(directory, "client").certificate
        contexts = {
            node_id: server_context(issue_node(directory, node_id, ["127.0.0.1"]).client, authority)
            for node_id in (1, 2, 3)
        }
        alice = issue_user(directory, "alice")
        return Pki(contexts.__getitem__, ClientTls(authority, alice.certificate, alice.key)), directory

    return make


@pytest.fixture(scope="session")
def pki_and_directory(make_pki: Callable[[str], tuple[Pki, Path]]) -> tuple[Pki, Path]:
    return make_pki("test")


@pytest.fixture(scope="session")
def pki(pki_and_directory: tuple[Pki, Path]) -> Pki:
    return pki_and_directory[0]


@pytest.fixture(scope="session")
def pki_directory(pki_and_directory: tuple[Pki, Path]) -> Path:
    return pki_and_directory[1]


@pytest.fixture
def cluster_in_thread(pki: Pki) -> Iterator[FakeCluster]:
    """A cluster in a thread of its own, for the blocking client."""
    cluster = pki.cluster()
    started, stopping = threading.Event(), threading.Event()

    async def serve() -> None:
        async with cluster:
            started.set()
            await asyncio.get_running_loop().run_in_executor(None, stopping.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield cluster
    stopping.set()
    thread.join(10)


@pytest.fixture
def config_path(cluster_in_thread: FakeCluster, pki: Pki, tmp_path: Path) -> Path:
    """A configuration file for that cluster."""
    path = tmp_path / "raftctl.yaml"
    path.write_text(
        f"endpoints: [{', '.join(cluster_in_thread.endpoints)}]\n"
        f"cacert: {pki.user.cacert}\ncert: {pki.user.cert}\nkey: {pki.user.key}\n"
    )
    return path
