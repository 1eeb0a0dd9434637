"""Strangers and nonsense at a node's ports: their own connection ends, and nobody else notices."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from raftd.client import AsyncClient
from raftd.consensus.types import NodeId
from raftd.pki import authority_files, create_authorities, issue_node, issue_user, node_files, user_files
from raftd.settings import Address
from raftd.wire.handshake import ConnectionRole, HandshakeRefusal, HandshakeRefusalCode, Hello, Welcome
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX
from tests.e2e.cluster import CLUSTER_NAME, USER, Cluster, own_address, until
from tests.e2e.conftest import MakeCluster
from tests.e2e.strangers import Credentials, dialled, ended_by_other_side, say_hello

pytestmark = pytest.mark.e2e

Case: TypeAlias = tuple[str, Callable[[], Awaitable[None]]]
_NONSENSE = [bytes(100), b"\xff" * 5000, b"GET / HTTP/1.1\r\nHost: raftd\r\n\r\n", bytes(range(256)) * 8]


@asynccontextmanager
async def undisturbed(cluster: Cluster) -> AsyncIterator[None]:
    """A client to each node works all the time, with short deadlines, on one connection; and no election is held."""
    stopping = asyncio.Event()
    clients = {node.id: cluster.client(node.endpoint, timeout=5.0) for node in cluster.nodes.values()}
    rounds = dict.fromkeys(clients, 0)

    async def work(node_id: int, client: AsyncClient) -> None:
        for number in itertools.count(1):
            if stopping.is_set():
                return
            assert (await client.put(f"of-{node_id}", str(number))).version == number
            await client.status(cluster.nodes[node_id].endpoint)
            rounds[node_id] = number

    async def everybody_works() -> None:
        before = dict(rounds)
        await until(lambda: all(rounds[each] > before[each] + 1 for each in rounds), "all clients work")

    term = await cluster.term()
    async with asyncio.TaskGroup() as tasks:
        for each in clients.items():
            tasks.create_task(work(*each))
        try:
            await everybody_works()
            connections = {node_id: dict(client._asker.nodes._connections) for node_id, client in clients.items()}
            yield
            await everybody_works()
        finally:
            stopping.set()
    assert connections == {node_id: client._asker.nodes._connections for node_id, client in clients.items()}
    await asyncio.gather(*(client.close() for client in clients.values()))
    assert await cluster.term() == term, "an election was held"


async def nonsense_ends(address: Address, credentials: Credentials | None, data: bytes) -> None:
    """What is sent gets no answer but the end of the connection."""
    async with dialled(address, credentials) as (reader, writer):
        writer.write(data)
        await ended_by_other_side(reader)


async def handshake_is_refused(address: Address, credentials: Credentials) -> None:
    """The certificate is not accepted; a client of TLS 1.3 hears of it after its own handshake (RFC 8446 §2)."""
    async with dialled(address, credentials) as (reader, _):
        assert not await ended_by_other_side(reader)


async def hello_is_refused(
    address: Address, credentials: Credentials, hello: Hello, code: HandshakeRefusalCode
) -> None:
    """The handshake is answered by a refusal, and then the connection ends."""
    async with dialled(address, credentials) as streams:
        reply = await say_hello(streams, hello)
        assert isinstance(reply, HandshakeRefusal)
        assert reply.code is code
        assert not await ended_by_other_side(streams[0])


async def ends_after_welcome(address: Address, credentials: Credentials, data: bytes) -> None:
    """A client that was let in, and then sends this, gets no answer but the end of the connection."""
    async with dialled(address, credentials) as streams:
        assert isinstance(await say_hello(streams, Hello(ConnectionRole.CLIENT)), Welcome)
        streams[1].write(data)
        assert not await ended_by_other_side(streams[0])


def client_port_cases(cluster: Cluster, other_pki: Path) -> list[Case]:
    pki, address = cluster.pki, cluster.document.nodes[0].client_address
    authority = authority_files(pki, "client").certificate
    user = Credentials(authority, user_files(pki, USER))
    of_node = Credentials(authority, node_files(pki, 2, "client"))
    foreign = Credentials(authority, user_files(other_pki, USER))
    peer = Credentials(authority, node_files(pki, 2, "peer"))
    too_long = (CLIENT_FRAME_BYTES_MAX + 1).to_bytes(4, "little")
    as_peer = Hello(ConnectionRole.PEER, cluster.document.cluster.id.bytes, NodeId(2), NodeId(1))
    elsewhere = Hello(ConnectionRole.CLIENT, bytes(15) + b"x")
    codes = HandshakeRefusalCode
    return [
        *((f"plaintext {data[:8]!r}", lambda data=data: nonsense_ends(address, None, data)) for data in _NONSENSE),
        *((f"no Hello but {data[:8]!r}", lambda data=data: nonsense_ends(address, user, data)) for data in _NONSENSE),
        ("a first frame of 4 GiB", lambda: nonsense_ends(address, user, b"\xff" * 4)),
        ("no certificate", lambda: handshake_is_refused(address, Credentials(authority, None))),
        ("the wrong authority", lambda: handshake_is_refused(address, foreign)),
        ("a peer's certificate", lambda: handshake_is_refused(address, peer)),
        ("a server's certificate", lambda: handshake_is_refused(address, of_node)),
        ("a peer's Hello", lambda: hello_is_refused(address, user, as_peer, codes.WRONG_ROLE)),
        ("another cluster", lambda: hello_is_refused(address, user, elsewhere, codes.WRONG_CLUSTER)),
        ("a frame too long", lambda: ends_after_welcome(address, user, too_long)),
        ("a frame of nothing", lambda: ends_after_welcome(address, user, bytes(4))),
        *((f"frames {data[:8]!r}", lambda data=data: ends_after_welcome(address, user, data)) for data in _NONSENSE),
        ("an unknown request", lambda: ends_after_welcome(address, user, b"\x09\0\0\0\xee" + bytes(8))),
    ]  # fmt: skip


def peer_port_cases(cluster: Cluster, other_pki: Path) -> list[Case]:
    pki, address = cluster.pki, cluster.document.nodes[0].peer_address
    cluster_id = cluster.document.cluster.id.bytes
    authority = authority_files(pki, "peer").certificate
    second = Credentials(authority, node_files(pki, 2, "peer"))
    foreign = Credentials(authority, node_files(other_pki, 2, "peer"))
    user = Credentials(authority, user_files(pki, USER))

    def hello(sender: int, receiver: int = 1, cluster_id: bytes = cluster_id) -> Hello:
        return Hello(ConnectionRole.PEER, cluster_id, NodeId(sender), NodeId(receiver))

    codes = HandshakeRefusalCode
    return [
        *((f"plaintext {data[:8]!r}", lambda data=data: nonsense_ends(address, None, data)) for data in _NONSENSE),
        *((f"no Hello but {data[:8]!r}", lambda data=data: nonsense_ends(address, second, data)) for data in _NONSENSE),
        ("a first frame of 4 GiB", lambda: nonsense_ends(address, second, b"\xff" * 4)),
        ("no certificate", lambda: handshake_is_refused(address, Credentials(authority, None))),
        ("the wrong authority", lambda: handshake_is_refused(address, foreign)),
        ("a user's certificate", lambda: handshake_is_refused(address, user)),
        ("node 2 as node 3", lambda: hello_is_refused(address, second, hello(3), codes.NOT_ALLOWED)),
        ("for another node", lambda: hello_is_refused(address, second, hello(2, 3), codes.WRONG_NODE)),
        ("another cluster", lambda: hello_is_refused(address, second, hello(2, 1, b"x" * 16), codes.WRONG_CLUSTER)),
        ("a client's Hello", lambda: hello_is_refused(address, second, Hello(ConnectionRole.CLIENT), codes.WRONG_ROLE)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def other_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority's certificates, with the same names in them."""
    directory = tmp_path_factory.mktemp("other") / "pki"
    create_authorities(directory, CLUSTER_NAME)
    issue_node(directory, 2, [own_address()])
    issue_user(directory, USER)
    return directory


@pytest.mark.parametrize("make_cases", [client_port_cases, peer_port_cases])
def test_what_does_not_belong_on_a_port_hurts_only_itself(
    make_cluster: MakeCluster, other_pki: Path, make_cases: Callable[[Cluster, Path], list[Case]]
) -> None:
    """Whatever comes to a port, only its own connection ends: clients notice nothing, and links between nodes stand."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        async with undisturbed(cluster):
            for name, attempt in make_cases(cluster, other_pki):
                try:
                    await attempt()
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"{name}: {error}") from error
        for node in cluster.nodes.values():
            assert "lost the connection" not in node.log

    asyncio.run(scenario())
