from collections.abc import Callable

import pytest

from raftd.consensus.types import LogIndex, NodeId, Role
from raftd.http.consensus_families import CONSENSUS_FAMILIES
from raftd.http.view import NodeStatus, PeerStatus, SnapshotStatus
from tests.http.families import values_of


def test_who_leads(leader_with: Callable[..., NodeStatus]) -> None:
    """A leader knows its margin; a learner that hears nobody says how long that has been so."""
    leader = values_of(CONSENSUS_FAMILIES, leader_with(quorum_margin=1, voters=3))
    learner = values_of(
        CONSENSUS_FAMILIES,
        leader_with(role=Role.FOLLOWER, leader_id=None, is_learner=True, leader_contact_seconds=4.5, learners=1),
    )
    assert (leader["raftd_is_leader",], leader["raftd_has_leader",], leader["raftd_is_learner",]) == (1, 1, 0)
    assert (leader["raftd_quorum_margin",], leader["raftd_voters",], leader["raftd_role", "leader"]) == (1, 3, 1)
    assert (learner["raftd_is_leader",], learner["raftd_has_leader",], learner["raftd_is_learner",]) == (0, 0, 1)
    assert ("raftd_quorum_margin",) not in learner
    assert (learner["raftd_leader_contact_age_seconds",], learner["raftd_learners",]) == (4.5, 1)


@pytest.mark.parametrize(
    ("leader_id", "timer_seconds", "has_leader"), [(NodeId(2), 0.3, 1), (NodeId(2), 0.0, 0), (None, 0.3, 0)]
)
def test_only_a_leader_that_is_heard_counts(
    leader_with: Callable[..., NodeStatus], leader_id: NodeId | None, timer_seconds: float, has_leader: int
) -> None:
    """A learner, which never campaigns, names its last leader for ever: its timer has run out all the same."""
    status = leader_with(role=Role.FOLLOWER, leader_id=leader_id, election_timer_seconds=timer_seconds)
    assert values_of(CONSENSUS_FAMILIES, status)["raftd_has_leader",] == has_leader


def test_divergence_from_any_peer_shows(leader_with: Callable[..., NodeStatus]) -> None:
    """One peer whose state differs is enough."""
    peers = PeerStatus(NodeId(2), True), PeerStatus(NodeId(3), True, diverged=True)
    assert values_of(CONSENSUS_FAMILIES, leader_with(peers=peers))["raftd_state_diverged",] == 1
    assert values_of(CONSENSUS_FAMILIES, leader_with(peers=peers[:1]))["raftd_state_diverged",] == 0


def test_snapshots(leader_with: Callable[..., NodeStatus]) -> None:
    """Before the first snapshot there is no time of it; after it there is all of it."""
    values = values_of(CONSENSUS_FAMILIES, leader_with())
    assert ("raftd_snapshot_last_success_timestamp_seconds",) not in values
    values = values_of(CONSENSUS_FAMILIES, leader_with(snapshot=SnapshotStatus(LogIndex(9), 700, 0.5, 1.7e9, 2)))
    assert values["raftd_snapshot_index",] == 9
    assert values["raftd_snapshot_bytes",] == 700
    assert values["raftd_snapshot_last_duration_seconds",] == 0.5
    assert values["raftd_snapshot_last_success_timestamp_seconds",] == 1.7e9
    assert values["raftd_snapshot_transfers",] == 2
