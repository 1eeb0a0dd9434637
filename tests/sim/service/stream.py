"""A client's connection to one life of a node, as TCP is: in order, and whole until it breaks off."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from raftd.consensus import NodeId
from raftd.net.channel import Channel
from raftd.node.connection import ClientConnection
from raftd.wire.frames import FrameReader
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX

if TYPE_CHECKING:
    from tests.sim.process import Process

_UNNOTICED_SECONDS = 2.0
"""After a power cut nobody says that the other side is gone."""


class Stream:
    """Both ends of a connection. For the node it is raftd's `Channel`, in what is used."""

    __slots__ = (
        "_connection",
        "_draw",
        "_is_cut",
        "_life",
        "_lost",
        "_process",
        "_reader",
        "_reads_at",
        "_ready_at",
        "_sent_at",
        "_take",
        "_unread",
        "_user",
        "is_closed",
        "remote_address",
        "unsent_bytes",
    )

    def __init__(
        self,
        process: "Process",
        user: str,
        draw: random.Random,
        take: Callable[["Stream", bytes], None],
        lost: Callable[["Stream"], None],
    ) -> None:
        """`take` gets each frame that comes to the client, and `lost` hears that none will come any more."""
        self._process = process
        self._life = process.life
        self._user = user
        self._draw = draw
        self._take = take
        self._lost = lost
        self._connection: ClientConnection | None = None
        self._reader = FrameReader(CLIENT_FRAME_BYTES_MAX)
        self._is_cut = False
        """The client has left."""
        self._sent_at = 0.0
        """When what the client sent last arrives, and what the node did: nothing overtakes it."""
        self._ready_at = 0.0
        self._reads_at = 0.0
        """Until then the client takes nothing."""
        self._unread: list[bytes] = []
        self.is_closed = False
        """For the node."""
        self.unsent_bytes = 0
        self.remote_address = f"{user}:1"
        if process.is_up:
            process.streams.append(self)
        else:
            self._break()

    @property
    def node_id(self) -> NodeId:
        """Whom it leads to."""
        return self._process.node_id

    # The client's end.

    def request(self, payload: bytes) -> None:
        """Send a frame."""
        self._sent_at = max(self._sent_at, self._process.world.timeline.now + self._delay())
        self._process.world.timeline.at(self._sent_at, self._arrive, payload)

    def close(self) -> None:
        """Leave; the node hears of it after all that was sent before."""
        if not self._is_cut:
            self._is_cut = True
            self._sent_at = max(self._sent_at, self._process.world.timeline.now + self._delay())
            self._process.world.timeline.at(self._sent_at, self._hang_up)

    def stand_still(self, seconds: float) -> None:
        """Take nothing for a while: what comes waits at the node's end."""
        timeline = self._process.world.timeline
        self._reads_at = max(self._reads_at, timeline.now + seconds)
        timeline.at(self._reads_at, self._read_on)

    # The node's end.

    def send(self, data: bytes) -> None:
        """Frames leave for the client."""
        self._process.reach("answer")
        payloads = self._reader.feed(data)
        if self._is_cut:
            return
        for payload in payloads:
            if self._process.world.timeline.now < self._reads_at:
                self._unread.append(payload)
                self.unsent_bytes += len(payload)
                if self.unsent_bytes > self._process.world.plan.watch_limits.unread_bytes_max:
                    self._process.world.sometimes("watch_stalled")
            else:
                self._deliver(payload)

    def receive(self, payload: bytes) -> None:
        """A frame of the client's is read by the process."""
        if self.is_closed:
            return
        if self._connection is None:
            self._connection = self._process.gateway.client_connected(cast("Channel", self), self._user)
        self._connection.receive([payload])

    def pause_reading(self) -> None:
        """What comes all the same has its place behind what waits."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def hang_up(self) -> None:
        """The process learns that the client has left."""
        if not self.is_closed:
            self.is_closed = True
            self._process.streams.remove(self)
            if self._connection is not None:
                self._connection.closed()

    def process_ended(self, *, lose_power: bool) -> None:
        """The process is gone. What it sent before may still arrive, or not; that it is gone shows sooner or later."""
        self.is_closed = True
        self._unread.clear()
        if self._draw.random() < 0.5:
            self._ready_at = float("inf")
        self._break(self._draw.uniform(0, _UNNOTICED_SECONDS) if lose_power else 0.0)

    # Under way.

    def _delay(self) -> float:
        return self._draw.expovariate(1 / self._process.world.plan.latency)

    def _arrive(self, payload: bytes) -> None:
        self._process.enter(self._life, self._process.read_stream, self, payload)

    def _hang_up(self) -> None:
        self._process.enter(self._life, self.hang_up)

    def _deliver(self, payload: bytes) -> None:
        timeline = self._process.world.timeline
        self._ready_at = max(self._ready_at, timeline.now + self._delay())
        timeline.at(self._ready_at, self._come, payload)

    def _come(self, payload: bytes) -> None:
        if not self._is_cut and self._ready_at < float("inf"):
            self._take(self, payload)

    def _read_on(self) -> None:
        if self._process.world.timeline.now < self._reads_at or self.is_closed:
            return
        unread, self._unread = self._unread, []
        self.unsent_bytes = 0
        for payload in unread:
            self._deliver(payload)

    def _break(self, delay: float = 0.0) -> None:
        timeline = self._process.world.timeline
        ready = self._ready_at if self._ready_at < float("inf") else 0.0
        timeline.at(max(ready, timeline.now + self._delay() + delay), self._broken)

    def _broken(self) -> None:
        if not self._is_cut:
            self._is_cut = True
            self._lost(self)
