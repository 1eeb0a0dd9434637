"""What can be seen of a node's consensus without changing it."""

from collections.abc import Mapping
from types import MappingProxyType

from raftd.consensus import quorum
from raftd.consensus.abdication import Abdication
from raftd.consensus.election import Election
from raftd.consensus.membership import Membership, SnapshotMetadata
from raftd.consensus.node import Node
from raftd.consensus.progress import Progress
from raftd.consensus.replication import Replication
from raftd.consensus.types import Entry, LogIndex, NodeId, Role, Term


class RaftView:
    """Reads a node; `Raft` is one that can also be driven. Who only reports takes this."""

    __slots__ = ("_election", "_node", "_replication")

    def __init__(self, node: Node, election: Election, replication: Replication) -> None:
        self._node = node
        self._election = election
        self._replication = replication

    @property
    def node_id(self) -> NodeId:
        """Which node this is."""
        return self._node.node_id

    @property
    def membership(self) -> Membership:
        """Who votes, as of the last membership in the log."""
        return self._node.membership

    @property
    def role(self) -> Role:
        """What this node is now."""
        return self._node.role

    @property
    def current_term(self) -> Term:
        """The latest term this node has seen."""
        return self._node.current_term

    @property
    def voted_for(self) -> NodeId | None:
        """Who has this node's vote in current_term."""
        return self._node.voted_for

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads current_term, as far as this node has heard."""
        return self._node.leader_id

    @property
    def commit_index(self) -> LogIndex:
        """Entries up to here are known to be committed."""
        return self._node.commit_index

    @property
    def last_applied(self) -> LogIndex:
        """Entries up to here were reported as applied."""
        return self._node.last_applied

    @property
    def last_index(self) -> LogIndex:
        """Where the log ends in memory."""
        return self._node.log.last_index

    @property
    def stored_index(self) -> LogIndex:
        """The log's entries up to here are known to be on this node's disk."""
        return self._node.storing.stored_index

    @property
    def election_elapsed_ticks(self) -> int:
        """Ticks since the leader was heard, a vote was granted or an election began; 0 on a leader."""
        return self._election.elapsed_ticks

    @property
    def election_timeout_ticks(self) -> int:
        """At this many elapsed ticks this node campaigns: the random time drawn last, in ticks."""
        return self._election.timeout_ticks

    @property
    def election_timeout_ticks_min(self) -> int:
        """The least that may be drawn: for so long a leader is silent at least when this node campaigns by itself."""
        return self._node.limits.election_timeout_ticks

    @property
    def base_index(self) -> LogIndex:
        """The log in memory begins behind this index."""
        return self._node.log.base_index

    def membership_at(self, index: LogIndex) -> Membership:
        """The membership that was in force when the log ended at `index`, which is not before the base."""
        return self._node.memberships.at(index)

    def size_bytes(self, low: LogIndex, high: LogIndex) -> int:
        """What the entries of [low, high), all of which the log in memory must hold, take in a log record or frame."""
        return self._node.log.size_bytes(low, high)

    @property
    def membership_index(self) -> LogIndex:
        """Where the membership in force stands in the log; 0: nobody but the bootstrap has said it."""
        return self._node.memberships.index

    @property
    def is_removed(self) -> bool:
        """Whether this node was a member and, by a committed membership, is none any more: its work is done."""
        return self._node.memberships.has_removed_me(self._node.commit_index)

    @property
    def is_proven(self) -> bool:
        """Whether this node's disk has held everything that was committed at some time; once so, it stays so."""
        return not self._node.unproven

    @property
    def transfer_target(self) -> NodeId | None:
        """To whom this leader is handing over; it takes no proposals meanwhile."""
        return self._node.transfer_target

    @property
    def snapshot(self) -> SnapshotMetadata | None:
        """The newest snapshot that this node is known to have on its disk."""
        return self._node.snapshot

    @property
    def abdication(self) -> Abdication | None:
        """How this node's latest leadership ended; None: it never led, or leads for the first time."""
        return self._node.abdication

    @property
    def leader_silent_ticks(self) -> int:
        """For how many ticks the leader that this node gave up last had been silent then."""
        return self._node.leader_silent_ticks

    @property
    def quorum_margin(self) -> int | None:
        """How many more voters may fail before nothing can be committed; None on a node that does not lead."""
        if self._node.role is not Role.LEADER:
            return None
        return quorum.margin(self._node.membership, self._replication.heard())

    @property
    def progress(self) -> Mapping[NodeId, Progress]:
        """A leader's view of each other member, live; empty on others. To look at, not to change."""
        return MappingProxyType(self._replication.progress)

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of the entry at `index` (the base's too, which is 0 at 0); None where the log does not reach."""
        return self._node.log.term_at(index)

    def entries(self, low: LogIndex, high: LogIndex) -> tuple[Entry, ...]:
        """The log's entries of [low, high), all of which it must hold."""
        return self._node.log.entries(low, high)
