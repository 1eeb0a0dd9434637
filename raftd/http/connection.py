"""One HTTP connection, bounded: one request, so many bytes, so many seconds.

aiohttp parses and answers; what it does not bound is done around it. A connection serves one request and must be over
within its deadline, however slowly the other side sends or reads. So no client can hold a connection, and the memory
that all of them take together is known. Health checks and scrapes need no more: connecting anew costs them nothing.
aiohttp sees no more than the request's head (`raftd.http.head`), and whatever it raises for what a stranger sent ends
his connection: in the loop's exception handler it would be taken for a bug of the node, which ends.

When there are too many, the oldest goes, not the newest: an honest request is answered within milliseconds, so the
oldest is the least likely to be one, and a flood of silent connections does not make a live node look dead.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

from raftd.http.complaints import Complaints, Misuse
from raftd.http.head import RequestHead

PLAIN: Final = "text/plain; charset=utf-8"

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nServer: raftd\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\nthe request is too large.\n"
)
_MALFORMED: Final = (
    b"HTTP/1.1 400 Bad Request\r\nServer: raftd\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n\r\nbad request\n"
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The bounds of the HTTP listener."""

    connections_max: int = 64
    request_bytes_max: int = 16 << 10
    """Everything that a client sends: request line, headers, and the body that it should not have sent."""
    deadline_seconds: float = 10.0
    """From accepting a connection to its end."""


class ConnectionTable:
    """The open connections, oldest first."""

    def __init__(self, connections_max: int, complaints: Complaints) -> None:
        self._connections_max = connections_max
        self._complaints = complaints
        self._open: dict[asyncio.Transport, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: asyncio.Transport) -> None:
        """Count a connection; cut off the oldest where that makes too many."""
        if len(self._open) >= self._connections_max:
            oldest = next(iter(self._open))
            self.remove(oldest)
            self._complaints.tell(address_of(oldest), Misuse.CROWD)
            oldest.abort()
        self._open[transport] = None

    def remove(self, transport: asyncio.Transport) -> None:
        """Forget a connection; one that is gone already is no error."""
        self._open.pop(transport, None)


class Connection(web.RequestHandler):
    """aiohttp's protocol with bounds. A subclass, since aiohttp has no other seam for them.

    Args:
        server: Hands requests to the application.
        table: The listener's open connections.
        complaints: Hears of what nobody should send.
        limits: The bounds.
        spent: Is told how many seconds of the processor were spent on what came, again and again.
        loop: The running event loop.
    """

    __slots__ = ("_bytes_left", "_complaints", "_deadline", "_head", "_limits", "_spent", "_stream", "_table")

    def __init__(
        self,
        server: web.Server,
        table: ConnectionTable,
        complaints: Complaints,
        limits: ConnectionLimits,
        *,
        spent: Callable[[float], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None is the documented way to have none
            lingering_time=0,
            tcp_keepalive=False,
            # No page takes a body, and a small one may inflate to a thousand times as much.
            auto_decompress=False,
        )
        self._table = table
        self._complaints = complaints
        self._limits = limits
        self._spent = spent
        self._bytes_left = limits.request_bytes_max
        self._head = RequestHead()
        self._stream: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        super().connection_made(transport)
        stream = cast("asyncio.Transport", transport)  # uvloop's is none by class, and has all of its methods
        self._stream = stream
        self._table.add(stream)
        self._deadline = asyncio.get_running_loop().call_later(self._limits.deadline_seconds, self._out_of_time)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stream is not None:
            self._table.remove(self._stream)

    def data_received(self, data: bytes) -> None:
        """Pass on what fits and is a request's head, and end the connection where more comes, or something else."""
        # Of the processor, not by the clock: while the machine has no time for this node, it owes the loop nothing.
        began = time.thread_time()
        self._take(data)
        self._spent(time.thread_time() - began)

    def _take(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._refuse(Misuse.TOO_LARGE, _TOO_LARGE)
            return
        head = self._head.take(data)
        if head is None:
            self._refuse(Misuse.MALFORMED, _MALFORMED)
            return
        try:
            super().data_received(head)
        except Exception:  # noqa: BLE001 - of a stranger's bytes, which its parser did not expect
            self._cut_off()

    async def start(self) -> None:
        """Serve the request; aiohttp's task for it, which nobody waits for, so nothing may be raised in it."""
        try:
            await super().start()
        except Exception:  # noqa: BLE001 - as above: it makes an object of the request outside of its own `try`
            self._cut_off()

    def _refuse(self, misuse: Misuse, told: bytes) -> None:
        if self._stream is not None and not self._stream.is_closing():
            self._complaints.tell(address_of(self._stream), misuse)
            self._stream.write(told)
            self._stream.close()

    def _cut_off(self) -> None:
        """End a connection whose parser is in no state to go on."""
        if self._stream is not None:
            self._complaints.tell(address_of(self._stream), Misuse.MALFORMED)
            self._stream.abort()

    def _out_of_time(self) -> None:
        if self._stream is not None:
            self._complaints.tell(address_of(self._stream), Misuse.SLOW)
            self._stream.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; its text echoes what the client sent
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed, or whose handler failed, in one line without versions."""
        if status >= 500:
            # Its path is one that there is, or no handler would have failed.
            self.logger.error("an HTTP request failed: %s %s", request.method, request.path, exc_info=exc)
        elif self._stream is not None:
            self._complaints.tell(address_of(self._stream), Misuse.MALFORMED)
        return answer(status, b"internal error\n" if status >= 500 else b"bad request\n")


def address_of(transport: asyncio.BaseTransport) -> str:
    """Host and port of the other side, for people."""
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else "an unknown address"


def answer(status: int, body: bytes, content_type: str = PLAIN, **headers: str) -> web.Response:
    """An answer that ends its connection, and does not tell which software in which version gave it."""
    named = {"Server": "raftd", "Content-Type": content_type, "Cache-Control": "no-store", **headers}
    response = web.Response(status=status, body=body, headers=named)
    response.force_close()
    return response
