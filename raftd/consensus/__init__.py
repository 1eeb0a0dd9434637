"""Raft, pure: no I/O, no clock, no entropy, no logging.

`Raft` is the front door; its driver needs that, `Ready`, and the words of `types`, `messages`, `limits`,
`membership` and `membership_codec`; `RaftView` is for those who only look, and `entries_behind` for those who read the
disk of a node that does not run.

What is behind a name here is loaded when it is asked for first (PEP 562): the client, which needs a word of `types`,
would otherwise load all of Raft, and each command of `raftctl` would take a third longer to start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftd.consensus.invariants import Observation, check_basic, check_delta, observe
    from raftd.consensus.limits import ENTRY_OVERHEAD_BYTES, Limits
    from raftd.consensus.membership import (
        NO_MEMBERSHIP,
        AddLearner,
        AddVoter,
        Membership,
        MembershipChange,
        Promote,
        Remove,
        Replace,
        SnapshotMetadata,
        UpdateAddress,
    )
    from raftd.consensus.membership_codec import decode_membership, encode_membership
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
    from raftd.consensus.progress import Progress, ProgressState
    from raftd.consensus.raft import Raft
    from raftd.consensus.ready import Ready, SnapshotChunk
    from raftd.consensus.recovery import entries_behind
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
    from raftd.consensus.view import RaftView

__all__ = [
    "ENTRY_OVERHEAD_BYTES",
    "NO_INDEX",
    "NO_MEMBERSHIP",
    "NO_TERM",
    "AddLearner",
    "AddVoter",
    "AppendEntries",
    "AppendEntriesReply",
    "Entry",
    "EntryKind",
    "HardState",
    "Heartbeat",
    "HeartbeatReply",
    "InstallSnapshot",
    "InstallSnapshotReply",
    "Limits",
    "LogIndex",
    "Membership",
    "MembershipChange",
    "Message",
    "NodeId",
    "Observation",
    "Progress",
    "ProgressState",
    "Promote",
    "ProposalRefused",
    "Raft",
    "RaftView",
    "Random",
    "ReadId",
    "ReadIndex",
    "ReadIndexReply",
    "Ready",
    "RefusalReason",
    "Remove",
    "Replace",
    "RequestPreVote",
    "RequestPreVoteReply",
    "RequestVote",
    "RequestVoteReply",
    "Role",
    "SnapshotChunk",
    "SnapshotMetadata",
    "Term",
    "TimeoutNow",
    "UpdateAddress",
    "check_basic",
    "check_delta",
    "decode_membership",
    "encode_membership",
    "entries_behind",
    "observe",
]

_MODULES: Final = (
    "types",
    "limits",
    "membership",
    "membership_codec",
    "messages",
    "progress",
    "ready",
    "view",
    "recovery",
    "raft",
    "invariants",
)
"""Where to look for a name, what loads little first."""


def __getattr__(name: str) -> object:
    if name in __all__:
        for module_name in _MODULES:
            module = import_module(f"{__name__}.{module_name}")
            if name in vars(module):
                # The next one who asks finds it without this.
                return globals().setdefault(name, vars(module)[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
