"""The port for clients: handshake, then every frame goes to the node."""

from typing import Protocol

from raftd.errors import RemoteProtocolError
from raftd.net.acceptor import Acceptor, AcceptorLimits
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import TlsFiles, remote_identity, server_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import (
    HandshakeRefusal,
    HandshakeRefusalCode,
    Listener,
    decode_hello,
    encode_reply,
    negotiate,
)


class ClientReceiver(Protocol):
    """What the node makes of one client's connection."""

    def receive(self, payloads: list[bytes]) -> None:
        """Requests, in order. Raises RemoteProtocolError to end the connection."""

    def closed(self) -> None:
        """The connection is gone; nothing more can be sent on it."""


class ClientHandler(Protocol):
    """Who serves clients."""

    def client_connected(self, channel: Channel, user: str) -> ClientReceiver:
        """A user, known by certificate, is there."""


class ClientListener:
    """Accepts clients, and knows all of their connections."""

    def __init__(
        self,
        *,
        files: TlsFiles,
        cluster: str,
        listener: Listener,
        handler: ClientHandler,
        limits: AcceptorLimits,
    ) -> None:
        """`cluster` is the name that certificates carry.

        Raises:
            TlsError: as `server_context`.
        """
        self._cluster = cluster
        self._listener = listener
        self._handler = handler
        self._channel_limits = ChannelLimits(frame_bytes_max=listener.frame_bytes_max)
        self._receivers: dict[Channel, ClientReceiver | None] = {}
        self._acceptor = Acceptor(
            purpose="clients", context=server_context(files), make_channel=self._make_channel, limits=limits
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._acceptor.port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._acceptor.connections

    @property
    def connections_max(self) -> int:
        """With as many connected, a further client is refused."""
        return self._acceptor.connections_max

    @property
    def accepted_total(self) -> int:
        """How many connections have passed their TLS handshake."""
        return self._acceptor.accepted_total

    @property
    def refused_total(self) -> int:
        """How many connections were refused for a bound or a failed TLS handshake."""
        return self._acceptor.refused_total

    def start(self, host: str, port: int) -> None:
        """Listen. Raises: ListenError."""
        self._acceptor.start(host, port)

    async def stop(self) -> None:
        """Stop listening and close all connections, each after what was written to it; returns when they are gone."""
        await self._acceptor.stop()
        for channel in list(self._receivers):
            channel.close()
        await self._acceptor.emptied()

    def channel_opened(self, channel: Channel) -> None:
        """TLS is up; the Hello is still to come."""
        self._receivers[channel] = None
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
        identity = remote_identity(channel.transport)
        user = identity.user
        if user is None or identity.cluster != self._cluster:
            complaint = f"{identity} is not a user of the cluster {self._cluster}"
            channel.refuse(HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, complaint))
            return
        receiver = self._handler.client_connected(channel, user)
        self._receivers[channel] = receiver
        channel.establish(receiver.receive)
        channel.send(encode_frame(encode_reply(reply)))

    def channel_closed(self, channel: Channel) -> None:
        """A client is gone."""
        self._acceptor.released(channel)
        receiver = self._receivers.pop(channel)
        if receiver is not None:
            receiver.closed()

    def _make_channel(self) -> Channel:
        return Channel(self, self._channel_limits)
