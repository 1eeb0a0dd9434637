"""SIGTERM: an orderly end, which costs clients nothing but a pause."""

import asyncio
import signal

import pytest

from raftd.client import AsyncClient, OutcomeUnknown, Unavailable
from raftd.errors import ExitCode
from tests.e2e.cluster import until
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e


def test_a_rolling_restart_under_load_fails_no_call(make_cluster: MakeCluster) -> None:
    """Each node in turn, the leader too, is told to stop under load: it ends with 0, and no call of a client fails."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        async with writing(cluster) as writers:
            for node in cluster.nodes.values():
                await more_writes(writers, 200)
                node.signal(signal.SIGTERM)
                assert await node.ended() == ExitCode.OK
                assert "stopped" in node.recent_log
                await cluster.start(node.id)
        await check_exactly_once(cluster, writers)
        await cluster.agreement()

    asyncio.run(scenario())


def test_an_orderly_end_leaves_nothing_in_doubt(make_cluster: MakeCluster) -> None:
    """What a stopping node takes it answers: no write is in doubt that happened, and none happened that was refused.

    A cluster of one, so that nobody else can finish what it leaves.
    """

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        node = await cluster.leader()
        written: set[str] = set()
        refused: set[str] = set()
        unknown: set[str] = set()

        async def write_on(client: AsyncClient, name: str) -> None:
            for number in range(1_000_000):
                key = f"{name}/{number}"
                try:
                    await client.put(key, key)
                except Unavailable:
                    refused.add(key)
                    return
                except OutcomeUnknown:
                    unknown.add(key)
                    return
                written.add(key)

        async with asyncio.TaskGroup() as tasks:
            clients = [cluster.client(timeout=2.0) for _ in range(4)]
            for number, client in enumerate(clients):
                for part in range(8):
                    tasks.create_task(write_on(client, f"{number}/{part}"))
            await until(lambda: len(written) > 500, "writes flow")
            node.signal(signal.SIGTERM)
            assert await node.ended() == ExitCode.OK
        await asyncio.gather(*(client.close() for client in clients))
        await cluster.start()
        async with cluster.client() as client:
            found = {key for key in written | refused | unknown if await client.get(key) is not None}
        assert written <= found
        assert not refused & found
        # What lay unread in its socket nobody can know about; it was not taken, then.
        assert not unknown & found

    asyncio.run(scenario())
