"""The follower's side of snapshots: takes chunks in, in order, until the driver has installed the whole (Figure 13).

The bytes are the driver's, and so is the file. Here is only which snapshot is coming, from whom, and how much of it the
driver has. The driver works on one chunk at a time; what arrives meanwhile is not looked at, because the leader sends
one at a time too, and asks again.

A chunk that does not fit is answered with where to go on, so after any loss, repetition or restart the two sides agree
again within one answer. Another leader begins with its first chunk, and the driver may answer that it has more: what is
there of a snapshot of equal index and term is kept, since all nodes make the same bytes of it (`storage.snapshots`). Of
two snapshots of one leader, which repetitions and delays may mix, the newer wins.
"""

from typing import NamedTuple

from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.messages import InstallSnapshot, InstallSnapshotReply
from raftd.consensus.node import Node
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.errors import InvariantViolation


class _Source(NamedTuple):
    """Which file the chunks are of."""

    leader_id: NodeId
    last_included_index: LogIndex
    last_included_term: Term


class SnapshotReceiver:
    """The snapshot that is coming in, if any."""

    __slots__ = ("_is_busy", "_next_offset", "_node", "_source")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._source: _Source | None = None
        self._next_offset = 0
        """The driver has the bytes up to here."""
        self._is_busy = False
        """The driver is at work on a chunk, or on the whole."""

    def on_install_snapshot(self, leader_id: NodeId, message: InstallSnapshot) -> None:
        """Receiver implementation of InstallSnapshot, steps 2 to 4 (Figure 13)."""
        node = self._node
        if message.last_included_index <= node.commit_index:
            # What is committed is the leader's too; it is stored when this answer leaves.
            self._say_installed(leader_id)
            return
        if self._is_busy:
            return
        source = _Source(leader_id, message.last_included_index, message.last_included_term)
        if source != self._source:
            if self._source is not None and leader_id == self._source.leader_id and source < self._source:
                return
            self._source = source
            self._next_offset = 0
        if message.offset != self._next_offset:
            self._say_where()
            return
        self._is_busy = True
        node.snapshot_data.append((leader_id, message))

    def received(self, last_included_index: LogIndex, next_offset: int) -> None:
        """The driver has the snapshot up to `next_offset` now; 0: it has thrown it away.

        Raises:
            InvariantViolation: It was not asked to work on that snapshot.
        """
        self._end_work(last_included_index)
        self._next_offset = next_offset
        self._say_where()

    def installed(self, snapshot: SnapshotMetadata) -> bool:
        """The driver has the whole snapshot on disk and in memory. Returns whether it is to be used.

        Raises:
            InvariantViolation: It was not asked to work on that snapshot.
        """
        source = self._end_work(snapshot.last_included_index)
        if source.last_included_term != snapshot.last_included_term:
            raise InvariantViolation(f"{snapshot} was installed, and {source} was asked for")
        self._source = None
        is_used = self._node.install(snapshot)
        leader_id = self._node.leader_id
        if leader_id not in {None, self._node.node_id}:
            # Be it another one by now: what it sent while this node was at work was not looked at.
            self._say_installed(leader_id)
        return is_used

    def _end_work(self, last_included_index: LogIndex) -> _Source:
        source = self._source
        if source is None or not self._is_busy or source.last_included_index != last_included_index:
            raise InvariantViolation(f"the snapshot at {last_included_index} was worked on, and asked for was {source}")
        self._is_busy = False
        return source

    def _say_where(self) -> None:
        node, source = self._node, self._source
        if source is not None and node.leader_id == source.leader_id:
            reply = InstallSnapshotReply(node.current_term, source.last_included_index, self._next_offset, False)
            node.send(source.leader_id, reply)

    def _say_installed(self, leader_id: NodeId) -> None:
        node = self._node
        node.send_after_stored(leader_id, InstallSnapshotReply(node.current_term, node.commit_index, 0, True))
