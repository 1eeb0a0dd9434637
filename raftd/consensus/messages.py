"""What nodes say to each other: Figure 2's calls and the ones the thesis adds.

Frozen and without behaviour. Who sent a message is not in it: the link it came by says so, and was authenticated.
`leader_id` and `candidate_id` are kept where the paper has them and must equal that sender.
"""

from dataclasses import dataclass
from typing import TypeAlias

from raftd.consensus.types import Entry, LogIndex, NodeId, ReadId, Term


@dataclass(frozen=True, slots=True)
class RequestPreVote:
    """Would you vote for me in `term`, were I to start it? Changes nobody's state (thesis §9.6)."""

    term: Term
    """The term the sender would campaign in: its current term + 1."""
    candidate_id: NodeId
    last_log_index: LogIndex
    last_log_term: Term
    unproven: bool = False
    """As in `RequestVote`."""
    unanimous: bool = False
    """As in `RequestVote`."""


@dataclass(frozen=True, slots=True)
class RequestPreVoteReply:
    """Answers `RequestPreVote`."""

    term: Term
    """Granted: the term that was asked for. Refused: the replier's current term."""
    vote_granted: bool


@dataclass(frozen=True, slots=True)
class RequestVote:
    """Vote for me in `term` (Figure 2)."""

    term: Term
    candidate_id: NodeId
    last_log_index: LogIndex
    last_log_term: Term
    leadership_transfer: bool
    """The old leader asked for this election: a live leader is no reason to refuse (thesis §3.10, §4.2.3)."""
    unproven: bool = False
    """The candidate's disk is new and may lack what it had acknowledged before (`raftd.consensus.proof`)."""
    unanimous: bool = False
    """The candidate needs the vote of every one of its voters: there are at most two, in each half of a joint
    membership (`raftd.consensus.proof`)."""


@dataclass(frozen=True, slots=True)
class RequestVoteReply:
    """Answers `RequestVote`; leaves only after the vote is stored."""

    term: Term
    vote_granted: bool


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """Append `entries` behind `prev_log_index` (Figure 2). May be empty, as a probe."""

    term: Term
    leader_id: NodeId
    prev_log_index: LogIndex
    prev_log_term: Term
    leader_commit: LogIndex
    entries: tuple[Entry, ...]
    """Consecutive from prev_log_index + 1."""


@dataclass(frozen=True, slots=True)
class AppendEntriesReply:
    """Answers `AppendEntries`. A success leaves only after the entries are stored."""

    term: Term
    success: bool
    match_index: LogIndex
    """Success: the last index known to match the leader's log and to be stored. Refused: the prev_log_index refused."""
    conflict_index: LogIndex
    """Refused: where the leader may go on: the first index of `conflict_term`, or last_log_index + 1. 0 in a success,
    and if the message was refused for its old term, which says nothing about the log."""
    conflict_term: Term
    """Refused: the term of the replier's entry at prev_log_index, 0 where it has none (paper §5.3, the last part)."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """I lead `term`. Separate from AppendEntries so that it never waits for a log or a disk."""

    term: Term
    leader_id: NodeId
    leader_commit: LogIndex
    """Never above what the receiver is known to hold."""
    round: int
    """Counts the leader's heartbeat rounds in its term; a reply to it confirms reads of that round (thesis §6.4)."""


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """Answers `Heartbeat`, at once."""

    term: Term
    round: int


@dataclass(frozen=True, slots=True)
class ReadIndex:
    """A follower asks its leader for a read index (thesis §6.4)."""

    term: Term
    read_id: ReadId


@dataclass(frozen=True, slots=True)
class ReadIndexReply:
    """Answers `ReadIndex`."""

    term: Term
    read_id: ReadId
    read_index: LogIndex | None
    """None: refused, the replier cannot confirm that it leads."""


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """Start an election at once: the leader hands over (thesis §3.10)."""

    term: Term
    leader_id: NodeId


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """A chunk of the leader's snapshot, for a follower that lacks entries the leader has no more (§7).

    The membership is a part of the snapshot's bytes, which are opaque here.
    """

    term: Term
    leader_id: NodeId
    last_included_index: LogIndex
    last_included_term: Term
    offset: int
    """Where `data` belongs in the snapshot, in bytes."""
    data: bytes
    done: bool
    """This is the last chunk."""


@dataclass(frozen=True, slots=True)
class InstallSnapshotReply:
    """Answers `InstallSnapshot`: where to go on, or that there is no need to."""

    term: Term
    last_included_index: LogIndex
    """Not installed: of the snapshot that is spoken of. Installed: the replier has stored the leader's log up to here,
    by this snapshot, a later one or by entries."""
    next_offset: int
    """Not installed: the replier has the snapshot's bytes up to here. Else 0."""
    installed: bool


Message: TypeAlias = (
    RequestPreVote
    | RequestPreVoteReply
    | RequestVote
    | RequestVoteReply
    | AppendEntries
    | AppendEntriesReply
    | Heartbeat
    | HeartbeatReply
    | ReadIndex
    | ReadIndexReply
    | TimeoutNow
    | InstallSnapshot
    | InstallSnapshotReply
)
