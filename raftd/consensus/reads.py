"""Linearizable reads without a log entry: ReadIndex (thesis §6.4).

A read waits here until a heartbeat round begins *after* it was asked for; the round notes the commit index, and once a
quorum has answered it, nobody else can have led at its beginning, so no write that was answered before the read was
asked is missing from that index. All reads asked for before one Ready share one round.

With lease reads on, a leader that holds its lease answers its own reads at once (`lease`); else it is as above.

A leader that has committed nothing in its own term does not know the cluster's commit index: its reads wait for that.
A follower sends its read to the leader and answers with what that returns; the message may be lost, so this read is
refused after an election timeout. Whenever term, role or leader change, everything pending is refused, and whoever
asked may ask again, under a new id: an answer to an earlier attempt must not confirm a later one.
"""

from collections import deque
from typing import NamedTuple

from raftd.consensus.lease import Lease
from raftd.consensus.messages import ReadIndex, ReadIndexReply
from raftd.consensus.node import Node
from raftd.consensus.replication import Replication
from raftd.consensus.types import LogIndex, NodeId, ProposalRefused, ReadId, RefusalReason, Role


class _Read(NamedTuple):
    """A batch of reads that waits on the leader."""

    origin: NodeId | None
    """The follower that asked, or None for this node itself."""
    read_id: ReadId
    """As the asker numbered it."""


class _Round(NamedTuple):
    """Reads that one heartbeat round will confirm."""

    number: int
    read_index: LogIndex
    reads: tuple[_Read, ...]


class Reads:
    """The reads that wait on this node, and their outcomes."""

    __slots__ = (
        "_confirmed", "_forwarded", "_lease", "_next_id", "_node", "_now_ticks", "_pending", "_refused", "_replication",
        "_rounds", "_waiting",
    )  # fmt: skip

    def __init__(self, node: Node, replication: Replication, lease: Lease, first_id: ReadId) -> None:
        """Ids count up from `first_id`, which should be random: those of an earlier life must not recur."""
        self._node = node
        self._replication = replication
        self._lease = lease
        self._next_id: int = first_id
        self._now_ticks = 0
        self._pending = 0
        """Reads in `_waiting` and `_rounds`."""
        self._waiting: list[_Read] = []
        self._rounds: deque[_Round] = deque()
        self._forwarded: dict[ReadId, int] = {}
        """Reads sent to the leader -> the tick of that, oldest first."""
        self._confirmed: list[tuple[ReadId, LogIndex]] = []
        self._refused: list[ReadId] = []

    @property
    def has_outcome(self) -> bool:
        """Whether `take_outcomes` has anything to give."""
        return bool(self._confirmed or self._refused)

    @property
    def round_due(self) -> bool:
        """Whether reads wait for a heartbeat round that may begin now."""
        return bool(self._waiting) and self._node.has_committed_in_term

    def request(self, overdue_ticks: int, *, by_quorum: bool = False) -> ReadId:
        """Begin one batch of reads of this node, `overdue_ticks` after the last tick; `by_quorum`: not by the lease.

        Raises:
            ProposalRefused: no leader is known, or too many reads wait.
        """
        node = self._node
        if node.leader_id is None:
            raise ProposalRefused(RefusalReason.NO_LEADER, None)
        if self._pending + len(self._forwarded) >= node.limits.pending_reads_max:
            raise ProposalRefused(RefusalReason.TOO_MANY_READS, node.leader_id)
        read_id = ReadId(self._next_id)
        self._next_id += 1
        if node.role is Role.LEADER and not by_quorum and self._lease.is_held(overdue_ticks):
            self._confirmed.append((read_id, node.commit_index))
        elif node.role is Role.LEADER:
            self._waiting.append(_Read(None, read_id))
            self._pending += 1
        else:
            self._forwarded[read_id] = self._now_ticks
            node.send(node.leader_id, ReadIndex(node.current_term, read_id))
        return read_id

    def start_round(self) -> None:
        """Begin the heartbeat round that `round_due` spoke of."""
        number = self._replication.start_round()
        self._rounds.append(_Round(number, self._node.commit_index, tuple(self._waiting)))
        self._waiting.clear()
        self.confirm()  # Alone, a node is its own quorum.

    def confirm(self) -> None:
        """Answer the reads of all rounds that a quorum has answered."""
        if not self._rounds:
            return
        confirmed_round = self._replication.confirmed_round()
        while self._rounds and self._rounds[0].number <= confirmed_round:
            finished = self._rounds.popleft()
            self._pending -= len(finished.reads)
            for origin, read_id in finished.reads:
                if origin is None:
                    self._confirmed.append((read_id, finished.read_index))
                else:
                    self._reply(origin, read_id, finished.read_index)

    def tick(self) -> None:
        """One tick of time: refuse what the leader has not answered within an election timeout."""
        self._now_ticks += 1
        while self._forwarded:
            read_id, sent_ticks = next(iter(self._forwarded.items()))
            if self._now_ticks - sent_ticks < self._node.limits.election_timeout_ticks:
                return
            del self._forwarded[read_id]
            self._refused.append(read_id)

    def on_read_index(self, sender: NodeId, message: ReadIndex) -> None:
        """A follower asks; only a leader with room for it can find out."""
        if self._node.role is not Role.LEADER or self._pending >= self._node.limits.pending_reads_max:
            self._reply(sender, message.read_id, None)
            return
        self._waiting.append(_Read(sender, message.read_id))
        self._pending += 1

    def on_read_index_reply(self, reply: ReadIndexReply) -> None:
        """The leader's answer to a read of this node; one that does not wait any more is ignored."""
        if self._forwarded.pop(reply.read_id, None) is None:
            return
        if reply.read_index is None:
            self._refused.append(reply.read_id)
        else:
            self._confirmed.append((reply.read_id, reply.read_index))

    def refuse_all(self) -> None:
        """Term, role or leader changes: nothing that waits can be confirmed any more."""
        for origin, read_id in [*self._waiting, *(read for waiting in self._rounds for read in waiting.reads)]:
            if origin is None:
                self._refused.append(read_id)
            else:
                self._reply(origin, read_id, None)
        self._refused.extend(self._forwarded)
        self._waiting.clear()
        self._rounds.clear()
        self._forwarded.clear()
        self._pending = 0

    def take_outcomes(self) -> tuple[tuple[tuple[ReadId, LogIndex], ...], tuple[ReadId, ...]]:
        """(confirmed reads with their read index, refused reads); they count as told."""
        taken = tuple(self._confirmed), tuple(self._refused)
        self._confirmed.clear()
        self._refused.clear()
        return taken

    def _reply(self, origin: NodeId, read_id: ReadId, read_index: LogIndex | None) -> None:
        self._node.send(origin, ReadIndexReply(self._node.current_term, read_id, read_index))
