"""Takes each message to the one component that it is for, once terms are settled (§5.1, "rules for servers").

- What no correct peer can have sent is refused, before anything changes.
- A message of an older term is answered if it asks for something, so that its sender learns of the newer term, and is
  else ignored: answers are only ever counted in the term in which they were asked for.
- A message of a newer term makes this node a follower in it, with two exceptions. A pre-vote's request and its grant
  carry the term that *would* be, which nobody has started. And a vote that is asked for while a leader lives is not
  even looked at, unless the leader itself hands over (thesis §4.2.3).
"""

from typing import assert_never

from raftd.consensus.election import Election
from raftd.consensus.follower import Follower
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
from raftd.consensus.reads import Reads
from raftd.consensus.replication import Replication
from raftd.consensus.snapshot_receiver import SnapshotReceiver
from raftd.consensus.types import NO_INDEX, NO_TERM, NodeId
from raftd.consensus.validation import check_message


class Dispatch:
    """Routes messages; holds nothing of its own."""

    __slots__ = ("_election", "_follower", "_node", "_reads", "_receiver", "_replication")

    def __init__(
        self,
        *,
        node: Node,
        election: Election,
        replication: Replication,
        follower: Follower,
        receiver: SnapshotReceiver,
        reads: Reads,
    ) -> None:
        self._node = node
        self._election = election
        self._replication = replication
        self._follower = follower
        self._receiver = receiver
        self._reads = reads

    def step(self, sender: NodeId, message: Message) -> None:
        """Take in `message`; `Raft.step` says what this raises."""
        node = self._node
        check_message(node, self._replication.round, sender, message)
        if message.term < node.current_term:
            self._answer_old_term(sender, message)
            return
        if isinstance(message, RequestVote) and not message.leadership_transfer and self._is_loyal(message):
            return
        if message.term > node.current_term and not _is_hypothetical(message):
            self._election.become_follower(message.term, None)
        self._hand_over(sender, message)

    def _is_loyal(self, message: RequestVote) -> bool:
        return self._election.guards_lease() or (
            message.term > self._node.current_term and self._election.hears_leader()
        )

    def _answer_old_term(self, sender: NodeId, message: Message) -> None:
        node = self._node
        match message:
            # The sender may lead this term when the answer arrives, so nothing in it may pass for an answer to what it
            # said in this term: no place to go on from, and no round, which would confirm the reads of one to come.
            case AppendEntries():
                refused = message.prev_log_index
                node.send(sender, AppendEntriesReply(node.current_term, False, refused, NO_INDEX, NO_TERM))
            case Heartbeat() | InstallSnapshot():
                node.send(sender, HeartbeatReply(node.current_term, 0))
            case RequestVote():
                node.send(sender, RequestVoteReply(node.current_term, False))
            case RequestPreVote():
                self._election.on_request_pre_vote(sender, message)
            case ReadIndex():
                node.send(sender, ReadIndexReply(node.current_term, message.read_id, None))
            case (
                AppendEntriesReply() | HeartbeatReply() | RequestVoteReply() | RequestPreVoteReply()
                | ReadIndexReply() | TimeoutNow() | InstallSnapshotReply()
            ):  # fmt: skip
                pass  # Says something about a term that is over.
            case _:
                assert_never(message)

    def _hand_over(  # noqa: C901, PLR0912 - flat and exhaustive, one case for each type
        self, sender: NodeId, message: Message
    ) -> None:
        """Hand `message`, which is of this node's term or a pre-vote for a later one, to whom it is for."""
        match message:
            case AppendEntries():
                self._election.follow(message.term, sender)
                self._follower.on_append_entries(sender, message)
            case AppendEntriesReply():
                self._replication.on_append_entries_reply(sender, message)
            case Heartbeat():
                self._election.follow(message.term, sender)
                self._follower.on_heartbeat(sender, message)
            case HeartbeatReply():
                self._replication.on_heartbeat_reply(sender, message)
                self._reads.confirm()
            case RequestVote():
                self._election.on_request_vote(sender, message)
            case RequestVoteReply():
                self._election.on_request_vote_reply(sender, message)
            case RequestPreVote():
                self._election.on_request_pre_vote(sender, message)
            case RequestPreVoteReply():
                self._election.on_request_pre_vote_reply(sender, message)
            case ReadIndex():
                self._reads.on_read_index(sender, message)
            case ReadIndexReply():
                self._reads.on_read_index_reply(message)
            case InstallSnapshot():
                self._election.follow(message.term, sender)
                self._receiver.on_install_snapshot(sender, message)
            case InstallSnapshotReply():
                self._replication.on_install_snapshot_reply(sender, message)
            case TimeoutNow():
                self._election.on_timeout_now(sender, message)
            case _:
                assert_never(message)


def _is_hypothetical(message: Message) -> bool:
    """Whether the message's term is one that nobody has started yet, so that it moves no one's own."""
    return isinstance(message, RequestPreVote) or (isinstance(message, RequestPreVoteReply) and message.vote_granted)
