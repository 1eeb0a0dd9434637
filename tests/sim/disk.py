"""One node's disk, and the log writer without its thread.

The file system is raftd's own simulated one; what is written there, when and in which groups is the production
writer's code. Only time is ours: a group is taken when the writer is idle, and stored when the disk has had its time.
"""

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from raftd.consensus import HardState, NodeId, Ready
from raftd.errors import CorruptionError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import Identity
from raftd.storage.log import Log, open_log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.storage.writer import LogWriter, Submission

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_CLUSTER_ID = b"simulated raftd."
_RESERVE_BYTES = 4096
DATA_PATH = Path("/data")


class Picture:
    """What a disk holds, as the oracle knows it: hard state, and the term of each entry."""

    __slots__ = ("current_term", "terms", "voted_for")

    def __init__(self) -> None:
        self.current_term = 0
        self.voted_for: NodeId | None = None
        self.terms: list[int] = []

    def copy(self) -> "Picture":
        """Make another one."""
        twin = Picture()
        twin.current_term, twin.voted_for, twin.terms = self.current_term, self.voted_for, list(self.terms)
        return twin

    def store(self, group: list[Submission[Ready]]) -> None:
        """Take in what one batch holds."""
        for submission in group:
            hard_state: HardState | None = submission.hard_state
            if hard_state is not None:
                self.current_term, self.voted_for = hard_state.current_term, hard_state.voted_for
            entries = submission.token.entries
            if entries:
                del self.terms[entries[0][0] - 1 :]
                self.terms.extend([entry[1] for entry in entries])

    def equals(self, recovered: Recovered) -> bool:
        """Whether this is what a log was recovered to."""
        state = recovered.hard_state
        return (
            (self.current_term, self.voted_for) == (state.current_term, state.voted_for)
            and self.terms == [entry[1] for entry in recovered.entries]
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

    def open(self) -> tuple[DataDirectory, Log, Recovered]:
        """Start on this disk, as the daemon does.

        Raises:
            CorruptionError: the log is refused, which is right only if a bit was flipped.
            StorageError: the disk failed.
        """
        self.filesystem.before_call = self.before_call
        directory = DataDirectory(self.filesystem, DATA_PATH, Identity(_CLUSTER_ID, self.node_id))
        try:
            log, recovered = open_log(
                directory,
                segment_bytes=self._world.plan.segment_bytes,
                reserve_bytes=_RESERVE_BYTES,
                entropy=self.draw.randbytes,
            )
        except CorruptionError as error:
            if not self.is_flipped:
                self._world.oracle.fail(f"node {self.node_id} refuses a log that is not damaged: {error}")
            raise
        self._check(recovered)
        return directory, log, recovered

    def _check(self, recovered: Recovered) -> None:
        """See that what was read back is what was stored, or what was just being."""
        world = self._world
        if recovered.torn_at is not None:
            world.sometimes("restart_with_torn_tail")
        if self.unsure is not None and self.unsure.equals(recovered):
            self.durable = self.unsure
            self.stored_index_max = max(self.stored_index_max, len(self.durable.terms))
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
        world.oracle.register(recovered.entries, 0, f"the log that node {self.node_id} recovered")

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
        """Damage the log of a node that is down: one bit of what was synced."""
        try:
            names = [name for name in self.filesystem.list_directory(DATA_PATH / "wal") if name.endswith(".wal")]
        except FileNotFoundError:
            return  # It never got so far as to make its directory durable.
        if not names:
            return
        path = DATA_PATH / "wal" / self.draw.choice(sorted(names))
        contents = self.filesystem.contents(path)
        used = len(bytes(contents).rstrip(b"\0")) or 1
        offset = self.draw.randrange(min(len(contents), used + 512))
        self.filesystem.damage(path, offset, bytes((contents[offset] ^ 1 << self.draw.randrange(8),)))
        self.is_flipped = True


class SimulatedWriter(LogWriter[Ready]):
    """The production writer, whose thread ends at once and whose work is done in virtual time."""

    def __init__(self, process: "Process", log: Log, on_stored: Callable[[list[Ready]], None]) -> None:
        super().__init__(log, on_stored=on_stored, on_failure=lambda _: None, clock=process.local_time)
        self._thread.join()
        self._process = process
        self._group: list[Submission[Ready]] | None = None

    def _run(self) -> None:
        """Leave the work to virtual time."""

    def submit(self, submission: Submission[Ready]) -> None:
        """See `LogWriter`."""
        process = self._process
        if submission.token.entries:
            process.world.oracle.appended(process, submission.token.entries)
        super().submit(submission)
        if self._group is None:
            self._begin()

    def _begin(self) -> None:
        """Take what waits as one group, and store it when the disk has had its time."""
        while not self._queue.empty():
            self._accept(self._queue.get())
        if not self._waiting:
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
        if group[0].must_store:
            renames = disk.renames
            disk.unsure = disk.durable.copy()
            disk.unsure.store(group)
            self._store(group)
            disk.durable, disk.unsure = disk.unsure, None
            disk.stored_index_max = max(disk.stored_index_max, len(disk.durable.terms))
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
        self._begin()
        if self._group is None:
            self._prepare()
