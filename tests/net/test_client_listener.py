import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from raftd.errors import RemoteProtocolError
from raftd.net.acceptor import AcceptorLimits
from raftd.net.channel import Channel
from raftd.net.client_listener import ClientListener
from raftd.net.tls import TlsFiles, client_context, server_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import (
    HandshakeRefusal,
    HandshakeRefusalCode,
    Welcome,
    decode_reply,
    encode_hello,
)
from raftd.wire.identity import IdentityKind
from tests.net.loopback import (
    CLIENT_HELLO,
    CLIENT_LISTENER,
    CLUSTER_ID,
    PEER_HELLO,
    Certificates,
    Remote,
    Run,
    dial,
    run_on,
    until,
)

HELLO = encode_frame(encode_hello(CLIENT_HELLO))


@dataclass
class Session:
    """What the node makes of a connection."""

    channel: Channel
    user: str
    received: list[bytes] = field(default_factory=list)
    closed_count: int = 0
    left: list[str] = field(default_factory=list)

    def receive(self, payloads: list[bytes]) -> None:
        self.received += payloads
        if payloads == [b"nonsense"]:
            raise RemoteProtocolError("nonsense")

    def leave(self, reason: str) -> None:
        self.left.append(reason)

    def closed(self) -> None:
        self.closed_count += 1


@dataclass
class Node:
    sessions: list[Session] = field(default_factory=list)
    administrators: set[str] = field(default_factory=set)

    def may_administer(self, user: str) -> bool:
        return user in self.administrators

    def client_connected(self, channel: Channel, user: str) -> Session:
        self.sessions.append(Session(channel, user))
        return self.sessions[-1]


@contextlib.asynccontextmanager
async def listening(certificates: Certificates) -> AsyncIterator[tuple[Node, ClientListener]]:
    node = Node()
    listener = ClientListener(
        files=certificates.node(1, "client"),
        cluster="demo",
        listener=CLIENT_LISTENER,
        handler=node,
        limits=AcceptorLimits(),
        leave_seconds=0.05,
    )
    listener.start("127.0.0.1", 0)
    try:
        yield node, listener
    finally:
        await listener.stop()
        assert listener.connections == 0
        assert all(session.closed_count == 1 for session in node.sessions)


async def handshake(port: int, files: TlsFiles, hello: bytes = HELLO) -> tuple[Remote, Welcome | HandshakeRefusal]:
    remote = await dial(port, files)
    remote.writer.write(hello)
    return remote, decode_reply(await remote.payload())


def test_a_user_is_welcome_and_its_requests_arrive(run: Run, certificates: Certificates) -> None:
    """Known by certificate; frames behind the handshake go to the node, and its end is told once."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, reply = await handshake(listener.port, certificates.user())
            assert reply == Welcome(1, CLUSTER_ID, CLIENT_LISTENER.node_id, 1 << 20, 8)
            (session,) = node.sessions
            assert session.user == "alice"
            remote.writer.write(encode_frame(b"one") + encode_frame(b"two"))
            await until(lambda: session.received == [b"one", b"two"])
            assert (listener.connections, listener.accepted_total, listener.refused_total) == (1, 1, 0)
            await remote.close()
            await until(lambda: session.closed_count)

    run(scenario())


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (PEER_HELLO, HandshakeRefusalCode.WRONG_ROLE),
        (replace(CLIENT_HELLO, cluster_id=bytes(15) + b"\1"), HandshakeRefusalCode.WRONG_CLUSTER),
        (replace(CLIENT_HELLO, receiver_node_id=PEER_HELLO.sender_node_id), HandshakeRefusalCode.WRONG_NODE),
        (replace(CLIENT_HELLO, version_min=2, version_max=3), HandshakeRefusalCode.NO_COMMON_VERSION),
    ],
)
def test_a_hello_to_somebody_else_is_refused_with_a_reason(
    certificates: Certificates, hello: object, code: HandshakeRefusalCode, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told, the log is told once, the node hears nothing of it."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            frame = encode_frame(encode_hello(hello))  # type: ignore[arg-type]  # all are Hellos
            remote, reply = await handshake(listener.port, certificates.user(), frame)
            assert isinstance(reply, HandshakeRefusal)
            assert reply.code is code
            assert await remote.is_ended()
            assert node.sessions == []

    with caplog.at_level(logging.INFO, "raftd"):
        run_on("uvloop", scenario())
    assert [record.getMessage().split(" from ")[0] for record in caplog.records if record.name.startswith("raftd")] == [
        "refused a connection"
    ]


@pytest.mark.parametrize(
    ("kind", "name", "cluster"),
    [
        (IdentityKind.USER, "alice", "elsewhere"),
        (IdentityKind.NODE, "7", "demo"),
        (IdentityKind.AUTHORITY, "client", "demo"),
    ],
)
def test_a_certificate_that_is_no_user_s_of_this_cluster_is_refused(
    certificates: Certificates, kind: IdentityKind, name: str, cluster: str
) -> None:
    """Even one that the authority signed: the identity decides, not the signature alone."""
    files = certificates.odd("client", kind, name, cluster)

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, reply = await handshake(listener.port, files)
            assert isinstance(reply, HandshakeRefusal)
            assert reply.code is HandshakeRefusalCode.NOT_ALLOWED
            assert f"raftd://{cluster}/{kind.value}/{name} is not a user of the cluster demo" == reply.message
            assert await remote.is_ended()
            assert node.sessions == []

    run_on("uvloop", scenario())


def test_a_certificate_that_cannot_be_read_is_refused(certificates: Certificates) -> None:
    """Its owner is told what is wrong, or would take the node for one that cannot be reached, and try for ever."""
    files = certificates.odd("client", IdentityKind.USER, "-alice")

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, reply = await handshake(listener.port, files)
            assert isinstance(reply, HandshakeRefusal)
            assert reply.code is HandshakeRefusalCode.NOT_ALLOWED
            assert reply.message.startswith("'-alice' is not a user's name")
            assert await remote.is_ended()
            assert node.sessions == []

    run_on("uvloop", scenario())


def no_certificate(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certificates.user().authority)
    return context


def tls_1_2(certificates: Certificates) -> ssl.SSLContext:
    context = no_certificate(certificates)
    context.load_cert_chain(certificates.user().certificate, certificates.user().key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize(
    ("make_context", "reason"),
    [
        (no_certificate, "peer did not return a certificate"),
        (tls_1_2, "unsupported protocol"),
        (lambda certificates: client_context(certificates.user("late")), "certificate has expired"),
        (lambda certificates: client_context(certificates.node(2, "client")), "un"),  # (un)suitable, -supported purpose
        (
            lambda certificates: client_context(replace(certificates.node(2), authority=certificates.user().authority)),
            "certificate",
        ),
    ],
    ids=["no certificate", "TLS 1.2", "expired", "a node's for serving", "a peer's"],
)
def test_who_has_no_good_certificate_does_not_get_through_tls(
    run: Run,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    make_context: Callable[[Certificates], ssl.SSLContext],
    reason: str,
) -> None:
    """Seen from the server, for under TLS 1.3 the client's handshake is over before its certificate is looked at."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            with contextlib.suppress(OSError, EOFError):
                remote = await dial(listener.port, make_context(certificates))
                assert await remote.is_ended()
            await until(lambda: listener.refused_total == 1)
            assert (listener.accepted_total, node.sessions) == (0, [])

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (message,) = (record.getMessage() for record in caplog.records if record.name.startswith("raftd"))
    assert reason in message


def test_a_client_of_another_authority_does_not_get_through_tls(
    run: Run, certificates: Certificates, other_certificates: Certificates
) -> None:
    """The same names under another authority are nobody; and such a client does not believe this server either."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            files = replace(other_certificates.user(), authority=certificates.user().authority)
            with contextlib.suppress(OSError):
                remote = await dial(listener.port, files)
                assert await remote.is_ended()
            await until(lambda: listener.refused_total == 1)
            with pytest.raises(ssl.SSLCertVerificationError):
                await dial(listener.port, other_certificates.user())
            assert node.sessions == []

    run(scenario())


def test_who_does_not_pass_the_handshake_counts_as_refused(run: Run, certificates: Certificates) -> None:
    """However that ends: by its answer, by the time that it has, by what is no Hello, or since the client goes."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            listener._channel_limits = replace(listener._channel_limits, establish_seconds=0.05)
            elsewhere = encode_frame(encode_hello(replace(CLIENT_HELLO, cluster_id=bytes(15) + b"\1")))
            refused, _ = await handshake(listener.port, certificates.user(), elsewhere)
            silent = await dial(listener.port, certificates.user())
            assert await refused.is_ended()
            assert await silent.is_ended()
            await until(lambda: listener.connections == 0)
            assert (listener.accepted_total, listener.refused_total) == (0, 2)
            malformed = await dial(listener.port, certificates.user())
            malformed.writer.write(encode_frame(b"nonsense"))
            assert await malformed.is_ended()
            await (await dial(listener.port, certificates.user())).close()
            await until(lambda: listener.refused_total == 4)
            assert listener.accepted_total == 0

    run(scenario())


def test_a_frame_that_is_no_request_ends_one_connection(run: Run, certificates: Certificates) -> None:
    """The other connections go on."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            good, _ = await handshake(listener.port, certificates.user())
            bad, _ = await handshake(listener.port, certificates.user())
            bad.writer.write(encode_frame(b"nonsense"))
            assert await bad.is_ended()
            good.writer.write(encode_frame(b"request"))
            await until(lambda: node.sessions[0].received == [b"request"])
            assert node.sessions[1].closed_count == 1
            await good.close()

    run(scenario())


def test_two_frames_before_the_welcome_are_one_too_many(run: Run, certificates: Certificates) -> None:
    """Nothing that a client sends before it was let in is ever looked at as a request."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote = await dial(listener.port, certificates.user())
            remote.writer.write(HELLO + encode_frame(b"request"))
            assert await remote.is_ended()
            assert node.sessions == []

    run(scenario())


def test_a_reset_at_every_byte_of_the_handshake_is_survived(run: Run, certificates: Certificates) -> None:
    """Pitfall 13: wherever a client disappears, its place is free again and the next one is served."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            context = client_context(certificates.user())
            for offset in range(len(HELLO) + 1):
                remote = await dial(listener.port, context)
                remote.writer.write(HELLO[:offset])
                if offset % 2:
                    await remote.close()
                else:
                    # Linger for no time: the kernel sends a reset instead of an end (socket(7)).
                    connection = remote.writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    remote.writer.transport.abort()
                    await remote.is_ended()
            remote, reply = await handshake(listener.port, certificates.user())
            assert isinstance(reply, Welcome)
            await until(lambda: listener.connections == 1)
            await remote.close()

    run(scenario())


def test_stopping_sends_what_is_owed_and_waits_for_the_end(run: Run, certificates: Certificates) -> None:
    """The last answers arrive; when `stop` returns, nobody is connected."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, _ = await handshake(listener.port, certificates.user())
            reading = asyncio.create_task(remote.reader.read(-1))
            node.sessions[0].channel.send(b"a" * 2_000_000)
            await listener.stop()
            assert listener.connections == 0
            assert await reading == b"a" * 2_000_000
            await remote.close()

    run(scenario())


def test_what_a_handshake_goes_by_can_be_exchanged(
    run: Run, certificates: Certificates, other_certificates: Certificates
) -> None:
    """From the next connection on, other authorities count and another certificate is shown; this one goes on."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            before, _ = await handshake(listener.port, certificates.user())
            listener.use(context=server_context(other_certificates.node(1, "client")))
            after, reply = await handshake(listener.port, other_certificates.user())
            assert isinstance(reply, Welcome)
            with contextlib.suppress(OSError, EOFError):
                await handshake(listener.port, certificates.user())
                pytest.fail("the old authority is still trusted")
            before.writer.write(encode_frame(b"one"))
            await until(lambda: node.sessions[0].received == [b"one"])
            shown = listener.certificates()
            assert sorted(shown.values()) == sorted(map(der_of, (certificates.user(), other_certificates.user())))
            await before.close()
            await after.close()
            await until(lambda: not listener.certificates())

    run(scenario())


def test_the_number_of_connections_can_be_exchanged(run: Run, certificates: Certificates) -> None:
    """A lower bound ends nothing that stands, and lets nothing further in."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            first, _ = await handshake(listener.port, certificates.user())
            listener.use(limits=AcceptorLimits(connections_max=1))
            with contextlib.suppress(OSError, EOFError):
                await handshake(listener.port, certificates.user())
                pytest.fail("there is no room")
            listener.use(limits=AcceptorLimits(connections_max=2))
            second, _ = await handshake(listener.port, certificates.user())
            assert len(node.sessions) == 2
            await first.close()
            await second.close()

    run(scenario())


def test_the_last_connections_are_for_administrators(run: Run, certificates: Certificates) -> None:
    """One user with as many as it can have keeps nobody out who could do something about it."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            node.administrators.add("root")
            listener.use(limits=AcceptorLimits(connections_max=20))
            remotes = [await handshake(listener.port, certificates.user()) for _ in range(19)]
            refusal = remotes[-1][1]
            assert all(isinstance(reply, Welcome) for _, reply in remotes[:-1])
            assert isinstance(refusal, HandshakeRefusal)
            assert refusal.code is HandshakeRefusalCode.TOO_MANY_CONNECTIONS
            assert refusal.message == "the connections that are left are kept for administrators"
            assert await remotes[-1][0].is_ended()
            await until(lambda: listener.refused_total == 1)
            assert listener.accepted_total == 18
            for _ in range(2):
                remotes.append(await handshake(listener.port, certificates.user("root")))
                assert isinstance(remotes[-1][1], Welcome)
            assert [session.user for session in node.sessions[-2:]] == ["root", "root"]
            for remote, _ in remotes:
                await remote.close()

    run(scenario())


def test_who_says_nothing_has_none_of_an_administrator_s_connections(run: Run, certificates: Certificates) -> None:
    """Nor does a crowd that is being refused: of those that are kept it may have the first half, for a moment."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            node.administrators.add("root")
            listener.use(limits=AcceptorLimits(connections_max=40))
            remotes = [await handshake(listener.port, certificates.user()) for _ in range(36)]
            silent = [await dial(listener.port, certificates.user()) for _ in range(2)]
            await until(lambda: listener.connections == 38)
            refused = [await dial(listener.port, certificates.user()) for _ in range(2)]
            for remote in refused:
                assert await remote.is_ended()
            await until(lambda: listener.connections == 38)
            assert listener.refused_total == 2
            for _ in range(2):
                remotes.append(await handshake(listener.port, certificates.user("root")))
                assert isinstance(remotes[-1][1], Welcome)
            for remote in (*silent, *(each for each, _ in remotes)):
                await remote.close()

    run(scenario())


def test_where_there_are_few_connections_none_is_kept(run: Run, certificates: Certificates) -> None:
    """At most a tenth of them."""

    async def scenario() -> None:
        async with listening(certificates) as (_, listener):
            listener.use(limits=AcceptorLimits(connections_max=9))
            remotes = [await handshake(listener.port, certificates.user()) for _ in range(9)]
            assert all(isinstance(reply, Welcome) for _, reply in remotes)
            for remote, _ in remotes:
                await remote.close()

    run(scenario())


def test_an_expired_certificate_ends_its_connection(run: Run, certificates: Certificates) -> None:
    """The node is asked to let it go, once; one that is not let go of in time is cut off."""

    async def scenario() -> None:
        async with listening(certificates) as (node, listener):
            remote, _ = await handshake(listener.port, certificates.user())
            (session,) = node.sessions
            now = time.time()
            listener.end_expired(now + 364 * 86_400)
            assert session.left == []
            for _ in range(2):
                listener.end_expired(now + 366 * 86_400)
            assert session.left == ["its certificate has expired"]
            assert await remote.is_ended()
            await until(lambda: session.closed_count)
            assert session.channel.reason == "its certificate has expired"
            listener.end(session.channel, "it is gone already")

    run(scenario())


def der_of(files: TlsFiles) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
