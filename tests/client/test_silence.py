"""Which silence of a node ends the connection to it, and which does not."""

import asyncio
import socket

import pytest

from raftd.client.connection import Connection, ConnectionLost, NotConnected, connect
from raftd.wire.client import RequestKind, ResponseKind, encode_pong
from tests.client.connecting import WATCH_ALL, Heard, connected, get
from tests.client.fake import Pki, Say, Silent, Wait
from tests.client.playing import until


def test_a_silent_node_is_found_out(pki: Pki) -> None:
    """A node that keeps its connections and says nothing is asked by a PING, and then given up."""

    async def scenario() -> None:
        async with connected(pki, dead_after=0.2) as (node, connection):
            node.plan.append(Silent(freeze=True))
            with pytest.raises(ConnectionLost, match=r"silent for 0\.2 s"):
                await get(connection)

    asyncio.run(scenario())


def test_a_silent_node_that_takes_one_request_at_a_time(pki: Pki) -> None:
    """It is asked as well, though the request that it owes has the only slot."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            node.requests_in_flight_max = 1
            connection = await connect(node.address, pki.user.context(), dead_after=0.2)
            held = Wait()
            node.plan.append(held)
            task = asyncio.create_task(get(connection))
            await until(lambda: sum(kind is RequestKind.PING for kind, _ in node.requests) >= 2)
            held.until.set()
            await task
            node.plan.append(Silent(freeze=True))
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionLost, match=r"silent for 0\.2 s"):
                    await get(connection)
            await connection.close()

    asyncio.run(scenario())


def test_a_silent_node_that_is_asked_more_and_more(pki: Pki) -> None:
    """That its kernel takes what is sent, as long as there is room, is no sign of life of a node that hangs."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            node.requests_in_flight_max = 1000
            connection = await connect(node.address, pki.user.context(), dead_after=0.4)
            node.frozen = True
            end = asyncio.get_running_loop().time() + 4
            asking = [asyncio.create_task(get(connection))]
            while connection.usable and asyncio.get_running_loop().time() < end:
                asking.append(asyncio.create_task(get(connection)))
                await asyncio.sleep(0.02)
            assert not connection.usable
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert {type(result) for result in results} <= {ConnectionLost, NotConnected}
            await connection.close()

    asyncio.run(scenario())


class SlowLink:
    """Stands in for the socket and transport below TLS: it takes so many bytes a second, and nobody answers."""

    def __init__(self, bytes_per_second: int) -> None:
        self._bytes_per_second = bytes_per_second
        self._written_bytes = 0
        self._acknowledged_bytes = 0.0
        self._loop = asyncio.get_running_loop()
        self._then = self._loop.time()

    def write(self, data: bytes) -> None:
        self.getsockopt()
        self._written_bytes += len(data)

    def getsockopt(self, *_: int) -> bytes:
        now = self._loop.time()
        taken = self._acknowledged_bytes + (now - self._then) * self._bytes_per_second
        self._acknowledged_bytes = min(taken, self._written_bytes)
        self._then = now
        return bytes(120) + int(self._acknowledged_bytes).to_bytes(8, "little")

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass

    def left_bytes(self) -> int:
        self.getsockopt()
        return self._written_bytes - round(self._acknowledged_bytes)


def test_a_slow_link_is_no_silence(pki: Pki) -> None:
    """While what was sent is still being taken, an answer cannot come; silence begins after that, and ends it."""

    async def scenario() -> None:
        async with connected(pki, dead_after=0.4) as (_, connection):
            loop = asyncio.get_running_loop()
            real = connection._transport
            link = SlowLink(bytes_per_second=1_000_000)
            connection._transport = connection._socket = link  # type: ignore[assignment]  # as much of them as is used
            start = loop.time()
            answer = await _send(connection, bytes(1 << 20))
            with pytest.raises(ConnectionLost, match="silent"):
                await answer
            assert link.left_bytes() == 0
            assert loop.time() - start > 1.0 + 0.4  # a second for the value, and then the whole of the silence
            connection._transport = real

    asyncio.run(scenario())


async def _send(connection: Connection, body: bytes) -> "asyncio.Future[tuple[ResponseKind, bytes]]":
    await connection.reserve()
    return connection.send(RequestKind.WRITE, body)


async def _carry_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(16 << 10):
        writer.write(data)
        await asyncio.sleep(0.015)
    writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 << 10):
        writer.write(data)
    writer.close()


def test_a_large_value_over_a_slow_link(pki: Pki) -> None:
    """It is written, though that takes much longer than silence is borne."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            node = cluster.nodes[0]
            host, _, port = node.address.partition(":")

            ended = asyncio.Event()

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
                await asyncio.gather(_carry_slowly(reader, far_writer), _carry(far_reader, writer))
                await asyncio.gather(far_writer.wait_closed(), writer.wait_closed(), return_exceptions=True)
                ended.set()

            listening = socket.create_server((host, 0))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
            server = await asyncio.start_server(accept, sock=listening, limit=16 << 10)
            slow_port = listening.getsockname()[1]
            connection = await connect(f"{host}:{slow_port}", pki.user.context(), dead_after=0.4)
            node.plan_for = lambda kind, _: kind is RequestKind.WRITE
            node.plan.append(Say(encode_pong))
            loop = asyncio.get_running_loop()
            start = loop.time()
            await (await _send(connection, bytes(1 << 20)))
            assert loop.time() - start > 0.8
            await connection.close()
            await ended.wait()
            server.close()
            await server.wait_closed()

    asyncio.run(scenario())


def test_a_slow_node_is_not_taken_for_dead(pki: Pki) -> None:
    """As long as PINGs are answered, a request may wait much longer than silence is borne."""

    async def scenario() -> None:
        async with connected(pki, dead_after=0.6) as (node, connection):
            held = Wait()
            node.plan.append(held)
            task = asyncio.create_task(get(connection))
            await until(lambda: sum(kind is RequestKind.PING for kind, _ in node.requests) >= 2)
            held.until.set()
            await task

    asyncio.run(scenario())


def test_silence_while_only_streams_are_open(pki: Pki) -> None:
    """A node that owes nothing is asked seldom; one that does not answer then is taken for dead."""

    async def scenario() -> None:
        async with connected(pki, dead_after=0.2) as (node, connection):
            stream = Heard()
            await connection.reserve()
            connection.open_stream(RequestKind.WATCH, WATCH_ALL, stream)
            await until(lambda: len(stream.kinds) == 1)
            await until(lambda: sum(kind is RequestKind.PING for kind, _ in node.requests) == 2)
            assert connection.usable
            node.frozen = True
            await until(lambda: bool(stream.reason))
            assert "silent" in stream.reason

    asyncio.run(scenario())


def test_a_request_beside_streams_is_not_waited_for_longer(pki: Pki) -> None:
    """The moment an answer is owed, silence is short again."""

    async def scenario() -> None:
        async with connected(pki, dead_after=0.4) as (node, connection):
            stream = Heard()
            await connection.reserve()
            connection.open_stream(RequestKind.WATCH, WATCH_ALL, stream)
            await until(lambda: len(stream.kinds) == 1)
            await until(lambda: connection._timer_is_for_streams)
            node.frozen = True
            start = asyncio.get_running_loop().time()
            with pytest.raises(ConnectionLost, match="silent"):
                await get(connection)
            assert asyncio.get_running_loop().time() - start < 0.8

    asyncio.run(scenario())
