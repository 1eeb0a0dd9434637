import asyncio
from collections.abc import Awaitable, Callable

from raftd.consensus.messages import AppendEntriesReply, Heartbeat, HeartbeatReply
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex
from tests.node.parts import TICK_SECONDS, Server


def leader(size: int = 3) -> Server:
    server = Server(size=size)
    server.become_leader()
    if size > 1:
        server.hear(2, AppendEntriesReply(server.raft.current_term, True, server.raft.last_index, NO_INDEX, NO_TERM))
    server.scheduler.run()
    server.take_sent()
    return server


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario(), 10)

    asyncio.run(main())


async def asked(server: Server, max_age_seconds: float = 0.0) -> "asyncio.Task[LogIndex | None]":
    """A probe that has been asked for."""
    task = asyncio.ensure_future(server.driver.probe.read_index(max_age_seconds))
    await asyncio.sleep(0)
    server.scheduler.run()
    return task


def confirm(server: Server) -> int:
    """Node 2 answers the heartbeats; returns how many there were."""
    rounds = [message.round for peer, message in server.take_sent() if peer == 2 and isinstance(message, Heartbeat)]
    if rounds:
        server.hear(2, HeartbeatReply(server.raft.current_term, rounds[-1]))
        server.scheduler.run()
    return len(rounds)


def test_a_quorum_says_how_far_the_cluster_is() -> None:
    """A leader's probe is answered by a heartbeat round, and not before it."""

    async def scenario() -> None:
        server = leader()
        task = await asked(server)
        assert not task.done()
        assert confirm(server) == 1
        assert await task == server.raft.commit_index

    run(scenario)


def test_those_who_ask_together_share_a_round() -> None:
    """However many ask while one is under way, the cluster is asked once."""

    async def scenario() -> None:
        server = leader()
        tasks = [await asked(server) for _ in range(5)]
        assert confirm(server) == 1
        assert {await task for task in tasks} == {server.raft.commit_index}

    run(scenario)


def test_an_answer_serves_for_as_long_as_it_is_new_enough() -> None:
    """Within that age nobody is asked; after it, or when it must be fresh, somebody is."""

    async def scenario() -> None:
        server = leader()
        task = await asked(server)
        confirm(server)
        await task
        server.scheduler.now += 0.5 * TICK_SECONDS
        assert (await asked(server, TICK_SECONDS)).done()
        assert confirm(server) == 0
        assert not (await asked(server, 0.0)).done()
        assert confirm(server) == 1

    run(scenario)


def test_a_new_term_ends_what_was_confirmed() -> None:
    """What an old leadership was told says nothing of the new one."""

    async def scenario() -> None:
        server = leader()
        task = await asked(server)
        confirm(server)
        await task
        server.hear(2, Heartbeat(server.raft.current_term + 1, server.raft.node_id + 1, NO_INDEX, 1))  # type: ignore[arg-type]  # terms and ids are ints
        server.scheduler.run()
        task = await asked(server, 60.0)
        assert not task.done()

    run(scenario)


def test_a_leadership_that_ends_refuses() -> None:
    """Who waits is told at once, rather than when the patience ends."""

    async def scenario() -> None:
        server = leader()
        task = await asked(server)
        server.hear(2, Heartbeat(server.raft.current_term + 1, server.raft.node_id + 1, NO_INDEX, 1))  # type: ignore[arg-type]  # terms and ids are ints
        server.scheduler.run()
        assert await task is None

    run(scenario)


def test_without_a_leader_there_is_nothing_to_ask() -> None:
    """A node that knows no leader answers at once that nobody confirms anything."""

    async def scenario() -> None:
        assert await Server(size=3).driver.probe.read_index(1.0) is None

    run(scenario)


def test_a_node_that_is_alone_is_its_own_quorum() -> None:
    """It needs nobody's answer."""

    async def scenario() -> None:
        server = leader(size=1)
        server.store()
        assert await (await asked(server)) == server.raft.commit_index

    run(scenario)
