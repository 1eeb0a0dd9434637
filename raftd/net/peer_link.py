"""The way to one peer: dials until it stands, sends frames, and drops what cannot be sent.

Raft repeats what matters, so nothing here waits or queues beyond a bound; who sends is told that it was not sent.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from raftd.consensus.types import NodeId
from raftd.errors import RemoteProtocolError
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import TlsFiles, client_context, remote_identity
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import (
    ConnectionRole,
    HandshakeRefusal,
    Hello,
    Welcome,
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
        self._hello = Hello(ConnectionRole.PEER, cluster_id, node_id, peer.node_id)
        self._peer = peer
        self._context = context
        self._jitter = jitter
        self._on_up = on_up
        self._on_down = on_down
        self._limits = limits
        self._channel: Channel | None = None
        self._closed: asyncio.Future[None] | None = None
        self._welcomed: asyncio.Future[None] | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._last_failure = ""
        self._refusal = ""
        self.sent_bytes_total = 0
        self.dropped_total = 0
        """Messages that were not sent, for want of a connection or of room."""

    @property
    def is_up(self) -> bool:
        """Whether messages go out."""
        return self._channel is not None

    @property
    def queued_bytes(self) -> int:
        """What waits in this process for the network."""
        return 0 if self._channel is None else self._channel.unsent_bytes

    def start(self) -> None:
        """Dial, and again whenever the link is lost."""
        self._dialling = asyncio.get_running_loop().create_task(self._keep_up())

    async def stop(self) -> None:
        """Send what is written, then hang up."""
        if self._dialling is not None:
            self._dialling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._dialling
        if self._channel is not None:
            self._channel.close()

    def send(self, frame: bytes) -> bool:
        """Send one whole frame, and say whether it is on its way; False: dropped."""
        channel = self._channel
        if channel is None or channel.unsent_bytes > self._limits.queued_bytes_max:
            self.dropped_total += 1
            return False
        channel.send(frame)
        self.sent_bytes_total += len(frame)
        return True

    # What the channel calls.

    def channel_opened(self, channel: Channel) -> None:
        """TLS is up: check who it is, and introduce this node."""
        identity = remote_identity(channel.transport)
        if identity.cluster != self._cluster or identity.node_id != self._peer.node_id:
            self._refusal = f"its certificate is of {identity}"
            raise RemoteProtocolError(self._refusal)
        channel.send(encode_frame(encode_hello(self._hello)))

    def channel_frames(self, channel: Channel, payloads: list[bytes]) -> None:
        """The first frame: the answer to the Hello."""
        reply = decode_reply(payloads[0])
        match reply:
            case HandshakeRefusal():
                self._refusal = f"it has refused the connection: {reply.message}"
                raise RemoteProtocolError(self._refusal)
            case Welcome():
                check_welcome(self._hello, reply)
                channel.establish(_refuse_payloads)
                if self._welcomed is not None and not self._welcomed.done():
                    self._welcomed.set_result(None)

    def channel_closed(self, channel: Channel) -> None:  # noqa: ARG002 - one link has one channel at a time
        """The connection is gone."""
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    async def _keep_up(self) -> None:
        pause = self._limits.pause_seconds_min
        while True:
            try:
                async with asyncio.timeout(self._limits.connect_seconds):
                    closed = await self._connect()
            except (OSError, RemoteProtocolError) as error:  # TimeoutError and ssl.SSLError are OSErrors
                self._report(error)
            else:
                pause = self._limits.pause_seconds_min
                self._last_failure = ""
                logger.info("connected to node %d", self._peer.node_id)
                self._on_up(self._peer.node_id)
                try:
                    await closed
                finally:
                    self._channel = None
                logger.info("lost the connection to node %d", self._peer.node_id)
                self._on_down(self._peer.node_id)
            await asyncio.sleep(pause * self._jitter.uniform(0.5, 1.0))
            pause = min(2 * pause, self._limits.pause_seconds_max)

    async def _connect(self) -> asyncio.Future[None]:
        """Dial once; returns a future that ends with the connection."""
        loop = asyncio.get_running_loop()
        self._refusal = ""
        closed = self._closed = loop.create_future()
        welcomed = self._welcomed = loop.create_future()
        limits = ChannelLimits(
            # A peer says nothing on this connection but its Welcome.
            frame_bytes_max=HANDSHAKE_BYTES_MAX,
            high_water_bytes=self._limits.queued_bytes_max,
            unread_bytes_max=2 * self._limits.queued_bytes_max,
        )
        _, channel = await loop.create_connection(
            lambda: Channel(self, limits), self._peer.host, self._peer.port, ssl=self._context, server_hostname=""
        )
        try:
            await asyncio.wait((closed, welcomed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not welcomed.done():
                channel.abort("the handshake failed")
        if closed.done():
            raise RemoteProtocolError(self._refusal or "the connection was closed during the handshake")
        self._channel = channel
        return closed

    def _report(self, error: Exception) -> None:
        """Log a failure to connect once, not each time that it is the same."""
        reason = str(error) or type(error).__name__
        if reason != self._last_failure:
            self._last_failure = reason
            logger.warning(
                "cannot reach node %d at %s:%d: %s", self._peer.node_id, self._peer.host, self._peer.port, reason
            )


class PeerLinks:
    """The links to all peers."""

    def __init__(
        self,
        *,
        files: TlsFiles,
        cluster: str,
        cluster_id: bytes,
        node_id: NodeId,
        peers: tuple[PeerAddress, ...],
        jitter: Jitter,
        on_up: Callable[[NodeId], None],
        on_down: Callable[[NodeId], None],
        limits: LinkLimits | None = None,
    ) -> None:
        """`on_up` and `on_down` are told when a link stands and when it is lost.

        Raises:
            TlsError: as `client_context`.
        """
        context = client_context(files)
        self._links = {
            peer.node_id: PeerLink(
                cluster=cluster,
                cluster_id=cluster_id,
                node_id=node_id,
                peer=peer,
                context=context,
                jitter=jitter,
                on_up=on_up,
                on_down=on_down,
                limits=limits or LinkLimits(),
            )
            for peer in peers
        }

    def start(self) -> None:
        """Dial all peers."""
        for link in self._links.values():
            link.start()

    async def stop(self) -> None:
        """Hang up."""
        await asyncio.gather(*(link.stop() for link in self._links.values()))

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Send one frame, and say whether it is on its way."""
        link = self._links.get(peer)
        return link is not None and link.send(frame)

    @property
    def dropped_total(self) -> int:
        """Messages to any peer that were not sent."""
        return sum(link.dropped_total for link in self._links.values())

    def link(self, peer: NodeId) -> PeerLink | None:
        """The link to a peer, for its numbers."""
        return self._links.get(peer)


def _refuse_payloads(payloads: list[bytes]) -> None:
    raise RemoteProtocolError(f"{len(payloads)} frames came on a connection that only sends")
