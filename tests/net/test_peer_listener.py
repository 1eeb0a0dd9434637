import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from raftd.consensus.types import NodeId
from raftd.errors import RemoteProtocolError
from raftd.net.acceptor import AcceptorLimits
from raftd.net.peer_listener import PeerListener
from raftd.net.tls import TlsFiles, client_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import HandshakeRefusal, HandshakeRefusalCode, Hello, Welcome, decode_reply, encode_hello
from raftd.wire.identity import IdentityKind
from tests.net.loopback import (
    CLIENT_HELLO,
    CLUSTER_ID,
    PEER_HELLO,
    PEER_LISTENER,
    Certificates,
    Remote,
    Run,
    dial,
    run_on,
    until,
)


@dataclass
class Node:
    received: list[tuple[NodeId, bytes]] = field(default_factory=list)

    def peer_payloads(self, sender: NodeId, payloads: list[bytes], version: int) -> None:
        assert version == PEER_LISTENER.version_max
        for payload in payloads:
            if payload == b"nonsense":
                raise RemoteProtocolError("nonsense")
            self.received.append((sender, payload))


@contextlib.asynccontextmanager
async def listening(certificates: Certificates) -> AsyncIterator[tuple[Node, PeerListener]]:
    node = Node()
    listener = PeerListener(
        files=certificates.node(1),
        cluster="demo",
        listener=PEER_LISTENER,
        handler=node,
        is_peer=lambda peer: peer in {1, 2},
        limits=AcceptorLimits(),
    )
    listener.start("127.0.0.1", 0)
    try:
        yield node, listener
    finally:
        await listener.stop()
        assert listener._channels == set()
        assert listener._by_peer == {}


async def handshake(port: int, files: TlsFiles, hello: Hello = PEER_HELLO) -> tuple[Remote, Welcome | HandshakeRefusal]:
    remote = await dial(port, files)
    remote.writer.write(encode_frame(encode_hello(hello)))
    return remote, decode_reply(await remote.payload())


def test_a_peer_is_welcome_and_its_messages_carry_its_name(run: Run, certificates: Certificates) -> None:
    """Who sends is what the certificate and the Hello agree on."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, reply = await handshake(listener.port, certificates.node(2))
            assert reply == Welcome(1, CLUSTER_ID, NodeId(1), 1 << 20, 0)
            remote.writer.write(encode_frame(b"one") + encode_frame(b"two"))
            await until(lambda: node.received == [(2, b"one"), (2, b"two")])
            assert (listener.received_bytes(NodeId(2)), listener.received_bytes(NodeId(3))) == (6, 0)
            await remote.close()

    run(scenario())


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (CLIENT_HELLO, HandshakeRefusalCode.WRONG_ROLE),
        (replace(PEER_HELLO, cluster_id=bytes(15) + b"\1"), HandshakeRefusalCode.WRONG_CLUSTER),
        (replace(PEER_HELLO, receiver_node_id=NodeId(3)), HandshakeRefusalCode.WRONG_NODE),
        (replace(PEER_HELLO, sender_node_id=NodeId(1)), HandshakeRefusalCode.WRONG_NODE),
        (replace(PEER_HELLO, sender_node_id=NodeId(3)), HandshakeRefusalCode.NOT_ALLOWED),
    ],
    ids=["a client", "another cluster", "for another node", "itself", "in another's name"],
)
def test_a_hello_that_cannot_be_is_refused(
    certificates: Certificates, hello: Hello, code: HandshakeRefusalCode, caplog: pytest.LogCaptureFixture
) -> None:
    """The other side is told why, and so is the log, once."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            remote, reply = await handshake(listener.port, certificates.node(2), hello)
            assert isinstance(reply, HandshakeRefusal)
            assert reply.code is code
            assert await remote.is_ended()

    run_on("uvloop", scenario())
    (record,) = (record for record in caplog.records if record.name.startswith("raftd"))
    assert record.levelno == logging.WARNING
    assert "refused a connection from 127.0.0.1:" in record.getMessage()


def test_a_node_that_is_no_member_is_refused(certificates: Certificates) -> None:
    """A certificate says who a node is, and the membership whether it takes part."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            hello = replace(PEER_HELLO, sender_node_id=NodeId(3))
            remote, reply = await handshake(listener.port, certificates.node(3), hello)
            assert reply == HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, "node 3 is not a member")
            assert await remote.is_ended()

    run_on("uvloop", scenario())


@pytest.mark.parametrize(
    ("kind", "name", "cluster"), [(IdentityKind.NODE, "2", "elsewhere"), (IdentityKind.USER, "alice", "demo")]
)
def test_a_certificate_of_somebody_else_is_refused(
    certificates: Certificates, kind: IdentityKind, name: str, cluster: str
) -> None:
    """Even one that the peers' authority signed."""
    files = certificates.odd("peer", kind, name, cluster)

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            remote, reply = await handshake(listener.port, files)
            assert isinstance(reply, HandshakeRefusal)
            assert reply.code is HandshakeRefusalCode.NOT_ALLOWED
            assert await remote.is_ended()

    run_on("uvloop", scenario())


def test_a_user_s_certificate_does_not_get_through_tls(run: Run, certificates: Certificates) -> None:
    """Peers and clients have separate authorities."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            files = replace(certificates.user(), authority=certificates.node(1).authority)
            with contextlib.suppress(OSError):
                remote = await dial(listener.port, files)
                assert await remote.is_ended()
            await until(lambda: listener._acceptor.refused_total == 1)
            assert listener._acceptor.accepted_total == 0

    run(scenario())


def test_who_goes_on_before_it_is_welcome_is_refused(run: Run, certificates: Certificates) -> None:
    """Nobody knows yet which version its messages would be of."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote = await dial(listener.port, certificates.node(2))
            remote.writer.write(encode_frame(encode_hello(PEER_HELLO)) + encode_frame(b"one"))
            assert await remote.is_ended()
            assert node.received == []

    run(scenario())


def test_that_a_peer_is_there_is_told(run: Run, certificates: Certificates) -> None:
    """So that it is dialled at once: it may have come back just now. Who is refused is not told of."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            connected: list[NodeId] = []
            listener._on_connected = connected.append
            refused, _ = await handshake(
                listener.port, certificates.node(2), replace(PEER_HELLO, receiver_node_id=NodeId(3))
            )
            remote, _ = await handshake(listener.port, certificates.node(2))
            assert connected == [2]
            await refused.close()
            await remote.close()

    run(scenario())


def test_the_newest_connection_of_a_peer_counts(run: Run, certificates: Certificates) -> None:
    """A peer that has restarted is heard at once, and nothing of its earlier connection comes in between."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            older, _ = await handshake(listener.port, certificates.node(2))
            newer, _ = await handshake(listener.port, certificates.node(2))
            assert await older.is_ended()
            newer.writer.write(encode_frame(b"still here"))
            await until(lambda: node.received == [(2, b"still here")])
            assert list(listener._by_peer) == [2]
            await newer.close()
            await until(lambda: not listener._by_peer)

    run(scenario())


def test_a_message_that_cannot_be_ends_the_link(run: Run, certificates: Certificates) -> None:
    """And the peer may dial again."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, _ = await handshake(listener.port, certificates.node(2))
            remote.writer.write(encode_frame(b"fine") + encode_frame(b"nonsense") + encode_frame(b"late"))
            assert await remote.is_ended()
            assert node.received == [(2, b"fine")]
            again, reply = await handshake(listener.port, certificates.node(2))
            assert isinstance(reply, Welcome)
            await again.close()

    run(scenario())


def test_a_reset_at_every_byte_of_the_handshake_is_survived(run: Run, certificates: Certificates) -> None:
    """Pitfall 13: a peer may die at any moment of a connect."""
    hello = encode_frame(encode_hello(PEER_HELLO))

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            context = client_context(certificates.node(2))
            for offset in range(len(hello) + 1):
                remote = await dial(listener.port, context)
                remote.writer.write(hello[:offset])
                # Linger for no time: the kernel sends a reset instead of an end (socket(7)).
                connection = remote.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                remote.writer.transport.abort()
                await remote.is_ended()
            remote, reply = await handshake(listener.port, certificates.node(2))
            assert isinstance(reply, Welcome)
            await until(lambda: len(listener._channels) == 1)
            await remote.close()

    run(scenario())
