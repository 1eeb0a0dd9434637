"""Peers that come back without what they had confirmed, as their leader finds out and tells."""

import logging

from raftd import events
from raftd.consensus import RaftView
from raftd.consensus.types import NodeId, Term

logger = logging.getLogger(__name__)


class LogLosses:
    """Looks at what consensus has found out about the peers' logs (`consensus.replication`, *Lost disks*)."""

    def __init__(self, raft: RaftView) -> None:
        self._raft = raft
        self._told: dict[NodeId, tuple[Term, int]] = {}
        """By peer: (term, how many losses in it)."""
        self.total = 0
        """Losses that this node has found, while it led."""

    def look(self) -> None:
        """Tell of each loss, once."""
        raft = self._raft
        for peer, progress in raft.progress.items():
            found = raft.current_term, progress.losses
            if progress.losses and self._told.get(peer) != found:
                self._told[peer] = found
                self.total += 1
                events.LOG_LOST.log(logger, peer=peer, index=progress.lost_index)
