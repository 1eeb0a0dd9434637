"""A scenario with a cluster and clients in one event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from raftd.client import AsyncClient
from tests.client.fake import FakeCluster, Pki

Scenario: TypeAlias = Callable[[FakeCluster, AsyncClient], Awaitable[None]]


def play(pki: Pki, scenario: Scenario, **arguments: Any) -> None:
    """Run a scenario with a client, which `arguments` are given to."""

    async def run() -> None:
        async with pki.cluster() as cluster, AsyncClient(cluster.endpoints, tls=pki.user, **arguments) as client:
            await scenario(cluster, client)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what tells nobody when it happens."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.001)
