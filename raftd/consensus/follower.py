"""The follower's side of replication: what an AppendEntries or a Heartbeat of the current leader does (Figure 2).

The messages were checked (`validation`), the leader was recognised (`Election.follow`); here only logs meet. Snapshots
are for `SnapshotReceiver`.
"""

from raftd.consensus.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply
from raftd.consensus.node import Node
from raftd.consensus.proof import hear_commit
from raftd.consensus.types import NO_INDEX, NO_TERM, Entry, LogIndex, NodeId, Term
from raftd.errors import InvariantViolation


class Follower:
    """Takes over a leader's log."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def on_append_entries(self, leader_id: NodeId, message: AppendEntries) -> None:
        """Receiver implementation of AppendEntries, steps 2 to 5."""
        node = self._node
        prev_index, prev_term, entries = message.prev_log_index, message.prev_log_term, message.entries
        match_index = LogIndex(prev_index + len(entries))
        if prev_index < node.log.base_index:
            # What was compacted is committed, so the leader has the same; only what lies behind it is news. A message
            # that ends before it has none: its last entry is as good as the base.
            entries = entries[node.log.base_index - prev_index :]
            prev_index, prev_term = node.log.base_index, node.log.base_term
        if node.log.term_at(prev_index) != prev_term:
            if prev_index == node.log.base_index:
                raise InvariantViolation(f"node {leader_id} has term {prev_term} at {prev_index}, which is compacted")
            node.send(leader_id, self._refusal(message.prev_log_index))
            return
        new = self._new_entries(prev_index, entries)
        if new:
            if new[0][0] <= node.log.last_index:
                node.replace_suffix(new[0][0])
            node.append(new)
        # Not last_index: what lies behind the leader's entries is of unknown origin (Figure 2, step 5).
        node.commit_to(min(message.leader_commit, match_index))
        hear_commit(node, message.leader_commit)
        node.send_after_stored(leader_id, AppendEntriesReply(node.current_term, True, match_index, NO_INDEX, NO_TERM))

    def on_heartbeat(self, leader_id: NodeId, message: Heartbeat) -> None:
        """The leader is alive; it may know of commits among what this node has acknowledged to it."""
        self._node.commit_to(message.leader_commit)
        self._node.send(leader_id, HeartbeatReply(self._node.current_term, message.round))

    def _new_entries(self, prev_index: LogIndex, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """What of `entries` the log does not hold, from the first missing or conflicting one on.

        An entry that is there already stays, and so does what follows it: the message may be an old one, and the log
        may have grown by the same leader's later ones since (§5.3).
        """
        log = self._node.log
        overlap = min(log.last_index - prev_index, len(entries))
        if overlap > 0 and log.term_at(entries[overlap - 1][0]) == entries[overlap - 1][1]:
            # Equal index and term at the end of the overlap: all before it is equal too (§5.3, log matching).
            return entries[overlap:]
        for offset in range(overlap):
            index, term, _, _ = entries[offset]
            if log.term_at(index) != term:
                return entries[offset:]
        return entries

    def _refusal(self, prev_log_index: LogIndex) -> AppendEntriesReply:
        node = self._node
        conflict_term: Term | None = node.log.term_at(prev_log_index)
        if conflict_term is None:
            conflict_index, conflict_term = LogIndex(node.log.last_index + 1), NO_TERM
        else:
            conflict_index = node.log.first_index_of_run(prev_log_index)
        return AppendEntriesReply(node.current_term, False, prev_log_index, conflict_index, conflict_term)
