"""A cluster of Raft cores in memory, where the test decides what the network, the disks and the clocks do."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from raftd.consensus import (
    NO_MEMBERSHIP,
    Entry,
    HardState,
    InstallSnapshot,
    Limits,
    LogIndex,
    Membership,
    Message,
    NodeId,
    Raft,
    ReadId,
    Ready,
    Role,
    SnapshotChunk,
    SnapshotMetadata,
    Term,
    check_basic,
    check_delta,
    encode_membership,
    observe,
)
from raftd.consensus.quorum import is_quorum


class Snapshot(NamedTuple):
    """A state machine's state, as a file."""

    metadata: SnapshotMetadata
    applied: tuple[Entry, ...]

    @property
    def data(self) -> bytes:
        """What is sent of it: enough to see that every byte arrived in its place."""
        return encode_membership(self.metadata.membership) + b"".join(entry[3] for entry in self.applied)


class Server:
    """One node: its core, its disk, its snapshot files, and the Readies between them."""

    def __init__(self, node_id: NodeId, cluster: "Cluster", membership: Membership) -> None:
        self.node_id = node_id
        self.cluster = cluster
        self.bootstrap = membership
        self.disk_hard_state = HardState(Term(0), None)
        self.disk_base = 0
        self.disk_entries: list[Entry] = []
        self.disk_snapshot: Snapshot | None = None
        self.is_unproven = False
        """The disk is new, and its node was not proven since."""
        self.is_stalled = False
        """The disk stores nothing."""
        self.is_up = False
        self.raft: Raft
        self.start()

    def start(self) -> None:
        """A new life, with what the disk holds."""
        snapshot = self.disk_snapshot
        self.unstored: deque[Ready] = deque()
        self.chunks: deque[tuple[NodeId, InstallSnapshot]] = deque()
        self.partial = b""
        self.applied: list[Entry] = [] if snapshot is None else list(snapshot.applied)
        self.reads: dict[ReadId, int] = {}
        self.raft = Raft(
            node_id=self.node_id,
            membership=self.bootstrap,
            hard_state=self.disk_hard_state,
            entries=self.disk_entries,
            random=self.cluster.random,
            limits=self.cluster.limits,
            snapshot=None if snapshot is None else snapshot.metadata,
            unproven=self.is_unproven,
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
        self.is_unproven = not raft.is_proven
        if raft.role is Role.LEADER:
            self.cluster.saw_leader(self)

    def work(self) -> None:
        """Do what the core wants done, as a driver does; only the disk takes its time."""
        raft = self.raft
        while raft.has_ready:
            ready = raft.ready()
            assert ready != Ready() or not raft.has_ready, "has_ready promised work"
            self.cluster.send(self.node_id, ready.messages)
            for chunk in ready.snapshot_chunks:
                self.send_chunk(chunk)
            self.chunks.extend(ready.snapshot_data)
            if ready.must_store or ready.messages_after_stored:
                self.unstored.append(ready)
            for entry in ready.committed:
                self.cluster.saw_applied(self, entry)
                self.applied.append(entry)
            if ready.committed:
                raft.applied(ready.committed[-1][0])
            for read_id, read_index in ready.confirmed_reads:
                assert read_index >= self.reads.pop(read_id), f"a stale read in {self.cluster}"
                self.cluster.note(f"node {self.node_id}: read at {read_index}")
            for read_id in ready.refused_reads:
                del self.reads[read_id]
                self.cluster.note(f"node {self.node_id}: read refused")
            self._pass_what_needs_no_disk()
            self.check()

    def store(self) -> bool:
        """The disk has finished the oldest Ready. Returns whether there was one."""
        if not self.unstored or self.is_stalled:
            return False
        ready = self.unstored.popleft()
        if ready.hard_state is not None:
            self.disk_hard_state = ready.hard_state
        if ready.log_base is not None:
            self.disk_base = ready.log_base[0]
            self.disk_entries = []
        if ready.entries:
            kept = ready.entries[0][0] - self.disk_base - 1
            assert 0 <= kept <= len(self.disk_entries), "a gap on the disk"
            del self.disk_entries[kept:]
            self.disk_entries.extend(ready.entries)
        self.cluster.send(self.node_id, ready.messages_after_stored)
        if ready.must_store:
            self.raft.stored(ready.stored_term, ready.stored_index)
        if not any(waiting.log_base for waiting in self.unstored):
            low, high = max(self.raft.base_index, self.disk_base) + 1, self.raft.stored_index + 1
            if low < high:
                stored = self.disk_entries[low - self.disk_base - 1 : high - self.disk_base - 1]
                assert list(self.raft.entries(LogIndex(low), LogIndex(high))) == stored, "not on disk"
        self._pass_what_needs_no_disk()
        self.check()
        self.work()
        return True

    def read(self, overdue_ticks: int = 0) -> None:
        """Ask for a linearizable read; what is committed anywhere by now must be seen by it."""
        read_id = self.raft.request_read(overdue_ticks)
        assert read_id not in self.reads
        self.reads[read_id] = len(self.cluster.committed)
        self.work()

    def take_snapshot(self, tail: int = 0) -> None:
        """Snapshot the state machine and compact the log but for a tail of so many entries."""
        metadata = self.raft.snapshot_metadata(self.raft.last_applied)
        snapshot = Snapshot(metadata, tuple(self.applied))
        self.cluster.saw_snapshot(snapshot)
        self.disk_snapshot = snapshot
        self.raft.snapshot_available(metadata)
        self.raft.compact(LogIndex(metadata.last_included_index - tail))
        kept = [entry for entry in self.disk_entries if entry[0] > self.raft.base_index]
        if not any(waiting.log_base for waiting in self.unstored) and self.disk_base + len(self.disk_entries) > (
            self.raft.base_index
        ):
            self.disk_base, self.disk_entries = max(self.disk_base, self.raft.base_index), kept
        self.check()
        self.work()

    def send_chunk(self, chunk: SnapshotChunk) -> None:
        """Read a chunk of a snapshot file and send it."""
        snapshot = self.disk_snapshot
        if snapshot is None or snapshot.metadata.last_included_index != chunk.last_included_index:
            self.raft.snapshot_unavailable(chunk.peer)
            return
        end = chunk.offset + self.cluster.chunk_bytes
        message = InstallSnapshot(
            chunk.term,
            self.node_id,
            chunk.last_included_index,
            chunk.last_included_term,
            chunk.offset,
            snapshot.data[chunk.offset : end],
            end >= len(snapshot.data),
        )
        self.cluster.send(self.node_id, [(chunk.peer, message)])

    def take_in(self) -> bool:
        """The disk has taken in a chunk of a snapshot. Returns whether there was one."""
        if not self.chunks:
            return False
        _, chunk = self.chunks.popleft()
        self.partial = chunk.data if chunk.offset == 0 else self.partial + chunk.data
        assert len(self.partial) == chunk.offset + len(chunk.data), "a chunk that does not fit"
        index = chunk.last_included_index
        snapshot = self.cluster.snapshots[index]
        if not chunk.done:
            self.raft.snapshot_received(index, len(self.partial))
        elif self.partial != snapshot.data:
            self.raft.snapshot_received(index, 0)
        else:
            if self.disk_snapshot is None or self.disk_snapshot.metadata.last_included_index < index:
                self.disk_snapshot = snapshot
            if self.raft.snapshot_installed(snapshot.metadata):
                self.applied = list(snapshot.applied)
                self.cluster.note(f"node {self.node_id}: installs the snapshot at {index}")
        self.check()
        self.work()
        return True

    def holds(self, entry: Entry) -> bool:
        """Whether the disk has this entry, as itself or in a snapshot."""
        offset = entry[0] - self.disk_base - 1
        in_log = offset >= 0 and entry in self.disk_entries[offset : offset + 1]
        snapshot = self.disk_snapshot
        return in_log or (snapshot is not None and snapshot.metadata.last_included_index >= entry[0])

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
        self.chunk_bytes = 16
        self.note: Callable[[str], None] = lambda _: None
        """Hears what happens, in a sentence."""
        self.network: list[tuple[NodeId, NodeId, Message]] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """(from, to): what is sent this way is lost."""
        self.committed: list[Entry] = []
        """Every entry that anybody has applied."""
        self.leaders: dict[Term, NodeId] = {}
        self.snapshots: dict[LogIndex, Snapshot] = {}
        """Every snapshot that anybody has taken."""
        membership = Membership(frozenset(self.node_ids))
        self.servers = {node_id: Server(node_id, self, membership) for node_id in self.node_ids}

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
        server = self.servers.get(destination)
        if server is not None and server.is_up and (sender, destination) not in self.cut:
            server.raft.step(sender, message)
            server.check()
            server.work()

    def join(self, number: int) -> None:
        """Start a server that waits to be added."""
        node_id = NodeId(number)
        self.node_ids.append(node_id)
        self.servers[node_id] = Server(node_id, self, NO_MEMBERSHIP)

    def crash(self, number: int) -> None:
        """Stop a server: what is not on its disk is gone, and so is what it had yet to say."""
        self.servers[NodeId(number)].is_up = False

    def restart(self, number: int) -> None:
        """Start a server that crashed."""
        self.servers[NodeId(number)].start()

    def lose_disk(self, number: int) -> None:
        """Start a server anew, on an empty disk."""
        server = self.servers[NodeId(number)]
        server.disk_hard_state = HardState(Term(0), None)
        server.disk_base, server.disk_entries, server.disk_snapshot = 0, [], None
        server.is_unproven = True
        server.start()

    def set_back(self, number: int, index: int) -> None:
        """Start a server on an old copy of its disk, from when its log ended at `index`; it keeps its term."""
        server = self.servers[NodeId(number)]
        del server.disk_entries[index - server.disk_base :]
        server.start()

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
            elif not sum(server.store() + server.take_in() for server in self.up()):
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
            is_late = term < max(self.leaders, default=0)
            self.leaders[term] = server.node_id
            if is_late:
                return  # What was committed since in newer terms it may lack.
            length, base = len(self.committed), server.raft.base_index
            assert server.raft.last_index >= length, f"leader of term {term} lacks committed entries in {self}"
            mine = server.raft.entries(LogIndex(base + 1), LogIndex(length + 1))
            assert list(mine) == self.committed[base:], f"leader of term {term} has other committed entries in {self}"
        assert self.leaders[term] == server.node_id, f"two leaders in term {term} of {self}"

    def saw_applied(self, server: Server, entry: Entry) -> None:
        """State machine safety: everybody applies the same entries, in order, each once."""
        index = entry[0]
        assert index == len(server.applied) + 1, f"applied out of order in {self}"
        if index <= len(self.committed):
            assert self.committed[index - 1] == entry, f"two entries applied at {index} in {self}"
        else:
            holders = {one.node_id for one in self.servers.values() if one.holds(entry)}
            assert any(is_quorum(one.raft.membership, holders) for one in self.up()), f"no stored majority in {self}"
            self.committed.append(entry)

    def saw_snapshot(self, snapshot: Snapshot) -> None:
        """Snapshots of one index are equal, whoever takes them, and hold what was committed."""
        index = snapshot.metadata.last_included_index
        assert self.snapshots.setdefault(index, snapshot) == snapshot, f"two snapshots at {index} in {self}"
        assert list(snapshot.applied) == self.committed[:index], f"a snapshot of something else in {self}"

    def check_log_matching(self) -> None:
        """Two logs with an entry of the same index and term are equal up to it (§5.3)."""
        logs = [
            {entry[0]: entry for entry in raft.entries(LogIndex(raft.base_index + 1), LogIndex(raft.last_index + 1))}
            for raft in (server.raft for server in self.up())
        ]
        for position, one in enumerate(logs):
            for other in logs[:position]:
                common = sorted(one.keys() & other.keys())
                last_match = max((index for index in common if one[index][1] == other[index][1]), default=0)
                for index in common:
                    assert index > last_match or one[index] == other[index], f"logs do not match in {self}"
