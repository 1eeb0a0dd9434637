"""Raft, pure: no I/O, no clock, no entropy, no logging.

`Raft` is the front door; its driver needs that, `Ready`, and the words of `types`, `messages`, `limits` and
`membership`.
"""

from raftd.consensus.invariants import Observation, check_basic, check_delta, observe
from raftd.consensus.limits import ENTRY_OVERHEAD_BYTES, Limits
from raftd.consensus.membership import Membership
from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.progress import Progress, ProgressState
from raftd.consensus.raft import Raft
from raftd.consensus.ready import Ready
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

__all__ = [
    "ENTRY_OVERHEAD_BYTES",
    "NO_INDEX",
    "NO_TERM",
    "AppendEntries",
    "AppendEntriesReply",
    "Entry",
    "EntryKind",
    "HardState",
    "Heartbeat",
    "HeartbeatReply",
    "Limits",
    "LogIndex",
    "Membership",
    "Message",
    "NodeId",
    "Observation",
    "Progress",
    "ProgressState",
    "ProposalRefused",
    "Raft",
    "Random",
    "ReadId",
    "ReadIndex",
    "ReadIndexReply",
    "Ready",
    "RefusalReason",
    "RequestPreVote",
    "RequestPreVoteReply",
    "RequestVote",
    "RequestVoteReply",
    "Role",
    "Term",
    "TimeoutNow",
    "check_basic",
    "check_delta",
    "observe",
]
