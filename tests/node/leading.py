"""A node that leads, as tests of the driver begin."""

from typing import Any

from raftd.consensus.messages import AppendEntriesReply, RequestVoteReply
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex
from tests.node.parts import Server


def leader(size: int = 3, **options: Any) -> Server:
    """Node 1 as a leader whose no-op both others have stored."""
    server = Server(size=size, **options)
    server.become_leader()
    for peer in range(2, size + 1):
        server.hear(peer, accepted(server, server.raft.last_index))
    server.scheduler.run()
    assert server.raft.commit_index == server.raft.last_index
    server.take_sent()
    return server


def accepted(server: Server, index: int) -> AppendEntriesReply:
    return AppendEntriesReply(server.raft.current_term, True, LogIndex(index), NO_INDEX, NO_TERM)


def replies(server: Server) -> list[object]:
    return [message for _, message in server.sent if isinstance(message, AppendEntriesReply | RequestVoteReply)]
