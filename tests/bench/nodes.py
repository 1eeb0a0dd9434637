"""Clusters of real nodes in temporary directories, for what must be seen of single processes."""

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from raftd.client import AsyncClient
from raftd.client.connection import Connection, connect
from raftd.event_loop import new_event_loop
from raftd.pki import create_authorities, issue_node, issue_user
from raftd.settings import Limits, render
from tests.e2e.cluster import CLUSTER_NAME, USER, Cluster, own_address

T = TypeVar("T")

_DEAD_AFTER_SECONDS: Final = 30.0


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on the event loop that raftd's own programs run on."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


@contextlib.contextmanager
def new_cluster(size: int) -> Iterator[Cluster]:
    """A cluster with a user's limits and with certificates; nothing is started, and nothing of it left at the end."""
    with tempfile.TemporaryDirectory(prefix="raftd-bench-") as name:
        pki = Path(name) / "pki"
        create_authorities(pki, CLUSTER_NAME)
        for node_id in range(1, size + 1):
            # Connections between nodes come from 127.0.0.1, which etcd compares with a peer's certificate.
            issue_node(pki, node_id, [own_address(), "127.0.0.1"])
        issue_user(pki, USER)
        with contextlib.closing(Cluster(Path(name), pki, size)) as cluster:
            set_limits(cluster, Limits())
            yield cluster


def set_limits(cluster: Cluster, limits: Limits) -> None:
    """Write settings with these limits, for nodes that are started from now on."""
    text = render(dataclasses.replace(cluster.document, limits=limits))
    for node in cluster.nodes.values():
        node.settings.write_text(text)


def patient_client(cluster: Cluster, *endpoints: str) -> AsyncClient:
    """A client that takes nobody for dead who only has much to do."""
    return cluster.client(*endpoints, timeout=60.0, dead_after=_DEAD_AFTER_SECONDS)


@contextlib.asynccontextmanager
async def connections(cluster: Cluster, endpoint: str, count: int) -> AsyncIterator[list[Connection]]:
    """Connections to one node, without a client's work around them, which would be measured with it."""
    opened: list[Connection] = []
    try:
        while len(opened) < count:
            opened.append(await connect(endpoint, cluster.tls.context(), dead_after=_DEAD_AFTER_SECONDS))
        yield opened
    finally:
        for connection in opened:
            connection.abort("the measurement is over")
