"""One connection that carries frames: an asyncio protocol with bounds on all that the other side can make it hold.

A channel reads frames and hands them on; whoever owns it decides what they mean. The bounds:

- a frame's length, from its first four bytes on (`FrameReader`);
- the time until the first frame, and to a second state that the owner calls `establish` for (slow handshakes);
- what is written but not taken: above the high-water mark nothing more is read from a side that does not read, a side
  that stays there for `stall_seconds` is cut off, and so is one with more than `unread_bytes_max` waiting for it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from raftd.errors import DecodeError, RemoteProtocolError
from raftd.wire.frames import FrameReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Bounds of one connection."""

    frame_bytes_max: int
    """A longer frame ends the connection before its body is taken."""
    first_frame_bytes_max: int = 4096
    """The same for frames until `establish`: a stranger's."""
    establish_seconds: float = 5.0
    """From TLS being up to `establish`; the channel is closed otherwise."""
    high_water_bytes: int = 1 << 20
    unread_bytes_max: int = 64 << 20
    stall_seconds: float = 30.0


class ChannelOwner(Protocol):
    """Who a channel reports to."""

    def channel_opened(self, channel: "Channel") -> None:
        """TLS is up. Raises RemoteProtocolError to refuse the other side."""

    def channel_frames(self, channel: "Channel", payloads: list[bytes]) -> None:
        """Frames before `establish`; the same error ends the connection."""

    def channel_closed(self, channel: "Channel") -> None:
        """The connection is gone; called exactly once for each opened channel."""


class Channel(asyncio.Protocol):
    """Frames over one TLS connection."""

    __slots__ = ("_closed", "_deadline", "_limits", "_loop", "_owner", "_reader", "_receive", "_stalled", "_transport")

    def __init__(self, owner: ChannelOwner, limits: ChannelLimits) -> None:
        self._owner = owner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(limits.first_frame_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._closed = False
        self._receive: Callable[[list[bytes]], None] = self._receive_early

    # What the owner calls.

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport; only between `channel_opened` and `channel_closed`."""
        if self._transport is None:
            raise RuntimeError("this channel has no connection")
        return self._transport

    @property
    def remote_address(self) -> str:
        """Host and port of the other side, for people."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if name else "unknown address"

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be sent or received."""
        return self._closed

    @property
    def unsent_bytes(self) -> int:
        """What is written but not taken by the other side's kernel."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def establish(self, receive: Callable[[list[bytes]], None]) -> None:
        """The other side is who it should be: from now on its frames go straight to `receive`, up to full size.

        Raises:
            RemoteProtocolError: it has sent more than its handshake already.
        """
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._reader.pending_bytes:
            raise RemoteProtocolError("it goes on before its handshake is answered")
        self._reader = FrameReader(self._limits.frame_bytes_max)
        self._receive = receive

    def send(self, data: bytes) -> None:
        """Write whole frames. Nothing happens on a closed channel: what it owed is owed to nobody."""
        transport = self._transport
        if self._closed or transport is None:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > self._limits.unread_bytes_max:
            self.abort("it does not read what it asked for")

    def close(self) -> None:
        """Send what is written, then end the connection."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def refuse(self, answer: bytes, reason: str) -> None:
        """Send a last answer, end the connection, and say why in the log."""
        logger.info("closing the connection from %s: %s", self.remote_address, reason)
        self.send(answer)
        self.close()

    def abort(self, reason: str) -> None:
        """End the connection now, and say why in the log."""
        if self._closed:
            return
        logger.info("closing the connection from %s: %s", self.remote_address, reason)
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._limits.high_water_bytes)
        self._deadline = self._loop.call_later(self._limits.establish_seconds, self.abort, "no handshake in time")
        try:
            self._owner.channel_opened(self)
        except RemoteProtocolError as error:
            self.abort(str(error))

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self._closed:
            return
        try:
            payloads = self._reader.feed(data)
            if payloads:
                self._receive(payloads)
        except (RemoteProtocolError, DecodeError) as error:
            self.abort(str(error))

    def pause_writing(self) -> None:
        """The other side does not keep up: ask nothing more of ourselves for it."""
        self.transport.pause_reading()
        self._stalled = self._loop.call_later(self._limits.stall_seconds, self.abort, "it has stopped reading")

    def resume_writing(self) -> None:
        """The other side reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if not self._closed:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone, by whatever side."""
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        self._closed = True
        self._owner.channel_closed(self)
        self._transport = None

    def _receive_early(self, payloads: list[bytes]) -> None:
        self._owner.channel_frames(self, payloads)
