"""Everything beyond single keys, in the runs that have it: its users, its watchers, and what must hold for them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raftd.consensus import Entry, EntryKind
from raftd.kv.commands import Command, Opcode, decode
from raftd.kv.types import LeaseId
from raftd.wire.watch import WatchFlag
from tests.sim.service.lease_times import LeaseTimes
from tests.sim.service.reference import Reference, expired_by
from tests.sim.service.user import User
from tests.sim.service.watcher import Watcher
from tests.sim.timeline import generator

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World


class Service:
    """The part of a run that is about transactions, leases and watches."""

    def __init__(self, world: "World") -> None:
        self._world = world
        plan = world.plan
        self.reference = Reference(world, plan.machine_limits)
        self.lease_times = LeaseTimes(world)
        self.users = [User(world, self, number, generator(plan.seed, f"user/{number}")) for number in range(plan.users)]
        watched: list[tuple[bytes, bytes, WatchFlag]] = []
        self.watchers = [
            Watcher(world, self.reference, number, watched, generator(plan.seed, f"watcher/{number}"))
            for number in range(plan.watchers)
        ]
        self._all: list[User | Watcher] = [*self.users, *self.watchers]

    def start(self) -> None:
        """Begin."""
        draw = generator(self._world.plan.seed, "service")
        for one in self._all:
            self._world.timeline.after(draw.uniform(0, 1), one.think)

    # What nodes do.

    def appended(self, process: "Process", entries: Sequence[Entry]) -> None:
        """A leader hands out entries of its own."""
        for _, term, kind, data in entries:
            if kind is EntryKind.COMMAND and term == process.raft.current_term and _is_of_server(data):
                self.lease_times.proposed(process, term, expired_by(decode(data)))

    def first_applied(self, entry: tuple[int, int], command: Command, answer: bytes, *, is_done: bool) -> None:
        """The first node has applied the command at (index, term); `is_done`: it is a write, and is done by this."""
        index, term = entry
        leases = self.reference.model.leases
        for lease in expired_by(command):
            if lease in leases:
                self.lease_times.expired(lease, self._world.oracle.born(entry), term)
        self.reference.first_applied(index, command, answer, is_done=is_done)
        if is_done and command.opcode is Opcode.LEASE_GRANT and index in leases:
            self.lease_times.exists(LeaseId(index), term, leases[LeaseId(index)][1])

    def applied(self, process: "Process", index: int) -> None:
        """A node has applied an entry, as the first or later."""
        self.reference.applied(f"node {process.node_id}", index, process.machine)
        self.lease_times.applied(process, index)

    # The end.

    def leave_unreachable(self) -> None:
        """Whoever hangs on a node that may stay away goes elsewhere."""
        for one in self._all:
            one.leave_unreachable()

    def become_idle(self) -> None:
        """Ask for nothing new, and keep no lease alive."""
        for user in self.users:
            user.is_idle = True

    def is_settled(self) -> bool:
        """Whether nobody waits for anything, and no lease is left."""
        return not self._unsettled()

    def check_settled(self) -> None:
        """Say what is still to come, if there is anything."""
        unsettled = self._unsettled()
        if unsettled:
            self._world.oracle.fail(f"liveness: {', '.join(unsettled)} have waited for too long")

    def finish(self) -> None:
        """See that nodes count their watches rightly: operators are shown these numbers."""
        for process in self._world.processes.values():
            if not process.is_up or process.watches.is_ending:
                continue
            watches = [watch for own in process.watches._watches.values() for watch in own.values()]
            counted = process.watches.count, process.watches.behind_count
            found = len(watches), sum(watch.position is not None for watch in watches)
            if counted != found:
                self._world.oracle.fail(f"node {process.node_id} counts {counted} watches and has {found}")

    def _unsettled(self) -> list[str]:
        waiting = [one.name for one in self._all if not one.is_settled()]
        return waiting + [f"lease {lease}" for lease in self.reference.model.leases]


def _is_of_server(data: bytes) -> bool:
    """Whether an entry's stamp has no user (`raftd.kv.stamps`)."""
    return data[10] == 0
