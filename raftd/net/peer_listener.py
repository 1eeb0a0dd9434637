"""The port for peers: each other node sends to this one on a connection that it dialled."""

import logging
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from raftd.consensus.types import NodeId
from raftd.errors import RemoteProtocolError
from raftd.net.acceptor import Acceptor, AcceptorLimits
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import TlsFiles, remote_certificate, remote_identity, server_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import (
    HandshakeRefusal,
    HandshakeRefusalCode,
    Hello,
    Listener,
    decode_hello,
    encode_reply,
    negotiate,
)
from raftd.wire.identity import Identity

logger = logging.getLogger(__name__)

PEER_LIMITS: Final = AcceptorLimits(connections_max=64, handshakes_max=32)
"""Of a node's port: as many members as there may be."""


class PeerHandler(Protocol):
    """Who consumes what peers say."""

    def peer_payloads(self, sender: NodeId, payloads: list[bytes], version: int) -> None:
        """Messages in order and of `version`, from a peer whose certificate was checked.

        Raises:
            RemoteProtocolError: to end the link.
        """


class PeerListener:
    """Accepts links from peers: at most one from each, the newest."""

    def __init__(
        self,
        *,
        files: TlsFiles,
        cluster: str,
        listener: Listener,
        handler: PeerHandler,
        is_peer: Callable[[NodeId], bool],
        limits: AcceptorLimits,
        on_connected: Callable[[NodeId], None] | None = None,
    ) -> None:
        """`cluster` is the name that certificates carry, `is_peer` whether a node may connect.

        `on_connected` hears of each peer that has.

        Raises:
            TlsError: as `server_context`.
        """
        self._cluster = cluster
        self._listener = listener
        self._handler = handler
        self._is_peer = is_peer
        self._on_connected = on_connected
        self._channel_limits = ChannelLimits(frame_bytes_max=listener.frame_bytes_max)
        self._channels: set[Channel] = set()
        self._by_peer: dict[NodeId, Channel] = {}
        self._received_bytes: dict[NodeId, int] = {}
        self._acceptor = Acceptor(
            purpose="peers", context=server_context(files), make_channel=self._make_channel, limits=limits
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._acceptor.port

    def received_bytes(self, peer: NodeId) -> int:
        """Bytes of messages from a peer since the start."""
        return self._received_bytes.get(peer, 0)

    def use(self, *, context: ssl.SSLContext) -> None:
        """As `Acceptor.use`."""
        self._acceptor.use(context=context)

    def certificates(self) -> dict[Channel, bytes]:
        """What the peers of the links that stand have shown, as DER."""
        return {
            channel: remote_certificate(channel.transport)
            for channel in self._by_peer.values()
            if not channel.is_closed
        }

    def start(self, host: str, port: int) -> None:
        """Listen. Raises: ListenError."""
        self._acceptor.start(host, port)

    async def stop(self) -> None:
        """Stop listening and end all links; returns when they are gone."""
        await self._acceptor.stop()
        for channel in list(self._channels):
            channel.close()
        await self._acceptor.emptied()

    def channel_opened(self, channel: Channel) -> None:
        """TLS is up; the Hello is still to come."""
        self._channels.add(channel)
        self._acceptor.opened()

    def channel_frames(self, channel: Channel, payloads: list[bytes]) -> None:
        """The first frame: the Hello."""
        hello = decode_hello(payloads[0])
        if len(payloads) > 1:
            raise RemoteProtocolError("it goes on before its handshake is answered")
        reply = negotiate(hello, self._listener)
        if isinstance(reply, HandshakeRefusal):
            channel.refuse(reply)
            return
        sender = self._sender(hello, remote_identity(channel.transport))
        if isinstance(sender, HandshakeRefusal):
            channel.refuse(sender)
            return
        older = self._by_peer.get(sender)
        if older is not None:
            older.abort(f"node {sender} has connected anew")
        self._by_peer[sender] = channel
        version = reply.version

        def receive(payloads: list[bytes]) -> None:
            self._received_bytes[sender] = self.received_bytes(sender) + sum(map(len, payloads))
            self._handler.peer_payloads(sender, payloads, version)

        channel.establish(receive)
        self._acceptor.established()
        channel.send(encode_frame(encode_reply(reply)))
        if self._on_connected is not None:
            self._on_connected(sender)
        logger.debug("node %d is connected from %s", sender, channel.remote_address)

    def channel_closed(self, channel: Channel) -> None:
        """A link is gone."""
        self._acceptor.released(channel)
        self._channels.discard(channel)
        for peer, current in self._by_peer.items():
            if current is channel:
                del self._by_peer[peer]
                return

    def _sender(self, hello: Hello, identity: Identity) -> NodeId | HandshakeRefusal:
        """Who sends on this connection, if the certificate says so too and it may."""
        sender = hello.sender_node_id
        if sender is None or identity.cluster != self._cluster or identity.node_id != sender:
            return HandshakeRefusal(
                HandshakeRefusalCode.NOT_ALLOWED,
                f"the certificate is of {identity}, and node {sender} of the cluster {self._cluster} was announced",
            )
        if not self._is_peer(sender):
            return HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, f"node {sender} is not a member")
        return sender

    def _make_channel(self) -> Channel:
        return Channel(self, self._channel_limits)
