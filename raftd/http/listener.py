"""Accepting HTTP connections at a pace that leaves the event loop to the node.

Requests are answered on the loop that also serves consensus, so whoever asks often takes time from it. What bounds that
is when the next connection is accepted: only after the loop has been left alone for a multiple of the time that the
last ones took. So HTTP has a tenth of the loop at most, whatever a flood does; those who wait do so in the kernel's
backlog, and what does not fit into that is turned away by the kernel. An honest scrape, every few seconds, never waits.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from raftd.errors import ListenError

logger = logging.getLogger(__name__)

_ACCEPT_AGAIN_SECONDS: Final = 0.1
"""After a failure to accept."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much of the loop HTTP may have."""

    idle_ratio: float = 9.0
    """The loop is left alone for this many times as long as requests took."""
    connection_seconds: float = 0.0002
    """What a connection costs at least, whatever is asked on it or not."""
    backlog: int = 128
    """Connections that wait in the kernel."""


class Listener:
    """Listens on one address, and gives each connection a protocol."""

    def __init__(
        self, host: str, port: int, make_protocol: Callable[[], asyncio.Protocol], pace: Pace | None = None
    ) -> None:
        """`port` 0 takes a free one, see `address`."""
        self._host = host
        self._port = port
        self._make_protocol = make_protocol
        self._pace = pace or Pace()
        self._spent_seconds = 0.0
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on, once started."""
        if self._socket is None:
            return self._host, self._port
        host, port = self._socket.getsockname()[:2]
        return host, port

    def spent(self, seconds: float) -> None:
        """Answering took so much of the loop: the next connection is accepted the later."""
        self._spent_seconds += seconds

    def start(self) -> None:
        """Listen, on the running loop.

        Raises:
            ListenError: The address is in use, is not this machine's, or may not be taken.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = _bound(socket.socket(family, kind, protocol), address, self._pace.backlog)
        except OSError as error:  # socket.gaierror is one
            reason = error.strerror or error
            raise ListenError(f"cannot listen for HTTP on {self._host}:{self._port}: {reason}") from error
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))
        # A task that somebody holds on to keeps its exception to itself; this one would stop accepting in silence.
        self._accepting.add_done_callback(lambda task: task.cancelled() or task.result())

    async def stop(self) -> None:
        """Listen no more; the connections that there are go on."""
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.wait((accepting,))
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        is_failing = False
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors or memory: those that are open go on, and some of them will close.
                if not is_failing:
                    logger.warning("cannot accept HTTP: %s", error.strerror)
                is_failing = True
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
                continue
            is_failing = False
            connection.setblocking(False)
            try:
                await loop.connect_accepted_socket(self._make_protocol, connection)
            except OSError:
                connection.close()  # It is gone already.
            # In the sleep the connection is served, as a rule; what that took counts for the one after.
            spent, self._spent_seconds = self._spent_seconds + self._pace.connection_seconds, 0.0
            await asyncio.sleep(spent * self._pace.idle_ratio)


def _bound(listening: socket.socket, address: tuple[object, ...], backlog: int) -> socket.socket:
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening
