"""Histories of real clients of a real cluster to which everything happens at once, judged as those of the simulator.

Each client's calls have a deadline shorter than what is done to the nodes, so there are all three ends of a write: it
was answered, it may have happened (`OutcomeUnknown`), and it certainly has not (`Unavailable`), which is held to.
"""

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import pytest

from raftd.client import AsyncClient, CompareFailed, OutcomeUnknown, Unavailable
from raftd.settings import Document, Reads
from tests.e2e.cluster import Cluster, until
from tests.e2e.conftest import MakeCluster
from tests.e2e.proxy import Proxy, serving
from tests.e2e.test_failover import between
from tests.linearizability.checker import Kind, Operation, State, is_linearizable

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

KEYS = ("x", "y")
CLIENTS = 6
FAULTS = 8
_CALL_SECONDS = 0.7
_THINKING_SECONDS = 0.01
_BETWEEN_OPERATIONS = 12
"""Between two faults so many more must have succeeded."""


class Recorder:
    """One client that asks at random, and what it was told."""

    def __init__(self, name: str, client: AsyncClient, draw: random.Random) -> None:
        self.history: dict[str, list[Operation]] = {key: [] for key in KEYS}
        self.ends: Counter[str] = Counter()
        self._name = name
        self._client = client
        self._draw = draw
        self._last: dict[str, State] = dict.fromkeys(KEYS)
        self._written = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask for one thing after the other."""
        while not stopping.is_set():
            key = self._draw.choice(KEYS)
            kind = self._draw.choice((Kind.GET, Kind.GET, Kind.PUT, Kind.COMPARE_AND_PUT, Kind.DELETE))
            if kind is Kind.GET:
                await self._get(key)
            else:
                await self._write(key, kind)
            await asyncio.sleep(self._draw.uniform(0, 2 * _THINKING_SECONDS))

    async def _get(self, key: str) -> None:
        time = asyncio.get_running_loop().time
        invoked = time()
        try:
            found = await self._client.get(key)
        except Unavailable:
            self.ends["read unavailable"] += 1
            return
        self._last[key] = value = None if found is None else found.value
        self._record(key, Operation(Kind.GET, invoked, time(), value))

    async def _write(self, key: str, kind: Kind) -> None:
        time = asyncio.get_running_loop().time
        self._written += 1
        value = None if kind is Kind.DELETE else f"{self._name} {self._written}".encode()
        expected = self._last[key] if kind is Kind.COMPARE_AND_PUT else None
        begun = Operation(kind, time(), value=value, expected=expected)
        try:
            succeeded = await self._call(key, begun)
        except Unavailable:
            self.ends["not done"] += 1
        except OutcomeUnknown:
            self.ends["unknown"] += 1
            self.history[key].append(begun)
        else:
            self._record(key, begun._replace(returned=time(), succeeded=succeeded))

    async def _call(self, key: str, operation: Operation) -> bool | None:
        """Do what is to be done, and return whether it changed anything, where that is told."""
        if operation.value is None:
            return (await self._client.delete(key)).deleted
        if operation.kind is Kind.PUT:
            await self._client.put(key, operation.value)
            return None
        expected = operation.expected
        try:
            await self._client.put(
                key, operation.value, expected_revision=0 if expected is None else None, expected_value=expected
            )
        except CompareFailed:
            return False
        return True

    def _record(self, key: str, operation: Operation) -> None:
        self.history[key].append(operation)
        self.ends["done"] += 1


async def kill(cluster: Cluster, node_id: int, _: Mapping[tuple[int, int], Proxy], draw: random.Random) -> None:
    """End a process, and start it again."""
    cluster.kill(node_id)
    await asyncio.sleep(draw.uniform(0, 1.5))
    await cluster.start(node_id)


async def pause(cluster: Cluster, node_id: int, _: Mapping[tuple[int, int], Proxy], draw: random.Random) -> None:
    """Let a process stand still."""
    cluster.nodes[node_id].pause()
    await asyncio.sleep(draw.uniform(0.2, 2.5))
    cluster.nodes[node_id].resume()


async def cut(_: Cluster, node_id: int, proxies: Mapping[tuple[int, int], Proxy], draw: random.Random) -> None:
    """Let nothing through between a node and one or all others, one way or both."""
    other = draw.choice((*{ends[1] for ends in proxies if ends[0] == node_id}, None))
    shape = draw.choice(("from", "to", "both"))
    chosen = [
        proxy
        for ends, proxy in proxies.items()
        if (other is None or other in ends)
        and ((shape != "to" and ends[0] == node_id) or (shape != "from" and ends[1] == node_id))
    ]
    for proxy in chosen:
        proxy.hold()
    await asyncio.sleep(draw.uniform(0.2, 2.5))
    for proxy in chosen:
        if draw.random() < 0.5:
            proxy.reset_all()
        proxy.release()


Fault = Callable[[Cluster, int, Mapping[tuple[int, int], Proxy], random.Random], Awaitable[None]]
_FAULTS: tuple[Fault, ...] = (kill, pause, cut)


async def disturb(
    cluster: Cluster, proxies: Mapping[tuple[int, int], Proxy], recorders: list[Recorder], draw: random.Random
) -> None:
    """One fault after the other, most of them the leader's; another node's may begin before one is over."""
    harmed: set[int] = set()

    def done() -> int:
        return sum(recorder.ends["done"] for recorder in recorders)

    def has_done(goal: int) -> bool:
        return done() >= goal

    async def harm(fault: Fault, node_id: int) -> None:
        harmed.add(node_id)
        await fault(cluster, node_id, proxies, draw)
        harmed.discard(node_id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(FAULTS):
            await until(partial(has_done, done() + _BETWEEN_OPERATIONS), "operations succeed")
            leader = (await cluster.leader()).id
            sound = sorted(cluster.nodes.keys() - harmed)
            node_id = leader if leader in sound and draw.random() < 0.7 else draw.choice(sound)
            task = tasks.create_task(harm(_FAULTS[number % len(_FAULTS)], node_id))
            if draw.random() < 0.7:
                await task
            else:
                await asyncio.sleep(draw.uniform(0, 0.5))


@pytest.mark.parametrize("by_lease", [False, True])
def test_what_clients_are_told_has_an_order(make_cluster: MakeCluster, by_lease: bool) -> None:
    """Through kills, pauses and cut links, each key's history is linearizable, also if a lease is enough for reads."""
    seed = 20 + by_lease
    print(f"seed {seed}")
    draw = random.Random(seed)

    async def scenario() -> list[Recorder]:
        proxies: dict[tuple[int, int], Proxy] = {}
        through_proxies = between(proxies)

        def change(node_id: int, document: Document) -> Document:
            return dataclasses.replace(through_proxies(node_id, document), reads=Reads(lease=by_lease))

        cluster, stopping = make_cluster(changes=change), asyncio.Event()
        async with serving(proxies.values()), contextlib.AsyncExitStack() as clients:
            await cluster.start()
            await cluster.until_proven()
            recorders = []
            for number in range(CLIENTS):
                order = cluster.endpoints[number % 3 :] + cluster.endpoints[: number % 3]
                client = await clients.enter_async_context(
                    cluster.client(*order, timeout=_CALL_SECONDS, dead_after=0.5)
                )
                recorders.append(Recorder(f"client-{number}", client, random.Random(draw.random())))
            async with asyncio.TaskGroup() as tasks:
                for recorder in recorders:
                    tasks.create_task(recorder.run(stopping))
                try:
                    await disturb(cluster, proxies, recorders, draw)
                finally:
                    stopping.set()
            await cluster.agreement()
        return recorders

    recorders = asyncio.run(scenario())
    ends = sum((recorder.ends for recorder in recorders), Counter[str]())
    print(", ".join(f"{count} {end}" for end, count in ends.most_common()))
    for key in KEYS:
        history = [operation for recorder in recorders for operation in recorder.history[key]]
        assert is_linearizable(history), (
            f"the history of {key} has no order: {sorted(history, key=lambda o: o.invoked)}"
        )
    assert ends["done"] > FAULTS * _BETWEEN_OPERATIONS
