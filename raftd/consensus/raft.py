"""The front door: one node of Raft, driven by calls and giving its work away as `Ready`.

Theory of operation
===================

A `Raft` is a value that changes with each call and does nothing else. The driver tells it that time passes (`tick`),
what came by the network (`step`), what clients want (`propose`, `request_read`), and what the disk and the state
machine have done (`stored`, `applied`). Then, once for all of that, it asks what is to be done (`ready`). Several calls
before one `ready` are how batches come about; nothing in here waits.

The parts
---------

`Node` holds Figure 2's state. Four components act on it, each with its own bookkeeping, and know each other one way
only: `Election` (roles, terms, votes) makes `Replication` (the leader's view of its peers) and `Reads` (ReadIndex)
begin and stop; `Reads` asks `Replication` for heartbeat rounds; `Follower` is the other end of `Replication`.
`Dispatch` takes a message, settles the terms, and hands it to the one component that it is for. This class puts them
together.

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

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from raftd.consensus.dispatch import Dispatch
from raftd.consensus.election import Election
from raftd.consensus.follower import Follower
from raftd.consensus.limits import Limits
from raftd.consensus.log import RaftLog
from raftd.consensus.membership import Membership
from raftd.consensus.messages import Message
from raftd.consensus.node import Node
from raftd.consensus.progress import Progress
from raftd.consensus.reads import Reads
from raftd.consensus.ready import Ready
from raftd.consensus.replication import Replication
from raftd.consensus.storing import Storing
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
from raftd.errors import InvariantViolation, LocalProtocolError


class Raft:
    """One node's consensus. Every method but `step` is for the driver alone; none may be called from within another."""

    __slots__ = ("_dispatch", "_election", "_node", "_reads", "_replication")

    def __init__(
        self,
        *,
        node_id: NodeId,
        membership: Membership,
        hard_state: HardState,
        entries: Iterable[Entry],
        random: Random,
        limits: Limits | None = None,
    ) -> None:
        """A node as its disk remembers it; a new one has HardState(0, None) and no entries.

        Raises:
            InvariantViolation: what was recovered is not a state that a node can have left.
        """
        log = RaftLog(entries)
        if log.last_term > hard_state.current_term:
            raise InvariantViolation(f"the log ends in term {log.last_term}, after term {hard_state.current_term}")
        self._node = Node(
            node_id=node_id,
            limits=limits if limits is not None else Limits(),
            membership=membership,
            log=log,
            storing=Storing(hard_state, log.last_index),
            current_term=hard_state.current_term,
            voted_for=hard_state.voted_for,
        )
        self._replication = Replication(self._node)
        # At random: an answer to a read of this process's previous life must not confirm one of this life.
        self._reads = Reads(self._node, self._replication, ReadId(random.randrange(1 << 62)))
        self._election = Election(self._node, random, self._replication, self._reads)
        self._dispatch = Dispatch(self._node, self._election, self._replication, Follower(self._node), self._reads)

    def tick(self) -> None:
        """One tick of time has passed."""
        if self._node.role is not Role.LEADER:
            self._reads.tick()
            self._election.tick()
            return
        self._replication.tick()
        if not self._replication.hears_quorum():
            # It cannot commit anything, and its heartbeats would only keep others from electing one who can.
            self._election.become_follower(self._node.current_term, None)

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
            ProposalRefused: this node does not lead; nothing was appended.
            LocalProtocolError: there are no commands.
        """
        node = self._node
        if node.role is not Role.LEADER:
            raise ProposalRefused(RefusalReason.NOT_LEADER, node.leader_id)
        if not commands:
            raise LocalProtocolError("propose needs at least one command")
        first, term, kind = LogIndex(node.log.last_index + 1), node.current_term, EntryKind.COMMAND
        node.log.append([(LogIndex(index), term, kind, command) for index, command in enumerate(commands, first)])
        return first

    def request_read(self) -> ReadId:
        """Ask from which index on a linearizable read may be answered; the outcome comes in a `Ready`.

        Raises:
            ProposalRefused: no leader is known, or too many reads wait.
        """
        return self._reads.request()

    @property
    def has_ready(self) -> bool:
        """Whether `ready` would give anything."""
        node = self._node
        return bool(
            node.messages
            or node.messages_after_stored
            or node.handed_index < node.commit_index
            or self._reads.has_outcome
            or node.storing.is_due(node.current_term, node.voted_for, node.log.last_index)
            or (node.role is Role.LEADER and (self._replication.is_due() or self._reads.round_due))
        )

    def ready(self) -> Ready:
        """Take the work that there is; what is returned counts as under way."""
        node = self._node
        if node.role is Role.LEADER:
            if self._reads.round_due:
                self._reads.start_round()
            self._replication.send_appends()
        messages, messages_after_stored = node.take_messages()
        hard_state, entries = node.storing.hand_out(node.hard_state(), node.log)
        must_store = hard_state is not None or bool(entries)
        confirmed_reads, refused_reads = self._reads.take_outcomes()
        return Ready(
            hard_state=hard_state,
            entries=entries,
            stored_term=node.current_term if must_store else NO_TERM,
            stored_index=node.log.last_index if must_store else NO_INDEX,
            messages=messages,
            messages_after_stored=messages_after_stored,
            committed=node.take_committed(),
            confirmed_reads=confirmed_reads,
            refused_reads=refused_reads,
        )

    def stored(self, term: Term, index: LogIndex) -> None:
        """The oldest unacknowledged Ready with `must_store`, which is the one that says (term, index), is on disk.

        Raises:
            InvariantViolation: that Ready is named otherwise, or there is none.
        """
        self._node.storing.acknowledge(term, index)
        self._election.on_stored()
        self._replication.advance_commit()

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
        """Begin an election now, by a pre-vote, as if the timer had run out; nothing on a leader or a learner."""
        if self._node.role is not Role.LEADER and self._node.is_voter:
            self._election.start_pre_vote()

    # What follows only looks.

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
    def progress(self) -> Mapping[NodeId, Progress]:
        """A leader's view of each other member, live; empty on others. To look at, not to change."""
        return MappingProxyType(self._replication.progress)

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of the entry at `index`, 0 at index 0; None where the log does not reach."""
        return self._node.log.term_at(index)

    def entries(self, low: LogIndex, high: LogIndex) -> tuple[Entry, ...]:
        """The log's entries of [low, high), all of which it must hold."""
        return self._node.log.entries(low, high)
