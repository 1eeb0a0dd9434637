"""One client's connection, as the node sees it: who it is, what it is owed, and how much it has under way."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from raftd.kv.access import Permissions
from raftd.kv.commands import Stamp
from raftd.net.channel import Channel

if TYPE_CHECKING:
    from raftd.node.gateway import Gateway
    from raftd.node.unread import Unread

UNREAD_BYTES_MAX: Final = 8 << 20
"""A client that leaves more than this unread is refused what may be large, until it has read. If all of them leave
much, less is allowed (`raftd.node.unread`)."""


class ClientConnection:
    """A connection and its unsent answers. Answers of one turn of the loop leave in one write."""

    __slots__ = (
        "_gateway", "_unread", "answers", "channel", "in_flight", "leaving", "permissions", "stamp", "unread_bytes",
        "unserved", "user",
    )  # fmt: skip

    def __init__(
        self,
        gateway: "Gateway",
        channel: Channel,
        permissions: Permissions,
        stamp: Stamp,
        user: bytes,
        *,
        unread: "Unread",
    ) -> None:
        self._gateway = gateway
        self._unread = unread
        self.channel = channel
        self.permissions = permissions
        self.stamp = stamp
        self.user = user
        """As the certificate has it, and the stamp says it."""
        self.answers: list[bytes] = []
        """Whole frames, to be sent at the end of this turn."""
        self.in_flight = 0
        """Requests that are not answered yet."""
        self.unread_bytes = 0
        """As of this turn's latest answer: what the client is owed or was sent, and its kernel has not taken."""
        self.unserved: Iterator[bytes] | None = None
        """Requests that came and were not looked at yet (`raftd.node.backlog`); None: there are none."""
        self.leaving = ""
        """Why no more requests are taken, and the connection ends as soon as nothing is owed; empty: they are."""

    @property
    def waiting_bytes(self) -> int:
        """What waits for the client to read, as of this turn's latest answer if there was one."""
        return self.unread_bytes if self.answers else self.channel.unsent_bytes

    @property
    def unread_bytes_max(self) -> int:
        """With more than this waiting nothing large is added: less where all clients together leave much unread."""
        return self._unread.bytes_max

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the client to read that nothing large should be added to it."""
        # As `waiting_bytes`, without the call: each read asks this.
        unread_bytes = self.unread_bytes if self.answers else self.channel.unsent_bytes
        return unread_bytes > self._unread.bytes_max

    def owe(self, frame: bytes) -> bool:
        """Add an answer to those of this turn; returns whether it is the first."""
        is_first = not self.answers
        if is_first:
            self.unread_bytes = self.channel.unsent_bytes
        self.answers.append(frame)
        self.unread_bytes += len(frame)
        return is_first

    def owe_parts(self, head: bytes, body: bytes) -> bool:
        """The same with a frame in two parts: a body may go to many connections."""
        is_first = not self.answers
        if is_first:
            self.unread_bytes = self.channel.unsent_bytes
        self.answers += (head, body)
        self.unread_bytes += len(head) + len(body)
        return is_first

    def leave(self, reason: str) -> None:
        """Take no more requests, and end the connection as soon as no answer is owed."""
        self.leaving = reason
        self.end_if_left()

    def end_if_left(self) -> None:
        """End the connection, if it is to end and no answer is owed any more."""
        if self.leaving and not self.in_flight and not self.answers and self.unserved is None:
            self.channel.close(self.leaving)

    def receive(self, payloads: list[bytes]) -> None:
        """Requests came in; the gateway knows what to do with them."""
        waiting = iter(payloads)
        if not self._gateway.receive(self, waiting):
            self._gateway.backlog.add(self, waiting)

    def closed(self) -> None:
        """The connection is gone; answers to it will go nowhere."""
        self._gateway.closed(self)
