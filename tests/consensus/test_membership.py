"""Who votes and who listens."""

import pytest

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
