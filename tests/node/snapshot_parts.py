"""Nodes with all of their disk: the log and the snapshots as they are shipped, on file systems in memory."""

import contextlib
import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from raftd.consensus import Membership, Ready
from raftd.consensus.types import LogIndex, NodeId
from raftd.daemon.opening import Opened, open_storage
from raftd.kv import answers
from raftd.node.backups import BackupFacts, BackupLimits, Backups
from raftd.node.snapshots import SnapshotLimits, SnapshotMaker
from raftd.node.transfers import SnapshotInstaller, SnapshotSender, TransferLimits
from raftd.settings import Cluster as ClusterSettings
from raftd.settings import Settings
from raftd.settings.model import NodeSettings
from raftd.storage.backup_note import BackupNote
from raftd.storage.log import Log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import SimulatedCrash, SimulatedFileSystem
from tests.daemon.process import document_of
from tests.node.parts import TICK_SECONDS, Client, Cluster, Disk, Scheduler, Server

T = TypeVar("T")

SNAPSHOTS = Path("/data/1/snapshots")
SNAPSHOT_LIMITS = SnapshotLimits(log_bytes=2000, tail_entries=3, slice_bytes=300, queued_pieces_max=4)
TRANSFER_LIMITS = TransferLimits(chunk_bytes=200)
BACKUP_LIMITS = BackupLimits(backups_max=2, piece_bytes=200, bytes_per_second_max=2000, idle_seconds_max=60.0)
NOW_MS = 1_700_000_000_000
"""What every node takes for the present."""
_SPACE = 1 << 20
"""Of a disk: too little for a log's reserve, which would have to be copied and compared again and again."""


class Background:
    """Does work when told, and reports at once or when told; in order, like the thread."""

    def __init__(self, on_work: Callable[[], None] = lambda: None) -> None:
        self._on_work = on_work
        self._queue: deque[Callable[[], Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        def attempt() -> Callable[[], None]:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - as the thread does
                return functools.partial(failed, error)
            return functools.partial(done, result)

        self._queue.append(attempt)
        self._on_work()

    def work(self) -> Callable[[], None]:
        """Do what is oldest; to report it is up to the caller."""
        return self._queue.popleft()()

    def step(self) -> None:
        self.work()()

    def finish(self) -> None:
        while self._queue:
            self.step()

    def clear(self) -> None:
        self._queue.clear()


class LogDisk(Disk):
    """A log writer without a thread: it stores when told, in a real log."""

    def __init__(self, log: Log, recovered: Recovered) -> None:
        super().__init__(hard_state=recovered.hard_state, entries=list(recovered.entries))
        self.log = log
        self.compacted: list[LogIndex] = []
        self._compaction: LogIndex | None = None

    def store(self) -> Ready:
        hard_state, log_base, count = None, None, 0
        submission = self.submissions.popleft()
        if submission.must_store:
            hard_state, log_base, count = submission.hard_state, submission.log_base, submission.entry_count
            if log_base is None:
                self.log.append(
                    submission.payload, first_index=submission.first_index, entry_count=count, hard_state=hard_state
                )
            else:
                self.log.reset(log_base, submission.payload, entry_count=count, hard_state=hard_state)
            self.log.sync()
        self._compact()
        return submission.token

    def compact(self, index: LogIndex) -> None:
        self.compacted.append(index)
        self._compaction = index
        self._compact()

    def _compact(self) -> None:
        if self._compaction is not None and not self.submissions:
            self.log.compact(self._compaction)
            self._compaction = None


@functools.cache
def settings_of(node_id: int) -> NodeSettings:
    """A node's settings, with the smallest segments that there can be."""
    document = document_of(7)
    settings = Settings(Path("/raftd.yaml"), dataclasses.replace(document, cluster=cluster_settings())).node(node_id)
    return dataclasses.replace(settings, limits=dataclasses.replace(settings.limits, segment_bytes=4096))


@functools.cache
def cluster_settings() -> ClusterSettings:
    return document_of().cluster


def new_filesystem() -> SimulatedFileSystem:
    filesystem = SimulatedFileSystem(_SPACE)
    filesystem.make_directory(Path("/data"))
    filesystem.sync_directory(Path("/"))
    return filesystem


class FullServer(Server):
    """One node with its disk, and with what makes, sends and installs snapshots."""

    def __init__(
        self,
        node_id: int = 1,
        size: int = 3,
        *,
        filesystem: SimulatedFileSystem | None = None,
        background: Background | None = None,
        snapshot_limits: SnapshotLimits = SNAPSHOT_LIMITS,
        transfer_limits: TransferLimits = TRANSFER_LIMITS,
        scheduler: Scheduler | None = None,
        deliver: Callable[[NodeId, NodeId, bytes], bool] | None = None,
        membership: Membership | None = None,
    ) -> None:
        self.filesystem = filesystem or new_filesystem()
        self.opened: Opened = open_storage(settings_of(node_id), self.filesystem)
        self.log_disk = LogDisk(self.opened.log, self.opened.recovered)
        super().__init__(
            node_id,
            size,
            scheduler=scheduler,
            disk=self.log_disk,
            deliver=deliver,
            machine=self.opened.machine,
            snapshot=self.opened.snapshot,
            membership=membership,
        )
        self.background = Background() if background is None else background
        self.snapshots = self.opened.snapshots
        self.maker = SnapshotMaker(
            raft=self.raft,
            machine=self.machine,
            store=self.snapshots,
            compactor=self.log_disk,
            background=self.background,
            scheduler=self.scheduler,
            limits=snapshot_limits,
        )
        self.sender = SnapshotSender(
            raft=self.raft,
            store=self.snapshots,
            background=self.background,
            scheduler=self.scheduler,
            send=self.driver.send_message,
            wake=self.driver.wake,
            limits=transfer_limits,
        )
        self.installer = SnapshotInstaller(
            raft=self.raft,
            machine=self.machine,
            store=self.snapshots,
            maker=self.maker,
            background=self.background,
            scheduler=self.scheduler,
            wake=self.driver.wake,
        )
        self.driver.attach(self.maker, self.sender, self.installer)
        self.backups = Backups(
            facts=BackupFacts("test", self.opened.directory.identity.cluster_id, self.node_id),
            machine=self.machine,
            maker=self.maker,
            store=self.snapshots,
            note=BackupNote(self.opened.directory),
            requests=self.requests,
            background=self.background,
            scheduler=self.scheduler,
            wake=self.driver.wake,
            limits=BACKUP_LIMITS,
            wall_clock_ns=lambda: NOW_MS * 1_000_000,
        )
        self.gateway.attach(self.backups)

    @property
    def latest(self) -> int:
        """Where the newest snapshot on the disk ends; 0 if there is none."""
        metadata = self.snapshots.latest()
        return 0 if metadata is None else metadata.last_included_index

    @property
    def snapshot_names(self) -> list[str]:
        """The files in the directory of snapshots."""
        return self.filesystem.list_directory(self.opened.directory.snapshots_path)

    def run(self, seconds: float = 0.0) -> None:
        """Let everything happen that is due, on the loop, in the background and on the disk."""
        self.scheduler.advance(seconds)
        while self.background or self.disk.submissions:
            self.background.finish()
            self.store()
            self.scheduler.run()

    def close(self) -> None:
        """End like a process that is killed: what is on the disk is what it has left."""
        self.driver.stop()
        self.background.clear()
        self.opened.log.close()
        self.opened.directory.close()


def alone(**options: Any) -> FullServer:
    """A node that is a cluster of its own, and leads it."""
    server = FullServer(1, 1, **options)
    server.become_leader()
    server.run()
    return server


def with_session(server: Server) -> Client:
    """A client with a session, on a cluster of one node."""
    client = server.client()
    request_id = client.open_session()
    server.scheduler.run()
    server.store()
    client.session = answers.decode_open_session(client.answer(request_id).body).session
    return client


def write(server: Server, client: Client, *keys: bytes, value: bytes = bytes(50)) -> None:
    """Put keys, and see them answered; nothing happens in the background."""
    requests = client.put(*keys, value=value)
    server.scheduler.run()
    server.store()
    for request_id in requests:
        client.answer(request_id)


class FullCluster(Cluster):
    """Servers with disks that may be crashed at any call of the file system."""

    def __init__(
        self,
        size: int,
        snapshot_limits: SnapshotLimits = SNAPSHOT_LIMITS,
        transfer_limits: TransferLimits = TRANSFER_LIMITS,
    ) -> None:
        self.filesystems = {NodeId(number): new_filesystem() for number in range(1, size + 1)}
        self.cut: set[int] = set()
        """Nodes to which and from which nothing comes."""
        self.full: dict[NodeId, FullServer] = {}
        self.lost: Callable[[NodeId, NodeId, bytes], bool] = lambda *_: False
        """Whether a frame is lost on its way from the one to the other."""
        self.crashes = 0
        self._snapshot_limits = snapshot_limits
        self._transfer_limits = transfer_limits
        super().__init__(size)

    def start(self, node_id: NodeId) -> FullServer:
        def step_soon() -> None:
            self.scheduler.call_at(self.scheduler.now + 0.001, step)

        background = Background(step_soon)
        server = FullServer(
            node_id,
            self.size,
            filesystem=self.filesystems[node_id],
            background=background,
            snapshot_limits=self._snapshot_limits,
            transfer_limits=self._transfer_limits,
            scheduler=self.scheduler,
            deliver=self._deliver,
        )

        def step() -> None:
            if background and self.servers.get(node_id) is server:
                with self.crashing(node_id):
                    background.step()

        self.servers[node_id] = self.full[node_id] = server
        self._store_soon(server)
        return server

    def crash(self, node_id: NodeId) -> None:
        """Kill a process; what the file system has is what it wrote."""
        self.servers.pop(node_id)
        self.full.pop(node_id).close()
        self.filesystems[node_id].kill()

    @contextlib.contextmanager
    def crashing(self, node_id: NodeId) -> Iterator[None]:
        """Where the disk's calls are made, any of which may be the process's last."""
        try:
            yield
        except SimulatedCrash:
            self.crashes += 1
            self.crash(node_id)

    def client(self) -> Client:
        """A client of the leader, with a session."""
        self.advance_until(lambda: self.leader)
        assert self.leader is not None
        client = Client(self.leader.gateway)
        opened = self.hear(client, client.open_session())
        assert opened is not None
        client.session = answers.decode_open_session(opened.body).session
        return client

    def write(self, client: Client, *keys: bytes, value: bytes = bytes(50)) -> None:
        for request_id in client.put(*keys, value=value):
            assert self.hear(client, request_id) is not None

    def agree(self) -> None:
        """Wait until all nodes run and have applied the same, and see that it made them the same."""

        def has_agreed() -> bool:
            applied = {server.raft.last_applied for server in self.servers.values()}
            committed = {server.raft.last_index for server in self.servers.values()}
            return len(self.servers) == self.size and len(applied) == 1 and applied == committed

        self.advance_until(has_agreed)
        assert len({server.machine.digest() for server in self.servers.values()}) == 1

    def _deliver(self, sender: NodeId, receiver: NodeId, frame: bytes) -> bool:
        if sender in self.cut or receiver in self.cut:
            return False
        return self.lost(sender, receiver, frame) or super()._deliver(sender, receiver, frame)

    def _store_soon(self, server: Server) -> None:
        with self.crashing(server.node_id):
            super()._store_soon(server)


def ticks(count: int) -> float:
    return count * TICK_SECONDS
