"""One node: driver, gateway, state machine, log and consensus as they are shipped, in virtual time."""

import contextlib
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from raftd.consensus import Limits, LogIndex, Membership, NodeId, Raft, Ready, Role, Term, observe
from raftd.errors import StorageError
from raftd.kv.access import AccessRules, Grant
from raftd.kv.limits import Limits as MachineLimits
from raftd.kv.machine import StateMachine
from raftd.net.channel import Channel
from raftd.node.connection import ClientConnection
from raftd.node.driver import Driver
from raftd.node.gateway import Gateway, GatewayLimits
from raftd.node.requests import Requests
from raftd.node.session_clock import SessionClock
from raftd.storage.simulated import SimulatedCrash
from tests.sim.disk import Disk, SimulatedWriter
from tests.sim.plan import ELECTION_TIMEOUT_SECONDS, ELECTION_TIMEOUT_TICKS, HEARTBEAT_TICKS, TICK_SECONDS
from tests.sim.timeline import Timer

if TYPE_CHECKING:
    from tests.sim.world import World

_SESSION_CLOCK_SECONDS = 1.0
_PASSES_MAX = 1000
"""Of a loop, at one instant: more means that it would never end."""
_MACHINE_LIMITS = MachineLimits(ttl_ms_min=100, advance_ms_max=2000, in_flight_max=8)
_RULES = AccessRules([Grant("*", b"", read=True, write=True)])


class ObservedMachine(StateMachine):
    """The state machine, with somebody who looks on."""

    __slots__ = ("_process",)

    def __init__(self, process: "Process") -> None:
        super().__init__(_MACHINE_LIMITS)
        self._process = process

    def apply(self, index: LogIndex, term: Term, data: bytes) -> bytes:
        """See `StateMachine`."""
        process = self._process
        process.reach("apply")
        answer = super().apply(index, term, data)
        process.world.oracle.applied(process, index, term, data, answer)
        return answer

    def skip(self, index: LogIndex) -> None:
        """See `StateMachine`."""
        super().skip(index)
        process = self._process
        term = process.raft.term_at(index)
        if term is not None:
            process.world.oracle.applied(process, index, term, None, None)


class NoDocuments:
    """Administrators ask nothing here."""

    def status_document(self) -> object:
        """See `Documents`."""
        return {}

    def log_document(self, last: int) -> object:
        """See `Documents`."""
        return {"last": last}


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
        self.rate = 1.0 + draw.uniform(-world.plan.drift, world.plan.drift)
        self._clock_base = draw.uniform(0, 1e6)
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._soon: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_turn_planned = False
        self._traps: dict[str, int] = {}
        self.paused_as_leader_of: int | None = None
        self.log_terms: list[int] = []
        """Term of each entry that this life's log has handed out."""
        self.is_far_behind = False
        self.connections: dict[str, ClientConnection] = {}
        self.raft: Raft
        self.machine: StateMachine
        self.driver: Driver
        self.gateway: Gateway
        self.writer: SimulatedWriter

    # A clock and a loop: the driver's `Scheduler`.

    def time(self) -> float:
        """See `Scheduler`."""
        return self.local_time()

    def local_time(self) -> float:
        """Monotonic seconds by this machine's clock."""
        return self._clock_base + self.rate * self.world.timeline.now

    def call_soon(self, callback: Callable[[], None], /) -> None:
        """See `Scheduler`."""
        self._soon.append((callback, ()))

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """See `Scheduler`."""
        timer = Timer(callback)
        self.world.timeline.at((when - self._clock_base) / self.rate, self.enter, self.life, timer.fire)
        return timer

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
                elif not self._is_turn_planned:
                    self._is_turn_planned = True
                    delay = self.draw.uniform(0, world.plan.turn_delay)
                    world.timeline.after(delay, self.enter, life, self._take_turn)
        except SimulatedCrash as crash:
            self.end(f"crashes {crash}", lose_power=self.draw.random() < 0.5)
            return
        except StorageError as error:
            self._disk_failed(error)
            return
        world.oracle.after_step(self)

    def _take_turn(self) -> None:
        self._is_turn_planned = False
        self._run_soon()

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
        if self.is_up or self.disk.is_damaged:
            return
        self.life += 1
        self.restart_at = None
        try:
            self._directory, log, recovered = self.disk.open()
        except SimulatedCrash as crash:
            self.end(f"crashes while starting, {crash}", lose_power=True)
            return
        except StorageError as error:
            self._refused(error)
            return
        world.trace.note(f"node {self.node_id} starts: {len(recovered.entries)} entries, {recovered.hard_state}")
        if recovered.hard_state.voted_for is not None:
            world.sometimes("vote_before_crash_kept")
        self._build(log, recovered.hard_state, recovered.entries)
        self.is_up = True
        self.enter(self.life, self.driver.start, self.gateway, lambda *_: None)
        world.network.process_started(self.node_id)

    def _build(self, log: Any, hard_state: Any, entries: Any) -> None:
        world, plan = self.world, self.world.plan
        self._soon.clear()
        self._backlog.clear()
        self._traps.clear()
        self._is_turn_planned = self.is_paused = False
        self.paused_as_leader_of = None
        self.connections = {}
        self.log_terms = [entry[1] for entry in entries]
        self.raft = Raft(
            node_id=self.node_id,
            membership=world.membership,
            hard_state=hard_state,
            entries=entries,
            random=self.draw,
            limits=Limits(
                election_timeout_ticks=ELECTION_TIMEOUT_TICKS,
                heartbeat_ticks=HEARTBEAT_TICKS,
                append_entries_max=plan.append_entries_max,
                in_flight_appends_max=plan.in_flight_appends_max,
                committed_entries_max=plan.committed_entries_max,
            ),
        )
        self.observation = observe(self.raft)
        self.machine = ObservedMachine(self)
        requests = Requests(self.machine)
        self.writer = SimulatedWriter(self, log, self._stored)
        self.driver = Driver(
            raft=self.raft,
            machine=self.machine,
            requests=requests,
            writer=self.writer,
            network=world.network.of(self),
            scheduler=self,
            tick_seconds=TICK_SECONDS,
            session_clock=SessionClock(_SESSION_CLOCK_SECONDS),
        )
        self.gateway = Gateway(
            leadership=self.raft,
            machine=self.machine,
            requests=requests,
            disk=self.writer,
            documents=NoDocuments(),
            rules=_RULES,
            client_addresses={node_id: f"node-{node_id}:1" for node_id in world.node_ids},
            wake=self.driver.wake,
            limits=GatewayLimits(),
            wall_clock_ns=lambda: int(world.timeline.now * 1e9),
        )

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
        down = world.down_count()
        if down == len(world.node_ids):
            world.sometimes("all_down")
        if 2 * down > len(world.node_ids):
            world.sometimes("majority_down")
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
        self.world.trace.note(f"node {self.node_id} goes on")
        term = self.paused_as_leader_of
        self.paused_as_leader_of = None
        if term is not None and max(self.world.oracle.leaders, default=0) > term:
            self.world.sometimes("paused_leader_replaced")
        backlog, self._backlog = self._backlog, []
        if self.draw.random() < 0.5:
            # Nobody says in which order a process finds its sockets readable: clients' first is the worst.
            backlog.sort(key=lambda item: item[0] != self.receive)
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
        if self.raft.role is Role.LEADER and self.raft.term_at(self.raft.commit_index) != self.raft.current_term:
            self.world.sometimes("read_waits_for_noop")
        connection.receive([payload])


_CRASHES = {"send": "crash_while_sending", "apply": "crash_while_applying", "answer": "crash_before_answer"}


def membership_of(node_ids: list[NodeId]) -> Membership:
    """Everybody votes."""
    return Membership(frozenset(node_ids))
