"""The words of Raft as types: distinct integers are distinct types, so that mypy keeps them apart."""

import enum
from dataclasses import dataclass
from typing import Final, NewType, Protocol, TypeAlias

from raftd.errors import LocalProtocolError

NodeId = NewType("NodeId", int)
"""Names a node for ever: 1 or greater, 64 bits, never reused within a cluster."""

Term = NewType("Term", int)
"""Raft's logical clock (paper §5.1): 0 before the first election, then only upwards."""

LogIndex = NewType("LogIndex", int)
"""A place in the log (paper §5.3): the first entry is at 1; 0 means "before the first"."""

ReadId = NewType("ReadId", int)
"""Names one batch of linearizable reads; fresh for each attempt, never reused by a process."""

NO_TERM: Final = Term(0)
NO_INDEX: Final = LogIndex(0)


class Role(enum.Enum):
    """What a node is at a moment (paper §5.1; pre-candidate: thesis §9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class EntryKind(enum.IntEnum):
    """What an entry's data is. The numbers are on disk and on the wire: never renumber."""

    NOOP = 0
    """Empty; each leader appends one first, to commit what earlier terms left (paper §5.4.2, §8)."""
    COMMAND = 1
    """A client's bytes, opaque to consensus; the state machine applies them."""
    MEMBERSHIP = 2
    """A new `Membership`, effective as soon as it is in the log (thesis §4.1)."""


Entry: TypeAlias = tuple[LogIndex, Term, EntryKind, bytes]
"""One log entry: (index, term, kind, data).

A tuple and not a class on purpose: entries are made a hundred thousand times a second, and a frozen dataclass costs
thirty times as much to make.
"""


@dataclass(frozen=True, slots=True)
class HardState:
    """What a node must never forget (Figure 2, "persistent state"), besides its log.

    `voted_for` is the candidate that received this node's vote in `current_term`, or None. The two are one record:
    stored apart, a crash between them could give a second vote in one term.
    """

    current_term: Term
    voted_for: NodeId | None


class Random(Protocol):
    """Where consensus gets its entropy from; `random.Random` is one."""

    def randrange(self, stop: int, /) -> int:
        """An integer of [0, stop), each as likely as the other."""


class RefusalReason(enum.Enum):
    """Why a node does not take a proposal, a read, a change of membership or a transfer; a text for the user."""

    NOT_LEADER = "not the leader"
    NO_LEADER = "no leader is known"
    TOO_MANY_READS = "too many reads are waiting"
    TRANSFERRING = "leadership is being handed over"
    UNKNOWN_NODE = "no such member"
    NOT_A_VOTER = "only a voter can lead"
    UNREACHABLE = "no voter to hand over to answers"
    TERM_NOT_COMMITTED = "the leader has committed nothing in its term yet"
    CHANGE_RUNS = "another membership change is under way"
    NO_VOTER_LEFT = "no voter would be left"
    NO_QUORUM = "the voters that answer and have caught up would be no majority"
    NOT_CAUGHT_UP = "the learner lags too far behind to vote"
    ALREADY_A_MEMBER = "a member already, in another place"
    ADDRESS_DIFFERS = "a member already, at another address"
    TOO_MANY_MEMBERS = "too many members"
    INVALID_MEMBER = "a node id or an address that cannot be"


class ProposalRefused(LocalProtocolError):  # noqa: N818 - an answer for the asker, not a fault
    """This node does not take the proposal or read now; nothing was changed, and `leader_id` may know better."""

    def __init__(self, reason: RefusalReason, leader_id: NodeId | None) -> None:
        super().__init__(reason.value if leader_id is None else f"{reason.value}; node {leader_id} leads")
        self.reason = reason
        self.leader_id = leader_id
