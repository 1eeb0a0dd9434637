"""How much of what was sent on a connection the other host has acknowledged, by the kernel's account.

What a TLS transport says that it has not written yet tells less. It hands all that it has to the transport below in one
go, counts none of it any more, and hands over the next only when that is gone: so it shows no progress for as long as
the other side takes over what may be many megabytes.
"""

import socket
import struct
from typing import Final, Protocol

_BYTES_ACKED: Final = struct.Struct("<120xQ")
"""`tcpi_bytes_acked` in Linux' struct tcp_info (linux/tcp.h), since Linux 4.1; what is there never moves."""


class Socket(Protocol):
    """What of a socket is needed here; what the transports of asyncio and uvloop show of theirs has it."""

    def getsockopt(self, level: int, option: int, buffer_bytes: int, /) -> bytes:
        """Get an option that is a struct."""


def acknowledged_bytes(connection: Socket) -> int:
    """Bytes, as TLS has them, that the other host's kernel has acknowledged; 0 where this host's does not say so."""
    try:
        information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    except OSError:
        return 0
    acknowledged: int = _BYTES_ACKED.unpack(information)[0] if len(information) == _BYTES_ACKED.size else 0
    return acknowledged
