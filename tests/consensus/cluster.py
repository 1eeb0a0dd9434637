"""A cluster of Raft cores in memory, where the test decides what the network, the disks and the clocks do."""

import random
from collections import deque
from collections.abc import Iterable

from raftd.consensus import (
    Entry,
    HardState,
    Limits,
    LogIndex,
    Membership,
    Message,
    NodeId,
    Raft,
    ReadId,
    Ready,
    Role,
    Term,
    check_basic,
    check_delta,
    observe,
)


class Server:
    """One node: its core, its disk, and the Readies between the two."""

    def __init__(self, node_id: NodeId, cluster: "Cluster", hard_state: HardState, entries: Iterable[Entry]) -> None:
        self.node_id = node_id
        self.cluster = cluster
        self.disk_hard_state = hard_state
        self.disk_entries: list[Entry] = list(entries)
        self.is_up = False
        self.raft: Raft
        self.start()

    def start(self) -> None:
        """A new life, with what the disk holds."""
        self.unstored: deque[Ready] = deque()
        self.applied: list[Entry] = []
        self.reads: dict[ReadId, int] = {}
        self.raft = Raft(
            node_id=self.node_id,
            membership=self.cluster.membership,
            hard_state=self.disk_hard_state,
            entries=self.disk_entries,
            random=self.cluster.random,
            limits=self.cluster.limits,
        )
        self.observation = observe(self.raft)
        self.is_up = True

    def check(self) -> None:
        """Everything that must hold of this node now, and since the last check."""
        raft = self.raft
        check_basic(raft)
        now = observe(raft)
        check_delta(self.observation, now)
        self.observation = now
        if raft.role is Role.LEADER:
            self.cluster.saw_leader(self)

    def work(self) -> None:
        """Do what the core wants done, as a driver does; only the disk takes its time."""
        raft = self.raft
        while raft.has_ready:
            ready = raft.ready()
            assert ready != Ready(), "has_ready promised work"
            self.cluster.send(self.node_id, ready.messages)
            if ready.must_store or ready.messages_after_stored:
                self.unstored.append(ready)
            for entry in ready.committed:
                self.cluster.saw_applied(self, entry)
                self.applied.append(entry)
            if ready.committed:
                raft.applied(ready.committed[-1][0])
            for read_id, read_index in ready.confirmed_reads:
                assert read_index >= self.reads.pop(read_id), f"a stale read in {self.cluster}"
            for read_id in ready.refused_reads:
                del self.reads[read_id]
            self._pass_what_needs_no_disk()
            self.check()

    def store(self) -> bool:
        """The disk has finished the oldest Ready. Returns whether there was one."""
        if not self.unstored:
            return False
        ready = self.unstored.popleft()
        if ready.hard_state is not None:
            self.disk_hard_state = ready.hard_state
        if ready.entries:
            first = ready.entries[0][0]
            assert first <= len(self.disk_entries) + 1, "a gap on the disk"
            del self.disk_entries[first - 1 :]
            self.disk_entries.extend(ready.entries)
        self.cluster.send(self.node_id, ready.messages_after_stored)
        self.raft.stored(ready.stored_term, ready.stored_index)
        stored = self.raft.stored_index
        assert list(self.raft.entries(LogIndex(1), LogIndex(stored + 1))) == self.disk_entries[:stored], "not on disk"
        self._pass_what_needs_no_disk()
        self.check()
        self.work()
        return True

    def read(self) -> None:
        """Ask for a linearizable read; what is committed anywhere by now must be seen by it."""
        read_id = self.raft.request_read()
        assert read_id not in self.reads
        self.reads[read_id] = len(self.cluster.committed)
        self.work()

    def _pass_what_needs_no_disk(self) -> None:
        while self.unstored and not self.unstored[0].must_store:
            self.cluster.send(self.node_id, self.unstored.popleft().messages_after_stored)


class Cluster:
    """Servers, the network between them, and what must hold across all of them."""

    def __init__(self, size: int, seed: int = 0, limits: Limits | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.limits = limits if limits is not None else Limits()
        self.node_ids = [NodeId(number) for number in range(1, size + 1)]
        self.membership = Membership(frozenset(self.node_ids))
        self.network: list[tuple[NodeId, NodeId, Message]] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """(from, to): what is sent this way is lost."""
        self.committed: list[Entry] = []
        """Every entry that anybody has applied."""
        self.leaders: dict[Term, NodeId] = {}
        self.leader_logs: dict[Term, int] = {}
        self.servers = {node_id: Server(node_id, self, HardState(Term(0), None), ()) for node_id in self.node_ids}

    def __str__(self) -> str:
        return f"cluster of {len(self.servers)}, seed {self.seed}"

    def __getitem__(self, number: int) -> Raft:
        return self.servers[NodeId(number)].raft

    def up(self) -> list[Server]:
        """The servers that run."""
        return [server for server in self.servers.values() if server.is_up]

    def send(self, sender: NodeId, messages: Iterable[tuple[NodeId, Message]]) -> None:
        """Put messages on the network."""
        for destination, message in messages:
            assert destination != sender
            self.network.append((sender, destination, message))

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        """Deliver one message of the network; `keep` leaves a copy there."""
        sender, destination, message = self.network[position] if keep else self.network.pop(position)
        server = self.servers[destination]
        if server.is_up and (sender, destination) not in self.cut:
            server.raft.step(sender, message)
            server.check()
            server.work()

    def crash(self, number: int) -> None:
        """Stop a server: what is not on its disk is gone, and so is what it had yet to say."""
        self.servers[NodeId(number)].is_up = False

    def restart(self, number: int) -> None:
        """Start a server that crashed."""
        self.servers[NodeId(number)].start()

    def tick(self, *numbers: int) -> None:
        """One tick for these servers, or for all that run."""
        for server in self.up():
            if not numbers or server.node_id in numbers:
                server.raft.tick()
                server.check()
                server.work()

    def settle(self) -> None:
        """Deliver and store until nothing is left to do, in the order of sending."""
        for server in self.up():
            server.work()
        for _ in range(100_000):
            if self.network:
                self.deliver()
            elif not sum(server.store() for server in self.up()):
                return
        raise AssertionError(f"{self} does not come to rest")

    def run(self, ticks: int) -> None:
        """Let time pass in a good world."""
        for _ in range(ticks):
            self.tick()
            self.settle()

    def elect(self, number: int) -> Raft:
        """Make this server leader, when nobody leads."""
        raft = self[number]
        raft.campaign()
        self.settle()
        assert raft.role is Role.LEADER
        return raft

    def isolate(self, number: int) -> None:
        """Cut a server off from all others."""
        for other in self.node_ids:
            if other != number:
                self.cut |= {(NodeId(number), other), (other, NodeId(number))}

    def leader(self) -> Server | None:
        """The leader of the latest term among those that run, if any."""
        leaders = [server for server in self.up() if server.raft.role is Role.LEADER]
        return max(leaders, key=lambda server: server.raft.current_term, default=None)

    def propose(self, *commands: bytes) -> LogIndex:
        """Propose at the leader, and let the core work."""
        leader = self.leader()
        assert leader is not None
        index = leader.raft.propose(commands)
        leader.work()
        return index

    def saw_leader(self, server: Server) -> None:
        """Election safety, and leader completeness: one leader in a term, and it has all that is committed (§5.4)."""
        term = server.raft.current_term
        if term not in self.leaders:
            self.leaders[term] = server.node_id
            length = len(self.committed)
            assert server.raft.last_index >= length, f"leader of term {term} lacks committed entries in {self}"
            mine = server.raft.entries(LogIndex(1), LogIndex(length + 1))
            assert list(mine) == self.committed, f"leader of term {term} has other committed entries in {self}"
        assert self.leaders[term] == server.node_id, f"two leaders in term {term} of {self}"

    def saw_applied(self, server: Server, entry: Entry) -> None:
        """State machine safety: everybody applies the same entries, in order, each once."""
        index = entry[0]
        assert index == len(server.applied) + 1, f"applied out of order in {self}"
        if index <= len(self.committed):
            assert self.committed[index - 1] == entry, f"two entries applied at {index} in {self}"
        else:
            holders = {one.node_id for one in self.servers.values() if entry in one.disk_entries[index - 1 : index]}
            assert len(holders) > len(self.servers) // 2, f"committed without a stored majority in {self}"
            self.committed.append(entry)

    def check_log_matching(self) -> None:
        """Two logs with an entry of the same index and term are equal up to it (§5.3)."""
        logs = [server.raft.entries(LogIndex(1), LogIndex(server.raft.last_index + 1)) for server in self.up()]
        for position, one in enumerate(logs):
            for other in logs[:position]:
                last_common = next(
                    (at for at in reversed(range(min(len(one), len(other)))) if one[at][1] == other[at][1]), -1
                )
                assert one[: last_common + 1] == other[: last_common + 1], f"logs do not match in {self}"
