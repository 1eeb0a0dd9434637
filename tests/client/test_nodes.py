import asyncio
import ssl
import threading

import pytest

from raftd.client import TlsError
from raftd.client.connection import NotConnected
from raftd.client.nodes import Nodes
from tests.client.fake import Pki
from tests.client.playing import until


def test_one_connection_per_node(pki: Pki) -> None:
    """All who ask at once, and all later, share one connection; a lost one is replaced."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            nodes = Nodes(pki.user.context, dead_after=5.0)
            endpoint = cluster.endpoints[0]
            first = await asyncio.gather(*(nodes.connection(endpoint) for _ in range(20)))
            assert len(set(first)) == 1
            assert await nodes.connection(endpoint) is first[0]
            first[0].abort("for the test")
            assert await nodes.connection(endpoint) is not first[0]
            assert cluster.nodes[0].accepted_total == 2
            await nodes.close()

    asyncio.run(scenario())


def test_who_gives_up_does_not_end_the_dialling(pki: Pki) -> None:
    """Cancelling one of those who wait for a connection leaves it to the others."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            nodes = Nodes(pki.user.context, dead_after=5.0)
            impatient = asyncio.create_task(nodes.connection(cluster.endpoints[0]))
            patient = asyncio.create_task(nodes.connection(cluster.endpoints[0]))
            await asyncio.sleep(0)
            impatient.cancel()
            assert (await patient).usable
            assert cluster.nodes[0].accepted_total == 1
            await nodes.close()

    asyncio.run(scenario())


def test_who_waits_no_longer_does_not_end_the_dialling(pki: Pki) -> None:
    """Whoever has waited as long as he may is told so, and the connection is there when he comes back."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            nodes = Nodes(pki.user.context, dead_after=5.0)
            with pytest.raises(NotConnected, match="no connection within 0 s"):
                await nodes.connection(cluster.endpoints[0], 0)
            assert (await nodes.connection(cluster.endpoints[0])).usable
            assert cluster.nodes[0].accepted_total == 1
            await nodes.close()

    asyncio.run(scenario())


def test_two_clusters_that_are_dialled_side_by_side(pki: Pki) -> None:
    """The first that welcomes the client has it; the other one is refused as if it had been dialled later."""

    async def scenario() -> None:
        async with pki.cluster(1) as one, pki.cluster(1) as other:
            other.cluster_id = bytes(16 * [7])
            nodes = Nodes(pki.user.context, dead_after=5.0)
            endpoints = one.endpoints + other.endpoints
            met = await asyncio.gather(*map(nodes.connection, endpoints), return_exceptions=True)
            (refused,) = [index for index, result in enumerate(met) if isinstance(result, NotConnected)]
            assert "another cluster than the one that was met first" in str(met[refused])
            await until(lambda: not (one, other)[refused].nodes[0].connections)
            with pytest.raises(NotConnected):
                await nodes.connection(endpoints[refused])
            assert (await nodes.connection(endpoints[1 - refused])).usable
            await nodes.close()

    asyncio.run(scenario())


def test_two_clusters_by_name(pki: Pki) -> None:
    """The same of clusters whose certificates tell them apart."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            nodes = Nodes(pki.user.context, dead_after=5.0)
            welcome = cluster.nodes[0].handshake

            def come_second(hello: bytes) -> bytes:
                nodes._cluster = "other"
                return welcome(hello)

            cluster.nodes[0].handshake = come_second
            with pytest.raises(NotConnected, match="met first"):
                await nodes.connection(cluster.endpoints[0])
            await nodes.close()

    asyncio.run(scenario())


def test_closed(pki: Pki) -> None:
    """After close nothing is dialled, and nothing is left open, not even what was being dialled."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            nodes = Nodes(pki.user.context, dead_after=5.0)
            connection = await nodes.connection(cluster.endpoints[0])
            dialling = asyncio.create_task(nodes.connection(cluster.endpoints[1]))
            await asyncio.sleep(0)
            await nodes.close()
            assert not connection.usable
            with pytest.raises(NotConnected, match="closed"):
                await dialling
            with pytest.raises(NotConnected, match="closed"):
                await nodes.connection(cluster.endpoints[0])

    asyncio.run(scenario())


def test_a_context_that_cannot_be_made() -> None:
    """When the files cannot be used any more, that is why there is no connection."""

    def make_context() -> ssl.SSLContext:
        raise TlsError("no such key")

    async def scenario() -> None:
        nodes = Nodes(make_context, dead_after=5.0)
        with pytest.raises(NotConnected) as caught:
            await nodes.connection("127.0.0.1:1")
        assert isinstance(caught.value.certificates, TlsError)
        await nodes.close()

    asyncio.run(scenario())


def test_whatever_goes_wrong_is_no_connection(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context function that raises what it likes, or no thread for a look-up, ends no task that waits for a node."""
    raised: list[Exception] = [KeyError("vault"), RuntimeError("can't start new thread")]

    def make_context() -> ssl.SSLContext:
        if len(raised) > 1:
            raise raised.pop(0)
        return pki.user.context()

    def fail(*_: object, **__: object) -> None:
        raise raised[0]

    async def scenario() -> None:
        monkeypatch.setattr(threading.Thread, "start", fail)
        nodes = Nodes(make_context, dead_after=5.0)
        for message in ("KeyError: 'vault'", "RuntimeError: can't start new thread"):
            with pytest.raises(NotConnected, match=message):
                await nodes.connection("n1.example:7400")
        await nodes.close()

    asyncio.run(scenario())
