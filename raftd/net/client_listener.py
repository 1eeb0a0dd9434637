"""The port for clients: handshake, then every frame goes to the node.

A certificate is looked at when a connection begins, and again when that may have changed: when other authorities are
trusted, and when its time is over. A connection that could not begin now ends after the answers that it is owed.

The last few of all connections are kept for administrators: one user with many must not lock them out.
"""

import asyncio
import ssl
from typing import Final, Protocol

from raftd.errors import RemoteProtocolError
from raftd.net.acceptor import Acceptor, AcceptorLimits
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import TlsFiles, remote_certificate, remote_expiry, remote_identity, server_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import (
    HandshakeRefusal,
    HandshakeRefusalCode,
    Listener,
    decode_hello,
    encode_reply,
    negotiate,
)
from raftd.wire.identity import IdentityError

_KEPT: Final = "the connections that are left are kept for administrators"


class ClientReceiver(Protocol):
    """What the node makes of one client's connection."""

    def receive(self, payloads: list[bytes]) -> None:
        """Requests, in order. Raises RemoteProtocolError to end the connection."""

    def leave(self, reason: str) -> None:
        """Take no more requests, and close the channel for this reason as soon as no answer is owed."""

    def closed(self) -> None:
        """The connection is gone; nothing more can be sent on it."""


class ClientHandler(Protocol):
    """Who serves clients."""

    def may_administer(self, user: str) -> bool:
        """Whether the last connections that there may be are kept for this user."""

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
        leave_seconds: float = 10.0,
    ) -> None:
        """`cluster` is the name that certificates carry; a connection that is to end waits so long for its answers.

        Raises:
            TlsError: as `server_context`.
        """
        self._cluster = cluster
        self._listener = listener
        self._handler = handler
        self._leave_seconds = leave_seconds
        self._channel_limits = ChannelLimits(frame_bytes_max=listener.frame_bytes_max)
        self._receivers: dict[Channel, ClientReceiver | None] = {}
        self._expiries: dict[Channel, float] = {}
        """Of established connections: until when the certificate holds, in seconds since the epoch."""
        self._leaving: dict[Channel, asyncio.TimerHandle] = {}
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
        """How many connections have passed both handshakes, that of TLS and that of raftd."""
        return self._acceptor.accepted_total

    @property
    def refused_total(self) -> int:
        """How many connections ended before that: for a bound, or in a handshake that failed or took too long."""
        return self._acceptor.refused_total

    def use(self, *, context: ssl.SSLContext | None = None, limits: AcceptorLimits | None = None) -> None:
        """As `Acceptor.use`."""
        self._acceptor.use(context=context, limits=limits)

    def certificates(self) -> dict[Channel, bytes]:
        """What the clients of the established connections have shown, as DER."""
        return {channel: remote_certificate(channel.transport) for channel in self._expiries if not channel.is_closed}

    def end(self, channel: Channel, reason: str) -> None:
        """End an established connection after the answers that it is owed, or without those that do not come."""
        receiver = self._receivers.get(channel)
        if receiver is None or channel in self._leaving or channel.is_closed:
            return
        self._leaving[channel] = asyncio.get_running_loop().call_later(self._leave_seconds, channel.abort, reason)
        receiver.leave(reason)

    def end_expired(self, now: float) -> None:
        """End the connections whose certificate does not hold any more; `now` is in seconds since the epoch."""
        for channel in [channel for channel, expiry in self._expiries.items() if expiry < now]:
            self.end(channel, "its certificate has expired")

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
        if self._acceptor.is_overcrowded():
            # Not as the answer to its Hello: who does not send one, or of whom there are many, would hold them all.
            user = remote_identity(channel.transport).user
            if user is None or not self._handler.may_administer(user):
                raise RemoteProtocolError(_KEPT)

    def channel_frames(self, channel: Channel, payloads: list[bytes]) -> None:
        """The first frame: the Hello."""
        hello = decode_hello(payloads[0])
        if len(payloads) > 1:
            raise RemoteProtocolError("it goes on before its handshake is answered")
        reply = negotiate(hello, self._listener)
        if isinstance(reply, HandshakeRefusal):
            channel.refuse(reply)
            return
        try:
            identity = remote_identity(channel.transport)
        except IdentityError as error:
            channel.refuse(HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, str(error)))
            return
        user = identity.user
        if user is None or identity.cluster != self._cluster:
            complaint = f"{identity} is not a user of the cluster {self._cluster}"
            channel.refuse(HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, complaint))
            return
        if self._acceptor.is_crowded() and not self._handler.may_administer(user):
            channel.refuse(HandshakeRefusal(HandshakeRefusalCode.TOO_MANY_CONNECTIONS, _KEPT))
            return
        self._expiries[channel] = remote_expiry(channel.transport)
        receiver = self._handler.client_connected(channel, user)
        self._receivers[channel] = receiver
        channel.establish(receiver.receive)
        self._acceptor.established()
        channel.send(encode_frame(encode_reply(reply)))

    def channel_closed(self, channel: Channel) -> None:
        """A client is gone."""
        self._acceptor.released(channel)
        self._expiries.pop(channel, None)
        if (deadline := self._leaving.pop(channel, None)) is not None:
            deadline.cancel()
        receiver = self._receivers.pop(channel)
        if receiver is not None:
            receiver.closed()

    def _make_channel(self) -> Channel:
        return Channel(self, self._channel_limits)
