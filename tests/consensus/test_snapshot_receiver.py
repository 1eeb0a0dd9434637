"""Chunks of snapshots, in and out of order, from one leader and from two (paper, Figure 13)."""

import pytest

from raftd.consensus import (
    HardState,
    InstallSnapshot,
    InstallSnapshotReply,
    LogIndex,
    NodeId,
    Raft,
    Role,
    SnapshotMetadata,
    Term,
)
from raftd.errors import InvariantViolation
from tests.consensus.words import (
    accepted,
    acknowledge,
    append,
    complete,
    entries_of,
    heartbeat_reply,
    make_raft,
    members,
    say,
    timeout_now,
    vote,
)


def chunk(offset: int, *, done: bool = False, index: int = 9, term: int = 3, leader: int = 2) -> InstallSnapshot:
    return InstallSnapshot(Term(term), NodeId(leader), LogIndex(index), Term(2), offset, b"0123456789", done)


def where(offset: int, index: int = 9, term: int = 3) -> InstallSnapshotReply:
    return InstallSnapshotReply(Term(term), LogIndex(index), offset, installed=False)


def installed(index: int, term: int = 3) -> InstallSnapshotReply:
    return InstallSnapshotReply(Term(term), LogIndex(index), 0, installed=True)


def metadata(index: int = 9) -> SnapshotMetadata:
    return SnapshotMetadata(LogIndex(index), Term(2), members(1, 2, 3, 4))


def take_in(raft: Raft, message: InstallSnapshot) -> None:
    """The driver gets this chunk, once the term is stored in which it came, and nothing else."""
    say(raft, message.leader_id, message)
    ready = raft.ready()
    if ready.hard_state is not None:
        assert ready.snapshot_data == ()
        acknowledge(raft, ready)
        ready = raft.ready()
    assert ready.snapshot_data == ((message.leader_id, message),)
    acknowledge(raft, ready)


def test_chunks_in_order() -> None:
    """Each is given to the driver and answered when the driver has it; after the last one the log begins behind it."""
    raft = make_raft(1, 1)
    take_in(raft, chunk(0))
    raft.snapshot_received(LogIndex(9), 10)
    assert complete(raft) == [(2, where(10))]
    take_in(raft, chunk(10, done=True))
    assert not raft.has_ready
    assert raft.snapshot_installed(metadata())
    assert (raft.base_index, raft.last_index, raft.commit_index, raft.last_applied) == (9, 9, 9, 9)
    assert raft.membership == members(1, 2, 3, 4)
    ready = raft.ready()
    assert (ready.log_base, ready.entries) == ((9, 2), ())
    assert not ready.messages
    assert ready.messages_after_stored == ((2, installed(9)),)
    assert raft.stored_index == 9
    acknowledge(raft, ready)
    say(raft, 2, append(3, 9, 2, 3))
    assert complete(raft) == [(2, accepted(3, 10))]


def test_a_chunk_waits_for_its_term_to_be_stored() -> None:
    """A crash must not leave the snapshot without it; who asks meanwhile hears nothing, as while the driver works."""
    raft = make_raft(1, 1)
    say(raft, 2, chunk(0))
    ready = raft.ready()
    assert (ready.hard_state, ready.snapshot_data) == (HardState(Term(3), None), ())
    say(raft, 2, chunk(0))
    assert not raft.has_ready
    acknowledge(raft, ready)
    assert raft.has_ready
    assert raft.ready().snapshot_data == ((2, chunk(0)),)


def test_a_chunk_that_does_not_fit_is_answered_with_where_to_go_on() -> None:
    """Repetitions, and what comes after a loss or a restart, take nothing in."""
    raft = make_raft()
    say(raft, 2, chunk(10))
    assert complete(raft) == [(2, where(0))]
    take_in(raft, chunk(0))
    raft.snapshot_received(LogIndex(9), 10)
    complete(raft)
    say(raft, 2, chunk(0), chunk(20))
    assert complete(raft) == [(2, where(10)), (2, where(10))]


def test_one_chunk_at_a_time() -> None:
    """While the driver is at work, nothing is looked at; the leader asks again."""
    raft = make_raft()
    take_in(raft, chunk(0))
    say(raft, 2, chunk(0), chunk(10))
    assert not raft.has_ready


def test_a_newer_snapshot_wins_and_an_older_one_is_ignored() -> None:
    """Two snapshots of one leader overlap: delayed chunks of the old one do not throw the new one away."""
    raft = make_raft()
    take_in(raft, chunk(0))
    raft.snapshot_received(LogIndex(9), 10)
    complete(raft)
    take_in(raft, chunk(0, index=12))
    raft.snapshot_received(LogIndex(12), 10)
    complete(raft)
    say(raft, 2, chunk(10))
    assert not raft.has_ready
    take_in(raft, chunk(10, index=12))


def test_chunks_of_two_leaders_are_not_mixed() -> None:
    """A new leader's file of the same snapshot may be another one: it begins from the start."""
    raft = make_raft()
    take_in(raft, chunk(0))
    raft.snapshot_received(LogIndex(9), 10)
    complete(raft)
    say(raft, 3, chunk(10, term=4, leader=3))
    assert complete(raft) == [(3, where(0, term=4))]


def test_a_later_leader_s_snapshot_is_taken_though_it_is_older() -> None:
    """It may have none as new as its predecessor's: only of one leader's two is the newer one wanted."""
    raft = make_raft()
    take_in(raft, chunk(0, leader=3))
    raft.snapshot_received(LogIndex(9), 10)
    complete(raft)
    take_in(raft, chunk(0, index=8, term=4))


def test_a_leader_that_is_gone_is_not_answered() -> None:
    """The driver ends its work after a change of term: whoever leads now has not asked."""
    raft = make_raft()
    take_in(raft, chunk(0))
    say(raft, 3, append(4, leader=3))
    complete(raft)
    raft.snapshot_received(LogIndex(9), 10)
    assert not raft.has_ready


def test_a_leader_that_came_meanwhile_hears_of_the_snapshot_of_the_last_one() -> None:
    """Its own chunks were not looked at while the driver was at work; so it knows that it may go on."""
    raft = make_raft()
    take_in(raft, chunk(0, done=True))
    say(raft, 3, chunk(0, term=4, leader=3, index=12))
    assert raft.snapshot_installed(metadata())
    assert complete(raft) == [(3, installed(9, term=4))]


def test_who_leads_by_then_says_nothing_to_itself() -> None:
    """Its log went as far as the snapshot, so it could be elected while the driver was at work."""
    raft = make_raft(1, 1, 2, 2, 2, 2, 2, 2, 2, current_term=3)
    take_in(raft, chunk(0, done=True))
    say(raft, 2, timeout_now(3))
    complete(raft)
    say(raft, 3, vote(4))
    assert raft.role is Role.LEADER
    complete(raft)
    raft.snapshot_installed(metadata())
    assert not raft.has_ready


def test_a_snapshot_of_what_is_committed_is_installed_already() -> None:
    """The answer says how far this node is, once all of that is stored."""
    raft = make_raft()
    say(raft, 2, append(3, 0, 0, 1, 2, 3, commit=3), chunk(0, index=2))
    ready = raft.ready()
    assert ready.snapshot_data == ()
    assert (2, installed(3)) in ready.messages_after_stored


def test_a_snapshot_that_entries_overtook_is_of_no_use() -> None:
    """Committed as far by entries while it was loaded: the driver throws it away, the leader hears of success."""
    raft = make_raft()
    take_in(raft, chunk(0, done=True, index=2))
    say(raft, 2, append(3, 0, 0, 1, 2, 3, commit=3))
    complete(raft)
    assert not raft.snapshot_installed(metadata(2))
    assert complete(raft) == [(2, installed(3))]
    assert raft.base_index == 0


@pytest.mark.parametrize("following", [[2], []])
def test_a_log_that_agrees_keeps_what_follows(following: list[int]) -> None:
    """6. If existing log entry has same index and term as snapshot's last included entry, retain what follows it."""
    raft = make_raft(1, 2, 2, *following)
    take_in(raft, chunk(0, done=True, index=3))
    assert raft.snapshot_installed(metadata(3))
    assert (raft.base_index, terms_of_suffix(raft)) == (3, following)
    assert raft.ready().log_base is None


def test_a_log_that_agrees_but_was_not_handed_out() -> None:
    """Entries that the log writer never saw: the log on disk begins anew, with those behind the snapshot."""
    raft = make_raft()
    take_in(raft, chunk(0, done=True, index=3))
    say(raft, 2, append(3, 0, 0, 1, 2, 2, 3))
    assert raft.snapshot_installed(metadata(3))
    ready = raft.ready()
    assert (ready.log_base, ready.entries) == ((3, 2), entries_of(3, first=4))
    acknowledge(raft, ready)
    assert raft.stored_index == 4


def test_a_log_that_conflicts_goes() -> None:
    """7. Discard the entire log: also what is under way to the disk does not count any more."""
    raft = make_raft(1, 1, 1, 1)
    say(raft, 2, append(3, 4, 1, 3, 3))
    under_way = raft.ready()
    take_in_late = chunk(0, done=True, index=3)
    say(raft, 2, take_in_late)
    raft.ready()
    assert raft.snapshot_installed(metadata(3))
    assert (raft.base_index, raft.last_index, raft.stored_index) == (3, 3, 3)
    acknowledge(raft, under_way)
    assert raft.stored_index == 3
    assert raft.ready().log_base == (3, 2)


def test_a_file_that_is_no_snapshot_is_asked_for_again() -> None:
    """Verification failed: the driver has thrown it away."""
    raft = make_raft()
    take_in(raft, chunk(0, done=True))
    raft.snapshot_received(LogIndex(9), 0)
    assert complete(raft) == [(2, where(0))]
    take_in(raft, chunk(0, done=True))


def test_an_old_leader_learns_of_the_new_term() -> None:
    """1. Reply immediately if term < currentTerm."""
    raft = make_raft(current_term=5)
    say(raft, 2, chunk(0))
    assert complete(raft) == [(2, heartbeat_reply(5, 0))]


def test_the_driver_reports_what_it_was_given() -> None:
    """Anything else is a bug."""
    raft = make_raft()
    with pytest.raises(InvariantViolation):
        raft.snapshot_received(LogIndex(9), 10)
    take_in(raft, chunk(0, done=True))
    with pytest.raises(InvariantViolation):
        raft.snapshot_received(LogIndex(8), 10)
    with pytest.raises(InvariantViolation):
        raft.snapshot_installed(SnapshotMetadata(LogIndex(9), Term(1), members(1)))


def terms_of_suffix(raft: Raft) -> list[int]:
    return [entry[1] for entry in raft.entries(LogIndex(raft.base_index + 1), LogIndex(raft.last_index + 1))]
