"""Accepting connections, with bounds that strangers cannot stretch.

asyncio's own server takes 256 KiB for each connection as soon as it is accepted, and lets it be silent for a minute.
Here the handshakes under way are bounded in number and time: when their number is reached, the oldest is ended, so a
crowd of silent connections delays an honest one by no more than its own handshake.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from raftd.errors import ListenError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AcceptorLimits:
    """Bounds of one listening address."""

    connections_max: int = 1000
    """Connections with TLS up; a further one is closed at once."""
    handshakes_max: int = 128
    """TLS handshakes under way; for a further one, the oldest is ended."""
    handshake_seconds: float = 5.0
    backlog: int = 1024


class Acceptor:
    """Listens on one address and makes a protocol of each connection whose TLS handshake succeeds."""

    def __init__(
        self,
        *,
        purpose: str,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.Protocol],
        limits: AcceptorLimits,
    ) -> None:
        """`purpose` names the port in messages, such as "clients"."""
        self._purpose = purpose
        self._context = context
        self._make_protocol = make_protocol
        self._limits = limits
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self.connections = 0
        """Connections with TLS up: whoever makes the protocols counts them, with `opened` and `released`."""
        self.accepted_total = 0
        self.refused_total = 0
        """Connections closed for a bound, or for a handshake that failed."""

    def start(self, host: str, port: int) -> None:
        """Listen, and accept from now on.

        Raises:
            ListenError: the address is in use, is not this machine's, or cannot be resolved.
        """
        self._listening = _listen(host, port, self._limits.backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._listening))

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._listening is None:
            raise RuntimeError("not started")
        port: int = self._listening.getsockname()[1]
        return port

    def opened(self) -> None:
        """One of the protocols has a connection."""
        self.connections += 1
        self.accepted_total += 1

    def released(self) -> None:
        """One of the protocols has lost its connection."""
        self.connections -= 1

    async def stop(self) -> None:
        """Stop listening and end the handshakes under way; established connections are their owner's."""
        tasks = list(self._handshakes)
        if self._accepting is not None:
            tasks.append(self._accepting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors or memory: those that are open go on, and some of them will close.
                logger.warning("cannot accept %s: %s", self._purpose, error.strerror)
                await asyncio.sleep(0.1)
                continue
            if self.connections >= self._limits.connections_max:
                self.refused_total += 1
                connection.close()
                continue
            if len(self._handshakes) >= self._limits.handshakes_max:
                next(iter(self._handshakes)).cancel()
            task = loop.create_task(self._handshake(connection, f"{address[0]}:{address[1]}"))
            self._handshakes[task] = None
            task.add_done_callback(self._handshakes.pop)

    async def _handshake(self, connection: socket.socket, address: str) -> None:
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_seconds,
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            self.refused_total += 1
            connection.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            logger.info("no TLS with %s from %s: %s", self._purpose, address, _reason(error))


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ListenError(f"{host}:{port}: {error.strerror}") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        hint = " (is another raftd running?)" if error.errno == errno.EADDRINUSE else ""
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}{hint}") from None
    return listening


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) or type(error).__name__
