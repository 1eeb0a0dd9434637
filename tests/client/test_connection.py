import asyncio
import socket
from collections.abc import Callable

import pytest

from raftd.client.connection import Connection, ConnectionLost, NotConnected, connect
from raftd.consensus.types import NodeId
from raftd.kv import commands
from raftd.kv.types import SessionId
from raftd.wire.client import (
    RefusalCode,
    RequestKind,
    ResponseKind,
    decode_refusal,
    encode_pong,
)
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import HandshakeRefusal, HandshakeRefusalCode, Welcome, encode_reply
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX, CLIENT_HEADER_BYTES
from raftd.wire.watch import encode_unwatch_body
from tests.client.connecting import WATCH_ALL, Heard, connected, get
from tests.client.fake import CLUSTER_ID, Cut, Pki, Say, Silent, Wait
from tests.client.playing import until


def test_identity_and_welcome(pki: Pki) -> None:
    """After connecting it is known who is there."""

    async def scenario() -> None:
        async with connected(pki) as (_, connection):
            assert str(connection.identity) == "raftd://test/node/1"
            assert connection.welcomed.result().cluster_id == CLUSTER_ID
            assert connection.usable

    asyncio.run(scenario())


def test_many_under_way_answered_in_any_order(pki: Pki) -> None:
    """A request that waits holds up none that was sent after it."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            held = Wait()
            node.plan.append(held)
            first = asyncio.create_task(get(connection))
            await asyncio.gather(*(get(connection) for _ in range(200)))
            assert not first.done()
            held.until.set()
            await first

    asyncio.run(scenario())


def test_never_more_under_way_than_the_node_allows(pki: Pki) -> None:
    """The window of the Welcome holds for all tasks together, and one slot of it is kept for a PING."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            node.requests_in_flight_max = 4
            connection = await connect(node.address, pki.user.context(), dead_after=5.0)
            waits = [Wait() for _ in range(3)]
            node.plan.extend(waits)
            tasks = [asyncio.create_task(get(connection)) for _ in range(10)]
            await until(lambda: len(node.requests) == 3)
            assert not any(task.done() for task in tasks)
            waits[0].until.set()
            await until(lambda: sum(task.done() for task in tasks) == 8)
            assert len(node.requests) == 10
            for wait in waits:
                wait.until.set()
            await asyncio.gather(*tasks)
            await connection.close()

    asyncio.run(scenario())


def test_cancelled_requests_give_their_slot_back_when_answered(pki: Pki) -> None:
    """An answer that nobody waits for any more is dropped; the connection goes on."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            held = Wait()
            node.plan.append(held)
            task = asyncio.create_task(get(connection))
            await until(lambda: bool(node.requests))
            task.cancel()
            held.until.set()
            for _ in range(200):
                await get(connection)
            assert connection.usable

    asyncio.run(scenario())


@pytest.mark.parametrize("sent_bytes", range(31))
def test_reset_at_every_byte_of_an_answer(pki: Pki, sent_bytes: int) -> None:
    """However much of an answer came, an unfinished one is a lost connection, and never an answer."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            node.plan.append(Cut(sent_bytes))
            if sent_bytes == 30:  # 4 + 9 + 17: all of it
                await get(connection)
                return
            with pytest.raises(ConnectionLost):
                await get(connection)
            assert not connection.usable
            with pytest.raises(NotConnected):
                await connection.reserve()

    asyncio.run(scenario())


@pytest.mark.parametrize("sent_bytes", [0, 1, 4, 12, 40])
def test_reset_at_bytes_of_the_welcome(pki: Pki, sent_bytes: int) -> None:
    """A connection that ends within the handshake was never one."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            behave = node.handshake

            def cut(hello: bytes) -> bytes:
                asyncio.get_running_loop().call_soon(next(iter(node.connections)).transport.close)
                return behave(hello)[:sent_bytes]

            node.handshake = cut
            with pytest.raises(NotConnected):
                await connect(node.address, pki.user.context(), dead_after=5.0)

    asyncio.run(scenario())


def welcome(requests_in_flight_max: int = 8, version: int = 1, cluster_id: bytes = CLUSTER_ID) -> bytes:
    return encode_frame(
        encode_reply(Welcome(version, cluster_id, NodeId(1), CLIENT_FRAME_BYTES_MAX, requests_in_flight_max))
    )


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "broke the protocol"),
        (encode_frame(b"garbage"), "not a node of raftd"),
        (welcome(version=7), "version 7 was chosen"),
        (welcome(cluster_id=bytes(15) + b"x"), "cluster"),
        (welcome(requests_in_flight_max=0), "allows no request"),
        (welcome() + b"x", "spoke before it was asked"),
        (welcome() + encode_pong(1), "spoke before it was asked|not under way"),
        (
            encode_frame(encode_reply(HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, "no such user"))),
            "refused the connection: no such user",
        ),
    ],
)
def test_handshakes_that_fail(pki: Pki, reply: bytes, message: str) -> None:
    """Whatever comes instead of a fitting Welcome is told in one line, and no request is ever sent."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            node.handshake = lambda _: reply

            async def connect_and_ask() -> None:
                connection = await connect(node.address, pki.user.context(), cluster_id=CLUSTER_ID, dead_after=5.0)
                await connection.request(RequestKind.PING)

            with pytest.raises(NotConnected, match=message):
                await connect_and_ask()
            assert not node.requests

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "frames",
    [
        lambda _: b"\xff" * 64,
        lambda request_id: encode_frame(b"\x09" + request_id.to_bytes(8, "little")),
        lambda _: encode_frame(b"\x01\x02"),
        lambda request_id: encode_pong(request_id + 1),
        lambda _: bytes(4),
    ],
)
def test_garbage_instead_of_an_answer(pki: Pki, frames: Callable[[int], bytes]) -> None:
    """Garbage ends the connection, with every request on it; nothing is guessed."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            node.plan.append(Say(frames))
            with pytest.raises(ConnectionLost, match="broke the protocol"):
                await get(connection)

    asyncio.run(scenario())


class NarrowTransport:
    """Has room for one request."""

    def __init__(self, connection: Connection) -> None:
        self.writes = 0
        self._connection = connection

    def write(self, data: bytes) -> None:  # noqa: ARG002 - as a transport's
        self.writes += 1
        self._connection.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


def test_those_who_wait_for_room_do_not_write_all_at_once(pki: Pki) -> None:
    """When there is room again the first fills it up, and the others go on waiting; at the end all are told."""

    async def scenario() -> None:
        async with connected(pki) as (_, connection):
            real, narrow = connection._transport, NarrowTransport(connection)
            connection._transport = narrow  # type: ignore[assignment]  # as much of one as is used
            connection.pause_writing()
            asking = [asyncio.create_task(get(connection)) for _ in range(5)]
            for writes in range(3):
                for _ in range(10):
                    await asyncio.sleep(0)
                assert narrow.writes == writes
                connection.resume_writing()
            connection.abort("for the test")
            connection.pause_writing()
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert [type(result) for result in results].count(NotConnected) >= 2
            connection._transport = real

    asyncio.run(scenario())


def test_a_node_that_never_finishes_the_handshake(pki: Pki) -> None:
    """Connecting is bounded, with TLS (a port that says nothing) and with our handshake."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # its backlog accepts, and nobody ever answers
            host, port = silent.getsockname()
            with pytest.raises(NotConnected, match=r"no answer within 0\.2 s"):
                await connect(f"{host}:{port}", pki.user.context(), dead_after=0.2)
        async with pki.cluster(1) as cluster:
            cluster.nodes[0].handshake = lambda _: b""
            with pytest.raises(NotConnected, match=r"no answer within 0\.2 s"):
                await connect(cluster.endpoints[0], pki.user.context(), dead_after=0.2)

    asyncio.run(scenario())


def test_cancelled_when_the_welcome_has_come(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets the connection any more, so it ends."""
    receive_welcome = Connection._receive_welcome

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            connecting = asyncio.create_task(connect(cluster.endpoints[0], pki.user.context(), dead_after=5.0))

            def receive_and_cancel(connection: Connection, payload: bytes) -> None:
                receive_welcome(connection, payload)
                connecting.cancel()

            monkeypatch.setattr(Connection, "_receive_welcome", receive_and_cancel)
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await until(lambda: not cluster.nodes[0].connections)

    asyncio.run(scenario())


def test_a_host_by_name_when_the_main_thread_is_done(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's executor takes no more work then, and a connection is made nevertheless."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            host, _, port = cluster.endpoints[0].partition(":")
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, int(port)))]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            await asyncio.get_running_loop().shutdown_default_executor()
            connection = await connect(f"n1.example:{port}", pki.user.context(), dead_after=5.0)
            await get(connection)
            await connection.close()

    asyncio.run(scenario())


def test_a_port_without_tls(pki: Pki) -> None:
    """A port that speaks something else is named so; it is no problem of certificates."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        with pytest.raises(NotConnected, match="no TLS") as caught:
            await connect(f"{host}:{port}", pki.user.context(), dead_after=5.0)
        assert caught.value.certificates is None
        server.close()

    asyncio.run(scenario())


def test_too_long_a_request_is_not_sent(pki: Pki) -> None:
    """A request over the node's bound would end the connection for all: it is refused here."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            for _ in range(100):  # more often than there are slots: none is leaked
                kind, payload = await connection.request(RequestKind.WRITE, bytes(CLIENT_FRAME_BYTES_MAX))
                assert kind is ResponseKind.REFUSED
                assert decode_refusal(payload).code is RefusalCode.TOO_LARGE
            await get(connection)
            assert len(node.requests) == 1

    asyncio.run(scenario())


def test_the_node_says_how_long_a_request_may_be(pki: Pki) -> None:
    """The longest that it takes is sent, header and all, and one byte more is not."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            reply = encode_frame(encode_reply(Welcome(1, CLUSTER_ID, NodeId(1), 5000, 8)))
            node.handshake = lambda _: reply
            node.plan_for = lambda _kind, _body: True
            node.plan.append(Silent())
            connection = await connect(node.address, pki.user.context(), dead_after=5.0)
            longest = bytes(5000 - CLIENT_HEADER_BYTES)
            await connection.reserve()
            assert connection.send(RequestKind.WRITE, longest + b"x").done()
            await connection.reserve()
            connection.send(RequestKind.WRITE, longest)
            await until(lambda: node.requests == [(RequestKind.WRITE, longest)])
            await connection.close()

    asyncio.run(scenario())


def test_a_good_bye_counts_before_the_connection_is_gone(pki: Pki) -> None:
    """A node that sends nothing more answers nothing more: a request goes elsewhere, nobody writes into the void."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            connection.eof_received()
            assert not connection.usable
            with pytest.raises(NotConnected):
                await get(connection)
            assert node.requests == []

    asyncio.run(scenario())


def test_those_who_wait_for_a_slot_learn_of_the_end(pki: Pki) -> None:
    """When the connection ends, every task that waits for a slot hears that nothing of it was sent."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            node.requests_in_flight_max = 2
            connection = await connect(node.address, pki.user.context(), dead_after=5.0)
            node.plan.append(Silent())
            tasks = [asyncio.create_task(get(connection)) for _ in range(5)]
            await until(lambda: bool(node.requests))
            connection.abort("for the test")
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [ConnectionLost] + [NotConnected] * 4
            await connection.close()

    asyncio.run(scenario())


def test_a_stream_is_told_everything(pki: Pki) -> None:
    """Each response, until the last one or until it is muted; and the end of the connection."""

    async def scenario() -> None:
        async with connected(pki) as (node, connection):
            ended, muted, lost = Heard(), Heard(), Heard()
            ids = []
            for stream in (ended, muted, lost):
                await connection.reserve()
                ids.append(connection.open_stream(RequestKind.WATCH, WATCH_ALL, stream))
            await until(lambda: all(one.kinds == [ResponseKind.WATCHING] for one in (ended, muted, lost)))
            assert connection.mute_stream(ids[1])
            assert not connection.mute_stream(ids[1])
            node.cluster.apply("alice", commands.open_session())
            session = SessionId(node.cluster.machine.last_applied)
            node.cluster.apply("alice", commands.put(session, 1, 1, b"a", b"1"))
            await connection.request(RequestKind.UNWATCH, encode_unwatch_body(ids[0]))
            await until(lambda: len(lost.kinds) == 2)
            assert ended.kinds == [ResponseKind.WATCHING, ResponseKind.CHANGES, ResponseKind.WATCH_ENDED]
            assert not connection.mute_stream(ids[0])
            assert muted.kinds == [ResponseKind.WATCHING]
            await connection.request(RequestKind.UNWATCH, encode_unwatch_body(ids[1]))
            connection.close_stream(ids[1])
            (server,) = node.connections
            server.cut()
            await until(lambda: bool(lost.reason))
            assert (ended.reason, muted.reason) == ("", "")

    asyncio.run(scenario())


def test_streams_take_no_slots(pki: Pki) -> None:
    """A stream has a slot until its first response, so that any number of them may be open."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            node.requests_in_flight_max = 3
            connection = await connect(node.address, pki.user.context(), dead_after=5.0)
            streams = [Heard() for _ in range(20)]
            for stream in streams:
                await connection.reserve()
                connection.open_stream(RequestKind.WATCH, WATCH_ALL, stream)
            await until(lambda: all(stream.kinds for stream in streams))
            await get(connection)
            await connection.close()
            assert all(stream.reason for stream in streams)

    asyncio.run(scenario())
