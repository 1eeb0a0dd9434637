"""Majorities against a model that counts on its fingers."""

import itertools
import random
from collections.abc import Iterable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus import Membership, NodeId
from raftd.consensus.quorum import agreed, is_quorum, margin
from tests.consensus.words import members

node_sets = st.frozensets(st.integers(1, 9).map(NodeId), max_size=7)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    voters = draw(node_sets.filter(bool))
    outgoing = draw(node_sets)
    learners = draw(node_sets) - voters - outgoing
    return Membership(voters, outgoing, learners)


def has_majority(group: frozenset[NodeId], nodes: frozenset[NodeId]) -> bool:
    """The model: more of the group's nodes are in than out."""
    inside = outside = 0
    for node in group:
        if node in nodes:
            inside += 1
        else:
            outside += 1
    return inside > outside


def decides(membership: Membership, nodes: frozenset[NodeId]) -> bool:
    groups = [membership.voters, *([membership.outgoing] if membership.outgoing else [])]
    return all(has_majority(group, nodes) for group in groups)


def who_reached(nodes: Iterable[NodeId], reached: Mapping[NodeId, int], value: int) -> frozenset[NodeId]:
    return frozenset(node for node in nodes if reached.get(node, 0) >= value)


def test_a_great_many_of_both_questions() -> None:
    """Fifty thousand memberships of up to seven voters a side, half of them joint: both answers are the model's."""
    draw = random.Random(50_000)
    everyone = [NodeId(number) for number in range(1, 10)]
    for case in range(50_000):
        voters = frozenset(draw.sample(everyone, draw.randint(1, 7)))
        outgoing = frozenset(draw.sample(everyone, draw.randint(1, 7))) if draw.random() < 0.5 else frozenset()
        membership = Membership(voters, outgoing)
        nodes = frozenset(draw.sample(everyone, draw.randint(0, 9)))
        assert is_quorum(membership, nodes) == decides(membership, nodes), case
        reached = {node: draw.randint(0, 6) for node in nodes}
        best = max(value for value in range(8) if decides(membership, who_reached(everyone, reached, value)))
        assert agreed(membership, reached) == best, case


def test_every_question_about_five_nodes() -> None:
    """Each membership of nodes 1 to 5, simple and joint, with each set of nodes: 31,744 answers."""
    groups = [
        frozenset(node for place, node in enumerate(map(NodeId, range(1, 6))) if number >> place & 1)
        for number in range(32)
    ]
    for voters in groups[1:]:
        for outgoing in groups:
            membership = Membership(voters, outgoing)
            for nodes in groups:
                assert is_quorum(membership, nodes) == decides(membership, nodes)


@settings(deadline=None, max_examples=500)
@given(memberships(), node_sets)
def test_is_quorum_is_a_majority_of_each_group(membership: Membership, nodes: frozenset[NodeId]) -> None:
    """A quorum has more nodes inside than outside, of the voters, and of the outgoing ones if there are any."""
    assert is_quorum(membership, nodes) == decides(membership, nodes)


@settings(deadline=None, max_examples=500)
@given(memberships(), node_sets, node_sets)
def test_two_quorums_share_a_voter(membership: Membership, one: frozenset[NodeId], other: frozenset[NodeId]) -> None:
    """What all of Raft stands on: two quorums always have a voter in common."""
    if is_quorum(membership, one) and is_quorum(membership, other):
        assert one & other & membership.voters


@settings(deadline=None, max_examples=500)
@given(memberships(), st.dictionaries(st.integers(1, 9).map(NodeId), st.integers(0, 6)))
def test_agreed_is_the_highest_that_a_quorum_reached(membership: Membership, reached: dict[NodeId, int]) -> None:
    """The agreed number is the highest for which those who reached it are a quorum."""
    best = max(value for value in range(8) if decides(membership, who_reached(membership.members, reached, value)))
    assert agreed(membership, reached) == best


def test_learners_never_count() -> None:
    """Neither a vote nor a stored entry of a learner decides anything."""
    membership = members(1, 2, 3, learners=(4, 5, 6, 7))
    everyone = {NodeId(node) for node in (1, 4, 5, 6, 7)}
    assert not is_quorum(membership, everyone)
    assert agreed(membership, dict.fromkeys(everyone, 9)) == 0


def test_half_is_no_majority() -> None:
    """Two of four decide nothing, nor does one of two."""
    assert not is_quorum(members(1, 2, 3, 4), {NodeId(1), NodeId(2)})
    assert not is_quorum(members(1, 2), {NodeId(1)})
    assert agreed(members(1, 2, 3, 4), {NodeId(1): 5, NodeId(2): 5}) == 0


@settings(deadline=None, max_examples=300)
@given(memberships(), node_sets)
def test_the_margin_is_how_many_may_be_missing(membership: Membership, nodes: frozenset[NodeId]) -> None:
    """Whichever so many are taken away, a quorum is left; and of one more, some choice leaves none."""
    spare = margin(membership, nodes)
    voters = sorted(nodes & membership.all_voters)

    def survives(count: int) -> bool:
        return all(decides(membership, nodes - set(gone)) for gone in itertools.combinations(voters, count))

    assert (spare >= 0) == decides(membership, nodes)
    if spare >= 0:
        assert survives(spare)
        assert not survives(spare + 1)
