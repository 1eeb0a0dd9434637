"""Why a leadership ended: for people, who want to know before they look at anything else. Nothing here decides."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from raftd.consensus.types import NodeId, Term


class AbdicationReason(enum.Enum):
    """What ended it."""

    NO_QUORUM = "no quorum"
    """No quorum answered within an election timeout (thesis §6.2)."""
    NEWER_TERM = "newer term"
    """Another node began a term."""
    TRANSFER = "transfer"
    """The same, as this leader had asked it to (thesis §3.10)."""
    DISK = "disk"
    """This node's disk stored nothing for an election timeout, and nobody could take over, or did so in time."""
    REMOVED = "removed"
    """A committed membership has this node no more (thesis §4.2.2)."""


@dataclass(frozen=True, slots=True)
class Abdication:
    """The end of a leadership."""

    term: Term
    """Which this node led."""
    reason: AbdicationReason
    silent_ticks: Mapping[NodeId, int]
    """How long ago each other voter had last been heard, in ticks."""
