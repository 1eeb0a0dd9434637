"""A whole cluster with its clients, out of one seed."""

import random
from typing import TextIO

from raftd.consensus import Membership, NodeId
from tests.linearizability.checker import Operation, is_linearizable
from tests.sim.clients import Client
from tests.sim.disk import Disk
from tests.sim.faults import FAULTS
from tests.sim.leases import decides
from tests.sim.network import Network
from tests.sim.oracle import Oracle
from tests.sim.plan import ELECTION_TIMEOUT_SECONDS, Plan, make_plan
from tests.sim.process import Process, membership_of
from tests.sim.service.service import Service
from tests.sim.sometimes import Sometimes
from tests.sim.timeline import Timeline, Trace, generator

HEALED_ELECTION_TIMEOUTS = 10
"""A healed quorum must have committed something new after so many."""

ANSWERED_SECONDS = 60.0
"""By then a healed quorum must have answered every request, for nothing new is asked."""

HEALED_DISK_SECONDS = 0.002
"""How long a healed disk takes, on average."""

CAUGHT_UP_SECONDS = 30.0
"""So much later each of them must have all that is committed, whatever its disk has been through."""


SETTLED_SECONDS = 30.0
"""And by then all leases are over, which nobody keeps alive any more, and all watches have been told everything."""


class World:
    """One run."""

    def __init__(self, plan: Plan, out: TextIO | None = None) -> None:
        seed = plan.seed
        self.plan = plan
        self.timeline = Timeline()
        self.trace = Trace(self.timeline, out)
        self.sometimes = Sometimes()
        self.node_ids = [NodeId(number) for number in range(1, plan.size + plan.spares + 1)]
        self.membership = membership_of(self.node_ids[: plan.size])
        """What the cluster begins with."""
        self.admitted = set(self.membership.members)
        """Nodes that were ever started."""
        self.leaving: set[NodeId] = set()
        """Nodes whose removal was begun: their ids are not used again."""
        self.is_leaving_behind = False
        """Whether somebody is being left behind, which wants a membership of its own (`left_behind`)."""
        self.oracle = Oracle(self)
        self.is_chaotic = True
        """Whether faults go on."""
        self.known_revision = 0
        """The greatest revision of the store that any client was told of."""
        self.history: dict[bytes, list[Operation]] = {}
        self.reachable = self.node_ids[: plan.size]
        """Whom clients may ask."""
        self.network = Network(self, generator(seed, "network"))
        self.disks = {node_id: Disk(self, node_id, generator(seed, f"disk/{node_id}")) for node_id in self.node_ids}
        self.processes = {
            node_id: Process(self, node_id, self.disks[node_id], generator(seed, f"process/{node_id}"))
            for node_id in self.node_ids
        }
        self.service = Service(self) if plan.users else None
        """None: only single keys are read and written."""
        self.clients = [Client(self, number, generator(seed, f"client/{number}")) for number in range(plan.clients)]

    def down_count(self) -> int:
        """How many processes do not run that should."""
        return sum(not self.processes[node_id].is_up for node_id in self.members())

    def members(self) -> list[NodeId]:
        """The nodes that were started, and were not told to stop for ever."""
        return [node_id for node_id in self.node_ids if node_id in self.admitted and not self.is_retired(node_id)]

    def is_retired(self, node_id: NodeId) -> bool:
        """Whether a node has stopped since it is no member any more."""
        return self.processes[node_id].is_retired

    def admit(self, node_id: NodeId) -> None:
        """Start a node that is being added."""
        if node_id not in self.admitted:
            self.admitted.add(node_id)
            self.reachable = self.members()
            self.processes[node_id].restart_in(0.001)

    def whole(self) -> set[NodeId]:
        """The nodes whose disks hold what they ever stored."""
        return {
            node_id
            for node_id in self.members()
            if not self.disks[node_id].is_flipped and self.disks[node_id].before_wipe is None
        }

    def can_spare(self, node_id: NodeId) -> bool:
        """Whether all others that are whole are a quorum of whatever membership may be in force.

        And whether those that are not proven are none of what the cluster began with, since that is what they believe
        in: one that has never been proven and one with a new disk may elect each other over what a third has committed.
        """
        left = {one for one in self.whole() if self.disks[one].is_proven()} - {node_id}
        doubtful = {one for one in self.node_ids if not self.disks[one].is_proven()} | {node_id}
        return not decides(self.membership, doubtful) and all(
            decides(membership, left) for membership in self.live_memberships()
        )

    def knows_founders_only(self, process: Process) -> bool:
        """Whether nobody else votes, as far as this node's log says, than when the cluster began."""
        membership = process.membership_in_force()
        return membership.voters == self.membership.voters and not membership.outgoing

    def live_memberships(self) -> list[Membership]:
        """The committed membership, and those in some log that may yet be."""
        committed_index, committed = self.oracle.memberships[-1]
        found = [committed]
        for node_id in self.members():
            found += [
                membership for index, membership in self.processes[node_id].memberships if index > committed_index
            ]
        return found

    def run(self) -> None:
        """Let everything happen.

        Raises:
            Violation: something did that must not.
        """
        plan = self.plan
        self.trace.note(f"{plan}")
        draw = generator(plan.seed, "world")
        for node_id in sorted(self.membership.members):
            self.timeline.after(draw.uniform(0, 0.2), self.processes[node_id].start)
        for client in self.clients:
            self.timeline.after(draw.uniform(0, 1), client.think)
        if self.service is not None:
            self.service.start()
        for name, arm in FAULTS.items():
            if plan.has(name):
                arm(self, generator(plan.seed, f"fault/{name}"))
        self.timeline.run_until(plan.seconds)
        self.is_chaotic = False
        if plan.heals:
            self._heal()
        self._judge()

    def _heal(self) -> None:
        """Heal a random quorum, freeze the rest, and demand a commit."""
        timeline = self.timeline
        draw = generator(self.plan.seed, "heal")
        for node_id in self.members():
            # What waits for a process that stands still may make it begin a change of the membership.
            self.processes[node_id].resume()
        healed = self._choose_healed(draw)
        if healed is None:
            return
        is_deaf = draw.random() < 0.3
        self.trace.note(f"healed: {healed}, the rest {'is deaf' if is_deaf else 'stands still'}")
        self.network.heal()
        # Not one that was removed: it may never learn of that, and who watches there hears of nothing. But one that is
        # joining: it may replace another one, and lead.
        members = self.oracle.memberships[-1][1].members
        joining = {node_id for membership in self.live_memberships() for node_id in membership.joining}
        self.reachable = [node_id for node_id in healed if node_id in members | joining]
        if self.service is not None:
            self.service.leave_unreachable()
        for node_id in self.members():
            process = self.processes[node_id]
            if node_id in healed:
                process.resume()
                if not process.is_up:
                    process.start()
                if not process.is_up:
                    self.oracle.fail(f"node {node_id} does not start on a sound disk")
            elif is_deaf and process.is_up:
                process.resume()
            else:
                process.freeze()
        if is_deaf:
            # The rest hears nothing and goes on talking: nobody may stay loyal to it, or be kept from an election.
            self.network.cut = {pair for pair in self.network.links if pair[1] not in healed}
        if not self._can_tell_the_disks(healed):
            self.trace.note("a node without a log could be one that lost its disk, and without it there is no quorum")
            return
        for client in self.clients:
            client.write_now()
        before = len(self.oracle.committed_terms)
        patience = self._patience(healed)
        timeline.run_until(timeline.now + patience, lambda: len(self.oracle.committed_terms) > before)
        if len(self.oracle.committed_terms) == before:
            self.oracle.fail(f"liveness: {healed} committed nothing in {patience:.1f} s after they were healed")
        self.sometimes("healed_quorum_commits")
        self._become_idle()
        timeline.run_until(timeline.now + ANSWERED_SECONDS, lambda: not any(client.pending for client in self.clients))
        if any(client.pending for client in self.clients):
            self.oracle.fail(f"liveness: a request had no answer {ANSWERED_SECONDS:.0f} s after {healed} were healed")
        patience = CAUGHT_UP_SECONDS + 2 * self._patience(healed)
        # Not what is committed meanwhile: the clock of sessions goes on, and a snapshot in small pieces takes its time.
        target = len(self.oracle.committed_terms)
        timeline.run_until(timeline.now + patience, lambda: not self._behind(healed, target))
        behind = self._behind(healed, target)
        if behind:
            self.oracle.fail(f"liveness: {behind} of {healed} do not catch up in {patience:.1f} s")
        if self.service is not None:
            timeline.run_until(timeline.now + SETTLED_SECONDS, self.service.is_settled)
            self.service.check_settled()

    def _become_idle(self) -> None:
        """Ask for nothing new."""
        for client in self.clients:
            client.is_idle = True
        if self.service is not None:
            self.service.become_idle()

    def _behind(self, healed: list[NodeId], index: int) -> list[NodeId]:
        """Who of them is a member and does not know that `index` is committed."""
        members = self.oracle.memberships[-1][1].members
        return [
            node_id for node_id in healed if node_id in members and self.processes[node_id].raft.commit_index < index
        ]

    def _choose_healed(self, draw: random.Random) -> list[NodeId] | None:
        """Choose nodes that must be able to go on.

        They have a quorum of whatever membership some log holds, and one that trusts each other
        (`raftd.consensus.proof`). None: there is no such quorum, by bad luck and not by a fault of ours.
        """
        sound = [node_id for node_id in self.members() if self._can_run(node_id)]
        memberships = self.live_memberships()
        draw.shuffle(sound)
        # A leader may have heard just now that these have caught up, and will count on their votes.
        joining = {node_id for membership in memberships for node_id in membership.joining}
        proven = [node_id for node_id in sound if self._is_proven(node_id)]
        founders = [
            node_id for node_id in sound if node_id not in proven and self.knows_founders_only(self.processes[node_id])
        ]
        for kind in (proven, founders):
            for count in range(1, len(kind) + 1):
                if all(decides(membership, set(kind[:count])) for membership in memberships):
                    rest = [node_id for node_id in sound if node_id not in kind[:count]]
                    more = draw.randint(0, len(rest)) if draw.random() < 0.6 else 0
                    return sorted({*kind[:count], *rest[:more], *joining.intersection(rest)})
        if not self.plan.has("membership") and len(sound) < self.plan.size // 2 + 1:
            self.oracle.fail(f"only {sound} can run, and no fault has damaged a majority")
        self.trace.note(f"no quorum of one kind among {sound}, {proven} proven")
        return None

    def _can_tell_the_disks(self, healed: list[NodeId]) -> bool:
        """Whether these can go on as a cluster that has just begun and is half up already.

        A leader that has entries counts on nobody whose log is empty before a quorum of others has confirmed it
        (`raftd.consensus.proof`).
        """
        logs = {node_id: self.processes[node_id].raft for node_id in healed}
        empty = {node_id for node_id, raft in logs.items() if not raft.is_proven and not raft.last_index}
        if not empty or len(empty) == len(healed):
            return True
        return all(decides(membership, set(healed) - empty) for membership in self.live_memberships())

    def _is_proven(self, node_id: NodeId) -> bool:
        process = self.processes[node_id]
        return process.raft.is_proven if process.is_up else self.disks[node_id].is_proven()

    def _patience(self, healed: list[NodeId]) -> float:
        """Seconds until a commit is due: some elections, and what the one that is furthest behind has to be sent."""
        ends = [self.processes[node_id].log_end for node_id in healed]
        messages = (max(ends) - min(ends)) / self.plan.append_entries_max
        snapshot_bytes = max(self.disks[node_id].snapshot_bytes() for node_id in healed)
        messages += snapshot_bytes / self.plan.transfer_chunk_bytes
        catching_up = messages * 4 * (self.plan.latency + self.plan.turn_delay + 0.02)
        # A snapshot is loaded piece by piece, and an older one may have to be taken in first: nothing stops that.
        pieces = snapshot_bytes / self.plan.snapshot_file_chunk_bytes
        loading = 2 * pieces * (HEALED_DISK_SECONDS + self.plan.turn_delay)
        # All who need one share the rate, and a second one, which is newer, may have to follow.
        sending = 2 * len(healed) * snapshot_bytes / self.plan.transfer_bytes_per_second
        return HEALED_ELECTION_TIMEOUTS * ELECTION_TIMEOUT_SECONDS + catching_up + loading + sending

    def _can_run(self, node_id: NodeId) -> bool:
        """Whether a node's disk is sound, or can be made so; its process starts soon if it does not run."""
        disk = self.disks[node_id]
        disk.filesystem.space = None
        disk.hung_until = 0.0
        disk.latency = HEALED_DISK_SECONDS
        disk.error_due = ""
        disk.crash_in_calls = None
        self.processes[node_id].disarm()
        # A flipped bit shows when the log is read, so a node that has not been started since is not counted on.
        return not disk.is_damaged and not (disk.is_flipped and not self.processes[node_id].is_up)

    def _judge(self) -> None:
        """What can only be said in the end."""
        self.oracle.finish()
        if self.service is not None:
            self.service.finish()
        for client in self.clients:
            client.close()
        for key in sorted(self.history):
            if not is_linearizable(self.history[key]):
                self.oracle.fail(f"the history of {key!r} is not linearizable: {len(self.history[key])} operations")


def build(seed: int, seconds: float, out: TextIO | None = None) -> World:
    """Make the world of a seed."""
    return World(make_plan(seed, seconds, tuple(FAULTS)), out)
