"""What one node knows: Figure 2's State box, and what it has yet to say."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from raftd.consensus.abdication import Abdication
from raftd.consensus.limits import Limits
from raftd.consensus.log import RaftLog
from raftd.consensus.membership import Membership, SnapshotMetadata
from raftd.consensus.memberships import Memberships
from raftd.consensus.messages import InstallSnapshot, Message
from raftd.consensus.ready import SnapshotChunk
from raftd.consensus.storing import Storing
from raftd.consensus.types import NO_INDEX, NO_TERM, Entry, HardState, LogIndex, NodeId, Role, Term
from raftd.errors import InvariantViolation


@dataclass(slots=True)
class Node:
    """The state that election, replication and reads share, and the few ways to change it that must stay in step.

    Invariants: log.base_index <= last_applied <= handed_index <= commit_index <= log.last_index; none but the last ever
    goes down, and neither does current_term; voted_for changes at most once in a term; there is a snapshot that reaches
    the base at least; `memberships` is that of log and base.
    """

    node_id: NodeId
    limits: Limits
    memberships: Memberships
    log: RaftLog
    storing: Storing
    current_term: Term
    voted_for: NodeId | None
    founders: frozenset[NodeId] = frozenset()
    """Who votes as the cluster begins; nobody on a node that is to be added to it."""
    unproven: bool = False
    """Whether this node's disk is new and has not caught up with the cluster yet (`proof`)."""
    proof_target: tuple[Term, LogIndex] = (NO_TERM, NO_INDEX)
    """(term, index): an unproven node is proven when it has stored this, if the entry there is of that term."""
    role: Role = Role.FOLLOWER
    leader_id: NodeId | None = None
    """Who leads current_term, as far as this node has heard."""
    transfer_target: NodeId | None = None
    """To whom this leader hands over; it takes no proposals meanwhile (thesis §3.10)."""
    abdication: Abdication | None = None
    """How this node's latest leadership ended; None: it never led, or leads for the first time."""
    leader_silent_ticks: int = 0
    """For how long the leader that this node gave up last had been silent then."""
    snapshot: SnapshotMetadata | None = None
    """The newest snapshot that this node has on its disk."""
    commit_index: LogIndex = NO_INDEX
    handed_index: LogIndex = NO_INDEX
    """Committed entries up to here were handed to the driver."""
    last_applied: LogIndex = NO_INDEX
    """The driver has applied entries up to here."""
    messages: list[tuple[NodeId, Message]] = field(default_factory=list)
    """(destination, message): for the next Ready, may leave at once."""
    messages_after_stored: list[tuple[NodeId, Message]] = field(default_factory=list)
    """(destination, message): for the next Ready, wait for the disk."""
    snapshot_chunks: list[SnapshotChunk] = field(default_factory=list)
    """For the next Ready: to be read and sent."""
    snapshot_data: list[tuple[NodeId, InstallSnapshot]] = field(default_factory=list)
    """(leader, chunk): for the next Ready, to be taken in."""

    @property
    def membership(self) -> Membership:
        """The membership in force."""
        return self.memberships.current

    @property
    def is_voter(self) -> bool:
        """Whether this node may campaign."""
        return self.memberships.may_campaign(self.commit_index)

    @property
    def has_committed_in_term(self) -> bool:
        """Whether the commit index is known to be the cluster's: an entry of this term is committed (§8)."""
        return self.log.term_at(self.commit_index) == self.current_term

    def send(self, peer: NodeId, message: Message) -> None:
        """Say something that a crash cannot make untrue."""
        self.messages.append((peer, message))

    def send_after_stored(self, peer: NodeId, message: Message) -> None:
        """Say something that the disk must remember first."""
        self.messages_after_stored.append((peer, message))

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries behind the log's last one; a membership among them is in force from now on (thesis §4.1)."""
        self.log.append(entries)
        self.memberships.append(entries)

    def replace_suffix(self, first_removed: LogIndex) -> None:
        """Give up the entries from `first_removed` on, which conflict with the leader's (§5.3).

        Raises:
            InvariantViolation: one of them is committed.
        """
        if first_removed <= self.commit_index:
            raise InvariantViolation(f"truncate from {first_removed}, but {self.commit_index} is committed")
        self.log.truncate(first_removed)
        self.memberships.truncate(first_removed)
        self.storing.truncated(first_removed)

    def compact(self, index: LogIndex) -> None:
        """Give up the entries up to `index`, which are applied and in a snapshot on disk (§7).

        Raises:
            InvariantViolation: they are not.
        """
        reached = NO_INDEX if self.snapshot is None else self.snapshot.last_included_index
        if index > min(self.last_applied, reached):
            raise InvariantViolation(f"compact up to {index}, applied {self.last_applied}, in a snapshot {reached}")
        if index > self.log.base_index:
            self.log.compact(index)
            self.memberships.compact(index)

    def install(self, snapshot: SnapshotMetadata) -> bool:
        """Let a snapshot that is on disk and loaded stand for the log up to its end (Figure 13, steps 6 to 8).

        Returns whether it does: not if this node has committed as much by entries meanwhile.
        """
        index, term = snapshot.last_included_index, snapshot.last_included_term
        if index <= self.commit_index:
            return False
        if self.log.term_at(index) == term:
            self.log.compact(index)
            self.memberships.compact(index)
            if self.storing.handed_index < index:
                self.storing.reset(index, term)
        else:
            # Whatever the log has conflicts with what is committed at `index`, or does not reach it: all of it goes.
            self.log.reset(index, term)
            self.memberships.reset(index, snapshot.membership, self.commit_index)
            self.storing.reset(index, term)
        self.snapshot = snapshot
        self.commit_index = self.handed_index = self.last_applied = index
        return True

    def commit_to(self, index: LogIndex) -> None:
        """Move the commit index forward; an index at or below it is old news."""
        if index <= self.commit_index:
            return
        if index > self.log.last_index:
            raise InvariantViolation(f"commit {index}, but the log ends at {self.log.last_index}")
        self.commit_index = index

    def take_committed(self) -> tuple[Entry, ...]:
        """The next committed entries to apply, as many as one Ready may carry."""
        if self.handed_index == self.commit_index:
            return ()
        low = LogIndex(self.handed_index + 1)
        high = self.log.bounded(
            low,
            LogIndex(self.commit_index + 1),
            entries_max=self.limits.committed_entries_max,
            bytes_max=self.limits.committed_bytes_max,
        )
        self.handed_index = LogIndex(high - 1)
        return self.log.entries(low, high)

    def take_messages(self) -> tuple[tuple[tuple[NodeId, Message], ...], tuple[tuple[NodeId, Message], ...]]:
        """(messages, messages_after_stored) that wait; they count as said."""
        taken = tuple(self.messages), tuple(self.messages_after_stored)
        self.messages.clear()
        self.messages_after_stored.clear()
        return taken

    @property
    def has_snapshot_data(self) -> bool:
        """Whether a chunk waits that may be taken in: not before the disk knows of the term in which it came.

        Or a crash could leave the snapshot without the term, in which this node may have helped to elect a leader; one
        of an older term would find a log that fits its own, and commit with it (`proof`).
        """
        return bool(self.snapshot_data) and self.storing.stored_hard_state.current_term == self.current_term

    def take_snapshot_work(self) -> tuple[tuple[SnapshotChunk, ...], tuple[tuple[NodeId, InstallSnapshot], ...]]:
        """(chunks to send, chunks to take in) that wait and are not to wait longer; they count as under way."""
        data = tuple(self.snapshot_data) if self.has_snapshot_data else ()
        taken = tuple(self.snapshot_chunks), data
        self.snapshot_chunks.clear()
        if data:
            self.snapshot_data.clear()
        return taken

    def hard_state(self) -> HardState:
        """What of this the disk must remember, besides the log."""
        return HardState(self.current_term, self.voted_for)
