"""Whether a leader may answer reads by itself for a while (thesis §6.4.1): lease reads, an option.

A node that has heard from a leader helps nobody else to be elected for `election_timeout_ticks` of its own clock; with
lease reads on, neither a restart nor a newer term shortens that (`Election.guards_lease`). So from the moment that a
heartbeat round *began* which a quorum has answered, no other leader can be elected for that long. Three things shorten
what is left of it:

- the first tick of a voter may come at once after it heard the leader, and be a late one, so that the second follows at
  once too (a late tick does not put off the next): only election_timeout_ticks - 2 are whole;
- clocks differ: a voter's may run faster than the leader's by a factor of 1 + clock_drift, no more;
- the leader's process may have been stopped, or be late with its ticks, so it must say how late (`overdue_ticks`), from
  a clock that goes on meanwhile. A tick count alone knows nothing of that: a process that wakes up would read on.

Who was told to campaign by this leader heeds no lease, whenever that order arrives. So from the first hand-over on
there is no lease in that term, whatever became of it. What is not held falls back to ReadIndex.
"""

from raftd.consensus.node import Node
from raftd.consensus.replication import Replication
from raftd.consensus.transfer import Transfer


class Lease:
    """The leader's lease; on other nodes never held."""

    __slots__ = ("_length_ticks", "_node", "_replication", "_transfer")

    def __init__(self, node: Node, replication: Replication, transfer: Transfer) -> None:
        self._node = node
        self._replication = replication
        self._transfer = transfer
        limits = node.limits
        self._length_ticks = int((limits.election_timeout_ticks - 2) / (1 + limits.clock_drift))

    def is_held(self, overdue_ticks: int) -> bool:
        """Whether no other leader can have been elected, `overdue_ticks` of the leader's clock after its last tick."""
        node = self._node
        if not node.limits.lease_reads or not node.has_committed_in_term:
            return False
        if node.transfer_target is not None or self._transfer.told_term == node.current_term:
            return False
        age_ticks = self._replication.ticks_since_quorum()
        # The round may have begun right before a tick, and now may be right before the next: one more may have passed.
        return age_ticks is not None and age_ticks + overdue_ticks + 1 <= self._length_ticks
