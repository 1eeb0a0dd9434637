"""Who may go on leading: not who has no quorum any more (thesis §6.2), nor whose own disk stands still.

Such a leader says nothing more, or nobody could replace it.
"""

from typing import TYPE_CHECKING

from raftd.consensus import NodeId
from tests.sim.leases import decides
from tests.sim.plan import ELECTION_TIMEOUT_TICKS, TICK_SECONDS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_PATIENCE_SECONDS = (ELECTION_TIMEOUT_TICKS + 2) * TICK_SECONDS
"""The leader counts whole ticks, and each may be late."""

_DISK_PATIENCE_SECONDS = (2 * ELECTION_TIMEOUT_TICKS + 2) * TICK_SECONDS
"""By then its leader has handed over, or stepped down."""


class Contact:
    """When each leader heard from its peers, by the leader's clock."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._since: dict[NodeId, float] = {}
        """When a leader was elected, or went on after it had stood still: it does not count that time."""
        self._terms: dict[NodeId, int] = {}
        """Which term that is about."""
        self._answered_at: dict[tuple[NodeId, NodeId], float] = {}

    def goes_on(self, process: "Process") -> None:
        """A process has stood still."""
        self._since[process.node_id] = process.local_time()

    def answers(self, process: "Process", peer: NodeId, term: int) -> None:
        """A peer's answer has come."""
        if term == process.raft.current_term:
            self._answered_at[process.node_id, peer] = process.local_time()

    def leads(self, process: "Process") -> None:
        """A leader says that it leads."""
        leader, now = process.node_id, process.local_time()
        membership = process.raft.membership
        if self._terms.get(leader) != process.raft.current_term:
            self._terms[leader] = process.raft.current_term
            self._since[leader] = now
        # Of who is a member only since now, nothing was expected before.
        heard = {leader} | {
            peer
            for peer in membership.all_voters
            if now - max(self._answered_at.setdefault((leader, peer), now), self._since[leader]) < _PATIENCE_SECONDS
        }
        busy_since = process.writer.busy_since
        if busy_since is not None and now - max(busy_since, self._since[leader]) > _DISK_PATIENCE_SECONDS:
            self._world.oracle.fail(f"node {leader} goes on leading, and its disk has stood still since {busy_since}")
        if not decides(membership, heard):
            self._world.oracle.fail(f"node {leader} goes on leading, and has heard of {sorted(heard)} only")
