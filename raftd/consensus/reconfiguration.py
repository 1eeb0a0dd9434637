"""The leader's side of membership changes: what may begin, and what goes on by itself (thesis §4).

Theory of operation
===================

A change is an entry like any other, only that it is in force as soon as it is in a log. What keeps that safe is that of
two memberships in a row any two deciding majorities meet: either they have the same voters, or one of the two is joint.
So the next one may begin only when the last is committed, and not before the leader has committed something in its own
term: else two leaders in turn could each begin one that the other does not know of.

Three things happen without being asked for, by whichever leader is there to do them:

- a joint membership that is committed is left for its new voters;
- a learner that is joining becomes a voter once it has caught up. It has if it received all that the log held at the
  beginning of a round before an election timeout was over: then what it still lacks takes no longer to send (thesis
  §4.2.1). Rounds begin anew with each leader;
- a leader that the new voters do not include hands over to one of them before it leaves the joint membership, so that
  nobody has to wait for an election. If that fails it leaves all the same: it leads, without counting itself, until it
  has committed the membership without itself, and then steps down (thesis §4.2.2).
"""

from typing import NamedTuple

from raftd.consensus import quorum
from raftd.consensus.change_rules import changed, entered, left, promoted
from raftd.consensus.membership import Membership, MembershipChange, Promote
from raftd.consensus.membership_codec import encode_membership
from raftd.consensus.node import Node
from raftd.consensus.replication import Replication
from raftd.consensus.transfer import Transfer
from raftd.consensus.types import NO_TERM, EntryKind, LogIndex, NodeId, ProposalRefused, RefusalReason, Role


class _Round(NamedTuple):
    """A stretch of log that a joining learner is to receive in time."""

    target: LogIndex
    begun_ticks: int


class Reconfiguration:
    """Membership changes on a leader; does nothing on others."""

    __slots__ = ("_node", "_now_ticks", "_replication", "_rounds", "_term", "_transfer", "_transfer_tried")

    def __init__(self, node: Node, replication: Replication, transfer: Transfer) -> None:
        self._node = node
        self._replication = replication
        self._transfer = transfer
        self._now_ticks = 0
        self._term = NO_TERM
        """The term that the rest speaks of."""
        self._rounds: dict[NodeId, _Round] = {}
        self._transfer_tried = False

    def propose(self, change: MembershipChange) -> LogIndex:
        """Begin `change`; returns where the membership stands that does, or the one in force if it does it already.

        Raises:
            ProposalRefused: This node does not lead, or the change cannot be, or not now.
        """
        node = self._node
        if node.role is not Role.LEADER:
            raise ProposalRefused(RefusalReason.NOT_LEADER, node.leader_id)
        simple = left(node.membership)
        target = changed(simple, change)
        if isinstance(target, RefusalReason):
            raise ProposalRefused(target, node.leader_id)
        if target == simple:
            return node.memberships.index
        reason = self._reason_against(target, change)
        if reason is not None:
            raise ProposalRefused(reason, node.leader_id)
        return self._append(entered(simple, target))

    def tick(self) -> None:
        """One tick of a leader's time: see whether a learner that is joining has caught up."""
        node = self._node
        self._now_ticks += 1
        self._begin_term()
        # A joint membership that is committed is left first (`advance`): the next one begins from a simple one.
        if not node.membership.joining or node.membership.is_joint or self._reason_to_wait() is not None:
            return
        for learner in sorted(node.membership.joining.keys() - {node.node_id}):
            if self._has_caught_up(learner):
                target = promoted(node.membership, learner)
                if self._can_decide(target):
                    self._append(entered(node.membership, target))
                    return

    @property
    def is_due(self) -> bool:
        """Whether a membership that is committed asks for the next step."""
        node = self._node
        is_unfinished = node.membership.is_joint or self.has_left
        return is_unfinished and self._reason_to_wait() is None

    @property
    def has_left(self) -> bool:
        """Whether this leader has committed a membership that does not include it: its work is done."""
        node = self._node
        return node.node_id not in node.membership.members and node.memberships.index <= node.commit_index

    def advance(self) -> None:
        """Take the step that `is_due` speaks of, but for stepping down."""
        node = self._node
        self._begin_term()
        if not node.membership.is_joint:
            return
        if node.node_id not in node.membership.voters and not self._transfer_tried:
            self._transfer_tried = True
            try:
                self._transfer.begin(None)
            except ProposalRefused:
                pass  # Nobody to hand over to answers now: there will be an election.
            else:
                return
        self._append(left(node.membership))

    def _append(self, membership: Membership) -> LogIndex:
        node = self._node
        index = LogIndex(node.log.last_index + 1)
        node.append([(index, node.current_term, EntryKind.MEMBERSHIP, encode_membership(membership))])
        self._replication.follow_membership()
        return index

    def _reason_to_wait(self) -> RefusalReason | None:
        """Why no membership may be appended now, whatever it is."""
        node = self._node
        if node.transfer_target is not None:
            return RefusalReason.TRANSFERRING
        if not node.has_committed_in_term:
            return RefusalReason.TERM_NOT_COMMITTED
        if node.memberships.index > node.commit_index:
            return RefusalReason.CHANGE_RUNS
        return None

    def _reason_against(self, target: Membership, change: MembershipChange) -> RefusalReason | None:
        node = self._node
        reason = self._reason_to_wait()
        if reason is None and isinstance(change, Promote) and change.node_id == node.node_id:
            reason = RefusalReason.TRANSFERRING  # Soon: a learner that leads hands over, and then it can be promoted.
        if reason is not None:
            return reason
        if node.membership.is_joint:
            return RefusalReason.CHANGE_RUNS
        if len(target.members | node.membership.members) > node.limits.members_max:
            return RefusalReason.TOO_MANY_MEMBERS
        if isinstance(change, Promote) and not self._replication.is_close(change.node_id):
            return RefusalReason.NOT_CAUGHT_UP
        if target.voters != node.membership.voters and not self._can_decide(target):
            return RefusalReason.NO_QUORUM
        return None

    def _can_decide(self, target: Membership) -> bool:
        """Whether those of the new voters that answer and are close behind could commit what comes next."""
        close = {voter for voter in target.voters if self._replication.is_close(voter)}
        return quorum.is_quorum(target, close | {self._node.node_id})

    def _has_caught_up(self, learner: NodeId) -> bool:
        progress = self._replication.progress[learner]
        if progress.is_doubted:
            # It could not help to commit the membership that makes it a voter, which is what would end the doubt.
            self._rounds.pop(learner, None)
            return False
        current = self._rounds.get(learner)
        if current is not None and progress.match_index < current.target:
            return False
        patience = self._node.limits.election_timeout_ticks
        if current is not None and self._now_ticks - current.begun_ticks < patience:
            return progress.silent_ticks < patience
        self._rounds[learner] = _Round(self._node.log.last_index, self._now_ticks)
        return False

    def _begin_term(self) -> None:
        if self._term != self._node.current_term:
            self._term = self._node.current_term
            self._rounds.clear()
            self._transfer_tried = False
