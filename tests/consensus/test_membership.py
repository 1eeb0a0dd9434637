"""Who votes and who listens."""

from dataclasses import replace

import pytest

from raftd.consensus import NO_MEMBERSHIP, NodeId
from raftd.consensus.quorum import is_quorum
from tests.consensus.words import members


def test_a_membership_needs_a_voter() -> None:
    """Without voters nothing could ever be decided."""
    with pytest.raises(ValueError, match="at least one voter"):
        members(learners=(1,))


@pytest.mark.parametrize("learner", [1, 3])
def test_nobody_is_both_learner_and_voter(learner: int) -> None:
    """Incoming and outgoing voters are no learners."""
    with pytest.raises(ValueError, match="learner"):
        members(1, 2, outgoing=(2, 3), learners=(learner,))


def test_members_are_all_who_receive_the_log() -> None:
    """Voters of either group, and learners."""
    membership = members(1, 2, outgoing=(2, 3), learners=(4,))
    assert membership.is_joint
    assert membership.all_voters == {1, 2, 3}
    assert membership.members == {1, 2, 3, 4}
    assert not members(1).is_joint


@pytest.mark.parametrize(
    ("joining", "complaint"),
    [({1: None}, "only a learner"), ({9: None}, "only a learner"), ({4: 9}, "a voter"), ({4: 3, 5: 3}, "by one node")],
)
def test_who_joins_is_a_learner_and_replaces_a_voter(joining: dict[NodeId, NodeId | None], complaint: str) -> None:
    """A node on the way to a vote has none yet, and each place is taken once."""
    with pytest.raises(ValueError, match=complaint):
        replace(members(1, 2, 3, learners=(4, 5)), joining=joining)


def test_only_members_have_addresses() -> None:
    """What is known of a node goes with it."""
    with pytest.raises(ValueError, match="only a member"):
        replace(members(1), addresses={NodeId(2): "two"})


def test_nothing_known_decides_nothing() -> None:
    """A node that waits to be added finds no quorum, whoever votes for it."""
    assert not NO_MEMBERSHIP.members
    assert not is_quorum(NO_MEMBERSHIP, {NodeId(1), NodeId(2)})


def test_a_membership_stays_as_it_is() -> None:
    """What it was made of may change afterwards; it does not."""
    addresses = {NodeId(1): "one"}
    membership = replace(members(1), addresses=addresses)
    addresses[NodeId(1)] = "elsewhere"
    assert membership.addresses == {NodeId(1): "one"}
    assert hash(membership) == hash(members(1))
