"""One node: driver, gateway, state machine, log and consensus as they are shipped, in virtual time."""

import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from raftd.consensus import (
    NO_MEMBERSHIP,
    Entry,
    EntryKind,
    Limits,
    LogIndex,
    Membership,
    NodeId,
    Raft,
    Ready,
    Role,
    decode_membership,
    observe,
)
from raftd.errors import StorageError
from raftd.kv.access import AccessRules, Grant
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.net.channel import Channel
from raftd.node.admission import AdmissionLimits
from raftd.node.clocks import PeerClocks
from raftd.node.connection import ClientConnection
from raftd.node.driver import Driver
from raftd.node.gateway import Gateway
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.requests import Requests
from raftd.node.session_clock import SessionClock
from raftd.node.snapshots import SnapshotLimits, SnapshotMaker
from raftd.node.transfers import SnapshotInstaller, SnapshotSender, TransferLimits
from raftd.node.watches import Watches
from raftd.storage.simulated import SimulatedCrash
from raftd.wire.handshake import PEER_VERSION_MAX, PEER_VERSION_MIN
from tests.sim.background import SimulatedBackground
from tests.sim.disk import Disk, Opened, SimulatedWriter
from tests.sim.observed import NoDocuments, ObservedInstaller, ObservedKeeper, ObservedMachine, ObservedRequests
from tests.sim.plan import ELECTION_TIMEOUT_SECONDS, ELECTION_TIMEOUT_TICKS, HEARTBEAT_TICKS, TICK_SECONDS
from tests.sim.service.lease_times import UNNOTICED_PAUSE_SECONDS
from tests.sim.service.stream import Stream
from tests.sim.timeline import Timer

if TYPE_CHECKING:
    from tests.sim.world import World

_SESSION_CLOCK_SECONDS = 1.0
_CLOCK_ERROR_SECONDS = 1e-6
_EPOCH_SECONDS = 1.7e9
_PASSES_MAX = 1000
"""Of a loop, at one instant: more means that it would never end."""
_RULES = AccessRules([Grant("*", b"", read=True, write=True)])


class Process:
    """A process of one node: starts, is entered by events, stands still, ends; then starts again on the same disk."""

    def __init__(self, world: "World", node_id: NodeId, disk: Disk, draw: random.Random) -> None:
        self.world = world
        self.node_id = node_id
        self.disk = disk
        self.draw = draw
        self.life = 0
        """Counts the starts; what was planned for an earlier life does not happen."""
        self.is_up = False
        self.is_paused = False
        self.is_frozen = False
        self.restart_at: float | None = None
        self._rate = 1.0 + draw.uniform(-world.plan.drift, world.plan.drift)
        self._clock_base = draw.uniform(0, 1e6)
        self.wall_clock_ahead = draw.choice((0.0, draw.uniform(-10, 10)))
        """How far the time of day is wrong here; nobody may mind."""
        self.version_max = PEER_VERSION_MAX
        """The newest version that this process speaks to its peers: an upgrade or a downgrade is a restart."""
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._soon: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.is_turn_planned = False
        """It has work that it has not come to yet."""
        self._traps: dict[str, int] = {}
        self.paused_as_leader_of: int | None = None
        self.log_terms: list[int] = []
        """Term of each entry behind `log_base` that this life's log has handed out."""
        self.log_base = 0
        self.log_base_term = 0
        self.memberships: list[tuple[int, Membership]] = [(0, NO_MEMBERSHIP)]
        """Those of this log as the oracle reads them, the base's first."""
        self.is_retired = False
        """It was removed, and stays away for ever."""
        self._is_leaving = False
        self.told_term: int | None = None
        """The last term in which this process was told to campaign."""
        self.is_far_behind = False
        self.connections: dict[str, ClientConnection] = {}
        self.streams: list[Stream] = []
        """To this life."""
        self._worked_seconds = 0.0
        """By which the stopwatch is ahead of the clock."""
        self._paused_at = 0.0
        self.stood_still = 0.0
        """Seconds by this machine's clock for which pauses have lasted, as far as a process notices."""
        self.raft: Raft
        self.machine: StateMachine
        self.driver: Driver
        self.gateway: Gateway
        self.watches: Watches
        self.writer: SimulatedWriter
        self.maker: SnapshotMaker
        self.installer: SnapshotInstaller

    # A clock and a loop: the driver's `Scheduler`.

    def time(self) -> float:
        """See `Scheduler`."""
        return self.local_time()

    def local_time(self) -> float:
        """Monotonic seconds by this machine's clock."""
        return self._clock_base + self._rate * self.world.timeline.now

    def _stopwatch(self) -> float:
        """As `local_time`, but that something seems to have been done between any two looks at it."""
        self._worked_seconds += self.world.plan.apply_seconds
        return self.local_time() + self._worked_seconds

    def set_rate(self, rate: float) -> None:
        """Let this machine's clock go faster or slower from now on."""
        self._clock_base += (self._rate - rate) * self.world.timeline.now
        self._rate = rate

    def call_soon(self, callback: Callable[[], None], /) -> None:
        """See `Scheduler`."""
        self._soon.append((callback, ()))

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """See `Scheduler`."""
        timer = Timer(callback)
        self._plan_timer(when, timer)
        return timer

    def _plan_timer(self, when: float, timer: Timer) -> None:
        self.world.timeline.at((when - self._clock_base) / self._rate, self.enter, self.life, self._ring, when, timer)

    def _ring(self, when: float, timer: Timer) -> None:
        # The clock may go slower by now: no timer is early.
        if self.local_time() < when - _CLOCK_ERROR_SECONDS:
            self._plan_timer(when, timer)
        else:
            timer.fire()

    def later(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call in the loop's next pass, as `call_soon_threadsafe` does."""
        self._soon.append((callback, arguments))

    def enter(self, life: int, action: Callable[..., None], *arguments: Any) -> None:
        """Let something happen in the process, if it still is the one that this was meant for."""
        if life != self.life or not self.is_up:
            return
        if self.is_paused:
            self._backlog.append((action, arguments))
            return
        world = self.world
        try:
            action(*arguments)
            if self._soon:
                if world.plan.turn_delay == 0.0:
                    self._run_soon()
                elif not self.is_turn_planned:
                    self.is_turn_planned = True
                    delay = self.draw.uniform(0, world.plan.turn_delay)
                    world.timeline.after(delay, self.enter, life, self._take_turn)
        except SimulatedCrash as crash:
            self.end(f"crashes {crash}", lose_power=self.draw.random() < 0.5)
            return
        except StorageError as error:
            self._disk_failed(error)
            return
        if self.driver._applier.is_behind:
            world.sometimes("applied_in_several_turns")
        world.oracle.after_step(self)
        if self.raft.is_removed and not self._is_leaving:
            # The daemon looks once a second.
            self._is_leaving = True
            world.timeline.after(self.draw.uniform(0, 1), self._retire, life)

    def _retire(self, life: int) -> None:
        if life == self.life and self.is_up and not self.is_paused:
            self.is_retired = True
            self.world.sometimes("removed_node_stops")
            self.end("was removed, and stops", lose_power=False)
        elif life == self.life:
            self._is_leaving = False

    def _take_turn(self) -> None:
        """One pass of a loop: what is due next in it comes in the next one, and messages may come in between."""
        self.is_turn_planned = False
        for _ in range(len(self._soon)):
            callback, arguments = self._soon.popleft()
            callback(*arguments)

    def _run_soon(self) -> None:
        soon = self._soon
        for _ in range(_PASSES_MAX):
            if not soon:
                return
            callback, arguments = soon.popleft()
            callback(*arguments)
        self.world.oracle.fail(f"node {self.node_id} does not come to rest")

    # Life.

    def start(self) -> None:
        """Recover, and begin to run, unless the disk does not allow it."""
        world = self.world
        if self.is_up or self.is_retired or self.disk.is_damaged:
            return
        self.life += 1
        self.restart_at = None
        try:
            opened = self.disk.open()
        except SimulatedCrash as crash:
            self.end(f"crashes while starting, {crash}", lose_power=True)
            return
        except StorageError as error:
            self._refused(error)
            return
        recovered = opened.recovered
        self._choose_version()
        world.trace.note(
            f"node {self.node_id} starts: {len(recovered.entries)} entries, {recovered.hard_state}, "
            f"speaks {self.version_max}"
        )
        if recovered.hard_state.voted_for is not None:
            world.sometimes("vote_before_crash_kept")
        self._build(opened)
        self.is_up = True
        world.oracle.leases.started(self, recovered.hard_state.current_term)
        self.enter(self.life, self.driver.start, self.gateway, lambda *_: None, lambda _: None, self._on_proven)
        world.network.process_started(self.node_id)

    def _choose_version(self) -> None:
        """Which release is installed by now."""
        if not self.world.plan.has("mixed_versions"):
            return
        version = self.draw.choice((PEER_VERSION_MIN, PEER_VERSION_MAX))
        if self.life > 1 and version != self.version_max:
            self.world.sometimes("node_upgraded" if version > self.version_max else "node_downgraded")
        self.version_max = version

    def wall_clock_ms(self) -> int:
        """The time of day, as this machine has it."""
        return int((_EPOCH_SECONDS + self.world.timeline.now + self.wall_clock_ahead) * 1000)

    def _on_proven(self) -> None:
        self.world.oracle.is_proven(self)

        def done(_: None) -> None:
            if self.disk.before_wipe is not None:
                self.disk.before_wipe = None
                self.world.sometimes("wiped_node_proven")

        self._background.run(self._directory.prove, done, _raise)

    @property
    def raft_or_none(self) -> Raft | None:
        """Consensus of this life or the last one; None if the process never ran."""
        return getattr(self, "raft", None)

    @property
    def log_end(self) -> int:
        """The last entry that was handed out."""
        return self.log_base + len(self.log_terms)

    @property
    def log_last_term(self) -> int:
        """Its term, or that of the base."""
        return self.log_terms[-1] if self.log_terms else self.log_base_term

    def membership_in_force(self) -> Membership:
        """As the oracle reads it from what this log has handed out."""
        return self.memberships[-1][1]

    def read_memberships(self, entries: Sequence[Entry]) -> None:
        """Take in entries behind the log."""
        for index, _, kind, data in entries:
            if kind is EntryKind.MEMBERSHIP:
                self.memberships.append((index, decode_membership(data)))

    def _build(self, opened: Opened) -> None:
        world, plan = self.world, self.world.plan
        self._directory = opened.directory
        self._is_leaving = False
        self.told_term = None
        self._soon.clear()
        self._backlog.clear()
        self._traps.clear()
        self.is_turn_planned = self.is_paused = False
        self.paused_as_leader_of = None
        self.connections = {}
        self.streams = []
        bootstrap = world.membership if self.node_id in world.membership.members else NO_MEMBERSHIP
        snapshot = opened.snapshot
        self.raft = raft = Raft(
            node_id=self.node_id,
            membership=bootstrap,
            hard_state=opened.recovered.hard_state,
            entries=opened.recovered.entries,
            random=self.draw,
            snapshot=snapshot,
            unproven=not opened.directory.is_proven,
            limits=Limits(
                election_timeout_ticks=ELECTION_TIMEOUT_TICKS,
                heartbeat_ticks=HEARTBEAT_TICKS,
                append_entries_max=plan.append_entries_max,
                in_flight_appends_max=plan.in_flight_appends_max,
                held_entries_max=plan.held_entries_max,
                committed_entries_max=plan.committed_entries_max,
                promotion_lag_entries_max=20,
                lease_reads=plan.lease_reads,
                clock_drift=(1 + plan.drift) / (1 - plan.drift) - 1,
            ),
        )
        self.log_base, self.log_base_term = raft.base_index, raft.term_at(raft.base_index) or 0
        behind = raft.entries(LogIndex(raft.base_index + 1), LogIndex(raft.last_index + 1))
        self.log_terms = [entry[1] for entry in behind]
        self.memberships = [(raft.base_index, bootstrap if snapshot is None else snapshot.membership)]
        self.read_memberships(behind)
        self.observation = observe(raft)
        self.machine = ObservedMachine(self)
        if snapshot is not None:
            self.machine.become(opened.machine)
        requests = ObservedRequests(self.machine, self)
        self.writer = SimulatedWriter(self, opened.log, self._stored)
        self._background = SimulatedBackground(self)
        self.watches = Watches(self.machine, requests, self.time, plan.watch_limits)
        keeper = ObservedKeeper(self)
        self.driver = Driver(
            raft=self.raft,
            machine=self.machine,
            requests=requests,
            watches=self.watches,
            keeper=keeper,
            writer=self.writer,
            network=world.network.of(self),
            scheduler=self,
            tick_seconds=TICK_SECONDS,
            session_clock=SessionClock(_SESSION_CLOCK_SECONDS),
            clocks=PeerClocks(self.wall_clock_ms),
            stopwatch=self._stopwatch,
        )
        self.gateway = self._make_gateway(requests, keeper)
        self._attach_snapshots(opened)

    def _make_gateway(self, requests: Requests, keeper: LeaseKeeper) -> Gateway:
        world = self.world
        return Gateway(
            leadership=self.raft,
            machine=self.machine,
            requests=requests,
            watches=self.watches,
            keeper=keeper,
            disk=self.writer,
            documents=NoDocuments(),
            rules=_RULES,
            client_addresses={node_id: f"node-{node_id}:1" for node_id in world.node_ids},
            wake=self.driver.wake,
            limits=AdmissionLimits(),
            wall_clock_ns=lambda: self.wall_clock_ms() * 1_000_000,
            clock=self._stopwatch,
        )

    def _attach_snapshots(self, opened: Opened) -> None:
        plan, raft, driver = self.world.plan, self.raft, self.driver
        maker = SnapshotMaker(
            raft=raft,
            machine=self.machine,
            store=opened.snapshots,
            compactor=self.writer,
            background=self._background,
            scheduler=self,
            limits=SnapshotLimits(
                log_bytes=plan.snapshot_log_bytes,
                tail_entries=plan.tail_entries,
                compacted_entries=20,
                slice_bytes=plan.slice_bytes,
                queued_pieces_max=2,
                retry_seconds=1.0,
                kept=1 + self.node_id % 2,
            ),
            log_bytes=raft.size_bytes(LogIndex(raft.base_index + 1), LogIndex(raft.last_index + 1)),
        )
        sender = SnapshotSender(
            raft=raft,
            store=opened.snapshots,
            background=self._background,
            scheduler=self,
            send=driver.send_message,
            wake=driver.wake,
            limits=TransferLimits(plan.transfer_chunk_bytes, plan.transfer_bytes_per_second),
        )
        installer = ObservedInstaller(
            self,
            raft=raft,
            machine=self.machine,
            store=opened.snapshots,
            maker=maker,
            background=self._background,
            scheduler=self,
            wake=driver.wake,
            make_loader=lambda: SnapshotLoader(plan.machine_limits),
        )
        driver.attach(maker, sender, installer)
        self.maker, self.installer = maker, installer

    def _stored(self, readies: list[Ready]) -> None:
        self.driver.stored(readies)

    def _refused(self, error: StorageError) -> None:
        world = self.world
        world.trace.note(f"node {self.node_id} does not start: {error}")
        self.disk.filesystem.kill()
        if self.disk.is_flipped:
            world.sometimes("damaged_log_refused")
            self.disk.is_damaged = True
        else:
            self.restart_in(1.0)

    def _disk_failed(self, error: StorageError) -> None:
        """The daemon ends the process at once."""
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise error
        self.world.sometimes("disk_full_ends_process" if cause.errno == 28 else "disk_error_ends_process")
        self.end(f"ends: {error}", lose_power=False)

    def end(self, how: str, *, lose_power: bool) -> None:
        """The process is gone; its files stay, as far as they were synced if the machine went too."""
        world = self.world
        world.trace.note(f"node {self.node_id} {how}{', power lost' if lose_power else ''}")
        if self.is_up and self.raft.role is Role.LEADER:
            world.sometimes("leader_crashes")
        self.is_up = self.is_paused = False
        self.life += 1
        if lose_power:
            self.disk.lose_power()
        else:
            self.disk.filesystem.kill()
        self.disk.crash_in_calls = None
        self.disk.error_due = ""
        world.network.process_ended(self.node_id)
        for stream in self.streams:
            stream.process_ended(lose_power=lose_power)
        self.streams = []
        down, members = world.down_count(), len(world.members())
        if down == members:
            world.sometimes("all_down")
        if 2 * down > members:
            world.sometimes("majority_down")
        if self.is_retired:
            return
        if self.restart_at is None:
            self.restart_in(self.draw.choice((0.01, 0.3, 1.0, 3.0)) * self.draw.uniform(0.5, 1.5))

    def restart_in(self, seconds: float) -> None:
        """Start again later."""
        timeline = self.world.timeline
        self.restart_at = timeline.now + seconds
        timeline.at(self.restart_at, self._restart, self.restart_at)

    def _restart(self, planned: float) -> None:
        if self.restart_at == planned:
            self.start()

    def crash(self, *, lose_power: bool) -> None:
        """End the process, in the middle of a write if one is under way."""
        if not self.is_up:
            return
        if self.writer._group is not None and self.draw.random() < 0.7:
            self.disk.crash_in_calls = self.draw.choice((1, 2, 2, 3))
            with contextlib.suppress(SimulatedCrash, StorageError):
                self.writer._end()
        self.end("crashes", lose_power=lose_power)

    # Faults within.

    def arm(self, point: str, count: int) -> None:
        """End the process when it reaches a point for the `count`-th time from now."""
        if point == "persist":
            self.disk.crash_in_calls = count
        else:
            self._traps[point] = count

    def disarm(self) -> None:
        """Forget all traps."""
        self._traps.clear()

    def reach(self, point: str) -> None:
        """Say that a point is reached at which the process may end."""
        left = self._traps.get(point)
        if left is None:
            return
        if left > 1:
            self._traps[point] = left - 1
            return
        del self._traps[point]
        self.world.sometimes(_CRASHES[point])
        raise SimulatedCrash(f"at {point}")

    def pause(self, seconds: float) -> None:
        """Stand still; the world goes on."""
        if not self.is_up or self.is_paused:
            return
        world = self.world
        world.trace.note(f"node {self.node_id} stands still for {seconds:.3f} s")
        self.is_paused = True
        self._paused_at = self.local_time()
        if self.raft.role is Role.LEADER:
            self.paused_as_leader_of = self.raft.current_term
        if seconds > ELECTION_TIMEOUT_SECONDS:
            world.sometimes("process_paused_long")
        world.timeline.after(seconds, self._resume, self.life)

    def _resume(self, life: int) -> None:
        if life == self.life and not self.is_frozen:
            self.resume()

    def freeze(self) -> None:
        """Stand still, or stay away, for the rest of the run."""
        self.is_paused = self.is_frozen = True
        self.restart_at = None

    def resume(self) -> None:
        """Go on, with everything that came meanwhile."""
        if not self.is_up or not self.is_paused:
            return
        self.is_paused = False
        self.stood_still += max(0.0, self.local_time() - self._paused_at - UNNOTICED_PAUSE_SECONDS)
        self.world.trace.note(f"node {self.node_id} goes on")
        self.world.oracle.contact.goes_on(self)
        term = self.paused_as_leader_of
        self.paused_as_leader_of = None
        if term is not None and max(self.world.oracle.leaders, default=0) > term:
            self.world.sometimes("paused_leader_replaced")
        backlog, self._backlog = self._backlog, []
        if self.draw.random() < 0.5:
            # Nobody says in which order a process finds its sockets readable: clients' first is the worst.
            backlog.sort(key=lambda item: item[0] not in {self.receive, self.read_stream})
        life = self.life
        for action, arguments in backlog:
            self.enter(life, action, *arguments)

    # Clients.

    def receive(self, client: str, channel: object, payload: bytes) -> None:
        """A client's request comes in."""
        connection = self.connections.get(client)
        if connection is None or cast("object", connection.channel) is not channel:
            connection = self.gateway.client_connected(cast("Channel", channel), client)
            self.connections[client] = connection
        connection.receive([payload])

    def read_stream(self, stream: Stream, payload: bytes) -> None:
        """The same of a client whose connection is a stream."""
        stream.receive(payload)


_CRASHES = {"send": "crash_while_sending", "apply": "crash_while_applying", "answer": "crash_before_answer"}


def _raise(error: Exception) -> None:
    raise error


def membership_of(node_ids: list[NodeId]) -> Membership:
    """Everybody votes."""
    return Membership(frozenset(node_ids))
