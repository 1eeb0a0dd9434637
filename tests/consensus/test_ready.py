"""When a Ready must go by the disk."""

from raftd.consensus import HardState, Ready, Term
from tests.consensus.words import entries_of, make_raft, request_vote, say, vote


def test_only_hard_state_and_entries_must_be_stored() -> None:
    """Messages alone, even those that wait for earlier Readies, need no storing of their own."""
    assert not Ready().must_store
    assert Ready(hard_state=HardState(Term(1), None)).must_store
    assert Ready(entries=entries_of(1)).must_store


def test_a_promise_repeated_needs_no_storing_but_waits() -> None:
    """A vote given again changes nothing on disk, but still must not overtake the first time's storing."""
    raft = make_raft()
    say(raft, 2, request_vote(1))
    assert raft.ready().must_store
    say(raft, 2, request_vote(1))
    again = raft.ready()
    assert not again.must_store
    assert (again.stored_term, again.stored_index) == (0, 0)
    assert again.messages_after_stored == ((2, vote(1)),)
    assert not again.messages
