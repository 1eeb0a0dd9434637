"""A connection whose other end has vanished without a word: a cut cable, a host without power.

A process that dies is reported by its kernel. A host that vanishes is reported by nobody: without the options set here,
Linux sends what was written again for a quarter of an hour, more and more rarely (tcp(7), `tcp_retries2`), and a
connection on which nothing is written stays for ever.
"""

import socket
from typing import Final, Protocol

_PROBES: Final = 3


class Socket(Protocol):
    """What of a socket is needed here; what the transports of asyncio and uvloop show of theirs has it."""

    def setsockopt(self, level: int, option: int, value: int, /) -> object:
        """Set an option."""


def bound_silence(connection: Socket, silence_seconds: int) -> None:
    """Have the kernel end a TCP connection whose other end has acknowledged nothing for about `silence_seconds`.

    An idle connection is probed after a third of that, and again each third (SO_KEEPALIVE, socket(7)); data that was
    written and not acknowledged is given up after the whole (TCP_USER_TIMEOUT, RFC 5482, in milliseconds). The latter
    holds for the probes too, and for a side whose window stays closed because nobody there reads.
    """
    interval_seconds = max(1, silence_seconds // _PROBES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * silence_seconds)
