"""One node's disk, and the log writer without its thread.

The file system is raftd's own simulated one; what is written there, when and in which groups is the production
writer's code. Only time is ours: a group is taken when the writer is idle, and stored when the disk has had its time.
"""

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from raftd.consensus import HardState, NodeId, Ready
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.types import NO_INDEX, LogIndex
from raftd.errors import CorruptionError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.node.transfers import consensus_metadata, finish_loading
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import SECTOR_BYTES, Identity
from raftd.storage.log import Log, open_log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.storage.snapshots import SnapshotStore
from raftd.storage.writer import RESERVE_RETRY_SECONDS, LogWriter, Submission
from tests.sim.plan import ELECTION_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

CLUSTER_ID = b"simulated raftd."
_RESERVE_BYTES = 4096
_LAST_BYTES = 64
"""How much at its end counts as what was written last."""
DATA_PATH = Path("/data")


class Opened(NamedTuple):
    """What a node finds on its disk."""

    directory: DataDirectory
    log: Log
    recovered: Recovered
    snapshots: SnapshotStore
    snapshot: SnapshotMetadata | None
    machine: StateMachine


class Picture:
    """What a disk holds, as the oracle knows it: hard state, and the term of each entry behind the last reset.

    What a snapshot stands for may be gone from the disk, and stays here.
    """

    __slots__ = ("base", "current_term", "terms", "voted_for")

    def __init__(self) -> None:
        self.current_term = 0
        self.voted_for: NodeId | None = None
        self.base = 0
        self.terms: list[int] = []

    def copy(self) -> "Picture":
        """Make another one."""
        twin = Picture()
        twin.current_term, twin.voted_for = self.current_term, self.voted_for
        twin.base, twin.terms = self.base, list(self.terms)
        return twin

    def store(self, group: list[Submission[Ready]]) -> None:
        """Take in what one batch holds."""
        for submission in group:
            hard_state: HardState | None = submission.hard_state
            if hard_state is not None:
                self.current_term, self.voted_for = hard_state.current_term, hard_state.voted_for
            if submission.log_base is not None:
                self.base = submission.log_base
                self.terms.clear()
            entries = submission.token.entries
            if entries:
                del self.terms[entries[0][0] - self.base - 1 :]
                self.terms.extend([entry[1] for entry in entries])

    @property
    def last_index(self) -> int:
        """Of the last entry, or of the base."""
        return self.base + len(self.terms)

    def term_at(self, index: int) -> int | None:
        """Term of an entry behind the base."""
        return self.terms[index - self.base - 1] if self.base < index <= self.last_index else None

    def equals(self, recovered: Recovered) -> bool:
        """Whether this is what a log was recovered to, but for what was compacted."""
        state = recovered.hard_state
        return (
            (self.current_term, self.voted_for) == (state.current_term, state.voted_for)
            and recovered.first_index > self.base
            and self.terms[recovered.first_index - self.base - 1 :] == [entry[1] for entry in recovered.entries]
            and self.last_index == recovered.first_index - 1 + len(recovered.entries)
        )  # fmt: skip


class Disk:
    """Outlives the processes that use it."""

    def __init__(self, world: "World", node_id: NodeId, draw: random.Random) -> None:
        self._world = world
        self.node_id = node_id
        self.draw = draw
        self.filesystem = SimulatedFileSystem()
        self.durable = Picture()
        self.unsure: Picture | None = None
        """What the disk may hold instead: the process ended while it wrote this."""
        self.stored_index_max = 0
        """The last entry of any batch that was ever stored."""
        self.latency = 0.002
        """Seconds for one write and sync, on the average."""
        self.hung_until = 0.0
        self.error_due = ""
        """The next call of this name fails with EIO."""
        self.is_flipped = False
        """A bit was flipped: the node may refuse to start."""
        self.is_damaged = False
        """The node has refused to start, and stays down: its vote and its entries are lost."""
        self.renames = 0
        """Files that were given another name."""
        self.crash_in_calls: int | None = None
        """The process ends at this many calls from now."""
        self.compacted_index = NO_INDEX
        """Up to here the log may be gone."""
        self.before_wipe: Picture | None = None
        """What was on the disk that was lost; None if none was, or the node is proven again."""
        self.generation = 0
        """How many disks this node has lost."""

    def before_call(self, call: Call) -> None:
        """Let a call of a running process fail, or the process end there."""
        self.renames += call.name == "rename"
        if self.crash_in_calls is not None:
            self.crash_in_calls -= 1
            if self.crash_in_calls <= 0:
                self.crash_in_calls = None
                self._world.sometimes("crash_while_storing")
                raise SimulatedCrash(f"at {call.name} of {call.path}")
        if call.name == self.error_due:
            self.error_due = ""
            raise OSError(errno.EIO, "Input/output error", str(call.path))

    def snapshot_index(self) -> int:
        """The last entry that a snapshot on this disk stands for, should the power go now."""
        try:
            directory = self.filesystem._directory(DATA_PATH / "snapshots")
        except FileNotFoundError:
            return 0
        return max((int(name[:20]) for name in directory.durable if name.endswith(".snapshot")), default=0)

    def snapshot_bytes(self) -> int:
        """How long the largest snapshot here is."""
        path = DATA_PATH / "snapshots"
        try:
            names = self.filesystem.list_directory(path)
        except FileNotFoundError:
            return 0
        return max((len(self.filesystem.contents(path / name)) for name in names), default=0)

    def is_proven(self) -> bool:
        """Whether the mark is there that this disk has held all that was committed once."""
        try:
            return "proven" in self.filesystem.list_directory(DATA_PATH)
        except FileNotFoundError:
            return False

    def holds(self, index: int, term: int) -> bool:
        """Whether an entry that is being committed is stored here, or was before the disk was lost."""
        return self.has(index, term) or (self.before_wipe is not None and self.before_wipe.term_at(index) == term)

    def has(self, index: int, term: int) -> bool:
        """Whether an entry that is committed is on this very disk, in the log or in a snapshot."""
        return self.durable.term_at(index) == term or index <= self.snapshot_index()

    def wipe(self) -> None:
        """Put a new disk in the place of this one; the process does not run."""
        self.before_wipe = self.durable
        self.generation += 1
        self.filesystem = SimulatedFileSystem()
        self.durable, self.unsure = Picture(), None
        self.stored_index_max = 0
        self.compacted_index = NO_INDEX
        self.is_flipped = self.is_damaged = False

    def open(self) -> Opened:
        """Start on this disk, as `raftd.daemon.opening` does.

        Raises:
            CorruptionError: the log is refused, which is right only if a bit was flipped.
            StorageError: the disk failed.
        """
        self.filesystem.before_call = self.before_call
        directory = DataDirectory(self.filesystem, DATA_PATH, Identity(CLUSTER_ID, self.node_id))
        try:
            snapshots = SnapshotStore(directory, chunk_bytes=self._world.plan.snapshot_file_chunk_bytes)
            snapshot, machine = self._load(snapshots)
            log, recovered = open_log(
                directory,
                segment_bytes=self._world.plan.segment_bytes,
                compacted_index=NO_INDEX if snapshot is None else snapshot.last_included_index,
                reserve_bytes=_RESERVE_BYTES,
                entropy=self.draw.randbytes,
            )
        except CorruptionError as error:
            if not self.is_flipped:
                self._world.oracle.fail(f"node {self.node_id} refuses a log that is not damaged: {error}")
            raise
        self._check(recovered)
        return Opened(directory, log, recovered, snapshots, snapshot, machine)

    def _load(self, snapshots: SnapshotStore) -> tuple[SnapshotMetadata | None, StateMachine]:
        latest = snapshots.latest()
        if latest is None:
            return None, StateMachine(self._world.plan.machine_limits)
        loader = SnapshotLoader(self._world.plan.machine_limits)
        source = snapshots.open(latest)
        for piece in source.payload():
            loader.feed(piece)
        source.close()
        self._world.sometimes("restart_from_snapshot")
        return consensus_metadata(latest), finish_loading(loader, latest)

    def _check(self, recovered: Recovered) -> None:
        """See that what was read back is what was stored, or what was just being."""
        world = self._world
        if recovered.torn_at is not None:
            world.sometimes("restart_with_torn_tail")
        if self.unsure is not None and self.unsure.equals(recovered):
            self.durable = self.unsure
            self.stored_index_max = max(self.stored_index_max, self.durable.last_index)
            world.sometimes("unsynced_write_survives")
        elif not self.durable.equals(recovered):
            state = recovered.hard_state
            world.oracle.fail(
                f"node {self.node_id} recovers term {state.current_term}, vote {state.voted_for}, "
                f"{len(recovered.entries)} entries; it had stored term {self.durable.current_term}, "
                f"vote {self.durable.voted_for}, {len(self.durable.terms)} entries"
            )
        elif self.unsure is not None:
            world.sometimes("unsynced_write_lost")
        self.unsure = None
        if recovered.first_index > max(self.durable.base, self.compacted_index) + 1:
            world.oracle.fail(f"node {self.node_id} has lost entries up to {recovered.first_index} of its log")
        before = 0 if recovered.first_index == 1 else self.durable.term_at(recovered.first_index - 1)
        world.oracle.register(recovered.entries, before, f"the log that node {self.node_id} recovered")

    def lose_power(self) -> None:
        """Keep what was synced, and a random part of what was not."""
        chance = self.draw.choice((0.0, 0.5, 0.5, 0.9, 1.0))
        kept = [0, 0]

        def survives(_: object) -> bool:
            survived = self.draw.random() < chance
            kept[survived] += 1
            return survived

        self.filesystem.lose_power(survives)
        if all(kept):
            self._world.sometimes("torn_write")

    def flip_bit(self) -> None:
        """Damage the log or a snapshot of a node that is down: one bit of what was synced."""
        try:
            paths = [
                DATA_PATH / place / name
                for place, suffix in (("wal", ".wal"), ("snapshots", ".snapshot"))
                for name in sorted(self.filesystem.list_directory(DATA_PATH / place))
                if name.endswith(suffix)
            ]
        except FileNotFoundError:
            return  # It never got so far as to make its directory durable.
        if not paths:
            return
        segments = [path for path in paths if path.suffix == ".wal"]
        # Often in what was written last: that is where damage may be taken for a tear.
        is_last = bool(segments) and self.draw.random() < 0.5
        path = segments[-1] if is_last else self.draw.choice(paths)
        contents = self.filesystem.contents(path)
        used = len(bytes(contents).rstrip(b"\0")) or 1
        lowest = max(0, used - _LAST_BYTES) if is_last else 0
        offset = self.draw.randrange(lowest, used if is_last else min(len(contents), used + SECTOR_BYTES))
        self.filesystem.damage(path, offset, bytes((contents[offset] ^ 1 << self.draw.randrange(8),)))
        self.is_flipped = True


class SimulatedWriter(LogWriter[Ready]):
    """The production writer, whose thread never begins and whose work is done in virtual time."""

    def __init__(self, process: "Process", log: Log, on_stored: Callable[[list[Ready]], None]) -> None:
        super().__init__(log, on_stored=on_stored, on_failure=lambda _: None, clock=process.local_time)
        self._process = process
        self._group: list[Submission[Ready]] | None = None
        self._is_retrying = False
        self._retry_soon()

    def _start(self) -> None:
        """Leave the work to virtual time."""

    def submit(self, submission: Submission[Ready]) -> None:
        """See `LogWriter`."""
        process = self._process
        if submission.token.log_base is not None:
            process.world.oracle.log_reset(process, *submission.token.log_base)
        if submission.token.entries:
            process.world.oracle.appended(process, submission.token.entries)
        super().submit(submission)
        if self._group is None:
            self._begin()

    def compact(self, index: LogIndex) -> None:
        """See `LogWriter`."""
        process = self._process
        process.disk.compacted_index = max(process.disk.compacted_index, index)
        if index > process.disk.snapshot_index():
            process.world.oracle.fail(f"node {process.node_id} compacts up to {index}, and no snapshot has that")
        super().compact(index)
        if self._group is None:
            self._begin()

    def _begin(self) -> None:
        """Take what waits as one group, and store it when the disk has had its time."""
        while not self._queue.empty():
            self._accept(self._queue.get())
        if not self._waiting:
            while self._remove_segment():
                self._process.world.sometimes("segment_removed")
            return
        process = self._process
        disk, timeline = process.disk, process.world.timeline
        self._group = group = self._next_group()
        if len(group) > 1:
            process.world.sometimes("group_commit")
        delay = disk.draw.expovariate(1 / disk.latency) if group[0].must_store else 0.0
        self._busy_since = process.local_time()
        timeline.at(max(timeline.now + delay, disk.hung_until + delay), process.enter, process.life, self._end)

    def _end(self) -> None:
        """The disk has had its time."""
        process, group = self._process, self._group
        disk = process.disk
        if group is None:
            return
        if disk.hung_until > process.world.timeline.now:
            process.world.timeline.at(disk.hung_until, process.enter, process.life, self._end)
            return
        if self._busy_since is not None and process.local_time() - self._busy_since > ELECTION_TIMEOUT_SECONDS:
            process.world.sometimes("disk_hung")
        if group[0].must_store:
            renames = disk.renames
            disk.unsure = disk.durable.copy()
            disk.unsure.store(group)
            self._store(group)
            disk.durable, disk.unsure = disk.unsure, None
            disk.stored_index_max = max(disk.stored_index_max, disk.durable.last_index)
            if disk.renames > renames:
                process.world.sometimes("segment_rotated")
            if self._log.disk_low:
                process.world.sometimes("reserve_used")
        self._busy_since = None
        self._finished_bytes += sum(len(submission.payload) for submission in group)
        self._finished_count += len(group)
        self._group = None
        if group[-1].token.stored_term and group[-1].token.stored_term != process.raft.current_term:
            process.world.sometimes("stored_after_role_changed")
        process.later(self._on_stored, [submission.token for submission in group])
        self._remove_segment()
        self._begin()
        if self._group is None:
            self._prepare()
            self._retry_soon()

    def _retry_soon(self) -> None:
        """Look again whether a full disk has space, as the thread does when it has nothing else to do."""
        process = self._process
        if self._disk_low and not self._is_retrying:
            self._is_retrying = True
            process.world.timeline.after(RESERVE_RETRY_SECONDS, process.enter, process.life, self._retry)

    def _retry(self) -> None:
        self._is_retrying = False
        if self._group is None:
            self._prepare()
        self._retry_soon()
