"""The front door: one node of Raft, driven by calls and giving its work away as `Ready`.

Theory of operation
===================

A `Raft` is a value that changes with each call and does nothing else. The driver tells it that time passes (`tick`),
what came by the network (`step`), what clients want (`propose`, `request_read`), and what the disk and the state
machine have done (`stored`, `applied`). Then, once for all of that, it asks what is to be done (`ready`). Several calls
before one `ready` are how batches come about; nothing in here waits.

The parts
---------

`Node` holds Figure 2's state. Components act on it, each with its own bookkeeping, and know each other one way only:
`Election` (roles, terms, votes) makes `Replication` (the leader's view of its peers) and `Reads` (ReadIndex, by `Lease`
without asking) begin and stop; `Reads` asks `Replication` for heartbeat rounds; `Follower` and `SnapshotReceiver` are
the other end of `Replication`. `Transfer` hands leadership over, and `Reconfiguration` changes the membership, for
which it may need a transfer. `Dispatch` takes a message, settles the terms, and hands it to the one component that it
is for. This class puts them together; `RaftView` is the part of it that only looks.

The disk is behind
------------------

State in memory runs ahead of the disk. Why is that safe? Take the moment at which a Ready was stored: the disk is then
an exact picture of what memory was when that Ready was made. Messages that promise something (votes granted or asked
for, entries accepted) leave only once the Ready that they came with is stored. So to the others this node is one that
stores at once and whose messages take a little longer; and if it crashes, it is one that crashed at the last picture,
with all later messages lost. Both are things that Raft is made for.

That a promise may have been overtaken in memory when it leaves, as when a success leaves for an old leader whose
entries are replaced by now, is nothing new either: it might as well have been on the network for that long.

What leaves at once must be such that a crash cannot make it untrue: refusals, heartbeats and their answers, and a
leader's entries, which the leader itself counts as stored only when they are (`Storing`). An answer to a heartbeat says
"when I wrote this, I knew of no newer term", and forgetting a term later does not change that.
"""

from collections.abc import Iterable, Sequence
from itertools import count, repeat

from raftd.consensus.abdication import AbdicationReason
from raftd.consensus.dispatch import Dispatch
from raftd.consensus.election import Election
from raftd.consensus.follower import Follower
from raftd.consensus.lease import Lease
from raftd.consensus.limits import Limits
from raftd.consensus.membership import Membership, MembershipChange, SnapshotMetadata
from raftd.consensus.messages import Message
from raftd.consensus.proof import try_to_prove
from raftd.consensus.reads import Reads
from raftd.consensus.ready import Ready
from raftd.consensus.reconfiguration import Reconfiguration
from raftd.consensus.recovery import recover
from raftd.consensus.replication import Replication
from raftd.consensus.snapshot_receiver import SnapshotReceiver
from raftd.consensus.transfer import Transfer
from raftd.consensus.types import (
    NO_INDEX,
    NO_TERM,
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    NodeId,
    ProposalRefused,
    Random,
    ReadId,
    RefusalReason,
    Role,
    Term,
)
from raftd.consensus.view import RaftView
from raftd.errors import InvariantViolation, LocalProtocolError


class Raft(RaftView):
    """One node's consensus. Every method but `step` is for the driver alone; none may be called from within another."""

    __slots__ = ("_dispatch", "_reads", "_receiver", "_reconfiguration", "_transfer")

    def __init__(
        self,
        *,
        node_id: NodeId,
        membership: Membership,
        hard_state: HardState,
        entries: Iterable[Entry],
        random: Random,
        limits: Limits | None = None,
        snapshot: SnapshotMetadata | None = None,
        unproven: bool = False,
    ) -> None:
        """A node as its disk remembers it; a new one has HardState(0, None) and no entries.

        Args:
            node_id: Who this is.
            membership: What the cluster began with, the same on all nodes that began it; `NO_MEMBERSHIP` on a node that
                is to be added to it. Of no effect where the snapshot has one.
            hard_state: As stored.
            entries: The log as stored; may begin before the end of the snapshot (`recovery`).
            random: Where timeouts come from.
            limits: Bounds and timeouts.
            snapshot: The one that the state machine was loaded from.
            unproven: Whether the disk is new, and has not been found to be `is_proven` since (`proof`).

        Raises:
            InvariantViolation: what was recovered is not a state that a node can have left.
        """
        limits = limits if limits is not None else Limits()
        node = recover(
            node_id=node_id,
            limits=limits,
            bootstrap=membership,
            snapshot=snapshot,
            hard_state=hard_state,
            entries=entries,
            unproven=unproven,
        )
        replication = Replication(node)
        self._transfer = Transfer(node, replication)
        # At random: an answer to a read of this process's previous life must not confirm one of this life.
        first_read_id = ReadId(random.randrange(1 << 62))
        self._reads = Reads(node, replication, Lease(node, replication, self._transfer), first_read_id)
        super().__init__(node, Election(node, random, replication, self._reads), replication)
        self._reconfiguration = Reconfiguration(node, replication, self._transfer)
        self._receiver = SnapshotReceiver(node)
        self._dispatch = Dispatch(
            node=node,
            election=self._election,
            replication=replication,
            follower=Follower(node),
            receiver=self._receiver,
            reads=self._reads,
        )

    def tick(self, overdue_ticks: int = 0) -> None:
        """One tick of time has passed, and `overdue_ticks` more that are not made up for; only leases count those."""
        if self._node.role is not Role.LEADER:
            self._reads.tick()
            self._election.tick()
            return
        self._replication.tick(overdue_ticks)
        self._transfer.tick()
        self._reconfiguration.tick()
        # What confirms them may be no answer to a heartbeat: fewer voters, or a peer that counts again.
        self._reads.confirm()
        if not self._replication.hears_quorum():
            # It cannot commit anything, and its heartbeats would only keep others from electing one who can.
            self._step_down(AbdicationReason.NO_QUORUM)

    def step(self, sender: NodeId, message: Message) -> None:
        """Take in a message that came by the authenticated link from `sender`.

        Raises:
            RemoteProtocolError: no correct peer could have sent this; nothing has changed.
        """
        self._dispatch.step(sender, message)

    def propose(self, commands: Sequence[bytes]) -> LogIndex:
        """Append `commands` to the log, one entry each; returns the index of the first.

        They are committed when they come back in `Ready.committed` in this term; if another leader's entries come at
        these indexes instead, they were lost.

        Raises:
            ProposalRefused: this node does not lead, or hands over; nothing was appended.
            LocalProtocolError: there are no commands.
        """
        node = self._node
        if node.role is not Role.LEADER:
            raise ProposalRefused(RefusalReason.NOT_LEADER, node.leader_id)
        if node.transfer_target is not None:
            raise ProposalRefused(RefusalReason.TRANSFERRING, node.leader_id)
        if not commands:
            raise LocalProtocolError("propose needs at least one command")
        first, term, kind = LogIndex(node.log.last_index + 1), node.current_term, EntryKind.COMMAND
        # Made in C, since there is one for each write.
        entries = zip(count(first), repeat(term), repeat(kind), commands, strict=False)
        node.log.append(list(entries))  # type: ignore[arg-type]  # LogIndex is int
        return first

    def propose_membership(self, change: MembershipChange) -> LogIndex:
        """Change who is a member; returns the index at which that is in the log.

        Once that index is committed the change is decided. A joint membership, and a learner that is joining, go on by
        themselves from there, over changes of the leader too. What is so already changes nothing, and the index of the
        membership in force is returned.

        Raises:
            ProposalRefused: this node does not lead, or the change cannot be, or not now; nothing was changed.
        """
        return self._reconfiguration.propose(change)

    def transfer_leadership(self, target: NodeId | None = None) -> None:
        """Hand over to `target`, or to the voter that is best prepared; to hand over to oneself changes nothing.

        Until that is done, or an election timeout later given up, this node takes no proposals.

        Raises:
            ProposalRefused: this node does not lead, or the target is no voter, or does not answer.
        """
        self._transfer.begin(target)

    def request_read(self, overdue_ticks: int = 0, *, by_quorum: bool = False) -> ReadId:
        """Ask from which index on a linearizable read may be answered; the outcome comes in a `Ready`.

        Args:
            overdue_ticks: How many ticks, rounded up, the clock is ahead of the last one: only lease reads need it.
            by_quorum: Have a quorum confirm it, lease reads or not: it must not rest on what clocks show.

        Raises:
            ProposalRefused: no leader is known, or too many reads wait.
        """
        return self._reads.request(overdue_ticks, by_quorum=by_quorum)

    @property
    def waiting_reads(self) -> int:
        """Batches of reads that wait for this leader to be confirmed; none on a node that does not lead."""
        return self._reads.waiting

    @property
    def has_ready(self) -> bool:
        """Whether `ready` would give anything."""
        node = self._node
        return bool(
            node.messages
            or node.messages_after_stored
            or node.snapshot_chunks
            or node.has_snapshot_data
            or node.handed_index < node.commit_index
            or self._reads.has_outcome
            or node.storing.is_due(node.current_term, node.voted_for, node.log.last_index)
            or (node.role is Role.LEADER and self._leader_has_work())
        )

    def ready(self) -> Ready:
        """Take the work that there is; what is returned counts as under way."""
        node = self._node
        if node.role is Role.LEADER:
            self._lead()
        try_to_prove(node)
        messages, messages_after_stored = node.take_messages()
        hard_state, log_base, entries = node.storing.hand_out(node.hard_state(), node.log)
        must_store = hard_state is not None or log_base is not None or bool(entries)
        confirmed_reads, refused_reads = self._reads.take_outcomes()
        snapshot_chunks, snapshot_data = node.take_snapshot_work()
        return Ready(
            hard_state=hard_state,
            log_base=log_base,
            entries=entries,
            stored_term=node.current_term if must_store else NO_TERM,
            stored_index=node.log.last_index if must_store else NO_INDEX,
            messages=messages,
            messages_after_stored=messages_after_stored,
            committed=node.take_committed(),
            confirmed_reads=confirmed_reads,
            refused_reads=refused_reads,
            snapshot_chunks=snapshot_chunks,
            snapshot_data=snapshot_data,
        )

    def stored(self, term: Term, index: LogIndex) -> None:
        """The oldest unacknowledged Ready with `must_store`, which is the one that says (term, index), is on disk.

        Raises:
            InvariantViolation: that Ready is named otherwise, or there is none.
        """
        self._node.storing.acknowledge(term, index)
        self._election.on_stored()
        if self._node.role is Role.LEADER:
            self._replication.advance_commit()
        try_to_prove(self._node)

    def applied(self, index: LogIndex) -> None:
        """The state machine has applied every entry up to `index`.

        Raises:
            InvariantViolation: that goes back, or ahead of what `Ready.committed` has handed out.
        """
        node = self._node
        if not node.last_applied <= index <= node.handed_index:
            raise InvariantViolation(f"applied {index}, not in [{node.last_applied}, {node.handed_index}]")
        node.last_applied = index

    def unreachable(self, peer: NodeId) -> None:
        """A message to `peer` was dropped, or its link is down: send it no entries until it answers a heartbeat."""
        self._replication.unreachable(peer)

    def campaign(self) -> None:
        """Begin an election now, by a pre-vote, as if the timer had run out; nothing where it may not lead."""
        self._election.campaign()

    def disk_stalled(self, ticks: int) -> None:
        """The disk has not stored anything for `ticks`, though it had to: to be told again with each tick.

        A leader whose disk makes no progress for an election timeout hands over; if that takes as long again, or is not
        possible, it steps down.
        """
        patience = self._node.limits.election_timeout_ticks
        if self._node.role is not Role.LEADER or ticks < patience:
            return
        if ticks >= 2 * patience:
            self._step_down(AbdicationReason.DISK)
        elif self._node.transfer_target is None:
            try:
                self._transfer.begin(None)
            except ProposalRefused:
                self._step_down(AbdicationReason.DISK)

    # Snapshots.

    def snapshot_metadata(self, index: LogIndex) -> SnapshotMetadata:
        """What a snapshot of the state machine as of `index` has to carry.

        Raises:
            LocalProtocolError: `index` is not applied, or its term is not known any more; or this node was not told of
                any membership up to there: it is being added, and has to catch up before its snapshots are of use.
        """
        node = self._node
        term, membership = node.log.term_at(index), node.memberships.at(index)
        if index > node.last_applied or term is None:
            raise LocalProtocolError(f"snapshot at {index}, of ({node.log.base_index}, {node.last_applied}]")
        if not membership.voters:
            raise LocalProtocolError(f"snapshot at {index}, where the membership is not known yet")
        return SnapshotMetadata(index, term, membership)

    def snapshot_available(self, snapshot: SnapshotMetadata) -> None:
        """A snapshot that this node made is on its disk; the newest one is what lagging peers are sent."""
        node = self._node
        if node.snapshot is None or snapshot.last_included_index > node.snapshot.last_included_index:
            node.snapshot = snapshot

    def compact(self, index: LogIndex) -> None:
        """Drop the log in memory up to `index`; an index below the snapshot's keeps a tail for slow peers.

        Raises:
            InvariantViolation: what would be dropped is not applied, or in no snapshot on the disk.
        """
        self._node.compact(index)

    def snapshot_unavailable(self, peer: NodeId) -> None:
        """The snapshot of which a chunk was to be sent to `peer` is not there any more: it is sent the newest."""
        self._replication.snapshot_unavailable(peer)

    def snapshot_received(self, last_included_index: LogIndex, next_offset: int) -> None:
        """The chunk of `Ready.snapshot_data` is taken in, and the file `next_offset` bytes long.

        0: it is thrown away, because what was received is not a snapshot; the leader sends it again.

        Raises:
            InvariantViolation: no chunk of that snapshot was to be taken in.
        """
        self._receiver.received(last_included_index, next_offset)

    def snapshot_installed(self, snapshot: SnapshotMetadata) -> bool:
        """The snapshot whose last chunk `Ready.snapshot_data` had is verified, on disk, and loaded.

        Returns:
            True: it takes the place of the state machine now, which is thereby applied up to its index. False: this
            node has committed as much by entries meanwhile; what was loaded is of no use.

        Raises:
            InvariantViolation: no such snapshot was to be installed.
        """
        return self._receiver.installed(snapshot)

    # A leader's turn.

    def _leader_has_work(self) -> bool:
        return (
            self._reads.round_due or self._transfer.is_due or self._reconfiguration.is_due or self._replication.is_due()
        )

    def _lead(self) -> None:
        if self._reconfiguration.is_due:
            if self._reconfiguration.has_left:
                self._step_down(AbdicationReason.REMOVED)
                return
            self._reconfiguration.advance()
        if self._transfer.is_due:
            self._transfer.tell()
        if self._reads.round_due:
            self._reads.start_round()
        self._replication.send_appends()

    def _step_down(self, reason: AbdicationReason) -> None:
        self._election.become_follower(self._node.current_term, None, reason)
