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

*Holding back* is Nagle's rule (RFC 896) for entries: while an AppendEntries is unanswered, the next one waits until it
is worth its cost to everybody, which is the same for one entry as for a hundred. It leaves with the first of: an answer
that leaves nothing in flight; enough entries, or bytes of them; the next tick. So under load the batches grow with the
peer's own pace, a lone entry goes out at once, a long backlog fills the window as ever, and since a leader's ticks come
whatever else does, nothing waits for longer than one, lost answers or not.

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

*Snapshots* take the place of entries that the log does not hold any more (§7). A peer whose next entry is one of them
(SNAPSHOT) is sent the newest snapshot in chunks, one at a time, each when the one before was answered, so neither
heartbeats nor other peers wait behind it. The bytes are the driver's; here is only how far the peer is. When it has
installed the snapshot, entries follow.

*Lost disks*: a peer that has begun anew on an empty disk (`proof`) has forgotten in which terms it took part, and would
confirm, and commit with, a leader that stood still while it helped to elect another one. So as long as a peer that was
out of reach has not shown that it has its log, it confirms no rounds; and once it is found to have begun anew, or to
have nothing to show, neither its answers nor its silence count until an entry is committed without it that was appended
after that (an empty one, so that there is one). Had a leader of a newer term been elected with its help, one of those
who stored that entry would know of it; and could one still be, by a vote that the peer has forgotten and that is on its
way, it would take one of them too, whose log is ahead of that candidate's by then (§5.4.1). All the while no
AppendEntries tells the peer what is committed, or it might vouch for itself by what an old leader says. A leader that
needs every vote is spared the wait: nobody else can be elected without its own. What remains is a vote for a newer term
that was forgotten before this leader began to ask for its own, and elects somebody only after that.

What a peer can show is an entry of this leader's own term, which it has from this leader, or from a newer one along
with the newer term. What is older a new disk may have from elsewhere, from an even older leader or from a backup. So
one that was out of reach before it had confirmed anything of this term has nothing to show, whatever fits its log. That
begins when this node asks for votes: a voter's disk may be lost before its vote is counted. And one that becomes a peer
later was out of reach until then: a newer leader may have added it before.

A peer whose disk was set back, to an image of its machine perhaps, thinks that it is proven and cannot know better. Its
leader does: it was out of reach, and refuses what it had confirmed (`Progress.refused`). From there on it is treated as
one that begins anew. A leader that is elected meanwhile knows nothing of what it had, and cannot tell.

*Farewell*: a peer that a membership has removed is sent log and heartbeats for a while longer, so that it learns that
its removal is committed and stops by itself.

*Commitment* asks `quorum.agreed` for the index that a majority has stored, where the leader itself counts with what its
own disk has acknowledged (thesis §10.2.1), which may be behind the others. Only an entry of the current term is
committed so, and what lies before it along with it (§5.4.2): an old entry on a majority can still be replaced.
"""

from collections import deque
from dataclasses import dataclass

from raftd.consensus import quorum
from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshotReply,
)
from raftd.consensus.node import Node
from raftd.consensus.progress import Progress, ProgressState
from raftd.consensus.proof import needs_every_vote
from raftd.consensus.ready import SnapshotChunk
from raftd.consensus.types import NO_INDEX, Entry, EntryKind, LogIndex, NodeId, Role
from raftd.errors import InvariantViolation


@dataclass(slots=True)
class _Farewell:
    """A peer that is not a member any more, and shall learn of it."""

    index: LogIndex
    """Where the membership without it stands."""
    ticks_left: int
    """From the commit of that membership on; then it is not looked after any longer."""
    told_round: int = 0
    """The first heartbeat round that told it of the commit of `index`; 0: none yet."""


class Replication:
    """A leader's followers. Without any progress, and without effect, on a node that does not lead."""

    __slots__ = (
        "_away", "_elapsed_ticks", "_farewells", "_has_doubts", "_node", "_now_ticks", "_own_index", "_rounds_begun",
        "progress", "round",
    )  # fmt: skip

    def __init__(self, node: Node) -> None:
        self._node = node
        self._elapsed_ticks = 0
        self.progress: dict[NodeId, Progress] = {}
        """Of each other member, and of those that leave; empty on a node that does not lead."""
        self._farewells: dict[NodeId, _Farewell] = {}
        self._now_ticks = 0
        self._rounds_begun: deque[tuple[int, int]] = deque()
        """(round, ticks): the first heartbeat round of each of the last ticks."""
        self.round = 0
        """Heartbeat rounds begun in this term."""
        self._own_index = NO_INDEX
        """The first entry of this term."""
        self._has_doubts = False
        """Whether some peer's doubt may end with a commit."""
        self._away: set[NodeId] = set()
        """Who was out of reach while this node asked for votes the last time."""

    def ask_for_votes(self) -> None:
        """This node has just become a candidate: whoever may vote for it may also forget that, before it leads."""
        self._away.clear()

    def lead(self) -> None:
        """This node has just won its term: announce it, and append an entry that may be committed in it (§8)."""
        node = self._node
        next_index = self._own_index = LogIndex(node.log.last_index + 1)
        peers = sorted(node.membership.members - {node.node_id})
        self.progress = {peer: Progress(next_index, own_index=next_index) for peer in peers}
        for peer in self._away.intersection(peers):
            self.progress[peer].unreachable()
        self._farewells.clear()
        self._rounds_begun.clear()
        self._has_doubts = False
        self._elapsed_ticks = 0
        self.round = 0
        self._append_noop()
        self.start_round()

    def stop(self) -> None:
        """This node does not lead any more."""
        self.progress = {}

    def follow_membership(self) -> None:
        """A new membership is in force: who is new gets the log, and who is left out a farewell."""
        node = self._node
        members = node.membership.members - {node.node_id}
        for peer in sorted(members - self.progress.keys()):
            next_index = LogIndex(node.log.last_index + 1)
            self.progress[peer] = Progress(next_index, own_index=self._own_index, must_ask=True)
        patience = 2 * node.limits.election_timeout_ticks
        self._farewells = {
            peer: self._farewells.get(peer) or _Farewell(node.memberships.index, patience)
            for peer in self.progress
            if peer not in members
        }

    def tick(self, overdue_ticks: int) -> None:
        """One tick of a leader's time, and `overdue_ticks` more that are only counted."""
        self._now_ticks += 1 + overdue_ticks
        self._end_farewells()
        for progress in self.progress.values():
            progress.silent_ticks += 1
            progress.held_long = True
            if progress.is_doubted and not progress.doubted_index:
                self._begin_doubt(progress)
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
        if not self._rounds_begun or self._rounds_begun[-1][1] != self._now_ticks:
            self._rounds_begun.append((self.round, self._now_ticks))
        for peer, progress in self.progress.items():
            commit = min(node.commit_index, progress.confirmed_index)
            node.send(peer, Heartbeat(node.current_term, node.node_id, commit, self.round))
        for peer, farewell in self._farewells.items():
            if (
                not farewell.told_round
                and min(node.commit_index, self.progress[peer].confirmed_index) >= farewell.index
            ):
                farewell.told_round = self.round
        return self.round

    def heard(self) -> set[NodeId]:
        """Whose answers within an election timeout count, this node's own included."""
        patience = self._node.limits.election_timeout_ticks
        heard = {
            peer
            for peer, progress in self.progress.items()
            if progress.silent_ticks < patience and not progress.is_doubted
        }
        return heard | {self._node.node_id}

    def hears_quorum(self) -> bool:
        """Whether a quorum, this node included, answered within an election timeout (thesis §6.2)."""
        return quorum.is_quorum(self._node.membership, self.heard())

    def confirmed_round(self) -> int:
        """The latest heartbeat round that a quorum has answered: when it began, nobody else led (thesis §6.4)."""
        reached = {peer: progress.counted_round for peer, progress in self.progress.items()}
        reached[self._node.node_id] = self.round
        return quorum.agreed(self._node.membership, reached)

    def ticks_since_quorum(self) -> int | None:
        """How long ago a round began that a quorum has answered; None if that is too long ago to be known."""
        confirmed = self.confirmed_round()
        latest = None
        for number, begun_ticks in self._rounds_begun:
            if number > confirmed:
                break
            latest = begun_ticks
        return None if latest is None else self._now_ticks - latest

    def is_close(self, peer: NodeId) -> bool:
        """Whether `peer` answers and lacks so little of the log that it can help to commit what comes next.

        A short log lacks little even if nothing of it is there, and who has said nothing yet has not been silent for
        long: so it must have stored something of this leader's own.
        """
        progress, limits = self.progress.get(peer), self._node.limits
        return (
            progress is not None
            and not progress.is_doubted
            and progress.silent_ticks < limits.election_timeout_ticks
            and progress.match_index + limits.promotion_lag_entries_max >= self._node.log.last_index
            and progress.match_index >= max(progress.own_index, self._node.log.base_index)
        )

    def is_due(self) -> bool:
        """Whether `send_appends` has anything to send."""
        return any(
            progress.inquiry_due or self._may_send(progress) or self._needs_chunk(progress)
            for progress in self.progress.values()
        )

    def send_appends(self) -> None:
        """Send each peer what it lacks, as far as its window allows and it is worth it."""
        for peer, progress in self.progress.items():
            if self._needs_chunk(progress):
                self._send_chunk(peer, progress)
            while self._may_send(progress):
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
            is_empty = reply.conflict_index == 1 and not reply.conflict_term
            if not (is_empty and progress.has_no_log()) and reply.conflict_index:
                progress.refused(reply.match_index, self._next_index_to_try(reply))
        elif progress.accepted(reply.match_index) and reply.match_index > self._node.commit_index:
            self.advance_commit()
        self._after_answer(progress)

    def on_install_snapshot_reply(self, sender: NodeId, reply: InstallSnapshotReply) -> None:
        """A peer has a chunk, or the whole snapshot; `reply` is of this term."""
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.silent_ticks = 0
        if not reply.installed:
            progress.chunk_answered(reply.last_included_index, reply.next_offset)
            return
        if progress.installed(reply.last_included_index) and reply.last_included_index > self._node.commit_index:
            self.advance_commit()
        self._after_answer(progress)

    def snapshot_unavailable(self, peer: NodeId) -> None:
        """The snapshot that `peer` is sent is on the disk no more: go on with the newest, from its beginning."""
        progress, newest = self.progress.get(peer), self._node.snapshot
        if progress is None or newest is None or progress.state is not ProgressState.SNAPSHOT:
            return
        if newest.last_included_index == progress.next_index - 1:
            progress.unreachable()  # There is no other one to try.
        else:
            progress.begin_snapshot(newest.last_included_index, newest.last_included_term)

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
        elif self._node.role is Role.CANDIDATE:
            self._away.add(peer)

    def advance_commit(self) -> None:
        """Commit what a quorum has stored, if it is of this term (§5.3, §5.4.2)."""
        node = self._node
        reached: dict[NodeId, int] = {peer: progress.counted_index for peer, progress in self.progress.items()}
        reached[node.node_id] = node.storing.stored_index
        index = LogIndex(quorum.agreed(node.membership, reached))
        if index > node.commit_index and node.log.term_at(index) == node.current_term:
            is_first = not node.has_committed_in_term
            node.commit_to(index)
            if is_first:
                # In an idle cluster nothing else would follow that commit, and new nodes stay unproven (`proof`).
                for progress in self.progress.values():
                    progress.tell_commit()
            if self._has_doubts:
                self._end_doubts()

    def _may_send(self, progress: Progress) -> bool:
        """Whether an AppendEntries can go out now, and is worth it."""
        log, limits = self._node.log, self._node.limits
        if progress.next_index <= log.base_index or not progress.may_send(log.last_index, limits):
            return False  # Where the log begins only behind what the peer lacks, it is due a snapshot.
        if not progress.in_flight:
            return True
        end = LogIndex(log.last_index + 1)
        return not progress.holds_back(end - progress.next_index, log.size_bytes(progress.next_index, end), limits)

    def _needs_chunk(self, progress: Progress) -> bool:
        if progress.state is ProgressState.SNAPSHOT:
            return not progress.is_paused
        is_gone = progress.next_index <= self._node.log.base_index
        return is_gone and (not progress.is_paused or progress.inquiry_due)

    def _send_chunk(self, peer: NodeId, progress: Progress) -> None:
        node = self._node
        if progress.state is not ProgressState.SNAPSHOT:
            if node.snapshot is None:
                raise InvariantViolation(f"entries up to {node.log.base_index} are gone, and there is no snapshot")
            progress.begin_snapshot(node.snapshot.last_included_index, node.snapshot.last_included_term)
        last_included_index = LogIndex(progress.next_index - 1)
        node.snapshot_chunks.append(
            SnapshotChunk(
                peer, node.current_term, last_included_index, progress.snapshot_term, progress.snapshot_offset
            )
        )
        progress.chunk_sent()

    def _after_answer(self, progress: Progress) -> None:
        # Entries take over as soon as the log has those that the peer lacks; it may have got others by other ways.
        if progress.state is ProgressState.SNAPSHOT and self._node.log.base_index <= progress.match_index:
            progress.end_snapshot()
        if progress.is_doubted and not progress.doubted_index:
            self._begin_doubt(progress)

    def _begin_doubt(self, progress: Progress) -> None:
        """Append what ends the doubt once others have stored it, if it takes others."""
        if needs_every_vote(self._node):
            progress.trust()
            self.advance_commit()
            return
        self._has_doubts = True
        if self._node.transfer_target is None:  # Else with a later tick: whom is handed over to has the whole log.
            progress.doubted_index = self._append_noop()

    def _end_doubts(self) -> None:
        """Something was committed: count those again in whose doubt that was appended."""
        doubted = [progress for progress in self.progress.values() if progress.is_doubted]
        ended = [one for one in doubted if NO_INDEX < one.doubted_index <= self._node.commit_index]
        self._has_doubts = len(ended) < len(doubted)
        for progress in ended:
            progress.trust()
        if ended:
            self.advance_commit()

    def _append_noop(self) -> LogIndex:
        node = self._node
        index = LogIndex(node.log.last_index + 1)
        node.log.append([(index, node.current_term, EntryKind.NOOP, b"")])
        return index

    def _end_farewells(self) -> None:
        for peer, farewell in list(self._farewells.items()):
            # Before that there is nothing to tell, however slow the disks are.
            if self._node.commit_index >= farewell.index:
                farewell.ticks_left -= 1
            is_told = farewell.told_round and self.progress[peer].confirmed_round >= farewell.told_round
            if is_told or farewell.ticks_left <= 0:
                del self._farewells[peer], self.progress[peer]
        patience = self._node.limits.election_timeout_ticks
        while self._rounds_begun and self._now_ticks - self._rounds_begun[0][1] >= patience:
            self._rounds_begun.popleft()

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
        commit_index = NO_INDEX if progress.is_doubtful else node.commit_index
        message = AppendEntries(node.current_term, node.node_id, prev_log_index, prev_log_term, commit_index, entries)
        node.send(peer, message)

    def _next_index_to_try(self, refusal: AppendEntriesReply) -> LogIndex:
        if not refusal.conflict_term:
            return refusal.conflict_index  # The peer's log is too short: go on where it ends.
        log = self._node.log
        candidate = log.last_index_up_to_term(refusal.conflict_term)
        if log.term_at(candidate) == refusal.conflict_term:
            return LogIndex(candidate + 1)
        return min(LogIndex(candidate + 1), refusal.conflict_index)
