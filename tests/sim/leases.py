"""What lease reads rest on (thesis §6.4.1), by a reckoning of our own: who heard a leader when, by which clock.

A node that has heard a leader, or has just started, helps nobody else to be elected for an election timeout by its own
clock. So a leader may read by its lease only while the voters for whom that time is over cannot decide an election
among themselves. Both halves are checked where they happen, so a lease that is too long is found although nobody else
came to lead just then.
"""

from typing import TYPE_CHECKING

from raftd.consensus import NodeId, Role, Term
from tests.sim.plan import ELECTION_TIMEOUT_TICKS, TICK_SECONDS

if TYPE_CHECKING:
    from raftd.consensus import Membership
    from tests.sim.process import Process
    from tests.sim.world import World

_LOYAL_SECONDS = (ELECTION_TIMEOUT_TICKS - 2) * TICK_SECONDS - 1e-6
"""The first tick that counts may come right after the leader was heard, and be late, with the second close behind."""


def decides(membership: "Membership", nodes: set[NodeId]) -> bool:
    """Whether `nodes` hold a majority of each side, counted one by one."""
    return bool(membership.voters) and all(
        2 * sum(voter in nodes for voter in voters) > len(voters)
        for voters in (membership.voters, membership.outgoing)
        if voters
    )


class Leases:
    """Who is loyal to some leader, and which leaders read by that."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._heard_at: dict[NodeId, float] = {}
        """When a node heard a leader last, by its own clock; its start counts, since it may have forgotten."""
        self._heard_in: dict[NodeId, int] = {}
        """In which term that was, in this life of the node."""
        self._told: set[tuple[NodeId, int]] = set()
        """(node, term): who was told to campaign by the leader of that term."""
        self._has_told: set[tuple[NodeId, int]] = set()
        """(leader, term): who told somebody so."""

    def started(self, process: "Process", term: Term) -> None:
        """A process begins, in `term`; on a new disk, which is of term 0, it owes nobody anything."""
        self._heard_at[process.node_id] = process.local_time() if term else float("-inf")
        self._heard_in.pop(process.node_id, None)

    def heard(self, process: "Process", term: int) -> None:
        """A leader's message comes in, whose term is not behind."""
        if term >= process.raft.current_term:
            self._heard_at[process.node_id] = process.local_time()
            self._heard_in[process.node_id] = term

    def hears_leader(self, process: "Process") -> bool:
        """Whether the leader of a node's term lives, as far as the node can tell."""
        return self._heard_in.get(process.node_id) == process.raft.current_term and self._is_loyal(process)

    def was_told(self, node_id: NodeId, term: int) -> bool:
        """Whether a leader of `term` has told a node to campaign."""
        return (node_id, term) in self._told

    def tells(self, process: "Process", target: NodeId, term: int) -> None:
        """A leader tells another node to campaign at once: that one has to have the whole log (thesis §3.10)."""
        self._told.add((target, term))
        self._has_told.add((process.node_id, term))
        raft, disk = process.raft, self._world.disks[target]
        last_term = raft.term_at(raft.last_index)
        if disk.durable.current_term > term or last_term is None:
            return  # It follows somebody else by now, who may have cut its log.
        if not disk.holds(raft.last_index, last_term):
            self._world.oracle.fail(
                f"leader {process.node_id} hands over to node {target}, whose disk lacks entry {raft.last_index}"
            )

    def votes(self, voter: "Process", candidate: NodeId, term_before: int) -> None:
        """A node has just given its vote."""
        term = voter.raft.current_term
        if self.was_told(candidate, term - 1) or voter.raft.membership.all_voters == {voter.node_id}:
            return
        if not self._is_loyal(voter):
            return
        who = f"node {voter.node_id} votes for node {candidate} in term {term}"
        if self._world.plan.lease_reads:
            self._world.oracle.fail(f"{who}, and a leader may rely on it")
        if self._heard_in.get(voter.node_id) == term_before < term:
            self._world.oracle.fail(f"{who}, and hears the leader of term {term_before}")

    def reads(self, process: "Process") -> None:
        """A leader answers reads without asking anybody."""
        world, raft = self._world, process.raft
        fail, term, node_id = world.oracle.fail, raft.current_term, process.node_id
        if raft.role is not Role.LEADER or max(world.oracle.leaders) > term:
            fail(f"node {node_id} reads by the lease of term {term}, and term {max(world.oracle.leaders)} has a leader")
        if (node_id, term) in self._has_told:
            fail(f"node {node_id} reads by its lease, and has told another node to campaign in term {term}")
        # Nodes of the two kinds elect nobody together (`raftd.consensus.proof`).
        free: dict[bool, set[NodeId]] = {True: set(), False: set()}
        for voter in sorted(raft.membership.all_voters - {node_id}):
            other = world.processes[voter]
            if other.is_up and not self._is_loyal(other):
                free[other.raft.is_proven].add(voter)
        for nodes in free.values():
            if decides(raft.membership, nodes):
                fail(f"node {node_id} reads by its lease of term {term}, and {sorted(nodes)} may elect another leader")

    def _is_loyal(self, process: "Process") -> bool:
        return process.local_time() - self._heard_at[process.node_id] < _LOYAL_SECONDS
