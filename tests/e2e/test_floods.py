"""Crowds and hogs at the client port: they cost others a little time, and a node a bounded amount of memory."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from raftd.client import AsyncClient
from raftd.pki import authority_files, user_files
from raftd.wire.client import Consistency, QueryOpcode, RequestKind, encode_read_body, encode_request
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import ConnectionRole, Hello, encode_hello
from tests.e2e.cluster import USER, Cluster, NodeProcess, until
from tests.e2e.conftest import MakeCluster
from tests.e2e.strangers import Credentials, client_hello, dialled, silent_connection

pytestmark = pytest.mark.e2e

CROWD = 600
HOGS = 4
MEMORY_BYTES_MAX = HOGS * (96 << 20)
"""What may be held on top of what is held anyway: of each hog 64 MiB unread, and copies of some of it inside of TLS."""


def credentials(cluster: Cluster) -> Credentials:
    return Credentials(authority_files(cluster.pki, "client").certificate, user_files(cluster.pki, USER))


@asynccontextmanager
async def working(cluster: Cluster) -> AsyncIterator[list[float]]:
    """One client works through its connection, another one dials anew each time; gives how long their rounds took."""
    stopping = asyncio.Event()
    time = asyncio.get_running_loop().time
    took: list[float] = []

    async def work(client: AsyncClient, key: str) -> None:
        for number in itertools.count(1):
            if stopping.is_set():
                return
            start = time()
            await client.put(key, str(number))
            found = await client.get(key)
            assert found is not None
            assert found.value == str(number).encode()
            took.append(time() - start)

    async def work_anew() -> None:
        while not stopping.is_set():
            start = time()
            async with cluster.client(timeout=10.0) as client:
                await client.put("anew", b"")
            took.append(time() - start)

    async with cluster.client(timeout=10.0, dead_after=5.0) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(work(client, "key"))
        tasks.create_task(work_anew())
        try:
            yield took
            enough = len(took) + 50
            await until(lambda: len(took) >= enough, "clients still work")
        finally:
            stopping.set()


@contextmanager
def bounded_memory(node: NodeProcess) -> Iterator[list[int]]:
    """Watch a node's memory: whoever waits in the block appends to the list that is given."""
    before = node.resident_bytes
    seen = [before]
    yield seen
    seen.append(node.resident_bytes)
    print(f"from {before >> 20} MiB up to {max(seen) >> 20} MiB")
    assert max(seen) < before + MEMORY_BYTES_MAX


def test_a_crowd_of_silent_and_slow_connections_is_bounded(make_cluster: MakeCluster) -> None:
    """Hundreds that connect and say nothing, or a byte at a time: clients get in and work, and memory stays bounded."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        (node,) = cluster.nodes.values()
        address = node.addresses.client_address
        flight = client_hello(credentials(cluster))
        async with working(cluster) as took, contextlib.AsyncExitStack() as crowd:
            await until(lambda: len(took) > 20, "clients work")
            with bounded_memory(node) as seen:
                for number in range(CROWD):
                    connection = crowd.enter_context(silent_connection(address))
                    if number % 3 == 0:
                        connection.send(flight[: 1 + number % (len(flight) - 1)])
                    if number % 50 == 0:
                        # Others that say all that TLS wants, and then nothing.
                        await crowd.enter_async_context(dialled(address, credentials(cluster)))
                        seen.append(node.resident_bytes)
                goal = len(took) + 100
                await until(lambda: len(took) >= goal, "clients work beside the crowd")
                seen.append(node.resident_bytes)
        print(f"{len(took)} rounds, the slowest took {max(took):.2f} s")
        assert max(took) < 5

    asyncio.run(scenario())


def hog(cluster: Cluster, body: bytes) -> None:
    """Ask and ask, and read nothing, until the connection ends or no more is taken for two seconds.

    On a socket of its own and not asyncio's, which would read for us.
    """
    (node,) = cluster.nodes.values()
    requests = encode_request(RequestKind.READ, 1, body) * 500
    hello = encode_frame(encode_hello(Hello(ConnectionRole.CLIENT)))
    address = node.addresses.client_address
    with (
        socket.create_connection((address.host, address.port), timeout=10.0) as plain,
        credentials(cluster).context().wrap_socket(plain) as connection,
    ):
        connection.sendall(hello)
        assert connection.recv(1 << 12)
        connection.settimeout(2.0)
        with contextlib.suppress(OSError):  # TimeoutError is one
            while True:
                connection.sendall(requests)


@pytest.mark.parametrize("consistency", list(Consistency))
def test_clients_that_ask_and_never_read_are_bounded(make_cluster: MakeCluster, consistency: Consistency) -> None:
    """Some clients ask for a large value again and again and read no answer: others go on, and memory is bounded."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        (node,) = cluster.nodes.values()
        async with cluster.client() as client:
            await client.put("large", bytes(1 << 20))
        body = encode_read_body(consistency, QueryOpcode.GET, b"large")
        async with working(cluster) as took:
            await until(lambda: len(took) > 20, "clients work")
            with bounded_memory(node) as seen:
                hogs = [asyncio.create_task(asyncio.to_thread(hog, cluster, body)) for _ in range(HOGS)]

                def have_ended() -> bool:
                    seen.append(node.resident_bytes)
                    return all(task.done() for task in hogs)

                await until(have_ended, "the hogs are cut off or throttled")
                await asyncio.gather(*hogs)
        print(f"{len(took)} rounds, the slowest took {max(took):.2f} s")

    asyncio.run(scenario())
