import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from raftd.consensus.types import NodeId
from raftd.daemon.credentials import Credentials, read_credentials
from raftd.daemon.revocation import Revocation
from raftd.net.acceptor import AcceptorLimits
from raftd.net.channel import Channel
from raftd.net.client_listener import ClientListener
from raftd.net.peer_link import PeerAddress
from raftd.net.peer_links import PeerLinks
from raftd.net.peer_listener import PeerListener
from raftd.net.tls import TlsFiles, client_context
from raftd.pki import create_authorities, issue_node, issue_user
from raftd.pki.rotation import reissue, trust_both, trust_new
from raftd.settings import NodeSettings, load
from raftd.wire.frames import FrameReader, encode_frame
from raftd.wire.handshake import ConnectionRole, Hello, Listener, encode_hello
from tests.daemon.process import document_of, write_files
from tests.net.loopback import LOOPS, Run, run_on, until

CLUSTER_ID = bytes(range(16))


@dataclass
class Client:
    """A client as the node sees it, which is let go of at once."""

    channel: Channel

    def receive(self, _: list[bytes]) -> None:
        raise AssertionError

    def leave(self, reason: str) -> None:
        self.channel.close(reason)

    def closed(self) -> None:
        pass


@dataclass
class Node:
    """The connections of one of two nodes, of which each dials the other."""

    settings: NodeSettings
    credentials: Credentials
    now: float = 0.0
    downs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        def files(which: str) -> TlsFiles:
            found = getattr(self.settings, f"{which}_tls")
            return TlsFiles(found.authority, found.certificate, found.key)

        node_id = NodeId(self.settings.node_id)
        self.clients = ClientListener(
            files=files("client"),
            cluster="test",
            listener=Listener(ConnectionRole.CLIENT, CLUSTER_ID, node_id, 1 << 20, 8),
            handler=self,
            limits=AcceptorLimits(),
        )
        self.peers = PeerListener(
            files=files("peer"),
            cluster="test",
            listener=Listener(ConnectionRole.PEER, CLUSTER_ID, node_id, 1 << 20, 0),
            handler=self,
            is_peer=lambda _: True,
            limits=AcceptorLimits(),
        )
        self.links = PeerLinks(
            files=files("peer"),
            cluster="test",
            cluster_id=CLUSTER_ID,
            node_id=node_id,
            jitter=Random(1),
            on_up=lambda _: None,
            on_down=self.downs.append,
        )
        self.revocation = Revocation(
            clients=self.clients,
            peers=self.peers,
            links=self.links,
            credentials=self.credentials,
            late_seconds=0.05,
            expiry_seconds=0.01,
            wall_clock=lambda: self.now,
        )

    def may_administer(self, _user: str) -> bool:
        return False

    def client_connected(self, channel: Channel, _user: str) -> Client:
        return Client(channel)

    def peer_payloads(self, _: NodeId, __: list[bytes], ___: int) -> None:
        raise AssertionError

    def reload(self) -> None:
        """What a reload does."""
        credentials = read_credentials(self.settings)
        self.clients.use(context=credentials.client_listening)
        self.peers.use(context=credentials.peer_listening)
        self.links.use(context=credentials.peer_dialling)
        self.revocation.use(credentials)

    @property
    def link_is_up(self) -> bool:
        link = self.links.link(NodeId(3 - self.settings.node_id))
        return link is not None and link.is_up


@contextlib.asynccontextmanager
async def two_nodes(settings: Path) -> AsyncIterator[tuple[Node, Node]]:
    whole = load(settings)
    nodes = [Node(whole.node(each), read_credentials(whole.node(each))) for each in (1, 2)]
    for node in nodes:
        node.clients.start("127.0.0.1", 0)
        node.peers.start("127.0.0.1", 0)
        node.revocation.start()
    for node, other in (nodes, nodes[::-1]):
        node.links.set_peers([PeerAddress(NodeId(other.settings.node_id), "127.0.0.1", other.peers.port)])
    await until(lambda: all(node.link_is_up for node in nodes))
    try:
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            await node.revocation.stop()
            await node.links.stop()
            await asyncio.gather(node.clients.stop(), node.peers.stop())


@dataclass
class Connection:
    """A client, from its own side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_ended: bool = False

    async def watch(self) -> None:
        with contextlib.suppress(OSError):
            while await self.reader.read(1 << 10):
                pass
        self.is_ended = True
        self.writer.close()


@contextlib.asynccontextmanager
async def connected(node: Node, directory: Path, user: str = "admin") -> AsyncIterator[Connection]:
    files = TlsFiles(directory / "client-ca.crt", directory / f"user-{user}.crt", directory / f"user-{user}.key")
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", node.clients.port, ssl=client_context(files), server_hostname=""
    )
    writer.write(encode_frame(encode_hello(Hello(ConnectionRole.CLIENT))))
    frames = FrameReader(1 << 10)
    while not frames.feed(await reader.readexactly(1)):
        pass
    connection = Connection(reader, writer)
    watching = asyncio.create_task(connection.watch())
    try:
        yield connection
    finally:
        writer.close()
        await watching


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Settings of two nodes."""
    return write_files(tmp_path, document_of(2))


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of event loop."""
    return lambda main: run_on(request.param, main)


def test_who_is_of_an_authority_that_is_trusted_no_more_is_cut_off(run: Run, two: Path, tmp_path: Path) -> None:
    """Through all steps of a rotation: links and clients stand until the last one, and then only what was renewed."""
    directory, old = two.parent / "pki", tmp_path / "old-pki"

    async def scenario() -> None:
        async with two_nodes(two) as nodes, connected(nodes[0], directory) as admin:
            shutil.copytree(directory, old)
            for step in (trust_both, reissue):
                step(directory, "peer")
                step(directory, "client")
                for node in nodes:
                    node.reload()
            async with connected(nodes[0], directory) as renewed:
                await asyncio.sleep(0.1)
                assert not admin.is_ended
                assert not any(node.downs for node in nodes)
                trust_new(directory, "peer")
                trust_new(directory, "client")
                for node in nodes:
                    node.reload()
                await until(lambda: admin.is_ended)
                new = nodes[0].revocation._credentials.peer_trust
                await until(
                    lambda: all(
                        node.link_is_up
                        and all(map(new.has_issued, node.links.certificates().values()))
                        and all(map(new.has_issued, node.peers.certificates().values()))
                        and len(node.peers.certificates()) == 1
                        for node in nodes
                    )
                )
                assert not renewed.is_ended
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                async with connected(nodes[0], old):
                    pass

    run(scenario())


def test_a_handshake_that_began_before_is_looked_at_too(run: Run, two: Path) -> None:
    """It may have been made with the authorities of before, and appear only after those that stood were looked at."""
    directory = two.parent / "pki"

    async def scenario() -> None:
        async with two_nodes(two) as (node, _):
            before = node.clients._acceptor._context
            other = two.parent / "other"
            write_files_of_other(other)
            shutil.copy(other / "client-ca.crt", directory / "client-ca.crt")
            for suffix in ("crt", "key"):
                shutil.copy(other / f"node-1.client.{suffix}", directory / f"node-1.client.{suffix}")
            old = shutil.copytree(directory, two.parent / "kept")
            shutil.copy(two.parent / "first-ca.crt", old / "client-ca.crt")
            node.reload()
            await until(lambda: node.revocation._swept is node.revocation._credentials)
            node.clients.use(context=before)
            async with connected(node, old) as late:
                await until(lambda: late.is_ended)

    def write_files_of_other(other: Path) -> None:
        shutil.copy(directory / "client-ca.crt", two.parent / "first-ca.crt")
        create_authorities(other, "test")
        issue_node(other, 1, ["localhost"])

    run(scenario())


def test_an_expired_client_is_let_go_and_an_expired_node_stays(run: Run, two: Path) -> None:
    """A certificate's end takes a client's connection with it; a link between nodes stands."""
    directory = two.parent / "pki"
    issue_user(directory, "brief", days=1)

    async def scenario() -> None:
        async with (
            two_nodes(two) as (node, other),
            connected(node, directory) as admin,
            connected(node, directory, "brief") as brief,
        ):
            node.now = time.time() + 2 * 86_400
            await until(lambda: brief.is_ended)
            assert not admin.is_ended
            node.now = time.time() + 800 * 86_400
            await until(lambda: admin.is_ended)
            assert node.link_is_up
            assert other.link_is_up
            assert not node.downs

    run(scenario())
