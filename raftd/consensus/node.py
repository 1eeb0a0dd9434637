"""What one node knows: Figure 2's State box, and what it has yet to say."""

from dataclasses import dataclass, field

from raftd.consensus.limits import Limits
from raftd.consensus.log import RaftLog
from raftd.consensus.membership import Membership
from raftd.consensus.messages import Message
from raftd.consensus.storing import Storing
from raftd.consensus.types import NO_INDEX, Entry, HardState, LogIndex, NodeId, Role, Term
from raftd.errors import InvariantViolation


@dataclass(slots=True)
class Node:
    """The state that election, replication and reads share, and the few ways to change it that must stay in step.

    Invariants: last_applied <= handed_index <= commit_index <= log.last_index; none of them ever goes down, and neither
    does current_term; voted_for changes at most once in a term.
    """

    node_id: NodeId
    limits: Limits
    membership: Membership
    log: RaftLog
    storing: Storing
    current_term: Term
    voted_for: NodeId | None
    role: Role = Role.FOLLOWER
    leader_id: NodeId | None = None
    """Who leads current_term, as far as this node has heard."""
    commit_index: LogIndex = NO_INDEX
    handed_index: LogIndex = NO_INDEX
    """Committed entries up to here were handed to the driver."""
    last_applied: LogIndex = NO_INDEX
    """The driver has applied entries up to here."""
    messages: list[tuple[NodeId, Message]] = field(default_factory=list)
    """(destination, message): for the next Ready, may leave at once."""
    messages_after_stored: list[tuple[NodeId, Message]] = field(default_factory=list)
    """(destination, message): for the next Ready, wait for the disk."""

    @property
    def is_voter(self) -> bool:
        """Whether this node may campaign."""
        return self.node_id in self.membership.all_voters

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

    def replace_suffix(self, first_removed: LogIndex) -> None:
        """Give up the entries from `first_removed` on, which conflict with the leader's (§5.3).

        Raises:
            InvariantViolation: one of them is committed.
        """
        if first_removed <= self.commit_index:
            raise InvariantViolation(f"truncate from {first_removed}, but {self.commit_index} is committed")
        self.log.truncate(first_removed)
        self.storing.truncated(first_removed)

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

    def hard_state(self) -> HardState:
        """What of this the disk must remember, besides the log."""
        return HardState(self.current_term, self.voted_for)
