"""Handing leadership over (thesis §3.10).

The leader takes no more proposals, brings the target's log up to date, and tells it to start an election at once. That
the target wins is likely, not certain: any message may be lost. So after an election timeout the leader, if it still is
one, gives up and takes proposals again. What makes it stop being one is the target's vote request, like any other's.
"""

from raftd.consensus.limits import RELUCTANT_TIMEOUTS
from raftd.consensus.messages import TimeoutNow
from raftd.consensus.node import Node
from raftd.consensus.replication import Replication
from raftd.consensus.types import NO_TERM, NodeId, ProposalRefused, RefusalReason, Role


class Transfer:
    """The hand-over under way, if `Node.transfer_target` names one."""

    __slots__ = ("_elapsed_ticks", "_is_told", "_node", "_replication", "told_term")

    def __init__(self, node: Node, replication: Replication) -> None:
        self._node = node
        self._replication = replication
        self._elapsed_ticks = 0
        self._is_told = False
        self.told_term = NO_TERM
        """The last term in which somebody was told to campaign; it may do so, past all loyalty, at any later time."""

    def begin(self, target: NodeId | None) -> None:
        """Hand over to `target`, or to the voter that is best prepared; nothing to do if that is this node.

        Raises:
            ProposalRefused: This node does not lead, or the target cannot.
        """
        node = self._node
        if node.role is not Role.LEADER:
            raise ProposalRefused(RefusalReason.NOT_LEADER, node.leader_id)
        if target is not None and target not in node.membership.members:
            raise ProposalRefused(RefusalReason.UNKNOWN_NODE, node.leader_id)
        if target is not None and target not in node.membership.voters:
            raise ProposalRefused(RefusalReason.NOT_A_VOTER, node.leader_id)
        if target == node.node_id or (target is not None and target == node.transfer_target):
            return
        chosen = self._best(node.membership.voters if target is None else {target})
        if chosen is None:
            raise ProposalRefused(RefusalReason.UNREACHABLE, node.leader_id)
        node.transfer_target = chosen
        self._elapsed_ticks = 0
        self._is_told = False

    def tick(self) -> None:
        """One tick of a leader's time."""
        node = self._node
        self._elapsed_ticks += 1
        if node.transfer_target is None:
            self._offer()
            return
        is_possible = node.transfer_target in node.membership.voters
        if not is_possible or self._elapsed_ticks >= node.limits.election_timeout_ticks:
            node.transfer_target = None

    @property
    def is_due(self) -> bool:
        """Whether the target has caught up and is to be told."""
        node = self._node
        if node.transfer_target is None or self._is_told:
            return False
        progress = self._replication.progress.get(node.transfer_target)
        return progress is not None and progress.match_index == node.log.last_index

    def tell(self) -> None:
        """Tell the target, as `is_due` said."""
        node = self._node
        if node.transfer_target is not None:
            self._is_told = True
            self.told_term = node.current_term
            node.send(node.transfer_target, TimeoutNow(node.current_term, node.node_id))

    def _offer(self) -> None:
        """A node that is not to lead hands over as soon as somebody can take over, and tries that once in a while."""
        node = self._node
        if node.node_id in node.membership.learners:
            candidates = node.membership.voters
        elif node.node_id in node.limits.no_lead:
            candidates = node.membership.voters - node.limits.no_lead
        else:
            return
        patience = RELUCTANT_TIMEOUTS * node.limits.election_timeout_ticks
        # A learner leads since others lacked what it has (`election`): not before they have it.
        if self._elapsed_ticks >= patience and node.has_committed_in_term:
            self._elapsed_ticks = 0
            target = self._best(candidates)
            if target is not None:
                self.begin(target)

    def _best(self, candidates: frozenset[NodeId] | set[NodeId]) -> NodeId | None:
        """Whoever of them answers and has most of the log; of equals the lowest, so that a run can be replayed.

        Rather one that is to lead. Not one that may have begun anew: the others would not vote for it (`proof`).
        """
        patience = self._node.limits.election_timeout_ticks
        answering = [
            (peer in self._node.limits.no_lead, -progress.match_index, peer)
            for peer, progress in self._replication.progress.items()
            if peer in candidates and progress.silent_ticks < patience and not progress.is_doubtful
        ]
        return min(answering)[-1] if answering else None
