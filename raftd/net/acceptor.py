"""Accepting connections, with bounds that strangers cannot stretch.

asyncio's own server takes 256 KiB for each connection as soon as it is accepted, and lets it be silent for a minute.
Here the handshakes under way are bounded in number and time. When their number is reached, the oldest one of the host
that has most of them is ended: so a crowd of silent connections from one host, however fast they come, ends none of a
host that has fewer. Strangers on as many hosts as there may be handshakes do: then an honest one must be over before so
many more are accepted. The loop accepts one connection in each of its passes: those accepted before have then moved on,
and an honest crowd does not push itself out.
"""

import asyncio
import errno
import functools
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from raftd.errors import ListenError, RemoteProtocolError
from raftd.net.channel import Channel
from raftd.net.refusals import Refusals
from raftd.net.tls import CONNECT_ERRORS, explain

logger = logging.getLogger(__name__)

_ACCEPT_AGAIN_SECONDS: Final = 0.1
"""After a failure to accept."""

_REPLACED: Final = "its handshake was ended for another's"


@dataclass(frozen=True, slots=True)
class AcceptorLimits:
    """Bounds of one listening address."""

    connections_max: int = 1000
    """Connections with TLS up; a further one is closed at once, or as soon as its TLS is up."""
    kept_max: int = 8
    """The last of these, at most a tenth, that are kept for whom the owner of the channels prefers. Others may have the
    first half of them for as long as it takes to be told so, and the other half not even for that."""
    handshakes_max: int = 128
    """TLS handshakes under way; for a further one, the oldest of the host that has most is ended."""
    handshake_seconds: float = 5.0
    backlog: int = 1024


class Acceptor:
    """Listens on one address and makes a channel of each connection whose TLS handshake succeeds."""

    def __init__(
        self,
        *,
        purpose: str,
        context: ssl.SSLContext,
        make_channel: Callable[[], Channel],
        limits: AcceptorLimits,
    ) -> None:
        """`purpose` names the port in messages, such as "clients"."""
        self._purpose = purpose
        self._context = context
        self._make_channel = make_channel
        self._limits = limits
        self._refusals = Refusals(purpose, asyncio.get_running_loop())
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: dict[asyncio.Task[bool], str] = {}
        """Oldest first, each with its host."""
        self._emptied: asyncio.Future[None] | None = None
        self.connections = 0
        """Connections with TLS up: whoever owns the channels counts them, with `opened` and `released`."""
        self.accepted_total = 0
        """Connections whose channel was established."""
        self.refused_total = 0
        """Connections that ended before: for a bound, in their TLS handshake, or in the one behind it."""

    def start(self, host: str, port: int) -> None:
        """Listen, and accept from now on.

        Raises:
            ListenError: the address is in use, is not this machine's, or cannot be resolved.
        """
        self._listening = _listen(host, port, self._limits.backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._listening))
        # A task that somebody holds on to keeps its exception to itself; this one would stop accepting in silence.
        self._accepting.add_done_callback(lambda task: task.cancelled() or task.result())

    def use(self, *, context: ssl.SSLContext | None = None, limits: AcceptorLimits | None = None) -> None:
        """From the next connection on, shake hands with this context, and within these limits; None: as before.

        Each connection's context is chosen when it is accepted, so nothing of those that stand is touched.
        """
        self._context = context or self._context
        self._limits = limits or self._limits

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._listening is None:
            raise RuntimeError("not started")
        port: int = self._listening.getsockname()[1]
        return port

    @property
    def connections_max(self) -> int:
        """With as many connections, a further one is closed."""
        return self._limits.connections_max

    @property
    def handshakes(self) -> int:
        """TLS handshakes under way."""
        return len(self._handshakes)

    def opened(self) -> None:
        """One of the channels has a connection, and calls `released` when it has lost it.

        Raises:
            RemoteProtocolError: it must be closed again, since others were faster.
        """
        self.connections += 1
        if self.connections > self._limits.connections_max:
            raise RemoteProtocolError(self._full)

    def established(self) -> None:
        """One of them is established: it is who it should be, and counts as accepted."""
        self.accepted_total += 1

    def is_crowded(self) -> bool:
        """Whether only those connections are left that are kept for some."""
        return self.connections > self._limits.connections_max - self._kept

    def is_overcrowded(self) -> bool:
        """Whether so few of them are left that nobody else may have one even while it is refused."""
        return self.connections > self._limits.connections_max - self._kept // 2

    @property
    def _kept(self) -> int:
        return min(self._limits.kept_max, self._limits.connections_max // 10)

    @property
    def _full(self) -> str:
        return f"{self._limits.connections_max} {self._purpose} are connected already"

    def released(self, channel: Channel) -> None:
        """One of the channels has lost its connection; one that was not established counts as refused."""
        if not channel.is_established:
            self.refused_total += 1
        if channel.reason and channel.is_established:
            logger.info("ended the connection from %s: %s", channel.remote_address, channel.reason)
        elif channel.reason:
            self._refusals.tell(channel.remote_address, channel.reason)
        self.connections -= 1
        if self._emptied is not None and self.connections == 0:
            if not self._emptied.done():  # whoever waited for it may have given up
                self._emptied.set_result(None)
            self._emptied = None

    async def emptied(self) -> None:
        """Return when no channel has a connection any more; to be called once, after `stop`."""
        if self.connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    async def stop(self) -> None:
        """Stop listening and end the handshakes under way; established connections are their owner's."""
        tasks: list[asyncio.Task[Any]] = [*self._handshakes]
        if self._accepting is not None:
            tasks.append(self._accepting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        self._refusals.end()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        is_failing = False
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors or memory: those that are open go on, and some of them will close.
                if not is_failing:
                    logger.warning("cannot accept %s: %s", self._purpose, error.strerror)
                is_failing = True
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
                continue
            is_failing = False
            if self.connections >= self._limits.connections_max:
                self.refused_total += 1
                self._refusals.tell(f"{address[0]}:{address[1]}", self._full)
                connection.close()
            else:
                self._begin(connection, address[0], address[1])
            # `sock_accept` does not wait while the backlog has more, and nobody else would have a turn.
            await asyncio.sleep(0)

    def _begin(self, connection: socket.socket, address: str, port: int) -> None:
        """Begin a handshake, in place of another one if there are too many."""
        host = _host_of(address)
        if len(self._handshakes) >= self._limits.handshakes_max:
            unlucky = self._most_dispensable(host)
            # Its callback comes in the loop's next pass only, and the bound holds now.
            del self._handshakes[unlucky]
            unlucky.cancel()
        channel, named = self._make_channel(), f"{address}:{port}"
        task = asyncio.get_running_loop().create_task(self._handshake(connection, channel, named))
        self._handshakes[task] = host
        task.add_done_callback(functools.partial(self._ended, connection, channel, named))

    def _most_dispensable(self, host: str) -> asyncio.Task[bool]:
        """The oldest handshake of a host that has most of them, once this host has a further one."""
        counts = Counter(self._handshakes.values())
        counts[host] += 1
        most = max(counts.values())
        return next(task for task, its_host in self._handshakes.items() if counts[its_host] == most)

    def _ended(self, connection: socket.socket, channel: Channel, address: str, task: asyncio.Task[bool]) -> None:
        was_replaced = self._handshakes.pop(task, None) is None
        # Here and not in the task, for one that was cancelled before its first step has run no code at all.
        if not task.cancelled() and task.result():
            return
        if channel.is_connected:
            # It was ended in the very pass in which its TLS came up. The socket is its transport's to close, and
            # `released` counts it.
            channel.abort(_REPLACED)
        else:
            self.refused_total += 1
            if was_replaced:
                self._refusals.tell(address, _REPLACED)
            connection.close()

    async def _handshake(self, connection: socket.socket, channel: Channel, address: str) -> bool:
        """Whether TLS is up; then the connection is its channel's."""
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: channel,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_seconds,
            )
        except CONNECT_ERRORS as error:
            self._refusals.tell(address, explain(error))
            return False
        return True


def _host_of(address: str) -> str:
    """Who has an address. One host has a whole /64 of IPv6, as a rule, and would else be as many as it likes."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())


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
