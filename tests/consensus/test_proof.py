"""A disk that began anew: no vote that it may not remember having given its word against, and a way back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.consensus import (
    AppendEntries,
    EntryKind,
    HardState,
    Membership,
    NodeId,
    Raft,
    RequestPreVote,
    RequestVote,
    Role,
    Term,
    TimeoutNow,
    quorum,
)
from raftd.consensus.membership_codec import encode_membership
from raftd.consensus.messages import Message, RequestPreVoteReply, RequestVoteReply
from raftd.consensus.proof import needs_every_vote
from raftd.consensus.types import LogIndex

node_ids = st.integers(1, 5).map(NodeId)
ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def node(size: int = 3, *, unproven: bool = True) -> Raft:
    return Raft(
        node_id=ONE,
        membership=Membership(frozenset(map(NodeId, range(1, size + 1)))),
        hard_state=HardState(Term(0), None),
        entries=(),
        random=random.Random(1),
        unproven=unproven,
    )


def complete(raft: Raft) -> list[Message]:
    """Do all that it wants done, at once; returns what it says."""
    said: list[Message] = []
    while raft.has_ready:
        ready = raft.ready()
        said += [message for _, message in (*ready.messages, *ready.messages_after_stored)]
        if ready.must_store:
            raft.stored(ready.stored_term, ready.stored_index)
        if ready.committed:
            raft.applied(ready.committed[-1][0])
    return said


def append(raft: Raft, *terms: int, behind: int = 0, term: int = 1, commit: int = 0, prev_term: int = 1) -> None:
    """Node 2, the leader of `term`, sends entries of `terms`."""
    entries = tuple((LogIndex(index), Term(each), EntryKind.NOOP, b"") for index, each in enumerate(terms, behind + 1))
    prev = Term(prev_term) if behind else Term(0)
    raft.step(TWO, AppendEntries(Term(term), TWO, LogIndex(behind), prev, LogIndex(commit), entries))
    complete(raft)


def votes_for(raft: Raft, *, unproven: bool, term: int = 1) -> tuple[bool, bool]:
    """Whether it grants a pre-vote, and a vote, to a candidate with all that it has itself."""
    last_term = raft.term_at(raft.last_index) or Term(0)
    raft.step(THREE, RequestPreVote(Term(term), THREE, raft.last_index, last_term, unproven))
    pre_votes = complete(raft)
    raft.step(THREE, RequestVote(Term(term), THREE, raft.last_index, last_term, True, unproven))
    (vote,) = complete(raft)
    assert isinstance(vote, RequestVoteReply)
    is_granted = any(isinstance(reply, RequestPreVoteReply) and reply.vote_granted for reply in pre_votes)
    return is_granted, vote.vote_granted


@pytest.mark.parametrize("voter", [False, True])
@pytest.mark.parametrize("candidate", [False, True])
def test_only_two_of_a_kind_elect_each_other(*, voter: bool, candidate: bool) -> None:
    """A node that may have forgotten what it stored elects nobody who relies on that, nor is it elected by others."""
    same = voter == candidate
    assert votes_for(node(unproven=voter), unproven=candidate) == (same, same)


def test_who_knows_of_no_voters_trusts_nobody_who_is_proven() -> None:
    """A node that was added later has no membership on a new disk, and may have been one voter of many before."""
    raft = node(0)
    assert votes_for(raft, unproven=False) == (False, False)


def test_a_new_disk_refuses_a_pre_vote_without_a_word() -> None:
    """Its term is 0, which no message may have: whoever was told it would end the link."""
    raft = node()
    raft.step(THREE, RequestPreVote(Term(5), THREE, LogIndex(1), Term(1), False))
    assert complete(raft) == []


@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("voter", [False, True])
@pytest.mark.parametrize("candidate", [False, True])
def test_whoever_needs_every_vote_may_have_it(*, size: int, voter: bool, candidate: bool) -> None:
    """All that such a candidate's voters committed is with it or with the voter, if not both have new disks.

    Two that have are as the cluster began, or they elect each other not.
    """
    raft = node(size, unproven=voter)
    raft.step(TWO, RequestVote(Term(1), TWO, LogIndex(0), Term(0), True, candidate, unanimous=True))
    (vote,) = complete(raft)
    assert vote == RequestVoteReply(Term(1), vote_granted=not (voter and candidate) or size >= 2)


def receive(raft: Raft, *memberships: tuple[set[int], set[int]]) -> None:
    """Node 2, the leader of term 1, sends memberships as the first entries; of commits it says nothing."""
    entries = tuple(
        (
            LogIndex(index),
            Term(1),
            EntryKind.MEMBERSHIP,
            encode_membership(Membership(frozenset(map(NodeId, voters)), frozenset(map(NodeId, outgoing)))),
        )
        for index, (voters, outgoing) in enumerate(memberships, 1)
    )
    raft.step(TWO, AppendEntries(Term(1), TWO, LogIndex(0), Term(0), LogIndex(0), entries))
    complete(raft)


CHANGED = [(({1, 2, 3}, {1, 2}),), (({1, 2, 3, 4}, set()),), (({1, 3}, {1, 2, 3}), ({1, 3}, set()))]


@pytest.mark.parametrize("changes", CHANGED)
def test_where_others_vote_than_at_the_beginning_new_disks_elect_nobody_new(
    changes: tuple[tuple[set[int], set[int]], ...],
) -> None:
    """The cluster began long ago: two that forgot what they had do not decide what it was."""
    raft = node(3)
    receive(raft, *changes)
    assert votes_for(raft, unproven=True, term=2) == (False, False)


def test_founders_are_told_apart_from_who_came_later() -> None:
    """One that was added, and lost its disk or never caught up, is no founder to those that began the cluster."""
    raft = node(2)
    assert votes_for(raft, unproven=True) == (False, False)


@pytest.mark.parametrize(
    ("voters", "outgoing", "asks"),
    [
        ({1, 2}, set(), False),
        ({1, 2}, {1}, False),
        ({1}, {1, 2}, False),
        ({2}, {1, 2}, False),
        ({1, 2, 4}, set(), False),
        ({1, 2, 3, 4}, {1, 2, 3}, False),
        ({1, 2, 3}, set(), True),
    ],
)
def test_a_new_disk_that_knows_of_a_change_asks_nobody(voters: set[int], outgoing: set[int], *, asks: bool) -> None:
    """Its log may be half of what it had, and name voters of long ago, one of whom was left behind with that half."""
    raft = node(3)
    receive(raft, (voters, outgoing))
    raft.campaign()
    asked = [message for message in complete(raft) if isinstance(message, RequestPreVote)]
    assert {(message.unproven, message.unanimous) for message in asked} == ({(True, False)} if asks else set())


@pytest.mark.parametrize(
    ("voter", "candidate", "unanimous", "is_granted"),
    [
        (True, False, True, True),
        (True, False, False, False),
        (False, False, True, False),
        (True, True, True, False),
        (False, True, True, False),
    ],
)
def test_who_needs_every_vote_has_all_that_a_new_disk_could_have_confirmed(
    *, voter: bool, candidate: bool, unanimous: bool, is_granted: bool
) -> None:
    """So the new disk votes for it though its own log is longer: nobody else could lead. Nobody else does that."""
    raft = Raft(
        node_id=ONE,
        membership=Membership(frozenset({ONE, TWO})),
        hard_state=HardState(Term(1), None),
        entries=[(LogIndex(index), Term(1), EntryKind.NOOP, b"") for index in (1, 2)],
        random=random.Random(1),
        unproven=voter,
    )
    raft.step(TWO, RequestPreVote(Term(2), TWO, LogIndex(1), Term(1), candidate, unanimous))
    assert complete(raft) == [RequestPreVoteReply(Term(2 if is_granted else 1), is_granted)]
    raft.step(TWO, RequestVote(Term(2), TWO, LogIndex(1), Term(1), False, candidate, unanimous))
    assert complete(raft) == [RequestVoteReply(Term(2), is_granted)]


def test_a_new_disk_does_not_campaign_at_a_leaders_wish_either() -> None:
    """TimeoutNow skips the pre-vote, and nothing else."""
    raft = node(3)
    receive(raft, ({1, 2, 4}, set()))
    raft.step(TWO, TimeoutNow(Term(1), TWO))
    assert (raft.role, raft.current_term) == (Role.FOLLOWER, 1)


@pytest.mark.parametrize("size", [1, 2])
def test_that_a_voter_began_as_one_of_two_does_not_matter(size: int) -> None:
    """The cluster may have grown since, and need its vote no more than another's: that is for the candidate to know."""
    assert votes_for(node(size), unproven=False) == (False, False)


def test_alone_a_node_is_proven_by_its_own_commit() -> None:
    """It asks nobody."""
    raft = node(1)
    raft.campaign()
    complete(raft)
    assert raft.is_proven


def test_alone_on_a_new_disk_it_does_not_elect_itself_once_others_have_led() -> None:
    """Its log may be the beginning of one in which others vote too, and in which it has a part that it forgot."""
    raft = node(1)
    append(raft, 1)
    raft.campaign()
    raft.step(TWO, TimeoutNow(Term(1), TWO))
    assert (raft.role, raft.current_term) == (Role.FOLLOWER, 1)


@pytest.mark.parametrize(("unproven", "term"), [(True, 0), (True, 1), (False, 1)])
def test_alone_it_begins_again_what_it_began(*, unproven: bool, term: int) -> None:
    """It crashed before its first commit, or has all that it ever had."""
    raft = Raft(
        node_id=ONE,
        membership=Membership(frozenset({ONE})),
        hard_state=HardState(Term(term), ONE if unproven and term else None),
        entries=(),
        random=random.Random(1),
        unproven=unproven,
    )
    raft.campaign()
    complete(raft)
    assert raft.role is Role.LEADER


@given(st.frozensets(node_ids, min_size=1), st.frozensets(node_ids), st.frozensets(node_ids), st.frozensets(node_ids))
def test_one_or_two_voters_of_each_half_decide_together_or_not_at_all(
    voters: frozenset[NodeId], outgoing: frozenset[NodeId], learners: frozenset[NodeId], nodes: frozenset[NodeId]
) -> None:
    """Where a candidate says that it needs every vote, no quorum does without any voter, of either side."""
    membership = Membership(voters, outgoing, learners - voters - outgoing)
    raft = Raft(
        node_id=ONE, membership=membership, hard_state=HardState(Term(0), None), entries=(), random=random.Random(1)
    )
    is_said = needs_every_vote(raft._node)
    halves = (voters, outgoing) if outgoing else (voters,)
    assert is_said == all(ONE in half and len(half) <= 2 for half in halves)
    if is_said and quorum.is_quorum(membership, nodes):
        assert nodes >= membership.all_voters


@pytest.mark.parametrize(
    ("voters", "outgoing", "is_said"),
    [
        ({2}, {1, 2}, False),
        ({1}, {1, 2}, True),
        ({1, 2}, {2}, False),
        ({1, 2}, {1}, True),
        ({2}, {1}, False),
        ({1, 3}, {1, 2}, True),
        ({2, 3}, {1, 2}, False),
        ({1, 2}, {2, 3}, False),
        ({1, 2}, {1, 2, 3}, False),
    ],
)
def test_who_leaves_or_comes_is_not_needed(voters: set[int], outgoing: set[int], *, is_said: bool) -> None:
    """The other one may have gone on without it, alone and then with others: a new disk of that one elects it not."""
    membership = Membership(frozenset(map(NodeId, voters)), frozenset(map(NodeId, outgoing)))
    raft = Raft(
        node_id=ONE, membership=membership, hard_state=HardState(Term(1), None), entries=(), random=random.Random(1)
    )
    raft.campaign()
    asked = [message for message in complete(raft) if isinstance(message, RequestPreVote)]
    assert {message.unanimous for message in asked} == {is_said}


@pytest.mark.parametrize("size", [2, 3])
def test_a_candidate_says_what_it_is(size: int) -> None:
    """Both of its questions carry it."""
    raft = node(size)
    raft.campaign()
    asked = complete(raft)
    raft.step(TWO, RequestPreVoteReply(Term(1), vote_granted=True))
    asked += complete(raft)
    assert {type(message) for message in asked} == {RequestPreVote, RequestVote}
    for message in asked:
        assert isinstance(message, RequestPreVote | RequestVote)
        assert (message.unproven, message.unanimous) == (True, size == 2)


def test_it_is_proven_by_storing_what_the_leader_has_committed() -> None:
    """Not by less, though its own commit index may be of the leader's term long before."""
    raft = node()
    append(raft, 1, 1, commit=4)
    assert (raft.commit_index, raft.is_proven) == (2, False)
    append(raft, 1, behind=2, commit=5)
    assert not raft.is_proven
    append(raft, 1, behind=3, commit=9)
    assert raft.is_proven  # entry 4, which the leader had committed when this node's log first fitted


def test_a_leader_that_does_not_know_the_commit_index_proves_nothing() -> None:
    """Before it has committed in its own term, more may be committed than it says (§5.4.2)."""
    raft = node()
    append(raft, 1, 1, 1, term=2, commit=2)
    assert (raft.commit_index, raft.is_proven) == (2, False)
    append(raft, 2, behind=3, term=2, commit=3)
    assert not raft.is_proven
    append(raft, behind=4, term=2, commit=4, prev_term=2)
    assert raft.is_proven


def test_another_term_begins_anew() -> None:
    """What an earlier leader said of its commits is no longer enough."""
    raft = node()
    append(raft, 1, commit=3)
    append(raft, 1, 1, behind=1, term=2, commit=2)
    assert not raft.is_proven


def test_stored_is_what_counts() -> None:
    """Entries that are on their way to the disk are not on it."""
    raft = node()
    entries = ((LogIndex(1), Term(1), EntryKind.NOOP, b""),)
    raft.step(TWO, AppendEntries(Term(1), TWO, LogIndex(0), Term(0), LogIndex(1), entries))
    ready = raft.ready()
    assert not raft.is_proven
    raft.stored(ready.stored_term, ready.stored_index)
    complete(raft)
    raft.tick()
    raft.ready()
    assert raft.is_proven
