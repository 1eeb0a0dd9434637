"""What a majority says, of a simple or a joint membership.

Everything that needs a majority asks here, with a `Membership`, and learners never count. While a change is half done,
a majority of the new voters and a majority of the outgoing ones are needed (paper §6): for votes and activity both
must agree, and of two indexes the lower one is agreed.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from raftd.consensus.membership import Membership
from raftd.consensus.types import NodeId


def is_quorum(membership: Membership, nodes: AbstractSet[NodeId]) -> bool:
    """Whether `nodes` can decide: an election, or that a leader is still in touch."""
    return _is_majority(membership.voters, nodes) and (
        not membership.outgoing or _is_majority(membership.outgoing, nodes)
    )


def agreed(membership: Membership, reached: Mapping[NodeId, int]) -> int:
    """The highest number that a quorum has reached: a match index, or a heartbeat round. Who is not in it is at 0."""
    value = _reached_by_majority(membership.voters, reached)
    if membership.outgoing:
        value = min(value, _reached_by_majority(membership.outgoing, reached))
    return value


def margin(membership: Membership, nodes: AbstractSet[NodeId]) -> int:
    """How many of the voters in `nodes` may be missing from it as well, and it is a quorum still; negative: it is none.

    The worst case counts: of those whose end does the most harm.
    """
    return min(
        len(voters & nodes) - (len(voters) // 2 + 1) for voters in (membership.voters, membership.outgoing) if voters
    )


def _is_majority(voters: frozenset[NodeId], nodes: AbstractSet[NodeId]) -> bool:
    return len(voters & nodes) > len(voters) // 2


def _reached_by_majority(voters: frozenset[NodeId], reached: Mapping[NodeId, int]) -> int:
    # Highest first, the one in place n // 2 has n // 2 others at or above it: with itself, a majority of n.
    return sorted([reached.get(voter, 0) for voter in voters], reverse=True)[len(voters) // 2]
