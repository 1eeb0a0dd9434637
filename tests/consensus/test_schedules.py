"""Random schedules of whole clusters: whatever network, disks and clocks do, nothing unsafe happens, and it ends well.

A failure names its size and seed; `RAFTD_SCHEDULE=SIZE,SEED pytest tests/consensus/test_schedules.py` runs it alone.
"""

import os

import pytest

from raftd.consensus import EntryKind, Limits, NodeId, ProposalRefused, Role
from tests.consensus.cluster import Cluster

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
    committed_bytes_max=100,
    committed_entries_max=3,
    pending_reads_max=8,
)


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
    cluster = Cluster(size, seed=seed, limits=LIMITS)
    misbehave(cluster)
    cluster.check_log_matching()
    heal(cluster)
    apply_one_more(cluster)


def misbehave(cluster: Cluster) -> None:
    """STEPS random events, of kinds that differ from seed to seed."""
    random = cluster.random
    loses, duplicates, reorders, crashes, cuts = (random.random() < 0.6 for _ in range(5))
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
        assert server.raft.role is not Role.LEADER or refused.reason.name == "TOO_MANY_READS"  # noqa: PT017 - both ways


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
    assert cluster.leader() is not None, f"no leader in {cluster}"
    index = cluster.propose(b"the last one")
    cluster.settle()
    cluster.run(5)
    for server in cluster.servers.values():
        server.read()
    cluster.settle()
    for server in cluster.servers.values():
        assert server.raft.commit_index == index, f"node {server.node_id} lags in {cluster}"
        assert server.applied[-1][2:] == (EntryKind.COMMAND, b"the last one")
        assert server.applied == cluster.committed
        assert not server.reads, f"node {server.node_id} has unanswered reads in {cluster}"
