"""Transfers between whole nodes: with losses, bad bytes, deaths and power cuts."""

import dataclasses
import random

import pytest

from raftd.consensus.messages import InstallSnapshot, Message
from raftd.consensus.types import NodeId
from raftd.storage.simulated import Call, SimulatedCrash
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.handshake import PEER_VERSION_MAX
from raftd.wire.peer import decode_message, encode_message
from raftd.wire.state_hashes import is_state_hashes
from tests.node.parts import Client
from tests.node.snapshot_parts import (
    FullCluster,
)


def lagging(cluster: FullCluster, seed: int = 1) -> tuple[Client, NodeId, NodeId]:
    """A leader, and a follower that needs a snapshot but hears of nothing yet."""
    client = cluster.client()
    assert cluster.leader is not None
    leader_id = cluster.leader.node_id
    follower = random.Random(seed).choice(sorted(cluster.full.keys() - {leader_id}))
    cluster.cut.add(follower)
    for number in range(60):
        cluster.write(client, b"key %d" % number)
    cluster.scheduler.advance(0.5)
    assert cluster.full[leader_id].raft.base_index > cluster.full[follower].raft.last_index
    return client, leader_id, follower


def installed(cluster: FullCluster) -> int:
    return sum(server.installer.installed_total for server in cluster.full.values())


def snapshot_message(frame: bytes, sender: NodeId) -> Message | None:
    if is_state_hashes(frame[LENGTH_BYTES:], PEER_VERSION_MAX):
        return None
    message, _ = decode_message(frame[LENGTH_BYTES:], sender)
    return message if isinstance(message, InstallSnapshot) else None


def test_a_follower_is_brought_up_while_clients_write() -> None:
    """The snapshot, then the entries behind it; nobody waits for it."""
    cluster = FullCluster(3)
    client, _, _ = lagging(cluster)
    cluster.cut.clear()
    for number in range(60):
        cluster.write(client, b"more %d" % number)
    cluster.agree()
    assert installed(cluster) >= 1


@pytest.mark.parametrize("seed", range(5))
def test_chunks_that_are_lost_repeated_and_late_delay_a_transfer_and_no_more(seed: int) -> None:
    """Dropped on this side, lost on the way, twice, or a second late: it comes to its end."""
    cluster, draw = FullCluster(3), random.Random(seed)
    _, _, follower = lagging(cluster, seed)
    deliver = super(FullCluster, cluster)._deliver

    def late(sender: NodeId, receiver: NodeId, frame: bytes) -> None:
        deliver(sender, receiver, frame)

    def lost(sender: NodeId, receiver: NodeId, frame: bytes) -> bool:
        if snapshot_message(frame, sender) is None:
            return False
        fate = draw.randrange(6)
        if fate == 0:
            return True
        if fate == 1:
            cluster.scheduler.call_at(cluster.scheduler.now + 1.0, lambda: late(sender, receiver, frame))
        if fate == 2:
            deliver(sender, receiver, frame)
        if fate == 3:
            for server in cluster.full.values():
                if server.node_id == sender:
                    server.unreachable.add(follower)
                    cluster.scheduler.call_at(cluster.scheduler.now + 0.3, server.unreachable.clear)
        return fate == 1

    cluster.lost = lost
    cluster.cut.clear()
    cluster.advance_until(lambda: installed(cluster), 300.0)
    cluster.agree()


def test_a_bit_that_flips_on_the_way_delays_a_transfer_and_no_more() -> None:
    """The first transfer is refused, the second one comes through."""
    cluster = FullCluster(3)
    _, _, _ = lagging(cluster)
    flips = iter([3])

    def lost(sender: NodeId, receiver: NodeId, frame: bytes) -> bool:
        message = snapshot_message(frame, sender)
        if not isinstance(message, InstallSnapshot) or message.offset < 400 or next(flips, None) is None:
            return False
        wrong = bytes([message.data[0] ^ 1]) + message.data[1:]
        flipped = b"".join(encode_message(dataclasses.replace(message, data=wrong)))
        return super(FullCluster, cluster)._deliver(sender, receiver, flipped)

    cluster.lost = lost
    cluster.cut.clear()
    cluster.agree()
    assert next(flips, None) is None
    assert installed(cluster) == 1


@pytest.mark.parametrize("seed", range(3))
def test_leaders_that_die_in_the_middle_of_a_transfer_are_followed_by_others(seed: int) -> None:
    """Whoever leads next brings the follower up."""
    cluster = FullCluster(3)
    _, leader_id, follower = lagging(cluster, seed)
    cluster.cut.clear()
    cluster.advance_until(lambda: cluster.full[follower].installer.received_bytes_total > 1000)
    cluster.crash(leader_id)
    cluster.advance_until(lambda: installed(cluster))
    cluster.start(leader_id)
    cluster.agree()


def test_two_followers_are_brought_up_at_once() -> None:
    """Each by a transfer of its own (pitfall 32)."""
    cluster = FullCluster(5)
    client, leader_id, follower = lagging(cluster)
    other = next(node_id for node_id in cluster.full if node_id not in {leader_id, follower})
    cluster.cut.add(other)
    for number in range(60):
        cluster.write(client, b"more %d" % number)
    cluster.cut.clear()
    for number in range(60):
        cluster.write(client, b"still more %d" % number)
    cluster.agree()
    assert {server.node_id for server in cluster.full.values() if server.installer.installed_total} == {follower, other}


def crash_in_transfer(last_call: int, seed: int) -> bool:
    """Let a receiver's process and its power fail at one call of its disk; returns whether there were so many calls."""
    cluster, draw = FullCluster(3), random.Random(f"{seed}, {last_call}")
    _, _, follower = lagging(cluster, seed)
    filesystem = cluster.filesystems[follower]
    last_index = cluster.full[follower].raft.last_index
    calls = 0

    def before_call(_: Call) -> None:
        nonlocal calls
        calls += 1
        if calls > last_call:
            raise SimulatedCrash

    filesystem.before_call = before_call
    cluster.cut.clear()
    cluster.advance_until(lambda: cluster.crashes or installed(cluster))
    cluster.scheduler.advance(0.5)
    filesystem.before_call = lambda _: None
    if not cluster.crashes:
        cluster.agree()
        return False
    filesystem.lose_power(lambda _: draw.random() < 0.5)
    server = cluster.start(follower)
    assert server.raft.commit_index == server.machine.last_applied == server.latest
    assert server.raft.last_index >= last_index
    cluster.agree()
    return True


@pytest.mark.parametrize("seed", range(3))
def test_a_receiver_that_crashes_at_any_call_of_its_disk_comes_back(seed: int) -> None:
    """Chunk, sync, rename, reset of the log, compaction: power is lost there, and what was not synced with it."""
    last_call = 0
    while crash_in_transfer(last_call, seed):
        last_call += 1 + last_call % 2
    assert last_call > 30
