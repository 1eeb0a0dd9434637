"""What clients leave unread, of all connections together.

Each connection may leave a few answers unread, and a thousand of them are gigabytes if their values are large. So when
all together leave too much, each keeps only a small share, above which it is refused what may be large until it has
read. Whoever reads what he asks for notices nothing of it.

Only what is beyond that share is counted, by looking at those connections once in a turn: a small answer that is read
at once costs nothing here. So what the node holds is bounded by `UNREAD_TOTAL_BYTES_MAX`, what one turn sends, and for
each connection the share and one answer.
"""

from typing import Final

from raftd.node.connection import UNREAD_BYTES_MAX, ClientConnection

UNREAD_TOTAL_BYTES_MAX: Final = 256 << 20
"""Of all connections that leave more than their share unread."""

UNREAD_SHARE_BYTES: Final = 256 << 10
"""What a connection may leave unread, and still be given large answers, however much the others do."""


class Unread:
    """Who leaves much unread."""

    __slots__ = ("_large", "bytes_max")

    def __init__(self) -> None:
        self._large: set[ClientConnection] = set()
        """Those that were owed more than a share, as long as it is unread."""
        self.bytes_max = UNREAD_BYTES_MAX
        """What a connection may leave unread now, and still be given large answers."""

    def sent(self, connection: ClientConnection) -> None:
        """A connection was sent so much that it has more than its share to read."""
        self._large.add(connection)

    def look(self) -> None:
        """At the end of a turn: find out how much is unread."""
        if not self._large:
            return
        unread = {connection: connection.channel.unsent_bytes for connection in self._large}
        self._large = {connection for connection, size in unread.items() if size > UNREAD_SHARE_BYTES}
        total = sum(unread[connection] for connection in self._large)
        self.bytes_max = UNREAD_BYTES_MAX if total <= UNREAD_TOTAL_BYTES_MAX else UNREAD_SHARE_BYTES
