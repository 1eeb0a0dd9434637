import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from raftd.errors import RemoteProtocolError
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import server_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import HandshakeRefusal, HandshakeRefusalCode, decode_reply
from tests.net.loopback import Certificates, Owner, Remote, Run, dial, until

LIMITS = ChannelLimits(frame_bytes_max=100_000, first_frame_bytes_max=100, establish_seconds=5.0)


@contextlib.asynccontextmanager
async def connected(
    certificates: Certificates, owner: Owner | None = None, limits: ChannelLimits = LIMITS
) -> AsyncIterator[tuple[Owner, Channel, Remote]]:
    """A channel and its other end."""
    owner = owner or Owner()
    loop = asyncio.get_running_loop()
    context = server_context(certificates.node(1, "client"))
    server = await loop.create_server(lambda: Channel(owner, limits), "127.0.0.1", 0, ssl=context)
    remote = await dial(server.sockets[0].getsockname()[1], certificates.user())
    await until(lambda: owner.opened)
    (channel,) = owner.opened
    try:
        yield owner, channel, remote
    finally:
        channel.abort("the test is over")
        await until(lambda: owner.closed)
        await remote.close()
        server.close()
        await server.wait_closed()
    # However it ended, and whatever happened before: closed exactly once.
    assert owner.closed == [channel]


def establishing(received: list[bytes]) -> Owner:
    """An owner that is content with the first frame."""
    return Owner(lambda channel, _: channel.establish(received.extend))


def test_frames_go_to_the_owner_first_and_to_the_receiver_after_establish(run: Run, certificates: Certificates) -> None:
    """One handshake frame, then whole payloads in order, however the stream is cut."""

    async def scenario() -> None:
        received: list[bytes] = []
        async with connected(certificates, establishing(received)) as (owner, _, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: owner.frames)
            stream = encode_frame(b"x" * 50_000) + encode_frame(b"y")
            for cut in (stream[:3], stream[3:30_000], stream[30_000:]):
                remote.writer.write(cut)
                await remote.writer.drain()
            await until(lambda: len(received) == 2)
            assert owner.frames == [b"hello"]
            assert received == [b"x" * 50_000, b"y"]

    run(scenario())


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (encode_frame(b"x" * 101), "a frame of 101 bytes came, and may have 1 to 100"),
        (bytes(4), "a frame of 0 bytes came, and may have 1 to 100"),
        (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes came, and may have 1 to 100"),
        (b"GET / HTTP/1.1\r\n", "a frame of 542393671 bytes came, and may have 1 to 100"),
        (encode_frame(b"hello") + b"\1", "it goes on before its handshake is answered"),
    ],
    ids=["too long", "empty", "huge", "garbage", "too eager"],
)
def test_a_stranger_s_bad_frame_ends_the_connection(
    run: Run, certificates: Certificates, sent: bytes, reason: str
) -> None:
    """By its first four bytes already, and with a reason for people."""

    async def scenario() -> None:
        async with connected(certificates, establishing([])) as (_, channel, remote):
            remote.writer.write(sent)
            assert await remote.is_ended()
            assert channel.reason == reason
            assert channel.is_closed

    run(scenario())


def test_nothing_is_delivered_after_the_end(run: Run, certificates: Certificates) -> None:
    """What came in one chunk with the bad frame, or in later ones, is nobody's business any more."""

    async def scenario() -> None:
        calls: list[list[bytes]] = []

        def receive(payloads: list[bytes]) -> None:
            calls.append(payloads)
            raise RemoteProtocolError("not like that")

        owner = Owner(lambda channel, _: channel.establish(receive))
        async with connected(certificates, owner) as (_, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: channel.is_established)
            remote.writer.write(encode_frame(b"bad") + encode_frame(b"worse"))
            assert await remote.is_ended()
            assert calls == [[b"bad", b"worse"]]
            channel.data_received(encode_frame(b"from the buffer"))
            assert len(calls) == 1
            assert channel.reason == "not like that"

    run(scenario())


def test_without_a_handshake_the_connection_ends(run: Run, certificates: Certificates) -> None:
    """TLS alone keeps no place."""

    async def scenario() -> None:
        async with connected(certificates, limits=replace(LIMITS, establish_seconds=0.02)) as (_, channel, remote):
            assert await remote.is_ended()
            assert channel.reason == "no handshake in time"

    run(scenario())


def test_an_established_connection_has_no_deadline(run: Run, certificates: Certificates) -> None:
    """The handshake's deadline ends with the handshake."""

    async def scenario() -> None:
        limits = replace(LIMITS, establish_seconds=0.05)
        async with connected(certificates, establishing([]), limits) as (_, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: channel.is_established)
            await asyncio.sleep(0.1)
            assert not channel.is_closed

    run(scenario())


def test_an_owner_may_refuse_at_once(run: Run, certificates: Certificates) -> None:
    """A certificate that is not wanted ends the connection before a single frame."""

    class Refusing(Owner):
        def channel_opened(self, channel: Channel) -> None:
            super().channel_opened(channel)
            raise RemoteProtocolError("not you")

    async def scenario() -> None:
        async with connected(certificates, Refusing()) as (owner, channel, remote):
            assert await remote.is_ended()
            assert (channel.reason, owner.frames) == ("not you", [])

    run(scenario())


def test_who_does_not_read_is_asked_nothing_more_until_it_reads(run: Run, certificates: Certificates) -> None:
    """Above the high-water mark the channel stops reading; when the other side has caught up, it goes on."""

    async def scenario() -> None:
        received: list[bytes] = []
        limits = replace(LIMITS, high_water_bytes=1 << 16)
        async with connected(certificates, establishing(received), limits) as (owner, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: owner.frames)
            remote.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio.StreamWriter says less
            written = 0
            while channel._stalled is None:
                channel.send(encode_frame(b"z" * 60_000))
                written += 60_004
                await asyncio.sleep(0)
            remote.writer.write(encode_frame(b"request"))
            await remote.writer.drain()
            await asyncio.sleep(0.05)
            assert received == []
            remote.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
            await remote.reader.readexactly(written)
            await until(lambda: received == [b"request"])
            assert channel._stalled is None
            assert not channel.is_closed

    run(scenario())


def bound_kernel(remote: Remote) -> None:
    """Let the remote's kernel take no more for it than this; else it may be tens of megabytes."""
    remote.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)


async def fill(channel: Channel, remote: Remote, unsent_bytes: int) -> None:
    """Write to a remote that does not read, until so much waits for it or the channel has had enough."""
    bound_kernel(remote)
    remote.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio.StreamWriter says less
    while not channel.is_closed and channel.unsent_bytes < unsent_bytes:
        channel.send(b"z" * 60_000)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (replace(LIMITS, high_water_bytes=1 << 16, stall_seconds=0.05), "it has stopped reading"),
        (replace(LIMITS, unread_bytes_max=1 << 19), "it does not read what it asked for"),
    ],
    ids=["too long", "too much"],
)
def test_who_never_reads_is_cut_off(run: Run, certificates: Certificates, limits: ChannelLimits, reason: str) -> None:
    """Pitfall 35: neither for long nor with much."""

    async def scenario() -> None:
        async with connected(certificates, limits=limits) as (owner, channel, remote):
            await fill(channel, remote, 8 << 20)  # more than the kernels take in the end
            await until(lambda: owner.closed)
            assert channel.reason == reason
            assert channel.unsent_bytes == 0

    run(scenario())


class SlowlyTaken(asyncio.Transport):
    """A connection whose other side takes what the test says."""

    def __init__(self) -> None:
        super().__init__({"socket": socket.socket()})
        self.unsent_bytes = 0
        self.is_reading_paused = False
        self.is_aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        self.unsent_bytes += len(data)

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False

    def abort(self) -> None:
        self.is_aborted = True


def test_who_reads_slowly_is_not_cut_off() -> None:
    """As long as it has taken enough each time that it is looked at, though more than that is written meanwhile."""

    async def scenario() -> None:
        transport = SlowlyTaken()
        channel = Channel(Owner(), replace(LIMITS, stall_bytes=1000))
        channel.connection_made(transport)
        channel.send(bytes(100_000))
        channel.pause_writing()
        assert transport.is_reading_paused
        for _ in range(100):
            transport.unsent_bytes -= 1000
            channel.send(bytes(2000))
            channel._check_stall()
            assert not channel.is_closed
        transport.unsent_bytes -= 999
        channel.send(bytes(2000))
        channel._check_stall()
        assert (channel.reason, transport.is_aborted) == ("it has stopped reading", True)
        channel.connection_lost(None)
        transport.get_extra_info("socket").close()

    asyncio.run(scenario())


def test_who_reads_a_large_answer_slowly_is_not_cut_off(run: Run, certificates: Certificates) -> None:
    """TLS hands what is written in one go to the transport below, and then counts nothing until all of that is gone."""

    async def scenario() -> None:
        async with connected(certificates, limits=replace(LIMITS, high_water_bytes=1 << 16)) as (_, channel, remote):
            bound_kernel(remote)
            channel.send(bytes(32 << 20))
            await asyncio.sleep(0)
            channel.send(bytes(1 << 20))
            looks = 0
            while channel._stalled is not None:
                await remote.reader.readexactly(2 << 20)
                await asyncio.sleep(0.01)
                if channel._stalled is not None:
                    looks += 1
                    channel._stalled.cancel()
                    channel._check_stall()
                    assert not channel.is_closed
            assert looks

    run(scenario())


def test_nothing_more_is_handed_over_while_the_owner_is_not_done() -> None:
    """Neither what has come already, which is cut in pieces, nor what would come; then all of it, in order."""

    async def scenario() -> None:
        transport, received = SlowlyTaken(), list[bytes]()
        channel = Channel(Owner(), replace(LIMITS, frames_max=2))
        channel.connection_made(transport)

        def receive(payloads: list[bytes]) -> None:
            received.extend(payloads)
            if len(received) in {2, 6}:
                channel.pause_reading()

        channel.establish(receive)
        payloads = [b"%d" % number for number in range(9)]
        channel.data_received(b"".join(map(encode_frame, payloads)) + b"\1")
        for held_at in (2, 6):
            assert received == payloads[:held_at]
            channel.pause_writing()
            channel.resume_writing()
            assert transport.is_reading_paused
            channel.resume_reading()
            await asyncio.sleep(0)
        assert received == payloads
        assert not transport.is_reading_paused
        channel.pause_reading()
        channel.pause_writing()
        channel.resume_reading()
        await asyncio.sleep(0)
        assert transport.is_reading_paused
        channel.resume_writing()
        assert not transport.is_reading_paused
        channel.connection_lost(None)
        channel.pause_reading()
        channel.resume_reading()
        await asyncio.sleep(0)
        transport.get_extra_info("socket").close()

    asyncio.run(scenario())


def test_an_owner_that_is_never_done_gets_it_all_in_the_end(run: Run, certificates: Certificates) -> None:
    """Piece by piece, over TLS: pausing holds on every loop, and nothing is lost by it."""

    async def scenario() -> None:
        pieces: list[list[bytes]] = []
        held: list[Channel] = []

        def receive(payloads: list[bytes]) -> None:
            assert not held, "it was handed more while it was not done"
            pieces.append(payloads)
            held.append(channel)
            channel.pause_reading()
            asyncio.get_running_loop().call_soon(resume)

        def resume() -> None:
            held.pop().resume_reading()

        owner = Owner(lambda channel, _: channel.establish(receive))
        async with connected(certificates, owner, replace(LIMITS, frames_max=100)) as (_, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: channel.is_established)
            payloads = [b"%d" % number for number in range(20_000)]
            remote.writer.write(b"".join(map(encode_frame, payloads)))
            await until(lambda: sum(map(len, pieces)) == len(payloads))
            assert [payload for piece in pieces for payload in piece] == payloads
            assert max(map(len, pieces)) == 100

    run(scenario())


def test_a_bad_frame_that_waited_ends_the_connection() -> None:
    """When its turn comes; what is in front of it is handed over before."""

    async def scenario() -> None:
        transport, received = SlowlyTaken(), list[bytes]()
        channel = Channel(Owner(), replace(LIMITS, frames_max=1))
        channel.connection_made(transport)
        channel.establish(received.extend)
        channel.data_received(encode_frame(b"a") + encode_frame(b"b") + bytes(4) + encode_frame(b"c"))
        assert received == [b"a", b"b"]
        assert channel.reason == "a frame of 0 bytes came, and may have 1 to 100000"
        channel.connection_lost(None)
        transport.get_extra_info("socket").close()

    asyncio.run(scenario())


@pytest.mark.parametrize("pause", ["pause_writing", "pause_reading"])
def test_a_frame_of_who_is_not_read_from_has_time(pause: str) -> None:
    """While nothing is read from it, its frame cannot be finished; afterwards it has as long as any other."""

    async def scenario() -> None:
        transport, loop = SlowlyTaken(), asyncio.get_running_loop()
        channel = Channel(Owner(), replace(LIMITS, frame_seconds=15.0))
        channel.connection_made(transport)
        channel.data_received(encode_frame(b"hello")[:5])
        getattr(channel, pause)()
        began_at = channel._partial_since = loop.time() - 100.0
        channel._check_partial()
        assert not channel.is_closed
        getattr(channel, pause.replace("pause", "resume"))()
        await asyncio.sleep(0)
        assert not transport.is_reading_paused
        assert channel._partial_since > began_at
        channel._check_partial()
        assert not channel.is_closed
        channel._partial_since -= 15.0
        channel._check_partial()
        assert channel.reason == "it has begun a frame and not finished it"
        channel.connection_lost(None)
        transport.get_extra_info("socket").close()

    asyncio.run(scenario())


def test_a_closed_channel_does_not_wait_long_for_who_never_reads(run: Run, certificates: Certificates) -> None:
    """What is written gets its time, and then the connection ends all the same."""

    async def scenario() -> None:
        async with connected(certificates, limits=replace(LIMITS, close_seconds=0.05)) as (owner, channel, remote):
            await fill(channel, remote, 1 << 19)
            channel.close()
            async with asyncio.timeout(1):
                await until(lambda: owner.closed)

    run(scenario())


def test_close_sends_what_is_written(run: Run, certificates: Certificates) -> None:
    """The last answers arrive before the end; what is sent after it goes nowhere."""

    async def scenario() -> None:
        async with connected(certificates) as (owner, channel, remote):
            channel.send(b"z" * 3_000_000)
            channel.close()
            channel.send(b"too late")
            assert await remote.reader.read(-1) == b"z" * 3_000_000
            await remote.close()
            await until(lambda: owner.closed)
            assert channel.reason == ""
            channel.close("again")
            assert channel.reason == ""

    run(scenario())


def test_a_refusal_is_an_answer_and_the_end(run: Run, certificates: Certificates) -> None:
    """Who is refused is told why, and so is the log."""

    async def scenario() -> None:
        async with connected(certificates) as (owner, channel, remote):
            refusal = HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, "no")
            channel.refuse(refusal)
            assert decode_reply(await remote.payload()) == refusal
            assert await remote.is_ended()
            await until(lambda: owner.closed)
            assert channel.reason == "no"

    run(scenario())


def test_the_first_reason_is_kept(run: Run, certificates: Certificates) -> None:
    """What follows from an end is not its reason."""

    async def scenario() -> None:
        async with connected(certificates) as (owner, channel, _):
            channel.abort("first")
            channel.abort("second")
            channel.close("third")
            await until(lambda: owner.closed)
            assert channel.reason == "first"

    run(scenario())


def test_the_other_side_s_end_has_no_reason_of_ours(run: Run, certificates: Certificates) -> None:
    """A client that leaves is no event."""

    async def scenario() -> None:
        async with connected(certificates) as (owner, channel, remote):
            await remote.close()
            await until(lambda: owner.closed)
            assert (channel.reason, channel.is_closed, channel.unsent_bytes) == ("", True, 0)
            with pytest.raises(RuntimeError):
                _ = channel.transport

    run(scenario())


def test_a_reset_is_kept_for_who_wants_to_know(run: Run, certificates: Certificates) -> None:
    """A connection that broke says how."""

    async def scenario() -> None:
        async with connected(certificates) as (owner, channel, remote):
            connection = remote.writer.get_extra_info("socket")
            # Linger for no time: the kernel sends a reset instead of an end (socket(7)).
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            remote.writer.transport.abort()
            await until(lambda: owner.closed)
            assert channel.reason == ""
            assert channel.loss is None or isinstance(channel.loss, OSError)

    run(scenario())


def test_the_kernel_watches_for_the_other_host(run: Run, certificates: Certificates) -> None:
    """Probes and the bound on unacknowledged data are set on the connection itself, and small frames do not wait."""

    async def scenario() -> None:
        async with connected(certificates, limits=replace(LIMITS, silence_seconds=12)) as (_, channel, remote):
            connection = channel.transport.get_extra_info("socket")
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            host, port = remote.writer.get_extra_info("sockname")
            assert channel.remote_address == f"{host}:{port}"

    run(scenario())


def test_a_frame_that_is_not_finished_ends_the_connection(run: Run, certificates: Certificates) -> None:
    """Its bytes would be held for as long as the other side likes."""

    async def scenario() -> None:
        limits = replace(LIMITS, frame_seconds=0.05)
        async with connected(certificates, establishing([]), limits) as (owner, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: owner.frames)
            remote.writer.write(encode_frame(b"x" * 50_000)[:-1])
            await until(lambda: owner.closed)
            assert channel.reason == "it has begun a frame and not finished it"

    run(scenario())


def test_a_frame_s_time_is_its_own(run: Run, certificates: Certificates) -> None:
    """Frame after frame, each finished in time though the stream is never between frames, is no offence."""

    async def scenario() -> None:
        received: list[bytes] = []
        limits = replace(LIMITS, frame_seconds=0.2)
        async with connected(certificates, establishing(received), limits) as (owner, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: owner.frames)
            frame = encode_frame(b"x" * 1000)
            remote.writer.write(frame[:10])
            ends = asyncio.get_running_loop().time() + 3 * limits.frame_seconds
            while asyncio.get_running_loop().time() < ends:
                seen = len(received)
                remote.writer.write(frame[10:] + frame[:10])
                await until(lambda seen=seen: len(received) > seen)  # type: ignore[misc]  # mypy infers no default
            assert not channel.is_closed

    run(scenario())


def test_a_frame_that_came_in_pieces_has_no_deadline_any_more(run: Run, certificates: Certificates) -> None:
    """Once it is finished the connection may be idle for as long as it likes: only unfinished frames hold memory."""

    async def scenario() -> None:
        received: list[bytes] = []
        async with connected(certificates, establishing(received)) as (owner, channel, remote):
            remote.writer.write(encode_frame(b"hello"))
            await until(lambda: owner.frames)
            frame = encode_frame(b"x" * 1000)
            remote.writer.write(frame[:10])
            await until(lambda: channel._partial_timer is not None)
            remote.writer.write(frame[10:])
            await until(lambda: received)
            # Its time is over at once; waiting for that would be a race with the frame's second piece.
            channel._limits = replace(LIMITS, frame_seconds=0.0)
            channel._check_partial()
            assert not channel.is_closed

    run(scenario())
