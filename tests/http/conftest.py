"""A made-up node to serve."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from raftd.consensus.types import LogIndex, NodeId, Role, Term
from raftd.http.view import NodeCounters, NodeStatus, PeerStatus, ReplicationState

LEADER = NodeStatus(
    node_id=NodeId(1),
    cluster="demo",
    version="0.1.0",
    role=Role.LEADER,
    current_term=Term(5),
    leader_id=NodeId(1),
    voted_for=NodeId(1),
    commit_index=LogIndex(40),
    last_applied=LogIndex(39),
    last_log_index=LogIndex(42),
    stored_index=LogIndex(41),
    revision=30,
    keys=7,
    data_bytes=700,
    keys_max=100,
    data_bytes_max=10_000,
    sessions=2,
    leases=3,
    lease_keys=5,
    history_changes=20,
    history_bytes=2000,
    compacted_revision=10,
    watches=6,
    watches_behind=2,
    watches_stalled=1,
    connections=3,
    pending_proposals=4,
    pending_reads=1,
    uptime_seconds=60.0,
    election_timer_seconds=0.0,
    loop_lag_seconds=0.001,
    storing_seconds=0.0,
    disk_low=False,
    disk_free_bytes=3 << 30,
    disk_size_bytes=4 << 30,
    replayed=True,
    is_voter=True,
    http_address="n1.example:7402",
    draining=False,
    peers=(
        PeerStatus(NodeId(2), True, ReplicationState.REPLICATE, LogIndex(42), 0, 10, 20, 0.0004),
        PeerStatus(NodeId(3), False, ReplicationState.PROBE, LogIndex(12), 30),
    ),
)


@dataclass
class FakeNode:
    """A `NodeView` that says what it is told to."""

    now: NodeStatus = LEADER
    counted: NodeCounters = field(default_factory=NodeCounters)
    confirmed: LogIndex | None = LEADER.commit_index
    """What a quorum confirms."""
    asked: list[float] = field(default_factory=list)
    """How old a confirmation could be, of each time that one was asked for."""

    def status(self) -> NodeStatus:
        return self.now

    def counters(self) -> NodeCounters:
        return self.counted

    async def read_index(self, max_age_seconds: float) -> LogIndex | None:
        self.asked.append(max_age_seconds)
        return self.confirmed


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def leader_with() -> Callable[..., NodeStatus]:
    """The leader's status with some fields changed."""

    def change(**fields: Any) -> NodeStatus:
        return replace(LEADER, **fields)

    return change
