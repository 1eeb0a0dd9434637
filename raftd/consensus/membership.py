"""Who votes: the set of members, simple or joint (paper §6, thesis §4.3), and how it may be asked to change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from raftd.consensus.types import LogIndex, NodeId, Term


@dataclass(frozen=True, slots=True)
class Membership:
    """Voters and learners of the cluster, where they are, and what is to become of them.

    Invariants: `outgoing` is non-empty only while a joint change runs, and then every decision needs a majority of
    `voters` and a majority of `outgoing`; no node is both a learner and a voter; only learners join; who is replaced
    votes; only members have addresses. `voters` is empty only where nothing is known yet (`NO_MEMBERSHIP`).
    """

    voters: frozenset[NodeId]
    outgoing: frozenset[NodeId] = frozenset()
    learners: frozenset[NodeId] = frozenset()
    joining: Mapping[NodeId, NodeId | None] = field(default_factory=dict, hash=False)
    """Learners that whoever leads makes voters once they have caught up, each with the voter whose place it takes."""
    addresses: Mapping[NodeId, str] = field(default_factory=dict, hash=False)
    """Where each member can be reached, as a text that means nothing to consensus."""
    all_voters: frozenset[NodeId] = field(init=False, repr=False, compare=False)
    """Everyone whose vote counts somewhere."""
    members: frozenset[NodeId] = field(init=False, repr=False, compare=False)
    """Everyone who receives the log."""

    def __post_init__(self) -> None:
        all_voters = self.voters | self.outgoing
        # Asked for with each message; the rest never changes, so neither do they.
        object.__setattr__(self, "all_voters", all_voters)
        object.__setattr__(self, "members", all_voters | self.learners)
        object.__setattr__(self, "joining", MappingProxyType(dict(self.joining)))
        object.__setattr__(self, "addresses", MappingProxyType(dict(self.addresses)))
        if not self.voters and self.members:
            raise ValueError("a membership needs at least one voter")
        if self.learners & all_voters:
            raise ValueError("a learner cannot be a voter at the same time")
        if not self.learners.issuperset(self.joining):
            raise ValueError("only a learner can be about to become a voter")
        replaced = [old for old in self.joining.values() if old is not None]
        if len(set(replaced)) < len(replaced) or not self.voters.issuperset(replaced):
            raise ValueError("only a voter can be replaced, and by one node")
        if not self.members.issuperset(self.addresses):
            raise ValueError("only a member has an address")

    @property
    def is_joint(self) -> bool:
        """Whether a membership change is half done."""
        return bool(self.outgoing)


NO_MEMBERSHIP: Final = Membership(frozenset())
"""What a node knows that is to be added to a running cluster: it waits until a leader speaks to it."""


@dataclass(frozen=True, slots=True)
class SnapshotMetadata:
    """What a snapshot stands for: the log up to (last_included_index, last_included_term), and who voted there (§7)."""

    last_included_index: LogIndex
    last_included_term: Term
    membership: Membership


@dataclass(frozen=True, slots=True)
class AddLearner:
    """Let a new node receive the log without a vote."""

    node_id: NodeId
    address: str = ""


@dataclass(frozen=True, slots=True)
class AddVoter:
    """Let a new node, or a learner, receive the log, and vote as soon as it has caught up."""

    node_id: NodeId
    address: str = ""


@dataclass(frozen=True, slots=True)
class Promote:
    """Let a learner that has caught up vote, now."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Remove:
    """Let a member go, the leader included."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Replace:
    """Let `new` take the place of the voter `old` as soon as it has caught up, in one change."""

    old: NodeId
    new: NodeId
    address: str = ""


@dataclass(frozen=True, slots=True)
class UpdateAddress:
    """Say where a member can be reached from now on."""

    node_id: NodeId
    address: str


MembershipChange: TypeAlias = AddLearner | AddVoter | Promote | Remove | Replace | UpdateAddress
"""What can be asked of a leader. Each is idempotent: asking again for what is so, or under way, changes nothing."""
