"""The front door: what its calls promise to a driver."""

from random import Random

import pytest

from raftd.consensus import (
    NO_MEMBERSHIP,
    AddLearner,
    HardState,
    LogIndex,
    NodeId,
    ProposalRefused,
    Raft,
    Ready,
    RefusalReason,
    Role,
    SnapshotMetadata,
    Term,
)
from raftd.errors import InvariantViolation, LocalProtocolError
from tests.consensus.words import (
    accepted,
    append,
    complete,
    entries_of,
    heartbeat,
    make_leader,
    make_raft,
    members,
    say,
)


def test_a_new_node_has_nothing_to_do() -> None:
    """Before anything happens there is no work, and `ready` is empty."""
    raft = make_raft()
    assert not raft.has_ready
    assert raft.ready() == Ready()
    assert not raft.ready().must_store


def test_recovery() -> None:
    """A node begins with what the disk had, all of it stored, none of it known to be committed."""
    raft = make_raft(1, 2, 2, current_term=4, voted_for=3)
    assert (raft.node_id, raft.current_term, raft.voted_for) == (1, 4, 3)
    assert (raft.last_index, raft.stored_index, raft.commit_index, raft.last_applied) == (3, 3, 0, 0)
    assert raft.membership == members(1, 2, 3)
    assert [raft.term_at(LogIndex(index)) for index in range(5)] == [0, 1, 2, 2, None]


def test_recovery_refuses_a_log_ahead_of_its_term() -> None:
    """Entries of a term that the hard state has not reached were never stored in this order."""
    with pytest.raises(InvariantViolation, match="after term 1"):
        Raft(
            node_id=NodeId(1),
            membership=members(1),
            hard_state=HardState(Term(1), None),
            entries=entries_of(2),
            random=Random(0),
        )


def test_only_a_leader_takes_proposals() -> None:
    """Others refuse, and name the leader if they know it."""
    raft = make_raft(current_term=1)
    with pytest.raises(ProposalRefused) as refused:
        raft.propose([b"a"])
    assert (refused.value.reason, refused.value.leader_id) == (RefusalReason.NOT_LEADER, None)
    say(raft, 2, heartbeat(1))
    with pytest.raises(ProposalRefused, match="node 2 leads"):
        raft.propose([b"a"])
    assert raft.last_index == 0


def test_proposals_get_consecutive_indexes() -> None:
    """A batch's entries follow one another from the returned index on."""
    raft = make_leader()
    assert raft.propose([b"a", b"b"]) == 2
    assert raft.propose([b"c"]) == 4
    assert [entry[3] for entry in raft.entries(LogIndex(2), LogIndex(5))] == [b"a", b"b", b"c"]


def test_an_empty_proposal_is_a_wrong_call() -> None:
    """There is no index to return."""
    with pytest.raises(LocalProtocolError):
        make_leader().propose([])


@pytest.mark.parametrize("index", [0, 4])
def test_applied_stays_between_what_was_and_what_was_handed_out(index: int) -> None:
    """Applying backwards, or what was not handed out, is a bug of the driver."""
    raft = make_raft(1, 1, 1, 1)
    say(raft, 2, append(1, 4, 1, commit=3))
    with pytest.raises(InvariantViolation):
        raft.applied(LogIndex(1))
    raft.ready()
    raft.applied(LogIndex(2))
    with pytest.raises(InvariantViolation):
        raft.applied(LogIndex(index))
    raft.applied(LogIndex(3))


def test_stored_out_of_order_is_a_bug() -> None:
    """The driver acknowledges Readies in the order in which it got them."""
    raft = make_raft(1)
    say(raft, 2, append(2, 1, 1, 2))
    raft.ready()
    say(raft, 2, append(2, 2, 2, 2))
    second = raft.ready()
    with pytest.raises(InvariantViolation):
        raft.stored(second.stored_term, second.stored_index)


def test_applying_does_not_wait_for_the_own_disk() -> None:
    """What a quorum has stored is handed out, though this node's disk is behind."""
    raft = make_raft()
    say(raft, 2, append(1, 0, 0, 1, commit=1))
    ready = raft.ready()
    assert ready.committed == ready.entries == entries_of(1)


def test_campaign_means_nothing_to_a_leader() -> None:
    """Who leads has no election to win."""
    raft = make_leader()
    raft.campaign()
    assert raft.role is Role.LEADER
    assert not raft.has_ready


def test_a_restart_keeps_no_role() -> None:
    """A leader that restarts follows, in the same term, with its vote."""
    raft = make_leader(1)
    again = make_raft(1, 2, current_term=raft.current_term, voted_for=raft.voted_for)
    assert (again.role, again.current_term, again.voted_for) == (Role.FOLLOWER, 2, 1)


def test_has_ready_and_ready_agree() -> None:
    """`ready` gives something exactly when `has_ready` says so."""
    raft = make_leader()
    for step in range(20):
        raft.tick()
        if step % 3 == 0:
            raft.propose([b"a"])
        if step % 4 == 0:
            say(raft, 2, accepted(1, min(step, raft.last_index)))
        promised = raft.has_ready
        assert (raft.ready() != Ready()) == promised
        assert not raft.has_ready
    assert complete(raft) == []


def test_only_what_is_applied_and_in_a_snapshot_is_compacted() -> None:
    """Else entries would be gone that nothing stands for; what was compacted already stays so."""
    raft = make_leader(1, 1)
    with pytest.raises(InvariantViolation):
        raft.compact(LogIndex(1))
    say(raft, 2, accepted(2, 3))
    complete(raft)
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(2)))
    with pytest.raises(InvariantViolation):
        raft.compact(LogIndex(3))
    raft.compact(LogIndex(2))
    raft.compact(LogIndex(1))
    assert (raft.base_index, raft.last_index, raft.term_at(LogIndex(2))) == (2, 3, 1)


def test_a_snapshot_is_of_what_is_applied_and_known() -> None:
    """Not of what may yet change, not of what is gone, and not before the membership is known."""
    raft = make_leader(1, 1)
    for index in (1, 4):
        with pytest.raises(LocalProtocolError, match="snapshot at"):
            raft.snapshot_metadata(LogIndex(index))
    say(raft, 2, accepted(2, 3))
    complete(raft)
    assert raft.snapshot_metadata(LogIndex(3)) == SnapshotMetadata(LogIndex(3), Term(2), members(1, 2, 3))
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(3)))
    raft.compact(LogIndex(3))
    with pytest.raises(LocalProtocolError, match="snapshot at"):
        raft.snapshot_metadata(LogIndex(2))
    joining = make_raft(membership=NO_MEMBERSHIP)
    say(joining, 2, append(1, 0, 0, 1, commit=1))
    complete(joining)
    with pytest.raises(LocalProtocolError, match="not known yet"):
        joining.snapshot_metadata(LogIndex(1))


def test_a_snapshot_says_who_belonged_to_the_cluster_at_its_end() -> None:
    """Not who does now: a membership behind it may yet be taken back with its entry."""
    raft = make_leader(1, 1)
    say(raft, 2, accepted(2, 3))
    complete(raft)
    raft.propose_membership(AddLearner(NodeId(4)))
    assert raft.snapshot_metadata(LogIndex(3)).membership == members(1, 2, 3)
    say(raft, 2, accepted(2, 4))
    complete(raft)
    assert raft.snapshot_metadata(LogIndex(4)).membership == members(1, 2, 3, learners=(4,))
    assert raft.snapshot_metadata(LogIndex(3)).membership == members(1, 2, 3)


def test_an_older_snapshot_takes_no_newer_one_s_place() -> None:
    """Whatever the order in which the driver tells of them, lagging peers are sent the newest."""
    raft = make_leader(1, 1)
    say(raft, 2, accepted(2, 3))
    complete(raft)
    for index in (3, 2):
        raft.snapshot_available(raft.snapshot_metadata(LogIndex(index)))
    assert raft.snapshot == raft.snapshot_metadata(LogIndex(3))
