"""What administrators ask of the leader: other members, another leader. Each request is tried at once, or refused.

What can be is decided by consensus (`raftd.consensus.change_rules`), which knows nothing of addresses but that they are
text. So what is added here is that no two members may be in the same place, and what each refusal says to a person.
"""

from collections.abc import Mapping
from typing import Final, Protocol, assert_never

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
from raftd.consensus.types import LogIndex, NodeId, ProposalRefused, RefusalReason, Role
from raftd.node import replay
from raftd.wire.client import Refusal, RefusalCode

EXPLANATIONS: Final[Mapping[RefusalReason, str]] = {
    RefusalReason.NOT_LEADER: "this node does not lead",
    RefusalReason.NO_LEADER: "no leader is known at the moment",
    RefusalReason.TOO_MANY_READS: "the leader has too much to do",
    RefusalReason.TRANSFERRING: "the leader is handing over",
    RefusalReason.UNKNOWN_NODE: "it is not a member of the cluster",
    RefusalReason.NOT_A_VOTER: "it does not vote",
    RefusalReason.UNREACHABLE: "it does not answer the leader, nor does any other voter that could do",
    RefusalReason.TERM_NOT_COMMITTED: "the leader has only just been elected",
    RefusalReason.CHANGE_RUNS: "another change is under way, and has to be finished first",
    RefusalReason.NO_VOTER_LEFT: "it is the last voter, and a cluster has at least one",
    RefusalReason.NO_QUORUM: "the voters that answer and have caught up would be no majority then",
    RefusalReason.NOT_CAUGHT_UP: "it lags too far behind to vote yet",
    RefusalReason.ALREADY_A_MEMBER: "it votes already, and a voter cannot become what is asked for",
    RefusalReason.ADDRESS_DIFFERS: "it is a member at another address, and only member update changes where it is",
    RefusalReason.TOO_MANY_MEMBERS: "the cluster has as many members as it can have",
    RefusalReason.INVALID_MEMBER: "its id or its address cannot be",
}
"""By consensus' reason, what an administrator is told."""

_PASSING: Final = frozenset(
    {
        RefusalReason.NOT_LEADER,
        RefusalReason.NO_LEADER,
        RefusalReason.TOO_MANY_READS,
        RefusalReason.TRANSFERRING,
        RefusalReason.TERM_NOT_COMMITTED,
    }
)
"""Reasons that go by themselves, in about an election timeout: the client tries again."""


class Administered(Protocol):
    """The part of consensus that administrators have a hand in."""

    @property
    def node_id(self) -> NodeId:
        """This node."""

    @property
    def membership(self) -> Membership:
        """The membership in force."""

    @property
    def transfer_target(self) -> NodeId | None:
        """To whom this leader is handing over."""

    def propose_membership(self, change: MembershipChange, /) -> LogIndex:
        """Begin a change. Raises: ProposalRefused."""

    def transfer_leadership(self, target: NodeId | None = None, /) -> None:
        """Begin to hand over. Raises: ProposalRefused."""


class Leadership(Administered, replay.Leadership, Protocol):
    """What the gateway must know of consensus."""

    @property
    def role(self) -> Role:
        """This node's role."""


class Administration:
    """Does what administrators ask for, on a node that leads.

    Both methods return what the document that answers holds, or a refusal; a `NO_LEADER` among these is one for which
    the leader may be elsewhere.
    """

    def __init__(self, raft: Administered) -> None:
        self._raft = raft

    def change(self, change: MembershipChange) -> dict[str, object] | Refusal:
        """Begin a membership change, or find that it is under way or done."""
        what = _described(change)
        if (neighbour := self._in_the_same_place(change)) is not None:
            return Refusal(RefusalCode.NOT_POSSIBLE, f"cannot {what}: {neighbour}")
        try:
            return {"index": self._raft.propose_membership(change)}
        except ProposalRefused as refused:
            return _refusal(what, refused.reason)

    def transfer(self, target: NodeId | None) -> dict[str, object] | Refusal:
        """Begin to hand leadership over."""
        try:
            self._raft.transfer_leadership(target)
        except ProposalRefused as refused:
            return _refusal("hand over" if target is None else f"hand over to node {target}", refused.reason)
        return {"target": self._raft.transfer_target or self._raft.node_id}

    def _in_the_same_place(self, change: MembershipChange) -> str | None:
        """What another member has that the change would give to a second one."""
        if isinstance(change, Promote | Remove):
            return None
        ignored = {change.new, change.old} if isinstance(change, Replace) else {change.node_id}
        wanted = change.address.split(",")
        for node_id, text in self._raft.membership.addresses.items():
            shared = next((place for place in wanted if place in text.split(",")), None)
            if node_id not in ignored and shared is not None:
                return f"{shared} is node {node_id}'s"
        return None


def _refusal(what: str, reason: RefusalReason) -> Refusal:
    code = RefusalCode.NO_LEADER if reason in _PASSING else RefusalCode.NOT_POSSIBLE
    return Refusal(code, f"cannot {what}: {EXPLANATIONS[reason]}")


def _described(change: MembershipChange) -> str:
    match change:
        case AddVoter(node_id):
            return f"add node {node_id}"
        case AddLearner(node_id):
            return f"add node {node_id} as a learner"
        case Promote(node_id):
            return f"promote node {node_id}"
        case Remove(node_id):
            return f"remove node {node_id}"
        case Replace(old, new):
            return f"put node {new} in the place of node {old}"
        case UpdateAddress(node_id):
            return f"change the addresses of node {node_id}"
        case _:
            assert_never(change)
