"""One client's connection, as the node sees it: who it is, what it is owed, and how much it has under way."""

from typing import TYPE_CHECKING

from raftd.kv.access import Permissions
from raftd.kv.commands import Stamp
from raftd.net.channel import Channel

if TYPE_CHECKING:
    from raftd.node.gateway import Gateway


class ClientConnection:
    """A connection and its unsent answers. Answers of one turn of the loop leave in one write."""

    __slots__ = ("_gateway", "answers", "channel", "in_flight", "permissions", "stamp")

    def __init__(self, gateway: "Gateway", channel: Channel, permissions: Permissions, stamp: Stamp) -> None:
        self._gateway = gateway
        self.channel = channel
        self.permissions = permissions
        self.stamp = stamp
        self.answers: list[bytes] = []
        """Whole frames, to be sent at the end of this turn."""
        self.in_flight = 0
        """Requests that are not answered yet."""

    def receive(self, payloads: list[bytes]) -> None:
        """Requests came in; the gateway knows what to do with them."""
        self._gateway.receive(self, payloads)

    def closed(self) -> None:
        """The connection is gone; answers to it will go nowhere."""
        self._gateway.closed(self)
