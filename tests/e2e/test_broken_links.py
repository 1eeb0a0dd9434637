"""Links between nodes that are reset, at whatever byte: the cluster finds together again."""

import asyncio
import dataclasses
from collections import deque

import pytest

from raftd.settings import Document, Listen
from tests.e2e.cluster import next_address, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.proxy import Cut, Proxy, serving
from tests.e2e.workload import check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e

_HANDSHAKES = [
    *(Cut("to", offset) for offset in range(0, 3600, 180)),
    *(Cut("from", offset) for offset in range(0, 1800, 180)),
]
"""Of TLS, up to 2 KiB each way, then Hello and Welcome: from the first byte to beyond the last."""
_LATER = [Cut("to", offset) for offset in (5_000, 20_000, 100_000)]


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

        async with serving(proxies.values()):
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
