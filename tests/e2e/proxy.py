"""A TCP proxy in the way from one node to another, which holds traffic up and resets connections."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

from raftd.settings import Address
from tests.e2e.strangers import LINGER_NOT, Streams


class Cut(NamedTuple):
    """Where a connection is reset: after so many bytes to the node that was dialled, or from it."""

    direction: Literal["to", "from"]
    offset: int


class Proxy:
    """Stands between those who dial and one node."""

    def __init__(self, address: Address, target: Address, cuts: deque[Cut] | None = None) -> None:
        """`cuts` may be shared by proxies: each new connection takes the next one, and lives if there is none."""
        self.address = address
        self._target = target
        self._cuts: deque[Cut] = deque() if cuts is None else cuts
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.StreamWriter] = set()
        self.resets = 0

    async def serve(self, streams_of_dialler: Streams) -> None:
        """Forward one connection to its end."""
        cut = self._cuts.popleft() if self._cuts else None
        try:
            streams_of_target = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            _reset(streams_of_dialler[1])
            return
        writers = streams_of_dialler[1], streams_of_target[1]
        self._connections.update(writers)
        try:
            await asyncio.gather(
                self._forward(streams_of_dialler[0], writers[1], _limit(cut, "to")),
                self._forward(streams_of_target[0], writers[0], _limit(cut, "from")),
            )
        except OSError:
            self.resets += cut is not None
        finally:
            for writer in writers:
                _reset(writer)
                self._connections.discard(writer)

    def reset_all(self) -> None:
        """Reset every connection that there is."""
        for writer in self._connections:
            _reset(writer)

    def hold(self) -> None:
        """Let nothing pass; connections stay as they are."""
        self._passing.clear()

    def release(self) -> None:
        """Let everything pass again, also what was held."""
        self._passing.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        """Forward bytes up to the limit. Raises: ConnectionError at the limit, or at the end of either side."""
        passed = 0
        while limit is None or passed < limit:
            data = await reader.read(1 << 16 if limit is None else min(limit - passed, 1 << 16))
            if not data:
                break
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
            passed += len(data)
        raise ConnectionResetError


def _limit(cut: Cut | None, direction: str) -> int | None:
    return cut.offset if cut is not None and cut.direction == direction else None


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()


@asynccontextmanager
async def serving(proxies: Iterable[Proxy]) -> AsyncIterator[None]:
    """Proxies that listen while the block runs."""
    tasks: set[asyncio.Task[None]] = set()

    async def listen(proxy: Proxy) -> asyncio.Server:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(proxy.serve((reader, writer)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        return await asyncio.start_server(accept, proxy.address.host, proxy.address.port)

    servers = [await listen(proxy) for proxy in proxies]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
