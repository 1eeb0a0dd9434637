"""The way to one peer: dials until it stands, sends frames, and drops what cannot be sent.

Raft repeats what matters, so nothing here waits or queues beyond a bound; who sends is told that it was not sent.

A link has three states: dialling, up, pausing. `on_up` is called when it comes up, and `on_down` once for each of these
calls, when it is lost or stopped. It has one channel that counts, that of its latest dial: one that was given up just
when its TLS came up may live on for a while, and what becomes of it means nothing.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from raftd import events
from raftd.consensus.types import NodeId
from raftd.errors import RemoteProtocolError
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import CONNECT_ERRORS, ConnectError, explain, remote_certificate, remote_identity
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import (
    PEER_VERSION_MAX,
    PEER_VERSION_MIN,
    ConnectionRole,
    HandshakeRefusal,
    Hello,
    check_welcome,
    decode_reply,
    encode_hello,
)
from raftd.wire.limits import HANDSHAKE_BYTES_MAX

logger = logging.getLogger(__name__)


class Jitter(Protocol):
    """Where the spread of pauses comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number from a to b."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Who is to be reached, and where."""

    node_id: NodeId
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of one link."""

    queued_bytes_max: int = 32 << 20
    """Written and not yet taken by the kernel; beyond it messages are dropped."""
    connect_seconds: float = 3.0
    """For connecting, TLS and handshake together."""
    pause_seconds_min: float = 0.05
    """Before dialling again; doubled with each failure, up to the next, and spread by half."""
    pause_seconds_max: float = 1.0
    """A link that stood for less than this counts as a failure too: whatever ended it is likely to do so again."""
    silence_seconds: int = 10
    """As in `ChannelLimits`; shorter than for clients, since no message reaches the peer meanwhile."""


class PeerLink:
    """One direction of talk: from this node to one peer."""

    def __init__(
        self,
        *,
        cluster: str,
        cluster_id: bytes,
        node_id: NodeId,
        peer: PeerAddress,
        context: ssl.SSLContext,
        jitter: Jitter,
        on_up: Callable[[NodeId], None],
        on_down: Callable[[NodeId], None],
        limits: LinkLimits,
    ) -> None:
        self._cluster = cluster
        self._hello = Hello(ConnectionRole.PEER, cluster_id, node_id, peer.node_id, PEER_VERSION_MIN, PEER_VERSION_MAX)
        self.version = PEER_VERSION_MAX
        """What is spoken on this link, as agreed when it last came up."""
        self._peer = peer
        self._context = context
        self._jitter = jitter
        self._on_up = on_up
        self._on_down = on_down
        self._limits = limits
        self._channel: Channel | None = None
        """The one that is up."""
        self._dialled: Channel | None = None
        """The one of the latest dial."""
        self._closed: asyncio.Future[None] | None = None
        self._welcomed: asyncio.Future[None] | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._hint = asyncio.Event()
        self._redialling = False
        self._last_failure = ""
        self.sent_bytes_total = 0
        self.dropped_total = 0
        """Messages that were not sent, for want of a connection or of room."""
        self.connect_failures_total = 0
        self.disconnects_total = 0
        """Connections that stood, and were lost."""

    @property
    def is_up(self) -> bool:
        """Whether messages go out."""
        return self._channel is not None and not self._channel.is_closed

    @property
    def queued_bytes_max(self) -> int:
        """With more waiting, messages are dropped."""
        return self._limits.queued_bytes_max

    @property
    def queued_bytes(self) -> int:
        """What waits in this process for the network."""
        return 0 if self._channel is None else self._channel.unsent_bytes

    @property
    def remote_certificate(self) -> bytes:
        """What the peer has shown on the connection that is up, as DER; empty if none is."""
        channel = self._channel
        return b"" if channel is None or channel.is_closed else remote_certificate(channel.transport)

    def use(self, *, context: ssl.SSLContext) -> None:
        """Dial with this context from now on."""
        self._context = context

    def redial(self, reason: str) -> None:
        """Send what is written, hang up, and dial anew at once."""
        if self._channel is not None:
            self._redialling = True
            self._channel.close(reason)

    def start(self) -> None:
        """Dial, and again whenever the link is lost."""
        self._dialling = asyncio.get_running_loop().create_task(self._keep_up())
        # A task that somebody holds on to keeps its exception to itself; without this one the peer is lost in silence.
        self._dialling.add_done_callback(lambda task: task.cancelled() or task.result())

    async def stop(self) -> None:
        """Send what is written, then hang up; returns when the connection is gone."""
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait((self._dialling,))

    def hint(self) -> None:
        """The peer was heard of just now: if this link pauses, dial at once.

        A node that comes back dials the others first; a leader elected then would wait for it through its own pause.
        """
        self._hint.set()

    def send(self, frame: bytes) -> bool:
        """Send one whole frame, and say whether it is on its way; False: dropped."""
        channel = self._channel
        if channel is None or channel.is_closed or channel.unsent_bytes > self._limits.queued_bytes_max:
            self.dropped_total += 1
            return False
        channel.send(frame)
        self.sent_bytes_total += len(frame)
        return True

    # What the channel calls.

    def channel_opened(self, channel: Channel) -> None:
        """TLS is up: check who it is, and introduce this node."""
        if channel is not self._dialled or channel.is_closed:
            raise RemoteProtocolError("this node has given that connection up meanwhile")
        identity = remote_identity(channel.transport)
        if identity.cluster != self._cluster or identity.node_id != self._peer.node_id:
            raise RemoteProtocolError(f"its certificate is of {identity}")
        channel.send(encode_frame(encode_hello(self._hello)))

    def channel_frames(self, channel: Channel, payloads: list[bytes]) -> None:
        """The first frame: the answer to the Hello."""
        reply = decode_reply(payloads[0])
        if isinstance(reply, HandshakeRefusal):
            raise RemoteProtocolError(f"it has refused the connection: {reply.message}")
        check_welcome(self._hello, reply)
        self.version = reply.version
        _refuse_payloads(payloads[1:])
        channel.establish(_refuse_payloads)
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(None)

    def channel_closed(self, channel: Channel) -> None:
        """The connection is gone."""
        if channel is self._dialled and self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    async def _keep_up(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._limits.pause_seconds_min
        while True:
            try:
                async with asyncio.timeout(self._limits.connect_seconds):
                    channel, closed = await self._connect()
            except (*CONNECT_ERRORS, RemoteProtocolError) as error:
                self._report(error)
            else:
                up_at = loop.time()
                await self._stay_up(channel, closed)
                if loop.time() - up_at >= self._limits.pause_seconds_max:
                    pause = self._limits.pause_seconds_min
                if self._redialling:
                    self._redialling = False
                    continue
            self._hint.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hint.wait(), pause * self._jitter.uniform(0.5, 1.0))
            pause = min(2 * pause, self._limits.pause_seconds_max)

    async def _connect(self) -> tuple[Channel, asyncio.Future[None]]:
        """Dial once; returns a future that ends with the connection."""
        loop = asyncio.get_running_loop()
        closed = self._closed = loop.create_future()
        welcomed = self._welcomed = loop.create_future()
        limits = ChannelLimits(
            # A peer says nothing on this connection but its Welcome.
            frame_bytes_max=HANDSHAKE_BYTES_MAX,
            establish_seconds=self._limits.connect_seconds,
            high_water_bytes=self._limits.queued_bytes_max,
            unread_bytes_max=2 * self._limits.queued_bytes_max,
            silence_seconds=self._limits.silence_seconds,
        )
        channel = self._dialled = Channel(self, limits)
        try:
            await loop.create_connection(
                lambda: channel, self._peer.host, self._peer.port, ssl=self._context, server_hostname=""
            )
            await asyncio.wait((closed, welcomed), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            # Whoever is stopped in the very pass in which TLS comes up is given no connection, though there is one.
            channel.abort("it has not answered in time")
            raise
        if closed.done() or channel.is_closed:
            raise RemoteProtocolError(_reason(channel))
        return channel, closed

    async def _stay_up(self, channel: Channel, closed: asyncio.Future[None]) -> None:
        """Let messages go out until the connection ends, or hang up when told to stop."""
        address = f"{self._peer.host}:{self._peer.port}"
        self._last_failure = ""
        self._channel = channel
        events.PEER_CONNECTED.log(logger, peer=self._peer.node_id, address=address)
        self._on_up(self._peer.node_id)
        try:
            await asyncio.shield(closed)
            self.disconnects_total += 1
            events.PEER_DISCONNECTED.log(logger, peer=self._peer.node_id, address=address, reason=_reason(channel))
        except asyncio.CancelledError:
            channel.close()
            await closed
            raise
        finally:
            self._channel = None
            self._on_down(self._peer.node_id)

    def _report(self, error: ConnectError | RemoteProtocolError) -> None:
        """Log a failure to connect once, not each time that it is the same."""
        self.connect_failures_total += 1
        reason = str(error) if isinstance(error, RemoteProtocolError) else explain(error)
        if reason != self._last_failure:
            self._last_failure = reason
            logger.warning(
                "cannot reach node %d at %s:%d: %s", self._peer.node_id, self._peer.host, self._peer.port, reason
            )


def _reason(channel: Channel) -> str:
    """Why a channel has ended."""
    loss = explain(channel.loss) if isinstance(channel.loss, OSError) else "it has closed the connection"
    return channel.reason or loss


def _refuse_payloads(payloads: list[bytes]) -> None:
    if payloads:
        raise RemoteProtocolError(f"{len(payloads)} frames came on a connection that only sends")
