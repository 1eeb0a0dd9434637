"""A driver hands leadership over: until another leads, or in vain, and what waits for it."""

import asyncio
from collections.abc import Callable

import pytest

from raftd.consensus.messages import (
    Heartbeat,
    HeartbeatReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.types import NO_INDEX, NodeId, Role, Term
from tests.node.leading import leader, replies
from tests.node.parts import TICK_SECONDS, Server


async def hand_over(server: Server) -> asyncio.Task[None]:
    """Begin to hand over, as far as that goes by itself."""
    task = asyncio.create_task(server.driver.hand_over())
    await asyncio.sleep(0)
    server.scheduler.run()
    await asyncio.sleep(0)
    return task


def timeouts_now(server: Server) -> list[NodeId]:
    return [peer for peer, message in server.sent if isinstance(message, TimeoutNow)]


def test_handing_over_ends_when_another_leads() -> None:
    """The target is told at once; it gets this node's vote, which it may need, before this node is gone."""

    async def scenario() -> None:
        server = leader()
        task = await hand_over(server)
        assert (timeouts_now(server), task.done()) == ([2], False)
        term = Term(server.raft.current_term + 1)
        last_index = server.raft.last_index
        server.hear(2, RequestVote(term, NodeId(2), last_index, server.raft.current_term, leadership_transfer=True))
        server.scheduler.run()
        await asyncio.sleep(0)
        assert (server.raft.role, task.done()) == (Role.FOLLOWER, False)
        server.store()
        assert RequestVoteReply(term, True) in replies(server)
        server.hear(2, Heartbeat(term, NodeId(2), NO_INDEX, 1))
        server.scheduler.run()
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


def test_handing_over_ends_though_the_target_does_not_win() -> None:
    """It has asked for votes, and is heard of no more: this node has done what it can."""

    async def scenario() -> None:
        server = leader()
        task = await hand_over(server)
        term = Term(server.raft.current_term + 1)
        last_index = server.raft.last_index
        server.hear(2, RequestVote(term, NodeId(2), last_index, server.raft.current_term, leadership_transfer=True))
        for _ in range(25):
            server.scheduler.advance(TICK_SECONDS)
            await asyncio.sleep(0)
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


@pytest.mark.parametrize("make", [lambda: leader(1), Server], ids=["alone", "a follower"])
def test_handing_over_ends_at_once_where_there_is_nobody_to_hand_over_to(make: Callable[[], Server]) -> None:
    """A node that stops must not wait for what cannot be."""

    async def scenario() -> None:
        task = await hand_over(make())
        assert task.done()
        await task

    asyncio.run(scenario())


def test_handing_over_to_a_node_that_dies_ends_in_vain() -> None:
    """After an election timeout."""

    async def scenario() -> None:
        server = leader()
        task = await hand_over(server)
        server.scheduler.advance(9 * TICK_SECONDS)
        await asyncio.sleep(0)
        assert not task.done()
        for _ in range(25):
            server.scheduler.advance(TICK_SECONDS)
            await asyncio.sleep(0)
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


def test_handing_over_to_a_node_that_does_not_campaign_ends_in_vain() -> None:
    """It answers, so this node leads on, but the hand-over was given up."""

    async def scenario() -> None:
        server = leader()
        task = await hand_over(server)
        for _ in range(25):
            server.scheduler.advance(TICK_SECONDS)
            rounds = [message.round for _, message in server.sent if isinstance(message, Heartbeat)]
            server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds, default=0)))
            server.scheduler.run()
            await asyncio.sleep(0)
        assert (server.raft.role, server.raft.transfer_target) == (Role.LEADER, None)
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


def test_a_driver_that_stops_waits_for_no_new_leader() -> None:
    """There will be no more turns in which one could be heard."""

    async def scenario() -> None:
        server = leader()
        task = await hand_over(server)
        server.hear(2, RequestVote(Term(9), NodeId(2), server.raft.last_index, Term(1), leadership_transfer=True))
        server.scheduler.run()
        await asyncio.sleep(0)
        assert (server.raft.leader_id, task.done()) == (None, False)
        server.driver.stop()
        await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


def test_several_may_wait_for_a_hand_over() -> None:
    """One of them giving up leaves the others waiting; and a driver that stops lets all go."""

    async def scenario() -> None:
        server = leader()
        first, second, third = [await hand_over(server) for _ in range(3)]
        first.cancel()
        await asyncio.sleep(0)
        assert first.done()
        assert not second.done()
        server.driver.stop()
        await asyncio.wait_for(asyncio.gather(second, third), 10)

    asyncio.run(scenario())


def test_a_leader_whose_disk_hangs_hands_over_and_then_steps_down() -> None:
    """Its followers answer all the time; but what it cannot store it should not lead with (pitfall 30)."""
    server = leader()
    server.disk.busy_since = server.scheduler.now
    handed_over_at = 0.0
    while server.raft.role is Role.LEADER:
        server.scheduler.advance(TICK_SECONDS)
        rounds = [message.round for _, message in server.sent if isinstance(message, Heartbeat)]
        for peer in (2, 3):
            server.hear(peer, HeartbeatReply(server.raft.current_term, max(rounds, default=0)))
        server.scheduler.run()
        if timeouts_now(server) and not handed_over_at:
            handed_over_at = server.scheduler.now
        assert server.scheduler.now - server.disk.busy_since < 25 * TICK_SECONDS, "it leads on"
    assert 9 * TICK_SECONDS < handed_over_at - server.disk.busy_since < 12 * TICK_SECONDS
    assert server.scheduler.now - server.disk.busy_since > 18 * TICK_SECONDS


def test_a_leader_whose_disk_works_leads_on() -> None:
    """However often it is found busy: each write is a new one."""
    server = leader()
    for _ in range(50):
        server.disk.busy_since = server.scheduler.now
        server.scheduler.advance(TICK_SECONDS)
        rounds = [message.round for _, message in server.sent if isinstance(message, Heartbeat)]
        server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds, default=0)))
        server.scheduler.run()
    assert server.raft.role is Role.LEADER
    assert timeouts_now(server) == []
