"""Links between nodes that are reset, at whatever byte: the cluster finds together again."""

import asyncio
import contextlib
import dataclasses
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import pytest

from raftd.settings import Address, Document, Listen
from tests.e2e.cluster import next_address, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.strangers import LINGER_NOT, Streams
from tests.e2e.workload import check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e


class Cut(NamedTuple):
    """Where a connection is reset: after so many bytes to the node that was dialled, or from it."""

    direction: Literal["to", "from"]
    offset: int


_HANDSHAKES = [
    *(Cut("to", offset) for offset in range(0, 3600, 180)),
    *(Cut("from", offset) for offset in range(0, 1800, 180)),
]
"""Of TLS, up to 2 KiB each way, then Hello and Welcome: from the first byte to beyond the last."""
_LATER = [Cut("to", offset) for offset in (5_000, 20_000, 100_000)]


class Proxy:
    """Stands between dialling nodes and one node; resets what it is told to reset."""

    def __init__(self, address: Address, target: Address, cuts: deque[Cut]) -> None:
        """`cuts` is shared by all proxies: each new connection takes the next one, and lives if there is none."""
        self.address = address
        self._target = target
        self._cuts = cuts
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
                _forward(streams_of_dialler[0], writers[1], _limit(cut, "to")),
                _forward(streams_of_target[0], writers[0], _limit(cut, "from")),
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


def _limit(cut: Cut | None, direction: str) -> int | None:
    return cut.offset if cut is not None and cut.direction == direction else None


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
    """Forward bytes up to the limit. Raises: ConnectionError at the limit, or at the end of either side."""
    passed = 0
    while limit is None or passed < limit:
        data = await reader.read(1 << 16 if limit is None else min(limit - passed, 1 << 16))
        if not data:
            break
        writer.write(data)
        await writer.drain()
        passed += len(data)
    raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()


@asynccontextmanager
async def serving(proxies: list[Proxy]) -> AsyncIterator[None]:
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


def test_links_that_are_reset_at_any_byte_come_back(make_cluster: MakeCluster) -> None:
    """Whether in TLS' handshake, in raftd's own or later: after the resets every link stands, and no write is lost."""
    cuts: deque[Cut] = deque()
    proxies: dict[int, Proxy] = {}

    def behind_proxy(node_id: int, document: Document) -> Document:
        listen = next_address()
        proxies[node_id] = Proxy(document.nodes[node_id - 1].peer_address, listen, cuts)
        return dataclasses.replace(document, listen=Listen(peer=listen))

    async def scenario() -> None:
        cluster = make_cluster(changes=behind_proxy)

        async def all_links_stand() -> bool:
            statuses = (await cluster.statuses()).values()
            return len(statuses) == len(cluster.nodes) and all(
                peer["connected"] for status in statuses for peer in status["peers"]
            )

        async def all_cuts_are_tried() -> bool:
            # A connection on which so much is never sent lives on, and must make room for the next cut.
            if cuts and await all_links_stand():
                for proxy in proxies.values():
                    proxy.reset_all()
            return not cuts

        async with serving(list(proxies.values())):
            await cluster.start()
            async with writing(cluster, 4) as writers:
                for chosen in (_HANDSHAKES, _LATER):
                    cuts.extend(chosen)
                    await until_found(all_cuts_are_tried, "each way to be cut is tried", seconds=40.0)
                    await more_writes(writers, 200)
                    await until_found(all_links_stand, "all links stand")
            await check_exactly_once(cluster, writers)
            await cluster.agreement()

    asyncio.run(scenario())
    resets = sum(proxy.resets for proxy in proxies.values())
    print(f"{resets} connections were reset at a chosen byte")
    assert resets >= len(_HANDSHAKES) // 2
