"""The leader's side of replication: heartbeats, AppendEntries, their answers, and commitment.

Theory of operation
===================

A leader keeps one `Progress` per peer. Three things flow towards a peer, each for its own reason:

*Heartbeats* say "I lead this term" and nothing else. They come in numbered rounds, one every `heartbeat_ticks` and one
for each batch of reads (`reads`). They do not depend on any log or disk, so their answers say whether the peer is alive
(check-quorum) and that it knew of no newer leader when it answered (reads), and nothing about the log. They carry the
commit index, cut to what the peer has acknowledged, so that an idle follower learns of the last commit.

*AppendEntries* carry the log. While it is unknown where the peer's log agrees with ours (PROBE), there is one at a
time. Once one succeeded (REPLICATE) they are sent optimistically: next_index moves on at sending, up to the in-flight
window, and only successes move match_index. All sending happens in `send_appends`, once for each Ready, however many
calls of `propose` and `step` came before it: this is where batches come from.

*Inquiries* are AppendEntries without entries behind the last entry that was sent. Nothing here has a retransmission
timer; what was lost shows in one of three ways. The next AppendEntries does not fit, and is refused. Or the driver says
that it dropped something (`unreachable`). Or the peer answers heartbeats but said nothing of the log for a whole
interval: then an inquiry asks. Its answer is a success, once everything is stored (the peer was slow, or its
answers were lost), or a refusal that says where to go on. So a slow disk is never sent the same entries again.

A refusal leads back to PROBE, with the best guess that two logs allow. Both are sorted by term. The refusal names the
term T of the peer's entry at prev_log_index and the first index F of T there (§5.3, last part). Let L be our last index
whose term is at most T. Whatever we hold above L, up to prev_log_index, is newer than T and cannot match what the peer
has there, so the guess is at most L + 1. If our entry at L is of T as well, L + 1 it is. If not, we have nothing of T,
the peer's [F, prev_log_index] cannot match either, and the guess is the lower of L + 1 and F. Each refusal skips a
term's worth of entries on one side at least, and next_index falls with each of them, so probing ends.

*Commitment* asks `quorum.agreed` for the index that a majority has stored, where the leader itself counts with what its
own disk has acknowledged (thesis §10.2.1), which may be behind the others. Only an entry of the current term is
committed so, and what lies before it along with it (§5.4.2): an old entry on a majority can still be replaced.
"""

from raftd.consensus import quorum
from raftd.consensus.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply
from raftd.consensus.node import Node
from raftd.consensus.progress import Progress
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId
from raftd.errors import InvariantViolation


class Replication:
    """A leader's followers. Without any progress, and without effect, on a node that does not lead."""

    __slots__ = ("_elapsed_ticks", "_node", "progress", "round")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._elapsed_ticks = 0
        self.progress: dict[NodeId, Progress] = {}
        """Of each other member; empty on a node that does not lead."""
        self.round = 0
        """Heartbeat rounds begun in this term."""

    def lead(self) -> None:
        """This node has just won its term: announce it, and append an entry that may be committed in it (§8)."""
        node = self._node
        next_index = LogIndex(node.log.last_index + 1)
        self.progress = {peer: Progress(next_index) for peer in sorted(node.membership.members - {node.node_id})}
        self._elapsed_ticks = 0
        self.round = 0
        node.log.append([(next_index, node.current_term, EntryKind.NOOP, b"")])
        self.start_round()

    def stop(self) -> None:
        """This node does not lead any more."""
        self.progress = {}

    def tick(self) -> None:
        """One tick of a leader's time."""
        for progress in self.progress.values():
            progress.silent_ticks += 1
        self._elapsed_ticks += 1
        if self._elapsed_ticks >= self._node.limits.heartbeat_ticks:
            self._elapsed_ticks = 0
            for progress in self.progress.values():
                progress.begin_interval()
            self.start_round()

    def start_round(self) -> int:
        """Send a heartbeat to every peer; returns the number of the round."""
        node = self._node
        self.round += 1
        for peer, progress in self.progress.items():
            commit = min(node.commit_index, progress.match_index)
            node.send(peer, Heartbeat(node.current_term, node.node_id, commit, self.round))
        return self.round

    def hears_quorum(self) -> bool:
        """Whether a quorum, this node included, answered within an election timeout (thesis §6.2)."""
        node = self._node
        patience = node.limits.election_timeout_ticks
        heard = {peer for peer, progress in self.progress.items() if progress.silent_ticks < patience}
        return quorum.is_quorum(node.membership, heard | {node.node_id})

    def confirmed_round(self) -> int:
        """The latest heartbeat round that a quorum has answered: when it began, nobody else led (thesis §6.4)."""
        reached = {peer: progress.confirmed_round for peer, progress in self.progress.items()}
        reached[self._node.node_id] = self.round
        return quorum.agreed(self._node.membership, reached)

    def is_due(self) -> bool:
        """Whether `send_appends` has anything to send."""
        last_index, limits = self._node.log.last_index, self._node.limits
        return any(progress.inquiry_due or progress.may_send(last_index, limits) for progress in self.progress.values())

    def send_appends(self) -> None:
        """Send each peer what it lacks, as far as its window allows."""
        last_index, limits = self._node.log.last_index, self._node.limits
        for peer, progress in self.progress.items():
            while progress.may_send(last_index, limits):
                self._send_entries(peer, progress)
            if progress.inquiry_due:
                progress.inquiry_due = False
                self._send_append(peer, progress, ())

    def on_append_entries_reply(self, sender: NodeId, reply: AppendEntriesReply) -> None:
        """A peer has stored entries, or found that they do not fit; `reply` is of this term."""
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.silent_ticks = 0
        if not reply.success:
            # A refusal for its old term says nothing about the log, though it may come to be of the leader's own term.
            if reply.conflict_index:
                progress.refused(reply.match_index, self._next_index_to_try(reply))
        elif progress.accepted(reply.match_index) and reply.match_index > self._node.commit_index:
            self.advance_commit()

    def on_heartbeat_reply(self, sender: NodeId, reply: HeartbeatReply) -> None:
        """A peer is alive and follows; `reply` is of this term."""
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.silent_ticks = 0
        progress.confirmed_round = max(progress.confirmed_round, reply.round)
        progress.heartbeat_answered()

    def unreachable(self, peer: NodeId) -> None:
        """A message to `peer` was dropped on this side."""
        progress = self.progress.get(peer)
        if progress is not None:
            progress.unreachable()

    def advance_commit(self) -> None:
        """Commit what a quorum has stored, if it is of this term (§5.3, §5.4.2)."""
        node = self._node
        reached: dict[NodeId, int] = {peer: progress.match_index for peer, progress in self.progress.items()}
        reached[node.node_id] = node.storing.stored_index
        index = LogIndex(quorum.agreed(node.membership, reached))
        if index > node.commit_index and node.log.term_at(index) == node.current_term:
            node.commit_to(index)

    def _send_entries(self, peer: NodeId, progress: Progress) -> None:
        node = self._node
        low, end = progress.next_index, LogIndex(node.log.last_index + 1)
        high = low
        if low < end:
            high = node.log.bounded(
                low, end, entries_max=node.limits.append_entries_max, bytes_max=node.limits.append_bytes_max
            )
        self._send_append(peer, progress, node.log.entries(low, high))
        progress.sent(high, node.log.size_bytes(low, high))

    def _send_append(self, peer: NodeId, progress: Progress, entries: tuple[Entry, ...]) -> None:
        node = self._node
        prev_log_index = LogIndex(progress.next_index - 1)
        prev_log_term = node.log.term_at(prev_log_index)
        if prev_log_term is None:
            raise InvariantViolation(f"next_index {progress.next_index} of node {peer} is outside the log")
        message = AppendEntries(
            node.current_term, node.node_id, prev_log_index, prev_log_term, node.commit_index, entries
        )
        node.send(peer, message)

    def _next_index_to_try(self, refusal: AppendEntriesReply) -> LogIndex:
        if not refusal.conflict_term:
            return refusal.conflict_index  # The peer's log is too short: go on where it ends.
        log = self._node.log
        candidate = log.last_index_up_to_term(refusal.conflict_term)
        if log.term_at(candidate) == refusal.conflict_term:
            return LogIndex(candidate + 1)
        return min(LogIndex(candidate + 1), refusal.conflict_index)
