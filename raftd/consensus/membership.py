"""Who votes: the set of members, simple or joint (paper §6, thesis §4.3)."""

from dataclasses import dataclass

from raftd.consensus.types import NodeId


@dataclass(frozen=True, slots=True)
class Membership:
    """Voters and learners of the cluster.

    Invariants: `voters` is never empty; `outgoing` is non-empty only while a joint change runs, and then every decision
    needs a majority of `voters` and a majority of `outgoing`; no node is both a learner and a voter.
    """

    voters: frozenset[NodeId]
    outgoing: frozenset[NodeId] = frozenset()
    learners: frozenset[NodeId] = frozenset()

    def __post_init__(self) -> None:
        if not self.voters:
            raise ValueError("a membership needs at least one voter")
        if self.learners & (self.voters | self.outgoing):
            raise ValueError("a learner cannot be a voter at the same time")

    @property
    def is_joint(self) -> bool:
        """Whether a membership change is half done."""
        return bool(self.outgoing)

    @property
    def all_voters(self) -> frozenset[NodeId]:
        """Everyone whose vote counts somewhere."""
        return self.voters | self.outgoing

    @property
    def members(self) -> frozenset[NodeId]:
        """Everyone who receives the log."""
        return self.voters | self.outgoing | self.learners
