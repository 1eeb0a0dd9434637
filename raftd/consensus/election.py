"""Elections: the timer, pre-votes, votes, and who is whose follower (§5.2, thesis §9.6 and §4.2.3).

A node whose timer runs out first asks whether it *would* be elected (pre-vote), which changes nobody's term; only with
a quorum behind it does it start a term. So a node that was cut off, or that others do not hear, disturbs nobody.

A node that heard from a live leader within the least election timeout takes no part in elections of later terms. Two
exceptions keep that from locking anyone out: the leader itself asked for the election (`leadership_transfer`), and
a node whose term is ahead of its leader's says so in its answers to heartbeats, so that the leader steps down and a
term is found in which all can take part. A leader that hears no quorum steps down too and falls silent, so nobody stays
loyal to a leader that can do nothing.

Learners vote for whoever asks them, and do not campaign, but for one case. A candidate may need the vote of a learner:
the membership that makes it a voter is in the candidate's log only, if a leader with another log took it back. If the
learner's log is the newer one it cannot give its vote (§5.4.1), and if that leader is gone for good nobody else has
that log. So a learner that had to refuse its vote for that reason campaigns itself, among the voters that it knows, as
a server that is not part of its own latest configuration may have to (thesis §4.2.2). When it leads it counts others
only, and hands over to a voter (`transfer`).
"""

from raftd.consensus import quorum
from raftd.consensus.abdication import Abdication, AbdicationReason
from raftd.consensus.limits import RELUCTANT_TIMEOUTS
from raftd.consensus.messages import (
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.node import Node
from raftd.consensus.proof import claims, is_complete, may_campaign, may_trust
from raftd.consensus.reads import Reads
from raftd.consensus.replication import Replication
from raftd.consensus.types import NO_TERM, NodeId, Random, Role, Term


class Election:
    """The transitions between roles and terms; nothing else writes role, current_term, voted_for or leader_id."""

    __slots__ = (
        "_is_needed", "_node", "_random", "_reads", "_replication", "_silent_ticks", "_votes", "elapsed_ticks",
        "timeout_ticks",
    )  # fmt: skip

    def __init__(self, node: Node, random: Random, replication: Replication, reads: Reads) -> None:
        self._node = node
        self._random = random
        self._replication = replication
        self._reads = reads
        self._votes: set[NodeId] = set()
        """Who granted this node the (pre-)vote that it asks for now; cleared for each one."""
        self._is_needed = False
        """Whether somebody needed this node's vote, and lacked what it has, since a leader was heard."""
        self._silent_ticks = 0
        """Ticks since any leader was heard. One may have been heard just before this process began, so from then on."""
        self.elapsed_ticks = 0
        """Ticks since the leader was heard, a vote was granted, or an election began."""
        self.timeout_ticks = 0
        """At this many elapsed ticks, the next election begins."""
        self._draw_timeout()

    def tick(self) -> None:
        """One tick of the time of a node that does not lead."""
        self.elapsed_ticks += 1
        self._silent_ticks += 1
        if self.elapsed_ticks >= self.timeout_ticks:
            self.campaign()

    def campaign(self) -> None:
        """Ask for votes, if this node may and a leader's lease does not forbid it."""
        node = self._node
        if node.role is not Role.LEADER and self._may_lead() and not self._is_reluctant() and not self.guards_lease():
            self.start_pre_vote()

    def hears_leader(self) -> bool:
        """Whether a leader lives, as far as this node can tell: no reason for another one (thesis §4.2.3)."""
        return self._node.leader_id is not None and self.elapsed_ticks < self._node.limits.election_timeout_ticks

    def guards_lease(self) -> bool:
        """Whether a leader, even of an older term, may count on it that this node helps nobody else (lease reads).

        Not the same as to hear a leader: this node may have moved on to a term without one, or have just started, and
        has still told a leader that it heard it. Only time ends that, or the leader's own wish (thesis §6.4.1).
        """
        node = self._node
        return (
            node.limits.lease_reads
            and node.current_term > 0
            and self._silent_ticks < node.limits.election_timeout_ticks
            and node.membership.all_voters != {node.node_id}
        )

    def follow(self, term: Term, leader_id: NodeId) -> None:
        """`leader_id` says that it leads `term`, which is not behind this node's."""
        node = self._node
        if term != node.current_term or leader_id != node.leader_id:
            self.become_follower(term, leader_id)
        self.elapsed_ticks = 0
        self._silent_ticks = 0
        self._is_needed = False

    def become_follower(
        self, term: Term, leader_id: NodeId | None, reason: AbdicationReason = AbdicationReason.NEWER_TERM
    ) -> None:
        """Follow, in this term or a later one; if this node leads, `reason` is why it does no more."""
        node = self._node
        if node.role is Role.LEADER:
            self._abdicate(reason)
        if term > node.current_term:
            node.current_term = term
            node.voted_for = None
            self._draw_timeout()
        self._assume(Role.FOLLOWER, leader_id)

    def start_pre_vote(self) -> None:
        """The timer ran out, or somebody wants an election: would a quorum vote for this node?"""
        node = self._node
        self._begin(Role.PRE_CANDIDATE)
        self._votes.add(node.node_id)
        if not self._has_won():
            log = node.log
            next_term = Term(node.current_term + 1)
            self._ask(RequestPreVote(next_term, node.node_id, log.last_index, log.last_term, *claims(node)))
            return
        self.start(leadership_transfer=False)

    def start(self, *, leadership_transfer: bool) -> None:
        """Start a term and ask for votes. This node's own counts once it is stored, like any other's."""
        node = self._node
        node.current_term = Term(node.current_term + 1)
        node.voted_for = node.node_id
        self._begin(Role.CANDIDATE)
        self._replication.ask_for_votes()
        log = node.log
        self._ask(
            RequestVote(
                node.current_term,
                node.node_id,
                log.last_index,
                log.last_term,
                leadership_transfer,
                *claims(node),
            )
        )

    def on_request_pre_vote(self, sender: NodeId, message: RequestPreVote) -> None:
        """Would this node vote for `sender`? No role or term changes here, and not even the timer."""
        node = self._node
        if self.guards_lease():
            return
        if message.term > node.current_term:
            if self.hears_leader():
                return
            may_vote = True
        else:
            # The sender is a term behind, which the refusal tells it, but an election in this term may yet succeed.
            may_vote = message.term == node.current_term and self._may_vote_for(sender) and node.leader_id is None
        granted = may_vote and self._is_fit_to_lead(sender, message)
        if may_vote and not granted:
            self._note_need(sender, message)
        if not granted and node.current_term == NO_TERM:
            return  # A refusal tells the sender of a newer term, and there is none.
        node.send(sender, RequestPreVoteReply(message.term if granted else node.current_term, granted))

    def on_request_pre_vote_reply(self, sender: NodeId, reply: RequestPreVoteReply) -> None:
        """A quorum of these starts the election. Refusals need no counting: the timer runs on."""
        node = self._node
        if node.role is Role.PRE_CANDIDATE and reply.vote_granted and reply.term == node.current_term + 1:
            self._votes.add(sender)
            if self._has_won():
                self.start(leadership_transfer=False)

    def on_request_vote(self, sender: NodeId, message: RequestVote) -> None:
        """Receiver implementation of RequestVote (Figure 2); `message` is of this node's term."""
        node = self._node
        if not self._may_vote_for(sender) or not self._is_fit_to_lead(sender, message):
            self._note_need(sender, message)
            node.send(sender, RequestVoteReply(node.current_term, False))
            return
        node.voted_for = sender
        self.elapsed_ticks = 0
        # A restart that forgot this vote could give a second one in the same term (§5.2).
        node.send_after_stored(sender, RequestVoteReply(node.current_term, True))

    def on_request_vote_reply(self, sender: NodeId, reply: RequestVoteReply) -> None:
        """A vote, or none, in this node's term."""
        if self._node.role is Role.CANDIDATE and reply.vote_granted:
            self._count_vote(sender)

    def on_timeout_now(self, sender: NodeId, message: TimeoutNow) -> None:
        """The leader hands over: no pre-vote, which those loyal to it would refuse (thesis §3.10)."""
        self.follow(message.term, sender)
        if self._may_lead():
            self.start(leadership_transfer=True)

    def on_stored(self) -> None:
        """The disk caught up: a candidate's own vote may be on it now."""
        node = self._node
        if node.role is Role.CANDIDATE and node.storing.stored_hard_state == node.hard_state():
            self._count_vote(node.node_id)

    def _count_vote(self, voter: NodeId) -> None:
        self._votes.add(voter)
        if self._has_won():
            self._assume(Role.LEADER, self._node.node_id)
            self.elapsed_ticks = 0
            self._replication.lead()

    def _has_won(self) -> bool:
        return quorum.is_quorum(self._node.membership, self._votes)

    def _may_lead(self) -> bool:
        node = self._node
        is_needed = self._is_needed and node.node_id in node.membership.learners
        return (node.is_voter or is_needed) and may_campaign(node)

    def _is_reluctant(self) -> bool:
        """Whether this node leaves it to others to campaign; not for ever, for it may have what they lack (§5.4.1)."""
        limits = self._node.limits
        patience = RELUCTANT_TIMEOUTS * limits.election_timeout_ticks
        return self._node.node_id in limits.no_lead and self._silent_ticks < patience

    def _may_vote_for(self, candidate: NodeId) -> bool:
        return self._node.voted_for in (None, candidate)

    def _is_fit_to_lead(self, candidate: NodeId, request: RequestPreVote | RequestVote) -> bool:
        node = self._node
        return may_trust(node, candidate, request) and (
            node.log.is_up_to_date(request.last_log_index, request.last_log_term) or is_complete(node, request)
        )

    def _note_need(self, candidate: NodeId, request: RequestPreVote | RequestVote) -> None:
        """This node had to refuse its vote: perhaps since the candidate lacks what it has."""
        if may_trust(self._node, candidate, request) and not self._is_fit_to_lead(candidate, request):
            self._is_needed = True

    def _abdicate(self, reason: AbdicationReason) -> None:
        node, progress = self._node, self._replication.progress
        if reason is AbdicationReason.NEWER_TERM and node.transfer_target is not None:
            reason = AbdicationReason.TRANSFER
        silent = {peer: progress[peer].silent_ticks for peer in node.membership.all_voters if peer in progress}
        node.abdication = Abdication(node.current_term, reason, silent)

    def _begin(self, role: Role) -> None:
        if self._node.leader_id is not None:
            self._node.leader_silent_ticks = self.elapsed_ticks
        self._assume(role, None)
        self._votes.clear()
        self.elapsed_ticks = 0
        self._draw_timeout()

    def _assume(self, role: Role, leader_id: NodeId | None) -> None:
        # Reads were promised by a leader of one term; whatever changes of that takes the promise back.
        self._reads.refuse_all()
        self._replication.stop()
        self._node.role = role
        self._node.leader_id = leader_id
        self._node.transfer_target = None

    def _ask(self, request: RequestPreVote | RequestVote) -> None:
        node = self._node
        for voter in sorted(node.membership.all_voters - {node.node_id}):
            if isinstance(request, RequestPreVote):
                node.send(voter, request)
            else:
                # Not before this node's own vote is stored: else, restarted, it could vote for another in this term.
                node.send_after_stored(voter, request)

    def _draw_timeout(self) -> None:
        # Anew each time: two nodes whose timeouts agree must not agree for ever (§5.2, §9.3).
        shortest = self._node.limits.election_timeout_ticks
        self.timeout_ticks = shortest + self._random.randrange(shortest)
