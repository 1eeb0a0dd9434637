"""Random schedules of whole clusters: whatever network, disks and clocks do, nothing unsafe happens, and it ends well.

A failure names its size and seed; `RAFTD_SCHEDULE=SIZE,SEED pytest tests/consensus/test_schedules.py` runs it alone.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from raftd.consensus import (
    AddLearner,
    AddVoter,
    EntryKind,
    Limits,
    MembershipChange,
    NodeId,
    Promote,
    ProposalRefused,
    Raft,
    Remove,
    Replace,
    Role,
    UpdateAddress,
    observe,
)
from tests.consensus.cluster import Cluster, Server

SEEDS_PER_SIZE = 60
STEPS = 350
# Small bounds, so that each of them is met all the time.
LIMITS = Limits(
    election_timeout_ticks=5,
    heartbeat_ticks=1,
    append_bytes_max=80,
    append_entries_max=4,
    in_flight_appends_max=3,
    in_flight_bytes_max=200,
    held_entries_max=3,
    held_bytes_max=60,
    committed_bytes_max=100,
    committed_entries_max=3,
    pending_reads_max=8,
    promotion_lag_entries_max=4,
)
LEASES = replace(LIMITS, lease_reads=True)


def chosen_schedules() -> list[tuple[int, int]]:
    """(size, seed) of each run."""
    chosen = os.environ.get("RAFTD_SCHEDULE")
    if chosen:
        size, seed = chosen.split(",")
        return [(int(size), int(seed))]
    return [(size, block) for size in (1, 2, 3, 4, 5, 7) for block in range(SEEDS_PER_SIZE)]


@pytest.mark.parametrize(("size", "seed"), chosen_schedules())
def test_any_schedule_is_safe_and_a_healed_cluster_commits(size: int, seed: int) -> None:
    """No order of messages, losses, stores, crashes and ticks breaks a promise; after healing, a command is applied."""
    cluster = Cluster(size, seed=seed, limits=LEASES if seed % 4 == 0 else LIMITS)
    misbehave(cluster)
    cluster.check_log_matching()
    heal(cluster)
    apply_one_more(cluster)


def misbehave(cluster: Cluster) -> None:
    """STEPS random events, of kinds that differ from seed to seed."""
    random = cluster.random
    loses, duplicates, reorders, crashes, cuts = (random.random() < 0.6 for _ in range(5))
    tasks = [task for task in ("snapshot", "transfer", "change") if random.random() < 0.6]
    if "change" in tasks:
        cluster.join(len(cluster.servers) + 1)
        cluster.join(len(cluster.servers) + 1)
    patience = random.choice([2, 6, 20])
    for step in range(STEPS):
        server = random.choice(list(cluster.servers.values()))
        dice = random.random()
        if not server.is_up:
            if dice < 0.3:
                server.start()
        elif dice < 1 / patience:
            cluster.tick(server.node_id)
        elif dice < 0.3 + 1 / patience:
            server.store()
            server.take_in()
        elif tasks and random.random() < 0.07:
            operate(cluster, server, random.choice(tasks))
        elif dice < 0.4 + 1 / patience:
            ask_something(cluster, server.node_id, step)
        elif crashes and dice > 0.985:
            cluster.crash(server.node_id)
        elif cuts and dice > 0.97:
            other = random.choice(cluster.node_ids)
            cluster.cut ^= {(server.node_id, other)}
        elif dice > 0.965:
            server.raft.unreachable(random.choice(cluster.node_ids))
            server.check()
        elif cluster.network:
            position = random.randrange(len(cluster.network)) if reorders else 0
            if loses and random.random() < 0.1:
                del cluster.network[position]
            else:
                cluster.deliver(position, keep=duplicates and random.random() < 0.1)
        if step % 50 == 0:
            cluster.check_log_matching()
        while len(cluster.network) > 200:
            del cluster.network[random.randrange(len(cluster.network))]


def ask_something(cluster: Cluster, node_id: NodeId, step: int) -> None:
    """A client comes to a server, whatever that is."""
    server = cluster.servers[node_id]
    try:
        if cluster.random.random() < 0.5:
            server.raft.propose([b"%d/%d" % (step, number) for number in range(cluster.random.randrange(1, 7))])
            server.work()
        else:
            server.read()
    except ProposalRefused as refused:
        if server.raft.role is Role.LEADER:
            assert refused.reason.name in {"TOO_MANY_READS", "TRANSFERRING"}  # noqa: PT017 - both ways


def operate(cluster: Cluster, server: Server, task: str) -> None:
    """An operator comes to a server, whatever that is, and wants something, sensible or not."""
    random, raft = cluster.random, server.raft
    one, other = random.choice(cluster.node_ids), random.choice(cluster.node_ids)
    if task == "transfer":
        attempt(server, partial(Raft.transfer_leadership, target=random.choice([None, one])))
    elif task == "change":
        changes: list[MembershipChange] = [
            AddLearner(one), AddVoter(one, "there"), Promote(one), Remove(one), Replace(one, other),
            UpdateAddress(one, "elsewhere"),
        ]  # fmt: skip
        leader = cluster.leader()
        asked = server if leader is None else leader
        attempt(asked, partial(Raft.propose_membership, change=random.choice(changes)))
    elif raft.last_applied > raft.base_index and raft.membership_at(raft.last_applied).voters:
        server.take_snapshot(tail=random.choice([0, 2]))


def attempt(server: Server, action: Callable[[Raft], object]) -> None:
    """Do what may be refused, and then changes nothing."""
    before = observe(server.raft)
    try:
        action(server.raft)
    except ProposalRefused:
        assert observe(server.raft) == before
    server.check()
    server.work()


def heal(cluster: Cluster) -> None:
    """The world becomes good, and what was under way arrives."""
    cluster.cut.clear()
    for server in cluster.servers.values():
        if not server.is_up:
            server.start()
    cluster.settle()
    cluster.run(10 * LIMITS.election_timeout_ticks)


def apply_one_more(cluster: Cluster) -> None:
    """A command proposed now is applied by all within a few heartbeats, and a read on each node sees it."""
    leader = cluster.leader()
    assert leader is not None, f"no leader in {cluster}"
    index = cluster.propose(b"the last one")
    cluster.settle()
    cluster.run(5)
    members = [server for server in cluster.servers.values() if server.node_id in leader.raft.membership.members]
    assert not leader.raft.membership.is_joint, f"a joint membership is not left in {cluster}"
    for server in members:
        server.read()
    cluster.settle()
    for server in members:
        assert server.raft.commit_index == index, f"node {server.node_id} lags in {cluster}"
        assert server.applied[-1][2:] == (EntryKind.COMMAND, b"the last one")
        assert server.applied == cluster.committed
        assert not server.reads, f"node {server.node_id} has unanswered reads in {cluster}"
