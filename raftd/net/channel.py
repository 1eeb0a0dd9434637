"""One connection that carries frames: an asyncio protocol with bounds on all that the other side can make it hold.

A channel reads frames and hands them on; whoever owns it decides what they mean. The bounds:

- a frame's length, from its first four bytes on (`FrameReader`);
- the time until the first frame, and to a second state that the owner calls `establish` for (slow handshakes);
- what is written but not taken: above the high-water mark nothing more is read from a side that does not read, a side
  that takes next to nothing for `stall_seconds` is cut off, and so is one with more than `unread_bytes_max` waiting for
  it; who reads slowly but steadily may take as long as it likes;
- the frames that are cut from the stream at once: whoever serves them may have nothing more read until he is done;
- the time for which the other host may be silent (`raftd.net.silence`), and the time that it has for its goodbye.

A channel says nothing to the log: why it ended is in `reason`, and who owns it knows whether that is news.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from raftd.acknowledged import Socket, acknowledged_bytes
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.net.silence import bound_silence
from raftd.wire.frames import FrameReader, encode_frame
from raftd.wire.handshake import HandshakeRefusal, encode_reply


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Bounds of one connection."""

    frame_bytes_max: int
    """A longer frame ends the connection before its body is taken."""
    frames_max: int = 256
    """Handed over at once; what came with them is cut when these are dealt with, unless `pause_reading` says later."""
    first_frame_bytes_max: int = 4096
    """The same for frames until `establish`: a stranger's."""
    establish_seconds: float = 5.0
    """From TLS being up to `establish`; the channel is closed otherwise."""
    high_water_bytes: int = 1 << 20
    unread_bytes_max: int = 64 << 20
    stall_seconds: float = 30.0
    stall_bytes: int = 64 << 10
    """Above the high-water mark the other side takes at least so much in `stall_seconds`."""
    frame_seconds: float = 15.0
    """From a frame's first bytes to its last: an unfinished frame holds memory. Not while nothing is read from it."""
    silence_seconds: int = 30
    """The other host has not even acknowledged anything: it is gone."""
    close_seconds: float = 2.0
    """From `close` until what was written is taken and the other side has said goodbye."""


class ChannelOwner(Protocol):
    """Who a channel reports to."""

    def channel_opened(self, channel: "Channel") -> None:
        """TLS is up. Raises RemoteProtocolError to refuse the other side."""

    def channel_frames(self, channel: "Channel", payloads: list[bytes]) -> None:
        """Frames before `establish`; the same error ends the connection."""

    def channel_closed(self, channel: "Channel") -> None:
        """The connection is gone, for `channel.reason`; called exactly once for each opened channel."""


class Channel(asyncio.Protocol):
    """Frames over one TLS connection."""

    __slots__ = (
        "_closed", "_deadline", "_established", "_is_held", "_limits", "_loop", "_owner", "_partial_since",
        "_partial_timer", "_reader", "_receive", "_sent_bytes", "_socket", "_stalled", "_taken_bytes", "_transport",
        "loss", "reason", "remote_address",
    )  # fmt: skip

    def __init__(self, owner: ChannelOwner, limits: ChannelLimits) -> None:
        self._owner = owner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(limits.first_frame_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._socket: Socket | None = None
        """The transport's: it may lose its own before it says so."""
        self._deadline: asyncio.TimerHandle | None = None
        """Of the handshake, later of the goodbye."""
        self._stalled: asyncio.TimerHandle | None = None
        """While nothing is read from the other side, since it does not read."""
        self._is_held = False
        """While nothing is read from the other side, since the owner is not done with what was."""
        self._sent_bytes = 0
        self._taken_bytes = 0
        """What `_taken` was when that was last looked at."""
        self._partial_since: float | None = None
        """When the frame began that has not come in full; None between frames."""
        self._partial_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._established = False
        self._receive: Callable[[list[bytes]], None] = self._receive_early
        self.remote_address = "unknown address"
        """Host and port of the other side, for people."""
        self.reason = ""
        """Why this side has ended the connection, for people; empty if nothing was wrong or the other side did."""
        self.loss: Exception | None = None
        """What the network or TLS said when the connection broke."""

    # What the owner calls.

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport; only between `channel_opened` and `channel_closed`."""
        if self._transport is None:
            raise RuntimeError("this channel has no connection")
        return self._transport

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, be it one that is being closed."""
        return self._transport is not None

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be sent or received."""
        return self._closed

    @property
    def is_established(self) -> bool:
        """Whether `establish` was called: who the other side is was never in doubt since."""
        return self._established

    @property
    def unsent_bytes(self) -> int:
        """What is written but not taken by the other side's kernel."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def establish(self, receive: Callable[[list[bytes]], None]) -> None:
        """The other side is who it should be: from now on its frames go straight to `receive`, up to full size.

        Raises:
            RemoteProtocolError: it has sent more than its handshake already.
        """
        if self._reader.pending_bytes:
            raise RemoteProtocolError("it goes on before its handshake is answered")
        self._set_deadline(None)
        self._reader = FrameReader(self._limits.frame_bytes_max, frames_max=self._limits.frames_max)
        self._receive = receive
        self._established = True

    def pause_reading(self) -> None:
        """Hand over nothing more until `resume_reading`: there is more than enough to do."""
        self._is_held = True
        if not self._closed:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on with what has come already, in the loop's next pass, and then with what comes."""
        self._is_held = False
        if not self._closed:
            self._loop.call_soon(self._go_on)

    def send(self, data: bytes) -> None:
        """Write whole frames. Nothing happens on a closed channel: what it owed is owed to nobody."""
        transport = self._transport
        if self._closed or transport is None:
            return
        transport.write(data)
        self._sent_bytes += len(data)
        if transport.get_write_buffer_size() > self._limits.unread_bytes_max:
            self.abort("it does not read what it asked for")

    def close(self, reason: str = "") -> None:
        """Send what is written, then end the connection; `abort` does so at any time, and time does so too."""
        if self._closed:
            return
        self._closed = True
        self.reason = reason
        if self._transport is not None:
            self._set_deadline(self._loop.call_later(self._limits.close_seconds, self._transport.abort))
            self._transport.close()

    def refuse(self, refusal: HandshakeRefusal) -> None:
        """Answer the other side's Hello so, and end the connection."""
        self.send(encode_frame(encode_reply(refusal)))
        self.close(refusal.message)

    def abort(self, reason: str) -> None:
        """End the connection now, whatever is still to be sent. The first reason given is the one that is kept."""
        if not self._closed:
            self._closed = True
            self.reason = reason
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._limits.high_water_bytes)
        name = transport.get_extra_info("peername")
        if name:
            self.remote_address = f"{name[0]}:{name[1]}"
        connection = self._socket = transport.get_extra_info("socket")
        bound_silence(connection, self._limits.silence_seconds)
        self._set_deadline(self._loop.call_later(self._limits.establish_seconds, self.abort, "no handshake in time"))
        try:
            self._owner.channel_opened(self)
        except RemoteProtocolError as error:
            self.abort(str(error))

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self._take(data)
        if self._reader.has_more:
            self._go_on()

    def _go_on(self) -> None:
        """Hand over what was not cut yet; then read on, if nobody minds."""
        while self._reader.has_more and not self._is_held and not self._closed:
            self._take(b"")
        if not self._is_held:
            self._read_on()

    def _read_on(self) -> None:
        if self._closed or self._is_held or self._stalled is not None:
            return
        if self._partial_since is not None:
            # The rest of the frame may have been here all the time.
            self._partial_since = self._loop.time()
        self.transport.resume_reading()

    def _take(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            payloads = self._reader.feed(data)
            if self._reader.pending_bytes:
                self._watch_partial(is_new=bool(payloads))
            else:
                self._partial_since = None
            if payloads:
                self._receive(payloads)
        except (RemoteProtocolError, DecodeError) as error:
            self.abort(str(error))

    def pause_writing(self) -> None:
        """The other side does not keep up: ask nothing more of ourselves for it."""
        self.transport.pause_reading()
        self._watch_stall()

    def resume_writing(self) -> None:
        """The other side reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whatever side."""
        self.loss = exc
        self._set_deadline(None)
        for timer in (self._stalled, self._partial_timer):
            if timer is not None:
                timer.cancel()
        self._closed = True
        self._owner.channel_closed(self)
        self._transport = None

    def _receive_early(self, payloads: list[bytes]) -> None:
        self._owner.channel_frames(self, payloads)

    def _taken(self) -> int:
        """Grows as the other side takes what was sent to it, and stands still while it takes nothing."""
        acknowledged = 0 if self._socket is None else acknowledged_bytes(self._socket)
        # What left the transport, since that is known everywhere, and what has arrived, since it leaves in great leaps.
        return self._sent_bytes - self.unsent_bytes + acknowledged

    def _watch_stall(self) -> None:
        self._taken_bytes = self._taken()
        self._stalled = self._loop.call_later(self._limits.stall_seconds, self._check_stall)

    def _check_stall(self) -> None:
        if self._taken() - self._taken_bytes < self._limits.stall_bytes:
            self.abort("it has stopped reading")
        else:
            self._watch_stall()

    def _watch_partial(self, *, is_new: bool) -> None:
        """A frame is unfinished. One timer looks after all of a connection's frames: most of them are done by then."""
        if is_new or self._partial_since is None:
            self._partial_since = self._loop.time()
        if self._partial_timer is None:
            self._partial_timer = self._loop.call_later(self._limits.frame_seconds, self._check_partial)

    def _check_partial(self) -> None:
        self._partial_timer = None
        if self._partial_since is None or self._closed:
            return
        left = self._partial_since + self._limits.frame_seconds - self._loop.time()
        if self._stalled is not None or self._is_held:
            self._partial_timer = self._loop.call_later(self._limits.frame_seconds, self._check_partial)
        elif left <= 0:
            self.abort("it has begun a frame and not finished it")
        else:
            self._partial_timer = self._loop.call_later(left, self._check_partial)

    def _set_deadline(self, deadline: asyncio.TimerHandle | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = deadline
