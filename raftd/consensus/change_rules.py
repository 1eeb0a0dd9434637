"""What a membership becomes by a change that was asked for (thesis §4.3, §4.4).

Whoever votes is changed through a joint membership, which needs majorities of both the old voters and the new ones, so
that one operation can exchange any number of them and never passes through a group smaller than the one it began with.
Learners and addresses decide nothing, and are changed in one step.

That a new node is to vote once it has caught up, and whom it replaces then, stands in the membership itself
(`joining`): whoever leads at that time goes on with it.
"""

from dataclasses import replace
from typing import Final, assert_never

from raftd.consensus.membership import (
    AddLearner,
    AddVoter,
    Membership,
    MembershipChange,
    Promote,
    Remove,
    Replace,
    UpdateAddress,
)
from raftd.consensus.membership_codec import ADDRESS_BYTES_MAX
from raftd.consensus.types import NodeId, RefusalReason

_NODE_ID_MAX: Final = (1 << 64) - 1


def left(membership: Membership) -> Membership:
    """What a joint membership is on the way to; a simple one is there."""
    voters, learners = membership.voters, membership.learners
    addresses = {node: text for node, text in membership.addresses.items() if node in voters or node in learners}
    return replace(membership, outgoing=frozenset(), addresses=addresses)


def entered(membership: Membership, target: Membership) -> Membership:
    """The membership to go to next from a simple one, on the way to `target`: joint if the voters differ."""
    if target.voters == membership.voters:
        return target
    leaving = {node: text for node, text in membership.addresses.items() if node in membership.voters}
    return replace(target, outgoing=membership.voters, addresses={**leaving, **target.addresses})


def changed(  # noqa: PLR0911 - one or two for each kind of change
    membership: Membership, change: MembershipChange
) -> Membership | RefusalReason:
    """What a simple membership is to become, which may be what it is; or why the change cannot be."""
    match change:
        case AddLearner(node_id, address):
            if node_id in membership.voters:
                return RefusalReason.ALREADY_A_MEMBER
            return _added(membership, replace(membership, learners=membership.learners | {node_id}), node_id, address)
        case AddVoter(node_id, address):
            if node_id in membership.voters or node_id in membership.joining:
                return _added(membership, membership, node_id, address)
            return _added(membership, _joined(membership, node_id, None), node_id, address)
        case Promote(node_id):
            return promoted(membership, node_id) if node_id in membership.members else RefusalReason.UNKNOWN_NODE
        case Remove(node_id):
            return _without(membership, node_id)
        case Replace(old, new, address):
            return _replaced(membership, old, new, address)
        case UpdateAddress(node_id, address):
            if node_id not in membership.members:
                return RefusalReason.UNKNOWN_NODE
            return _with_address(membership, node_id, address)
        case _:
            assert_never(change)


def promoted(membership: Membership, learner: NodeId) -> Membership:
    """`learner` votes, in the place of whom it replaces; nothing if it votes already."""
    if learner not in membership.learners:
        return membership
    replaced = membership.joining.get(learner)
    return Membership(
        voters=(membership.voters | {learner}) - {replaced},
        learners=membership.learners - {learner},
        joining={node: old for node, old in membership.joining.items() if node != learner},
        addresses={node: text for node, text in membership.addresses.items() if node != replaced},
    )


def _joined(membership: Membership, node_id: NodeId, replaced: NodeId | None) -> Membership:
    learners = membership.learners | {node_id}
    return replace(membership, learners=learners, joining={**membership.joining, node_id: replaced})


def _without(membership: Membership, node_id: NodeId) -> Membership | RefusalReason:
    if node_id not in membership.members:
        return RefusalReason.UNKNOWN_NODE
    if membership.voters == {node_id}:
        return RefusalReason.NO_VOTER_LEFT
    # Who was to take the place of the one that goes finds it empty, and joins all the same.
    joining = {
        learner: None if replaced == node_id else replaced
        for learner, replaced in membership.joining.items()
        if learner != node_id
    }
    return Membership(
        voters=membership.voters - {node_id},
        learners=membership.learners - {node_id},
        joining=joining,
        addresses={node: text for node, text in membership.addresses.items() if node != node_id},
    )


def _replaced(membership: Membership, old: NodeId, new: NodeId, address: str) -> Membership | RefusalReason:
    if old not in membership.members:
        # Done already, or never possible.
        return _added(membership, membership, new, address) if new in membership.voters else RefusalReason.UNKNOWN_NODE
    if old not in membership.voters:
        return RefusalReason.NOT_A_VOTER
    if new in membership.voters:
        return RefusalReason.ALREADY_A_MEMBER
    replaced = membership.joining.get(new)
    if replaced == old:
        return _added(membership, membership, new, address)
    if replaced is not None or old in membership.joining.values():
        return RefusalReason.CHANGE_RUNS
    return _added(membership, _joined(membership, new, old), new, address)


def _added(before: Membership, after: Membership, node_id: NodeId, address: str) -> Membership | RefusalReason:
    """`after` with where `node_id` is. A member that is known to be elsewhere is not moved by adding it again."""
    if address and before.addresses.get(node_id, address) != address:
        return RefusalReason.ADDRESS_DIFFERS
    return _with_address(after, node_id, address)


def _with_address(membership: Membership, node_id: NodeId, address: str) -> Membership | RefusalReason:
    """`membership` with where `node_id` is; an empty address changes nothing."""
    if not 1 <= node_id <= _NODE_ID_MAX or len(address.encode()) > ADDRESS_BYTES_MAX:
        return RefusalReason.INVALID_MEMBER
    if not address:
        return membership
    return replace(membership, addresses={**membership.addresses, node_id: address})
