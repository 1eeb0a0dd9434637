"""What must never be seen from outside, or in a log: values of keys, and private keys. A canary is looked for."""

import asyncio
import base64
import dataclasses
import secrets
from pathlib import Path

import pytest

from raftd.client import ClientError, Put, value
from raftd.settings import Document
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import MakeCluster
from tests.e2e.test_health import page_of

pytestmark = pytest.mark.e2e

PAGES = ("/", "/metrics", "/status", "/sd", "/livez?verbose", "/readyz?verbose", "/leader?verbose", "/nothing")


def debugging(_: int, document: Document) -> Document:
    return dataclasses.replace(document, log=dataclasses.replace(document.log, level="debug"))


def spellings(canary: str) -> list[str]:
    """The canary, and how else it might be shown."""
    data = canary.encode()
    return [canary, data.hex(), base64.b64encode(data).decode()[:-4], repr(data)[2:-1], canary.upper()]


async def plant(cluster: Cluster, canary: str) -> None:
    """Write values with the canary in every way there is, and have some of it refused."""
    async with cluster.client() as client:
        lease = await client.grant_lease(60.0)
        await client.put("a", canary)
        await client.put("a", f"{canary} again", previous=True, lease=lease.id)
        await client.put("a", canary, expected_value=f"{canary} again")
        await (
            client.transaction().when(value("a") == canary).then(Put("b", canary)).otherwise(Put("c", canary)).commit()
        )
        for refused in (
            lambda: client.put("a", canary, expected_value=f"not {canary}"),
            lambda: client.put("a", canary, expected_revision=77),
            lambda: client.increment("a"),
            lambda: client.put("a", canary * 100_000),
        ):
            with pytest.raises((ClientError, ValueError)):
                await refused()
        await client.history("a")
        await client.delete("b")


def test_no_value_and_no_key_of_a_certificate_is_ever_shown(make_cluster: MakeCluster) -> None:
    """Neither in the logs of nodes that log everything, through a leader kill, nor on any page over HTTP."""

    async def scenario() -> None:
        cluster = make_cluster(changes=debugging)
        canary = f"canary{secrets.token_hex(12)}"
        await cluster.start()
        await plant(cluster, canary)
        await cluster.until_proven()
        leader = await cluster.leader()
        term = await cluster.term()
        leader.kill()
        await cluster.leader(above_term=term)
        await cluster.start(leader.id)
        await plant(cluster, canary)
        shown = {f"log of {name}": text for name, text in cluster.logs()}
        for node in cluster.nodes.values():
            for page in PAGES:
                shown[f"{page} of node {node.id}"] = (await asyncio.to_thread(page_of, node, page))[1]
            async with cluster.client() as client:
                shown[f"entries of node {node.id}"] = str(await client.log(node.endpoint, 1000))
                shown[f"diagnostics of node {node.id}"] = str(await client.diagnostics(node.endpoint))
        hidden = spellings(canary) + key_lines(cluster.pki)
        found = [(where, text) for where, page in shown.items() for text in hidden if text in page]
        assert found == []
        assert all(shown.values())
        assert "debug" in shown["log of node 1"]

    asyncio.run(scenario())


def key_lines(pki: Path) -> list[str]:
    """The lines of all private keys, without what every PEM file has."""
    return [
        line
        for path in pki.rglob("*.key")
        for line in path.read_text().splitlines()
        if line and not line.startswith("-----") and len(line) > 20
    ]
