"""A node that has started is as far as it was only when all of its log is applied again, or known to be void."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from raftd.consensus.types import NO_TERM, LogIndex, NodeId, Term
from raftd.kv.answers import Outcome
from raftd.node.replay import Replay
from raftd.wire.client import Consistency, RefusalCode
from tests.node.snapshot_parts import FullCluster


@dataclass
class Consensus:
    """A log of which only the terms matter."""

    terms: list[int]
    """Of the entries behind the base."""
    base: int = 0
    current_term: Term = NO_TERM
    leader_id: NodeId | None = None
    last_applied: LogIndex = field(init=False)

    def __post_init__(self) -> None:
        self.last_applied = LogIndex(self.base)

    @property
    def last_index(self) -> LogIndex:
        return LogIndex(self.base + len(self.terms) - 1)

    def term_at(self, index: LogIndex, /) -> Term | None:
        """The first of the terms is the base's."""
        offset = index - self.base
        return Term(self.terms[offset]) if 0 <= offset < len(self.terms) else None

    def follow(self, leader: int | None, term: int) -> None:
        self.leader_id, self.current_term = None if leader is None else NodeId(leader), Term(term)


def restarted(*terms: int, base: int = 0) -> tuple[Consensus, Replay]:
    """A node whose snapshot ends at `base`; `terms` are those of that entry and of all behind it."""
    consensus = Consensus([*terms], base)
    consensus.current_term = Term(terms[-1])
    return consensus, Replay(consensus, consensus)


def done_at(consensus: Consensus, replay: Replay) -> int | None:
    """Apply entry by entry, and look each time: after which one is the replay done?"""
    for index in range(consensus.last_applied, consensus.last_index + 1):
        consensus.last_applied = LogIndex(index)
        replay.look()
        if replay.is_done:
            return index
    return None


def test_a_snapshot_is_not_all_that_was_applied() -> None:
    """The log behind it was, too: also where the snapshot ends in the very term that goes on."""
    consensus, replay = restarted(3, 3, 3, 3, base=100)
    consensus.follow(2, 3)
    assert done_at(consensus, replay) == 103


def test_a_log_of_earlier_terms_is_over_where_the_leaders_own_begins() -> None:
    """Which lies behind all that was committed before; more of the leader's is no replay."""
    consensus, replay = restarted(3, 3, 4, base=100)
    consensus.follow(2, 6)
    consensus.terms += [6, 6, 6]
    assert done_at(consensus, replay) == 103


def test_the_end_of_a_log_that_was_never_committed_is_not_waited_for() -> None:
    """Another leader has put a shorter one in its place, and nobody writes: its own first entry is enough."""
    consensus, replay = restarted(3, 4, 4, 4, 4, base=100)
    consensus.follow(2, 5)
    consensus.terms = [3, 4, 5]
    assert done_at(consensus, replay) == 102


def test_without_a_leader_nothing_is_known() -> None:
    """A node that led is no wiser; nor one whose log ends with its snapshot. Once done, it stays so without one."""
    consensus, replay = restarted(3, 3, base=100)
    assert done_at(consensus, replay) is None
    consensus.follow(2, 3)
    replay.look()
    assert replay.is_done
    consensus.follow(None, 9)
    replay.look()
    assert replay.is_done


def test_a_leader_that_has_committed_nothing_yet_is_no_news() -> None:
    """It has the log's end, but what of it is committed shows only with an entry of its own."""
    consensus, replay = restarted(3, 3, 3, base=100)
    consensus.follow(1, 4)
    assert done_at(consensus, replay) is None


def test_a_new_node_has_looked_at_nothing() -> None:
    """It has no log; what it is sent, as entries or as a snapshot, has to come to the leader's own term."""
    consensus, replay = restarted(NO_TERM)
    consensus.follow(2, 4)
    consensus.terms += [3, 3, 4]
    assert done_at(consensus, replay) == 3
    consensus, replay = restarted(NO_TERM)
    consensus.follow(2, 4)
    replay.look()
    assert not replay.is_done
    consensus.terms, consensus.base, consensus.last_applied = [3, 4], 500, LogIndex(500)
    replay.look()
    assert not replay.is_done
    assert done_at(consensus, replay) == 501


def test_a_snapshot_that_is_not_loaded_yet_counts_for_nothing() -> None:
    """The log has begun anew behind it, and the state machine is still before that."""
    consensus, replay = restarted(3, 3, base=100)
    consensus.follow(2, 4)
    consensus.terms, consensus.base = [4], 500
    replay.look()
    assert not replay.is_done


def written(cluster: FullCluster) -> int:
    """Make snapshots, and a log behind them; returns what every node has applied then."""
    client = cluster.client()
    for number in range(90):
        cluster.write(client, b"key %d" % number)
    cluster.agree()
    cluster.scheduler.advance(3.0)
    cluster.agree()
    applied = {server.machine.last_applied for server in cluster.full.values()}
    assert len(applied) == 1
    return applied.pop()


def pass_by_pass(cluster: FullCluster, is_over: Callable[[], bool]) -> None:
    """Let time pass, and look after each pass of the loop."""
    end = cluster.scheduler.now + 20.0
    while not is_over():
        assert cluster.scheduler.now < end, "it did not happen in time"
        if not cluster.scheduler.one_pass():
            cluster.scheduler.now += 0.001


def test_a_follower_comes_back_to_an_idle_cluster() -> None:
    """Its leader has not changed, and the term's entries are in the snapshot and behind it."""
    cluster = FullCluster(3)
    applied = written(cluster)
    assert cluster.leader is not None
    follower = next(node for node in cluster.full if node != cluster.leader.node_id)
    cluster.crash(follower)
    cluster.leader.driver.peer_down(follower)
    server = cluster.start(follower)
    assert 0 < server.machine.last_applied < applied == server.raft.last_index
    client = server.client()
    early = client.get(b"key 89", Consistency.STALE)
    pass_by_pass(cluster, lambda: server.gateway.is_replayed)
    assert server.machine.last_applied >= applied
    late = client.get(b"key 89", Consistency.STALE)
    cluster.scheduler.run()
    assert client.refusal(early).code is RefusalCode.UNAVAILABLE
    assert client.answer(late).outcome is Outcome.OK


@pytest.mark.parametrize("size", [1, 3])
def test_all_nodes_come_back(size: int) -> None:
    """Each, whoever leads, has to apply again what it had applied, and nobody writes."""
    cluster = FullCluster(size)
    applied = written(cluster)
    for node in [*cluster.full]:
        cluster.crash(node)
    servers = [cluster.start(node) for node in cluster.filesystems]

    def is_all_replayed() -> bool:
        replayed = [server for server in servers if server.gateway.is_replayed]
        assert all(server.machine.last_applied >= applied for server in replayed)
        return len(replayed) == size

    assert not is_all_replayed()
    pass_by_pass(cluster, is_all_replayed)
