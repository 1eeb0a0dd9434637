"""Clusters some of whose disks are new: how soon their nodes can vouch for themselves, and elect each other again."""

import pytest

from raftd.consensus import NodeId, Role
from tests.consensus.cluster import Cluster, Server

NODES = (1, 2, 3)


def proven(cluster: Cluster) -> set[int]:
    """The nodes that run and can vouch for themselves."""
    return {server.node_id for server in cluster.up() if server.raft.is_proven}


def link_comes_up(server: Server, peer: int) -> None:
    """As the driver says it, since the peer may have missed what was sent."""
    server.raft.unreachable(NodeId(peer))
    server.work()


def check_survives(cluster: Cluster) -> None:
    """The leader fails: the other two, who have all there is, elect one of them."""
    leader = cluster.leader()
    assert leader is not None
    cluster.crash(leader.node_id)
    cluster.run(100)
    assert cluster.leader() is not None


@pytest.mark.parametrize("seed", range(10))
def test_a_new_cluster_is_proven_by_its_first_commit(seed: int) -> None:
    """Nobody writes anything; then one node after the other fails, and what was proven meanwhile is enough."""
    cluster = Cluster(3, seed)
    for number in NODES:
        cluster.lose_disk(number)
    cluster.run(100)
    assert proven(cluster) == set(NODES)
    first = cluster.leader()
    assert first is not None
    cluster.crash(first.node_id)
    cluster.run(100)
    second = cluster.leader()
    assert second is not None
    cluster.restart(first.node_id)
    cluster.run(100)
    cluster.crash(second.node_id)
    cluster.run(200)
    assert cluster.leader() is not None


def with_snapshots() -> Cluster:
    """A cluster whose logs begin behind a snapshot."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.propose(b"a", b"b")
    cluster.settle()
    cluster.run(30)
    for number in NODES:
        cluster.servers[NodeId(number)].take_snapshot()
    return cluster


def test_a_restored_node_that_comes_late_is_proven() -> None:
    """All begin with the same snapshot, of which none can vouch; the last one begins when there is a leader already."""
    cluster = with_snapshots()
    for number in NODES:
        cluster.crash(number)
        cluster.servers[NodeId(number)].is_unproven = True
    cluster.restart(1)
    cluster.restart(2)
    cluster.run(100)
    leader = cluster.leader()
    assert leader is not None
    link_comes_up(leader, 3)
    cluster.restart(3)
    link_comes_up(leader, 3)
    cluster.run(20)
    assert proven(cluster) == set(NODES)
    check_survives(cluster)


@pytest.mark.parametrize("entries", [0, 1], ids=["only a snapshot", "and an entry behind it"])
def test_a_new_disk_that_needs_a_snapshot_is_proven(entries: int) -> None:
    """The snapshot comes while the leader does not count the node yet; then nothing is written for a while."""
    cluster = with_snapshots()
    if entries:
        cluster.propose(*[b"c"] * entries)
        cluster.settle()
    cluster.crash(3)
    cluster.run(20)
    cluster.lose_disk(3)
    link_comes_up(cluster.servers[NodeId(1)], 3)
    cluster.run(40)
    assert proven(cluster) == set(NODES)
    assert cluster[1].role is Role.LEADER
    check_survives(cluster)
