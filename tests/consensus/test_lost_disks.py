"""Clusters some of whose disks are new: how soon their nodes can vouch for themselves, and elect each other again."""

import pytest

from raftd.consensus import HardState, LogIndex, Message, NodeId, Replace, RequestVoteReply, Role, Term
from tests.consensus.cluster import Cluster, Server

NODES = (1, 2, 3)
ONE = NodeId(1)


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


# A leader stands still, another one is elected and commits, and whoever helped it to that has a new disk when the first
# one goes on. `Cluster` fails where an entry is lost that was committed.


def ask_for_votes(cluster: Cluster, number: int, *voters: int) -> list[tuple[NodeId, NodeId, Message]]:
    """A node campaigns among those who hear no leader; returns their votes, which are on their way to it."""
    candidate = cluster.servers[NodeId(number)]
    candidate.raft.campaign()
    candidate.work()
    for _ in ("pre-vote", "vote"):
        exchange(cluster, number, *voters)
        if candidate.raft.role is Role.PRE_CANDIDATE:
            while cluster.network:
                cluster.deliver()
            candidate.store()
    votes, cluster.network = cluster.network, []
    assert all(isinstance(message, RequestVoteReply) and message.vote_granted for _, _, message in votes)
    return votes


def exchange(cluster: Cluster, number: int, *voters: int) -> None:
    """What a node has sent to these arrives and is stored, and their answers are on the way."""
    cluster.network = [message for message in cluster.network if message[1] in voters]
    for _ in range(len(cluster.network)):
        cluster.deliver()
    for voter in voters:
        cluster.servers[NodeId(voter)].store()
    assert all(message[1] == number for message in cluster.network)


def elect_and_stop(cluster: Cluster, number: int, *voters: int) -> None:
    """These elect a node, which then stands still before any of them hears that it leads."""
    cluster.network = ask_for_votes(cluster, number, *voters)
    while cluster[number].role is not Role.LEADER:
        cluster.deliver()
    stand_still(cluster, number)


def lead_unheard(size: int) -> Cluster:
    """Node 1 has just been elected by all, and nothing that it said since has arrived."""
    cluster = Cluster(size)
    cluster.elect(1)
    cluster.run(10)
    restart_all(cluster)
    cluster.network = ask_for_votes(cluster, 1, *range(2, size + 1))
    while cluster.network and cluster[1].role is not Role.LEADER:
        cluster.deliver()
    assert cluster[1].role is Role.LEADER
    cluster.network.clear()
    return cluster


def stand_still(cluster: Cluster, number: int) -> None:
    """What it has said and not sent yet is lost, as is all that is said to it."""
    cluster.isolate(number)
    cluster.network = [message for message in cluster.network if number not in message[:2]]


def replace_leader(cluster: Cluster, number: int, *voters: int) -> None:
    """Those whom the last leader does not reach elect another one, which commits."""
    for _ in range(cluster.limits.election_timeout_ticks):
        cluster.tick(*voters)
        cluster.network.clear()
    while cluster[number].role is not Role.LEADER:
        cluster[number].campaign()
        cluster.settle()
    cluster.propose(b"not to be lost")
    cluster.settle()
    assert cluster.committed[-1][3] == b"not to be lost"


def wake(cluster: Cluster, number: int, peer: int, *others: int) -> None:
    """It goes on, and meets the peer with the new disk, and these others."""
    awake = {number, peer, *others}
    cluster.cut -= {pair for pair in cluster.cut if awake.issuperset(pair)}
    link_comes_up(cluster.servers[NodeId(number)], peer)
    for _ in range(2 * cluster.limits.election_timeout_ticks):
        cluster.tick(*awake)
        cluster.settle()


def check_ends_well(cluster: Cluster, down: int) -> None:
    """The one that is down comes back, and all are proven and have the same."""
    cluster.restart(down)
    cluster.cut.clear()
    cluster.run(100)
    cluster.propose(b"the last one")
    cluster.run(20)
    assert proven(cluster) == set(cluster.servers)
    assert all(server.applied == cluster.committed for server in cluster.up())


def restart_all(cluster: Cluster) -> None:
    for number in cluster.node_ids:
        cluster.crash(number)
    cluster.network.clear()
    for number in cluster.node_ids:
        cluster.restart(number)


def test_a_new_disk_made_from_a_backup_counts_for_no_old_leader() -> None:
    """Its log fits that of a leader which it has confirmed nothing to yet; but it has forgotten for whom it voted."""
    cluster = with_snapshots()
    restart_all(cluster)
    elect_and_stop(cluster, 1, 3)
    replace_leader(cluster, 2, 3)
    cluster.crash(2)
    restored = cluster.servers[NodeId(3)]
    restored.disk_hard_state, restored.disk_entries, restored.disk_base = HardState(Term(0), None), [], 3
    restored.is_unproven = True
    restored.start()
    wake(cluster, 1, 3)
    check_ends_well(cluster, 2)


def test_a_new_disk_that_another_old_leader_has_filled_counts_for_no_old_leader() -> None:
    """As above, by way of a leader of a still older term."""
    cluster = Cluster(5)
    cluster.elect(4)
    cluster.propose(b"a")
    cluster.settle()
    cluster.run(10)
    stand_still(cluster, 4)
    for number in (1, 2, 3, 5):
        cluster.crash(number)
        cluster.restart(number)
    elect_and_stop(cluster, 1, 3, 5)
    replace_leader(cluster, 2, 3, 5)
    cluster.crash(2)
    cluster.crash(5)
    cluster.lose_disk(3)
    wake(cluster, 4, 3)
    assert cluster[3].term_at(LogIndex(2)) == 1
    wake(cluster, 1, 3, 4)
    cluster.restart(5)
    check_ends_well(cluster, 2)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_who_was_away_when_the_leader_was_elected_soon_counts(size: int) -> None:
    """It was elected by all; what it said then to the last one, which had confirmed nothing yet, was lost."""
    cluster = lead_unheard(size)
    link_comes_up(cluster.servers[ONE], size)
    cluster.run(3 * cluster.limits.heartbeat_ticks)
    assert cluster[1].role is Role.LEADER
    assert all(progress.counted_index == cluster[1].last_index for progress in cluster[1].progress.values())
    assert all(progress.counted_round for progress in cluster[1].progress.values())


def test_a_leader_that_nobody_can_confirm_is_elected_anew() -> None:
    """It lost touch with all of three before any had confirmed anything: the price is one election."""
    cluster = lead_unheard(3)
    for peer in (2, 3):
        link_comes_up(cluster.servers[ONE], peer)
    cluster.run(4 * cluster.limits.election_timeout_ticks)
    leader = cluster.leader()
    assert leader is not None
    assert leader.raft.commit_index == leader.raft.last_index
    assert len(leader.raft.progress) == 2
    assert all(progress.counted_index == leader.raft.last_index for progress in leader.raft.progress.values())


def test_a_snapshot_is_not_kept_without_the_term_in_which_it_came() -> None:
    """Or the power fails in between, and the node would follow an older leader again, with a log that fits."""
    cluster = with_snapshots()
    stand_still(cluster, 1)
    replace_leader(cluster, 2, 3)
    cluster.lose_disk(3)
    link_comes_up(cluster.servers[NodeId(2)], 3)
    server = cluster.servers[NodeId(3)]
    for _ in range(4):
        cluster.tick(2)
        while cluster.network:
            cluster.deliver()
        while server.take_in():
            pass
    cluster.crash(2)
    cluster.crash(3)
    cluster.network.clear()
    cluster.restart(3)
    cluster[1].propose([b"lost"])
    wake(cluster, 1, 3)
    check_ends_well(cluster, 2)


def test_a_disk_that_is_lost_while_a_candidate_stands_still_does_not_count_for_it() -> None:
    """Its log is empty where a voter was, who has helped another one since, and has forgotten that."""
    cluster = Cluster(3)
    cluster.elect(2)
    cluster.propose(b"a")
    cluster.settle()
    cluster.run(10)
    restart_all(cluster)
    votes = ask_for_votes(cluster, 1, 3)
    stand_still(cluster, 1)
    replace_leader(cluster, 2, 3)
    cluster.crash(2)
    cluster.lose_disk(3)
    link_comes_up(cluster.servers[NodeId(1)], 3)
    cluster.cut.clear()
    cluster.network = votes
    cluster.deliver()
    assert cluster[1].role is Role.LEADER
    cluster.run(2 * cluster.limits.election_timeout_ticks)
    check_ends_well(cluster, 2)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_who_was_away_when_votes_were_asked_for_soon_counts(size: int) -> None:
    """The link to the last voter is lost when its vote has come, and stands again at once."""
    cluster = Cluster(size)
    cluster.elect(1)
    cluster.run(10)
    restart_all(cluster)
    votes = ask_for_votes(cluster, 1, *range(2, size + 1))
    link_comes_up(cluster.servers[ONE], size)
    cluster.network = votes
    cluster.run(4 * cluster.limits.heartbeat_ticks)
    assert cluster[1].role is Role.LEADER
    assert all(progress.counted_index == cluster[1].last_index for progress in cluster[1].progress.values())
    assert all(progress.counted_round for progress in cluster[1].progress.values())


def test_whoever_stays_of_two_is_elected_though_the_third_is_new() -> None:
    """One of two is replaced, all lose power half way, and the new one had not noted durably that it is proven."""
    cluster = Cluster(2)
    cluster.elect(1)
    cluster.join(3)
    cluster.servers[NodeId(3)].is_unproven = True
    cluster.restart(3)
    link_comes_up(cluster.servers[NodeId(1)], 3)
    cluster[1].propose_membership(Replace(NodeId(2), NodeId(3)))
    while proven(cluster) != {1, 2, 3}:
        cluster.run(1)
    assert not cluster[1].membership.is_joint
    cluster.servers[NodeId(3)].is_stalled = True
    cluster.run(8)
    assert cluster[1].membership.outgoing == cluster[2].membership.outgoing == {1, 2}
    cluster.servers[NodeId(3)].is_stalled = False
    cluster.servers[NodeId(3)].is_unproven = True
    restart_all(cluster)
    cluster.run(100)
    assert cluster[1].membership.voters == {1, 3}
    assert proven(cluster) >= {1, 3}


def test_a_vote_that_was_forgotten_elects_nobody_later() -> None:
    """It was given right before the disk was lost, and the other one that is needed comes long after it."""
    cluster = Cluster(5)
    cluster.elect(1)
    cluster.propose(b"a")
    cluster.settle()
    cluster.run(10)
    for _ in range(cluster.limits.election_timeout_ticks):
        cluster.tick(2, 3, 5)
        cluster.network.clear()
    cluster[2].campaign()
    cluster.servers[NodeId(2)].work()
    exchange(cluster, 2, 3, 5)
    while cluster[2].role is not Role.CANDIDATE:
        cluster.deliver()
    cluster.servers[NodeId(2)].store()
    late = [message for message in cluster.network if message[1] == 5]
    exchange(cluster, 2, 3)
    late += cluster.network
    cluster.network = []
    cluster.isolate(2)
    cluster.lose_disk(3)
    wake(cluster, 1, 3, 4, 5)
    assert proven(cluster) == {1, 2, 3, 4, 5}
    stand_still(cluster, 5)
    cluster.propose(b"not to be lost")
    for _ in range(2 * cluster.limits.election_timeout_ticks):
        cluster.tick(1, 3, 4, 5)
        cluster.settle()
    assert cluster.committed[-1][3] == b"not to be lost"
    cluster.cut.clear()
    cluster.network = late
    while cluster.network:
        cluster.deliver()
        cluster.servers[NodeId(5)].store()
    cluster.run(100)
    cluster.propose(b"the last one")
    cluster.run(20)
    assert all(server.applied == cluster.committed for server in cluster.up())


def test_whom_an_old_leader_adds_after_a_newer_one_did_may_have_a_new_disk() -> None:
    """It never was a peer of the old leader, so it never was out of its reach (seed 6000004239 of the simulator)."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.propose(b"a")
    cluster.settle()
    cluster.run(10)
    stand_still(cluster, 1)
    replace_leader(cluster, 2, 3)
    cluster.join(4)
    cluster.cut |= {(ONE, NodeId(4)), (NodeId(4), ONE)}
    cluster[2].propose_membership(Replace(ONE, NodeId(4)))
    for _ in range(10):
        cluster.tick(2, 3, 4)
        cluster.settle()
    assert cluster[3].membership.voters == {2, 3, 4}
    cluster.isolate(3)
    cluster.propose(b"on nodes 2 and 4 only")
    cluster.settle()
    assert cluster.committed[-1][3] == b"on nodes 2 and 4 only"
    cluster.crash(2)
    cluster.lose_disk(4)
    assert cluster[1].role is Role.LEADER
    cluster[1].propose_membership(Replace(NodeId(3), NodeId(4)))
    cluster.cut -= {(ONE, NodeId(4)), (NodeId(4), ONE)}
    for _ in range(cluster.limits.election_timeout_ticks - 1):
        cluster.tick(1, 4)
        cluster.settle()
    assert cluster[4].membership.learners == {4}, "it was told of the change"
    assert 4 not in proven(cluster)
    cluster.cut.clear()
    cluster.run(100)
    cluster.restart(2)
    cluster.run(100)
    assert proven(cluster) >= {2, 3, 4}
    assert all(cluster.servers[NodeId(number)].applied == cluster.committed for number in (2, 3, 4))
