"""What clients notice when nodes of a cluster are killed or stop for a while: nothing but a pause."""

import asyncio
import dataclasses
import statistics
from collections.abc import Callable

import pytest

from raftd.settings import Document, Node
from tests.e2e.cluster import Cluster, NodeProcess, next_address, until, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.proxy import Proxy, serving
from tests.e2e.workload import Register, Writer, acknowledged, check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e

LEADER_KILLS = 20


async def wait_for_progress(writers: list[Writer]) -> None:
    """Wait until each writer has had two writes acknowledged from now on: one at least was begun after now."""
    goals = [writer.puts + 2 for writer in writers]
    await until(
        lambda: all(writer.puts >= goal for writer, goal in zip(writers, goals, strict=True)), "every writer goes on"
    )


async def kill_leader(cluster: Cluster) -> tuple[NodeProcess, float]:
    """Kill the leader; returns it, and how many seconds later another one stood."""
    time = asyncio.get_running_loop().time
    leader = await cluster.leader()
    term = await cluster.term()
    leader.kill()
    start = time()
    await cluster.leader(above_term=term)
    return leader, time() - start


@pytest.mark.timeout(240)
def test_killing_the_leader_again_and_again_loses_and_repeats_nothing(make_cluster: MakeCluster) -> None:
    """Twenty leaders are killed under eight writers: every acknowledged write is there once, and no call has failed."""

    async def scenario() -> list[float]:
        cluster = make_cluster()
        await cluster.start()
        times = []
        async with writing(cluster) as writers:
            for _ in range(LEADER_KILLS):
                await wait_for_progress(writers)
                killed, seconds = await kill_leader(cluster)
                times.append(seconds)
                await wait_for_progress(writers)
                await cluster.start(killed.id)
        print(f"{acknowledged(writers)} writes were acknowledged")
        await check_exactly_once(cluster, writers)
        await cluster.agreement()
        return times

    times = asyncio.run(scenario())
    print("seconds until a new leader stood:", *(f"{seconds:.2f}" for seconds in sorted(times)))
    assert statistics.median(times) < 2
    assert max(times) < 5


def test_all_nodes_killed_at_once_come_back_with_everything(make_cluster: MakeCluster) -> None:
    """Every acknowledged write survives that all nodes are killed in the middle of writing, and writing goes on."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        async with writing(cluster) as writers:
            for _ in range(2):
                await wait_for_progress(writers)
                cluster.kill()
                await cluster.start()
            await wait_for_progress(writers)
        await check_exactly_once(cluster, writers)
        await cluster.agreement()

    asyncio.run(scenario())


def test_the_next_leader_reads_what_the_last_one_acknowledged(make_cluster: MakeCluster) -> None:
    """Right after the leader's death each key reads as last acknowledged: neither an older value nor none."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        async with cluster.client() as client:
            for round_number in range(3):
                keys = [f"key-{number}" for number in range(200)]
                await asyncio.gather(*(client.put(key, f"{key} {round_number}") for key in keys))
                await cluster.until_proven()
                leader = await cluster.leader()
                leader.kill()
                found = await asyncio.gather(*(client.get(key) for key in keys))
                assert [each and each.value.decode() for each in found] == [f"{key} {round_number}" for key in keys]
                await cluster.start(leader.id)

    asyncio.run(scenario())


def between(proxies: dict[tuple[int, int], Proxy]) -> Callable[[int, Document], Document]:
    """Settings by which each node dials each other one through a proxy of the two, which it adds to `proxies`."""

    def change(node_id: int, document: Document) -> Document:
        def seen_from_here(node: Node) -> Node:
            if node.id == node_id:
                return node
            proxy = proxies[node_id, node.id] = Proxy(next_address(), node.peer_address)
            return dataclasses.replace(node, peer_address=proxy.address)

        return dataclasses.replace(document, nodes=tuple(map(seen_from_here, document.nodes)))

    return change


def test_a_leader_that_was_asleep_answers_no_read_from_its_old_state(make_cluster: MakeCluster) -> None:
    """A register stays linearizable when its leader is stopped, replaced, and wakes up with requests in its sockets.

    Nothing of the others reaches it for a while: it must find out by itself that it cannot know what it is asked.
    """

    async def scenario() -> Register:
        proxies: dict[tuple[int, int], Proxy] = {}
        cluster, register, stopping = make_cluster(changes=between(proxies)), Register(), asyncio.Event()

        async def act(sleeper: NodeProcess) -> None:
            try:
                await until(lambda: len(register.reads) > 100 and len(register.writes) > 10, "reads and writes flow")
                term = await cluster.term()
                around = [proxy for ends, proxy in proxies.items() if sleeper.id in ends]
                for proxy in around:
                    proxy.hold()
                sleeper.pause()
                await cluster.leader(above_term=term)
                written = len(register.writes)
                await until(lambda: len(register.writes) > written + 20, "the new leader takes writes")
                read = len(register.reads)
                sleeper.resume()
                await until_found(lambda: is_no_leader(cluster, sleeper), "it gives up")
                for proxy in around:
                    proxy.release()
                await until(lambda: len(register.reads) > read + 200, "reads flow again")
            finally:
                stopping.set()

        async with serving(proxies.values()):
            await cluster.start()
            sleeper = await cluster.leader()
            # Readers that know of one node only and wait for it, whatever it does: their requests lie in its sockets.
            readers = [cluster.client(sleeper.endpoint, dead_after=60.0) for _ in range(6)]
            readers += [cluster.client() for _ in range(2)]
            async with cluster.client() as writer, asyncio.TaskGroup() as tasks:
                tasks.create_task(register.write_on(writer, stopping))
                for reader in readers:
                    tasks.create_task(register.read_on(reader, stopping))
                tasks.create_task(act(sleeper))
            await asyncio.gather(*(client.close() for client in readers))
            await cluster.agreement()
        return register

    asyncio.run(scenario()).check()


async def is_no_leader(cluster: Cluster, node: NodeProcess) -> bool:
    """Whether a node says that it follows."""
    status = (await cluster.statuses()).get(node.id)
    return status is not None and status["role"] != "leader"


def test_a_follower_that_sleeps_holds_up_nobody_and_catches_up(make_cluster: MakeCluster) -> None:
    """With one follower stopped the others go on; awake again, it gets to the same state without an election."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        async with writing(cluster, 4) as writers:
            await wait_for_progress(writers)
            term = await cluster.term()
            follower.pause()
            # More than two election timeouts' worth of writes, and several MiB, so that queues on the way fill up too.
            async with cluster.client() as client:
                await asyncio.gather(*(client.put(f"large/{number}", bytes(1 << 20)) for number in range(16)))
            await more_writes(writers, 500)
            follower.resume()
            await wait_for_progress(writers)
        await check_exactly_once(cluster, writers, other_writes=16)
        await cluster.agreement()
        assert await cluster.term() == term, "an election was held"

    asyncio.run(scenario())


def test_a_new_cluster_that_nobody_writes_to(make_cluster: MakeCluster) -> None:
    """One leader after the other fails: whoever is there has seen all that there was, and can be elected."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        first = await cluster.leader()
        await cluster.until_proven()
        term = await cluster.term()
        first.kill()
        second = await cluster.leader(above_term=term)
        await cluster.start(first.id)
        await cluster.agreement()
        term = await cluster.term()
        second.kill()
        await cluster.leader(above_term=term)

    asyncio.run(scenario())
