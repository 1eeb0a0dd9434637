"""What a correct peer cannot say, checked before anything changes.

Whether the sender is a member does not matter (thesis §4.1): a node that is added hears from a leader before it knows
of any, and may be needed to elect one whom it does not know yet. What keeps nodes that were removed from disturbing is
that nobody who hears a leader listens to candidates.

A message may be late, repeated, reordered or from an earlier life of its sender, and is then answered or ignored by
those who handle it. What is refused here could not have been sent by any correct node at any time, and ends the
connection.
"""

from typing import assert_never

from raftd.consensus.log import check_consecutive
from raftd.consensus.membership_codec import decode_membership
from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.node import Node
from raftd.consensus.types import EntryKind, NodeId, Role
from raftd.errors import DecodeError, InvariantViolation, RemoteProtocolError


def check_message(  # noqa: C901, PLR0912 - flat and exhaustive, one case for each type
    node: Node, rounds_begun: int, sender: NodeId, message: Message
) -> None:
    """Check `message` from `sender` against what `node` knows; `rounds_begun` are its heartbeat rounds, if it leads.

    Raises:
        RemoteProtocolError: no correct peer could have sent it.
    """
    _require(sender != node.node_id, "came from this node itself")
    _require(message.term >= 1, "has term 0")
    match message:
        case AppendEntries():
            _check_leader(node, sender, message)
            _check_append_entries(message)
        case AppendEntriesReply():
            if node.role is Role.LEADER and message.term == node.current_term:
                _check_append_entries_reply(node, message)
        case Heartbeat():
            _check_leader(node, sender, message)
            if message.term >= node.current_term:
                _require(message.leader_commit <= node.log.last_index, "commits what this node never acknowledged")
        case HeartbeatReply():
            if node.role is Role.LEADER and message.term == node.current_term:
                _require(message.round <= rounds_begun, "answers a heartbeat round that has not begun")
        case RequestVote() | RequestPreVote():
            _require(message.candidate_id == sender, "names another candidate than its sender")
            _require(message.last_log_term < message.term, "asks for a term that the candidate's log already has")
            _require((message.last_log_index == 0) == (message.last_log_term == 0), "ends its log nowhere")
        case TimeoutNow():
            _check_leader(node, sender, message)
        case InstallSnapshot():
            _check_leader(node, sender, message)
            _require(message.last_included_index >= 1, "holds a snapshot of nothing")
            _require(1 <= message.last_included_term <= message.term, "holds a snapshot newer than its leader's term")
            _require(bool(message.data) or message.done, "holds an empty chunk of a snapshot")
        case InstallSnapshotReply():
            if node.role is Role.LEADER and message.term == node.current_term:
                known = message.last_included_index <= node.log.last_index
                _require(known, "speaks of entries that this leader does not have")
        case RequestVoteReply() | RequestPreVoteReply() | ReadIndex() | ReadIndexReply():
            pass  # Any value of these could be true at some time.
        case _:
            assert_never(message)


def _check_leader(
    node: Node, sender: NodeId, message: AppendEntries | Heartbeat | TimeoutNow | InstallSnapshot
) -> None:
    _require(message.leader_id == sender, "names another leader than its sender")
    if message.term == node.current_term and node.leader_id is not None:
        # Election safety (§5.2). One of the two has forgotten votes, for example with a disk set back in time.
        _require(node.leader_id == sender, f"claims term {message.term}, which node {node.leader_id} leads")


def _check_append_entries(message: AppendEntries) -> None:
    _require((message.prev_log_index == 0) == (message.prev_log_term == 0), "follows an entry without index or term")
    try:
        check_consecutive(message.prev_log_index, message.prev_log_term, message.entries)
    except InvariantViolation as error:
        raise RemoteProtocolError(f"AppendEntries has {error}") from None
    last_term = message.entries[-1][1] if message.entries else message.prev_log_term
    _require(last_term <= message.term, "holds entries newer than its leader's term")
    for _, _, kind, data in message.entries:
        if kind is EntryKind.MEMBERSHIP:
            try:
                decode_membership(data)
            except DecodeError as error:
                raise RemoteProtocolError(f"AppendEntries: {error}") from error


def _check_append_entries_reply(node: Node, message: AppendEntriesReply) -> None:
    if not message.success and not message.conflict_index:
        # To what this node said in a term that is over, when its log may have been longer than it is now.
        return
    # Leader append-only (§5.4.3): our log still holds all that it was when this answer was written.
    _require(message.match_index <= node.log.last_index, "speaks of entries that this leader does not have")
    if not message.success:
        _require(message.conflict_index <= message.match_index, "says where to go on behind what it refuses")
        _require(message.conflict_term <= node.current_term, "conflicts with an entry newer than its own term")


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise RemoteProtocolError(f"a message {complaint}")
