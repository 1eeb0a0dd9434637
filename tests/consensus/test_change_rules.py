"""What a membership becomes, and that any two in a row cannot decide apart."""

from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from raftd.consensus import (
    AddLearner,
    AddVoter,
    Membership,
    MembershipChange,
    NodeId,
    Promote,
    RefusalReason,
    Remove,
    Replace,
    UpdateAddress,
)
from raftd.consensus.change_rules import changed, entered, left, promoted
from raftd.consensus.quorum import is_quorum
from tests.consensus.words import members

NODES = [NodeId(node) for node in range(1, 7)]


def any_change(random: Random) -> MembershipChange:
    one, other = random.choice(NODES), random.choice(NODES)
    changes: list[MembershipChange] = [
        AddLearner(one), AddVoter(one, "a"), Promote(one), Remove(one), Replace(one, other), UpdateAddress(one, "b"),
    ]  # fmt: skip
    return random.choice(changes)


def quorums(membership: Membership) -> list[frozenset[NodeId]]:
    return [
        frozenset(nodes)
        for size in range(len(NODES) + 1)
        for nodes in combinations(NODES, size)
        if is_quorum(membership, frozenset(nodes))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_memberships_in_a_row_share_a_voter_in_every_decision(seed: int) -> None:
    """From any membership, by any change: each quorum of one step meets each quorum of the next (thesis §4.3)."""
    random = Random(seed)
    membership = members(1, 2, 3)
    for _ in range(12):
        target = changed(membership, any_change(random))
        if isinstance(target, RefusalReason):
            continue
        if random.random() < 0.5 and target.joining:
            target = promoted(target, random.choice(sorted(target.joining)))
        joint = entered(membership, target)
        final = left(joint)
        assert final == target
        for before, after in ((membership, joint), (joint, final)):
            after_quorums = quorums(after)
            assert all(one & other for one in quorums(before) for other in after_quorums)
        assert joint.is_joint == (membership.voters != target.voters)
        membership = final


@pytest.mark.parametrize("seed", range(30))
def test_what_was_asked_twice_is_done_once(seed: int) -> None:
    """The same change again changes nothing; a removal of who is gone is refused as unknown."""
    random = Random(seed)
    membership = members(1, 2, 3)
    for _ in range(12):
        change = any_change(random)
        target = changed(membership, change)
        if isinstance(target, RefusalReason):
            continue
        again = changed(target, change)
        assert again == (RefusalReason.UNKNOWN_NODE if isinstance(change, Remove) else target)
        membership = target


MOVED: list[MembershipChange] = [
    AddLearner(NodeId(4), "elsewhere"),
    AddVoter(NodeId(1), "elsewhere"),
    AddVoter(NodeId(4), "elsewhere"),
    Replace(NodeId(9), NodeId(1), "elsewhere"),
    Replace(NodeId(3), NodeId(4), "elsewhere"),
]


@pytest.mark.parametrize("change", MOVED, ids=repr)
def test_adding_a_member_does_not_move_it(change: MembershipChange) -> None:
    """A slip of the pen in `member add` must not make the others look for a voter where it is not."""
    membership = replace(
        members(1, 2, 3),
        learners=frozenset({NodeId(4)}),
        joining={NodeId(4): NodeId(3)},
        addresses={NodeId(1): "one", NodeId(4): "four"},
    )
    if isinstance(change, AddLearner):
        membership = replace(membership, joining={})
    assert changed(membership, change) is RefusalReason.ADDRESS_DIFFERS


def test_a_replacement_never_makes_the_group_smaller() -> None:
    """Old and new change places in one step, joint on the way: both groups have the size that it began with."""
    joining = changed(members(1, 2, 3), Replace(NodeId(3), NodeId(4), "four"))
    assert isinstance(joining, Membership)
    assert joining == Membership(
        frozenset(NODES[:3]),
        learners=frozenset({NodeId(4)}),
        joining={NodeId(4): NodeId(3)},
        addresses={NodeId(4): "four"},
    )
    joint = entered(joining, promoted(joining, NodeId(4)))
    assert joint.voters == {1, 2, 4}
    assert joint.outgoing == {1, 2, 3}
    assert not joint.learners
    assert left(joint) == Membership(joint.voters, addresses={NodeId(4): "four"})


def test_who_was_to_be_replaced_may_go_before() -> None:
    """The joining node finds the place empty, and joins all the same."""
    joining = changed(members(1, 2, 3), Replace(NodeId(3), NodeId(4)))
    assert isinstance(joining, Membership)
    without = changed(joining, Remove(NodeId(3)))
    assert isinstance(without, Membership)
    assert without.voters == {1, 2}
    assert without.joining == {NodeId(4): None}
    assert promoted(without, NodeId(4)).voters == {1, 2, 4}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Replace(NodeId(1), NodeId(5)), RefusalReason.CHANGE_RUNS),
        (Replace(NodeId(3), NodeId(6)), RefusalReason.CHANGE_RUNS),
        (Replace(NodeId(4), NodeId(6)), RefusalReason.NOT_A_VOTER),
        (Replace(NodeId(9), NodeId(6)), RefusalReason.UNKNOWN_NODE),
        (Replace(NodeId(1), NodeId(2)), RefusalReason.ALREADY_A_MEMBER),
        (AddLearner(NodeId(1)), RefusalReason.ALREADY_A_MEMBER),
        (AddLearner(NodeId(0)), RefusalReason.INVALID_MEMBER),
        (AddVoter(NodeId(1 << 64)), RefusalReason.INVALID_MEMBER),
        (AddVoter(NodeId(7), "é" * 513), RefusalReason.INVALID_MEMBER),
        (Promote(NodeId(9)), RefusalReason.UNKNOWN_NODE),
        (Remove(NodeId(9)), RefusalReason.UNKNOWN_NODE),
        (UpdateAddress(NodeId(9), "x"), RefusalReason.UNKNOWN_NODE),
    ],
)
def test_refusals(change: MembershipChange, reason: RefusalReason) -> None:
    """What cannot be is refused with its own reason; nodes 4 and 5 are learners here, and 5 is to replace 3."""
    membership = Membership(
        frozenset(NODES[:3]), learners=frozenset({NodeId(4), NodeId(5)}), joining={NodeId(5): NodeId(3)}
    )
    assert changed(membership, change) is reason


def test_the_last_voter_stays() -> None:
    """Nobody could decide anything without it."""
    assert changed(members(1, learners=(2,)), Remove(NodeId(1))) is RefusalReason.NO_VOTER_LEFT
