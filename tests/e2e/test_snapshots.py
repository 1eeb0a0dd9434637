"""Snapshots made, sent and loaded by real processes that are killed meanwhile: no acknowledged write is lost."""

import asyncio
import dataclasses
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from raftd import events
from raftd.settings import Document
from tests.e2e.cluster import Cluster, NodeProcess, until, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import Writer, acknowledged, check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e

_MADE = events.SNAPSHOT_MADE.text.partition("%")[0]
_INSTALLED = events.SNAPSHOT_INSTALLED.text.partition("%")[0]
_LARGE_VALUE = bytes(range(256)) * 2048
"""Half a MiB: a few of these make a snapshot that takes a while to write and to send."""


def snapshotting(log_bytes: int = 64 << 10) -> Callable[[int, Document], Document]:
    """Settings by which every so many bytes of log make a snapshot, and hardly any log stays behind it."""

    def change(_: int, document: Document) -> Document:
        limits = dataclasses.replace(document.limits, snapshot_log_bytes=log_bytes, log_tail_entries=10)
        return dataclasses.replace(document, limits=limits)

    return change


def snapshots_of(cluster: Cluster, node: NodeProcess) -> Path:
    return cluster.directory / "data" / str(node.id) / "snapshots"


async def fill(cluster: Cluster, megabytes: int) -> int:
    """Put large values; returns how many."""
    count = 2 * megabytes
    async with cluster.client() as client:
        for first in range(0, count, 2):
            await asyncio.gather(*(client.put(f"large/{first + number}", _LARGE_VALUE) for number in range(2)))
    return count


async def more_snapshots(nodes: Iterable[NodeProcess], count: int) -> None:
    """Wait until each of these has made so many more."""
    goals = {node: node.recent_log.count(_MADE) + count for node in nodes}
    await until(
        lambda: all(node.recent_log.count(_MADE) >= goal for node, goal in goals.items()), f"{count} more snapshots"
    )


async def is_there(path: Path) -> bool:
    """Whether a file is there; also for the moment that it takes to write or receive it."""
    return path.exists()  # noqa: ASYNC240 - a look at a local file takes microseconds


async def has_caught_up(cluster: Cluster) -> bool:
    """Whether no node lacks much of what another one has applied."""
    applied = [status["last_applied"] for status in (await cluster.statuses()).values()]
    return len(applied) == len(cluster.nodes) and max(applied) - min(applied) < 50


def test_a_follower_that_was_down_is_brought_up_by_a_snapshot_under_load(make_cluster: MakeCluster) -> None:
    """The log that it lacks is gone when it comes back; it gets to the same state, and nobody notices."""

    async def scenario() -> None:
        cluster = make_cluster(changes=snapshotting())
        await cluster.start()
        leader = await cluster.leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        async with writing(cluster, 4) as writers:
            await more_writes(writers, 50)
            follower.kill()
            others = [node for node in cluster.nodes.values() if node is not follower]
            await more_snapshots(others, 3)
            await cluster.start(follower.id)
            await until(lambda: _INSTALLED in follower.recent_log, "the follower takes a snapshot over")
            await more_snapshots([follower], 1)
        await check_exactly_once(cluster, writers)
        await cluster.agreement()

    asyncio.run(scenario())


@pytest.mark.parametrize("victim", ["receiver", "leader"])
def test_whoever_is_killed_in_the_middle_of_a_transfer_it_comes_to_its_end(
    make_cluster: MakeCluster, victim: str
) -> None:
    """Three times, wherever the file is just then; in the end the follower has everything."""

    async def scenario() -> None:
        cluster = make_cluster(changes=snapshotting(1 << 20))
        await cluster.start()
        leader = await cluster.leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        received = snapshots_of(cluster, follower) / "snapshot.received"
        large = await fill(cluster, 1)
        await cluster.agreement()  # From then on a new node may vote.
        follower.kill()
        large += await fill(cluster, 24)
        async with writing(cluster, 4) as writers:
            await more_writes(writers, 50)
            for _ in range(3):
                await cluster.start(follower.id)
                await until_found(lambda: is_there(received), "a snapshot is being received", every=0.002)
                killed = follower if victim == "receiver" else await cluster.leader()
                killed.kill()
                if victim == "leader":
                    await until(lambda: _INSTALLED in follower.recent_log, "another leader sends it")
                    await cluster.start(killed.id)
                    await until_found(lambda: has_caught_up(cluster), "all have caught up")
                    follower.kill()
                    large += await fill(cluster, 2)
            await cluster.start(follower.id)
            await until(lambda: _INSTALLED in follower.recent_log, "a snapshot is received in full")
            await more_writes(writers, 50)
        await check_exactly_once(cluster, writers, other_writes=large)
        await cluster.agreement()

    asyncio.run(scenario())


def test_all_nodes_killed_while_they_snapshot_come_back_with_everything(make_cluster: MakeCluster) -> None:
    """Every acknowledged write is there, from the last snapshot and the log behind it, four times over."""

    async def scenario() -> None:
        cluster = make_cluster(changes=snapshotting())
        await cluster.start()
        large = await fill(cluster, 8)
        async with writing(cluster) as writers:
            for round_number in range(4):
                await more_writes(writers, 20)
                node = cluster.nodes[1 + round_number % 3]
                being_made = snapshots_of(cluster, node) / "snapshot.new"
                await until_found(lambda path=being_made: is_there(path), "a snapshot is being made", every=0.001)  # type: ignore[misc]  # bound for the loop
                cluster.kill()
                await cluster.start()
        assert all(_MADE in node.log for node in cluster.nodes.values())
        await check_exactly_once(cluster, writers, other_writes=large)
        await cluster.agreement()

    asyncio.run(scenario())


async def longest_gap(writers: list[Writer], stopping: asyncio.Event) -> float:
    """The longest time in which no write was acknowledged, in seconds."""
    time = asyncio.get_running_loop().time
    count, since, longest = acknowledged(writers), time(), 0.0
    while not stopping.is_set():
        await asyncio.sleep(0.002)
        if acknowledged(writers) != count:
            longest = max(longest, time() - since)
            count, since = acknowledged(writers), time()
    return longest


async def is_linked(cluster: Cluster) -> bool:
    """Whether every node can reach every other one."""
    statuses = (await cluster.statuses()).values()
    return len(statuses) == len(cluster.nodes) and all(
        peer["connected"] for status in statuses for peer in status["peers"]
    )


def test_a_leader_that_is_told_to_stop_hands_over(make_cluster: MakeCluster) -> None:
    """Clients notice a short gap and no error; nobody has to wait for an election timeout."""

    async def scenario() -> list[float]:
        cluster, gaps = make_cluster(), list[float]()
        await cluster.start()
        async with writing(cluster) as writers:
            for _ in range(3):
                await more_writes(writers, 100)
                leader, term = await cluster.leader(), await cluster.term()
                stopping = asyncio.Event()
                measuring = asyncio.create_task(longest_gap(writers, stopping))
                leader.signal(signal.SIGTERM)
                assert await leader.ended() == 0
                await more_writes(writers, 100)
                stopping.set()
                gaps.append(await measuring)
                assert await cluster.term() == term + 1, "more than one election"
                await cluster.start(leader.id)
                await until_found(lambda: is_linked(cluster), "all nodes are linked")
        await check_exactly_once(cluster, writers)
        await cluster.agreement()
        return gaps

    gaps = asyncio.run(scenario())
    print("seconds without an acknowledged write:", *(f"{gap:.3f}" for gap in gaps))
    assert max(gaps) < 1.0
