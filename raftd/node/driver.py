"""The driver: the only place where consensus, log, network and state machine meet.

Theory of operation. Everything happens on one event loop, in *turns*. Whatever comes in (a client's request, a peer's
message, a tick, word from the log writer) is taken at once and wakes the driver, which takes its turn in the same pass
of the loop, once, however much came in:

    requests that earlier turns had no time for: so much of them
    queued writes -> one propose        queued reads -> one ReadIndex
    while consensus has a Ready: send, hand to the log writer, apply (so much of it), note answers
    answer questions, tell watches: so much of it, and the rest in the next turn
    flush the answers, one write for each connection

The log writer is a thread; what it stored comes back through `call_soon_threadsafe`. While it is busy, turns go on:
what they want stored waits in its queue and becomes its next batch, so the batch grows with the load by itself.

Entries are encoded once: a batch that goes to the log and to peers, or came from a peer and goes to the log, is the
same bytes (`raftd.node.batches`).

Nothing here catches what it does not expect. An exception out of a turn means that state may be half changed; the
daemon's exception handler ends the process, and the log has what was promised.
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from raftd.consensus import Raft, Ready
from raftd.consensus.membership import Membership
from raftd.consensus.messages import AppendEntries, Heartbeat, HeartbeatReply, InstallSnapshot, Message
from raftd.consensus.types import NodeId, ProposalRefused, RefusalReason, Role, Term
from raftd.errors import InvariantViolation
from raftd.kv.commands import Stamp, advance_clock
from raftd.kv.machine import StateMachine
from raftd.node.applying import Applier, ObserveCommand
from raftd.node.batches import EntryBatches
from raftd.node.clocks import PeerClocks
from raftd.node.gateway import Gateway
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.losses import LogLosses
from raftd.node.probe import Probe
from raftd.node.requests import Requests
from raftd.node.round_trips import RoundTrips
from raftd.node.session_clock import SessionClock
from raftd.node.snapshots import SnapshotMaker
from raftd.node.tracing import Tracer
from raftd.node.transfers import SnapshotInstaller, SnapshotSender
from raftd.node.watches import Watches
from raftd.storage.writer import Submission
from raftd.wire import peer as peer_codec
from raftd.wire.client import Refusal, RefusalCode
from raftd.wire.state_hashes import (
    STATE_HASHES_VERSION,
    decode_state_hashes,
    encode_state_hashes,
    is_state_hashes,
)

logger = logging.getLogger(__name__)

_READIES_PER_TURN_MAX: Final = 8
"""Then the loop has its say, and the turn goes on after it."""

_QUORUM_READS_SECONDS: Final = 0.005
"""Between two ReadIndexes of what a quorum alone may confirm: of ten thousand keep-alives in five seconds each would
otherwise cost a heartbeat round."""


class Timer(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Do not make it."""


class Scheduler(Protocol):
    """The part of an event loop that the driver uses; any asyncio loop is one, and so is a simulator's."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Run `callback` in the loop's next pass."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """Run `callback` at `when`, by `time`."""


class Writer(Protocol):
    """Where entries and hard states go to be stored: first in, first out."""

    def submit(self, submission: Submission[Ready], /) -> None:
        """Store what the submission holds, then hand its token to `Driver.stored`."""

    @property
    def busy_since(self) -> float | None:
        """When the write that runs now began, in monotonic seconds; None if none runs."""


class Network(Protocol):
    """The way to the peers."""

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Send a frame, or say that it was dropped."""

    def version(self, peer: NodeId) -> int:
        """Which version of the protocol frames to the peer must be of; any, where they would be dropped."""


class DriverObservers(NamedTuple):
    """Who is told how many seconds things take; None: nobody."""

    apply: Callable[[float], None] | None = None
    """Each piece of the committed entries, to be applied."""
    command: ObserveCommand | None = None
    """Some of the commands, each by itself."""
    tick_delay: Callable[[float], None] | None = None
    """Each tick, beyond the time at which it was due."""


NOT_OBSERVED: Final = DriverObservers()


class Driver:
    """Runs one node's consensus: input -> Ready -> store and send -> apply -> answer."""

    def __init__(
        self,
        *,
        raft: Raft,
        machine: StateMachine,
        requests: Requests,
        watches: Watches,
        keeper: LeaseKeeper,
        writer: Writer,
        network: Network,
        scheduler: Scheduler,
        tick_seconds: float,
        session_clock: SessionClock | None = None,
        observers: DriverObservers = NOT_OBSERVED,
        clocks: PeerClocks | None = None,
        stopwatch: Callable[[], float] | None = None,
        round_trips: RoundTrips | None = None,
    ) -> None:
        self.raft = raft
        self._machine = machine
        self._requests = requests
        self._watches = watches
        self._keeper = keeper
        self._writer = writer
        self._network = network
        self._scheduler = scheduler
        self._tick_seconds = tick_seconds
        self._gateway: Gateway | None = None
        self._clock = session_clock or SessionClock()
        self._observe_tick_delay = observers.tick_delay
        self.clocks = clocks or PeerClocks()
        self._stopwatch = stopwatch or scheduler.time
        self.tracer = Tracer(self._stopwatch)
        self.round_trips = round_trips or RoundTrips()
        self._applier = Applier(
            machine, requests, self.tracer, self._stopwatch, observe=observers.apply, observe_command=observers.command
        )
        self.comparison = self._applier.comparison
        self.losses = LogLosses(raft)
        self.probe = Probe(raft, overdue_ticks=self._overdue_ticks, now=scheduler.time, wake=self.wake)
        self._server_stamp = Stamp("")
        self._batches = EntryBatches()
        self._storing: deque[Ready] = deque()
        self._turn_due = self._stopped = False
        self._quorum_reads_at = 0.0
        """Not before then is the next ReadIndex asked for that a quorum must confirm."""
        self._is_quorum_read_planned = False
        self._maker: SnapshotMaker | None = None
        self._sender: SnapshotSender | None = None
        self._installer: SnapshotInstaller | None = None
        self._last_membership = raft.membership
        self._on_membership: Callable[[Membership], None] | None = None
        self._is_proven = raft.is_proven
        self._on_proven: Callable[[], None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._turned: asyncio.Future[None] | None = None
        """Done at the end of the next turn."""
        self._next_tick = 0.0
        self._tick_timer: Timer | None = None
        self._last_leadership: tuple[Role, Term, NodeId | None] = (raft.role, raft.current_term, raft.leader_id)
        self._on_leadership: Callable[[Role, Term, NodeId | None], None] | None = None
        self.loop_lag_seconds = 0.0
        """How late the latest tick was."""
        self.last_tick_at = scheduler.time()
        self.leader_changes_total = self.elections_total = 0
        self.log_bytes_total = 0
        """Of entries, handed to the log writer."""

    def attach(self, maker: SnapshotMaker, sender: SnapshotSender, installer: SnapshotInstaller) -> None:
        """Name the parts that make, send and install snapshots; they are built after this one, since they use it."""
        self._maker, self._sender, self._installer = maker, sender, installer

    def start(
        self,
        gateway: Gateway,
        on_leadership: Callable[[Role, Term, NodeId | None], None],
        on_membership: Callable[[Membership], None] | None = None,
        on_proven: Callable[[], None] | None = None,
    ) -> None:
        """Begin to tick.

        Args:
            gateway: Whom clients ask.
            on_leadership: Hears of each change of role, term or leader.
            on_membership: Hears of each change of who is a member, committed or not, and back.
            on_proven: Hears once that a node whose disk was new has caught up (`raftd.consensus.proof`).
        """
        self._gateway = gateway
        self._on_leadership = on_leadership
        self._on_membership = on_membership
        self._on_proven = on_proven
        self._next_tick = self._scheduler.time() + self._tick_seconds
        self._tick_timer = self._scheduler.call_at(self._next_tick, self._tick)
        self.wake()

    def stop(self) -> None:
        """Take no more turns: nothing is sent, stored or answered from now on, whatever still comes in."""
        self._stopped = True
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._end_turn()

    def idle(self) -> asyncio.Future[None]:
        """A future that is done at the end of a turn after which nothing is owed to a client or by the log writer."""
        if self._idle is None:
            self._idle = asyncio.get_running_loop().create_future()
            self.wake()
        return self._idle

    async def hand_over(self) -> None:
        """Let another voter lead, if this node does and another one can; ends when it does, or in vain."""
        raft = self.raft
        try:
            raft.transfer_leadership()
        except ProposalRefused:
            return
        self.wake()
        while raft.role is Role.LEADER and raft.transfer_target is not None and not self._stopped:
            await self._next_turn()
        # Who asks for votes now may need this node's: it has to be stored, and then to be sent.
        deadline = self._scheduler.time() + raft.election_timeout_ticks * self._tick_seconds
        while raft.leader_id is None and self._scheduler.time() < deadline and not self._stopped:
            await self._next_turn()

    async def _next_turn(self) -> None:
        if self._turned is None:
            self._turned = asyncio.get_running_loop().create_future()
        # Another one may wait for the same turn, and go on when this one is told not to.
        await asyncio.shield(self._turned)

    def wake(self) -> None:
        """Take a turn in this pass of the loop."""
        if not self._turn_due:
            self._turn_due = True
            self._scheduler.call_soon(self._turn)

    # Input.

    def peer_payloads(self, sender: NodeId, payloads: list[bytes], version: int) -> None:
        """Take messages from a peer, whose link speaks `version`.

        Raises:
            RemoteProtocolError: one of them is not what a peer may send; the link must end.
        """
        # First, since a message that ends the link must not hold up what came in front of it.
        self.wake()
        for payload in payloads:
            if is_state_hashes(payload, version):
                self.comparison.heard(sender, *decode_state_hashes(payload))
                continue
            message, batch = peer_codec.decode_message(payload, sender, version)
            # First: of a message that is refused nothing is noted, or its batch would take an accepted one's place.
            self.raft.step(sender, message)
            if batch is not None and isinstance(message, AppendEntries) and message.entries:
                self._batches.keep(message.entries, batch)
            elif isinstance(message, Heartbeat | HeartbeatReply):
                self.clocks.heard(sender, peer_codec.wall_clock_ms(payload, version))
                if isinstance(message, HeartbeatReply):
                    self.round_trips.answered(sender, message.round, self._stopwatch())
        if self.tracer.is_active and (progress := self.raft.progress.get(sender)) is not None:
            self.tracer.stored(sender, progress.match_index)

    def send_message(self, peer: NodeId, message: Message) -> None:
        """Send one message that consensus asked for elsewhere than in a Ready's messages."""
        self._send(((peer, message),))

    def peer_up(self, peer: NodeId) -> None:
        """The link to a peer stands, and nobody knows what was lost with the last one: a heartbeat is to tell first."""
        self.raft.unreachable(peer)
        self.wake()

    def peer_down(self, peer: NodeId) -> None:
        """The link to a peer is lost, and with it whatever was under way."""
        self.raft.unreachable(peer)
        self.wake()

    def stored(self, readies: list[Ready]) -> None:
        """The log writer has stored these, in the order in which it got them.

        Raises:
            InvariantViolation: it has not: what is stored is not what it speaks of, and nothing may be promised.
        """
        if self._stopped:
            return
        for ready in readies:
            if self._storing.popleft() is not ready:
                raise InvariantViolation("the log writer reports another Ready than the oldest")
            if ready.must_store:
                self.raft.stored(ready.stored_term, ready.stored_index)
            self._send(ready.messages_after_stored)
        if self.tracer.is_active:
            self.tracer.stored(self.raft.node_id, self.raft.stored_index)
        # Not `wake`: a commit's latency is counted in passes of the loop.
        self._turn()

    def _tick(self) -> None:
        now = self._scheduler.time()
        self.loop_lag_seconds = now - self._next_tick
        behind_seconds = now - self.last_tick_at if self._applier.is_behind else 0.0
        self.last_tick_at = now
        if self._observe_tick_delay is not None:
            self._observe_tick_delay(self.loop_lag_seconds)
        # After a pause the ticks that were missed are not made up for: a process that was stopped would run its
        # election timeout down before it has read the heartbeats that wait in its sockets.
        due = self._next_tick + self._tick_seconds
        self._next_tick = due if due > now else now + self._tick_seconds
        self._tick_timer = self._scheduler.call_at(self._next_tick, self._tick)
        self.raft.tick(math.ceil(max(0.0, self.loop_lag_seconds) / self._tick_seconds))
        self._watch_disk(now)
        self._advance_session_clock(now)
        self._tell_state_hashes()
        self.losses.look()
        self._keeper.tick(self.loop_lag_seconds, behind_seconds)
        self._watches.tick(is_led=self._is_led())
        self.wake()

    def _is_led(self) -> bool:
        """Whether this node leads, or has heard the leader lately; who never campaigns names it for ever."""
        raft = self.raft
        return raft.leader_id is not None and raft.election_elapsed_ticks <= raft.election_timeout_ticks

    def _tell_state_hashes(self) -> None:
        """A leader tells all its peers, the others tell the leader; what is not sent is lost, and no matter."""
        untold = self.comparison.take_untold()
        if untold is None:
            return
        raft = self.raft
        listeners = raft.progress.keys() if raft.role is Role.LEADER else {raft.leader_id}
        for peer in listeners:
            if peer is not None and self._network.version(peer) >= STATE_HASHES_VERSION:
                self._network.send(peer, encode_state_hashes(*untold))

    def _overdue_ticks(self) -> int:
        """How many ticks, rounded up, this process is behind its own clock: a lease ends by time, not by ticks."""
        return math.ceil((self._scheduler.time() - self.last_tick_at) / self._tick_seconds)

    def _watch_disk(self, now: float) -> None:
        """A leader whose disk stores nothing any more can commit by the others' disks, but should not have to."""
        busy_since = self._writer.busy_since
        if busy_since is not None:
            self.raft.disk_stalled(int((now - busy_since) / self._tick_seconds))

    def _advance_session_clock(self, now: float) -> None:
        raft = self.raft
        leading_term = raft.current_term if raft.role is Role.LEADER else None
        elapsed_ms = self._clock.elapsed_ms(now, leading_term)
        # Without sessions nothing can expire, and an idle cluster's log does not grow.
        if elapsed_ms and self._machine.session_count:
            # A leader that takes no proposals hands over, and sessions live the longer for it.
            with contextlib.suppress(ProposalRefused):
                raft.propose([self._server_stamp.at(0) + advance_clock(elapsed_ms)])

    # The turn.

    def _turn(self) -> None:
        self._turn_due = False
        if self._stopped:
            return
        raft = self.raft
        self._note_leadership()
        self._take_requests()
        self._applier.begin_turn()
        self._apply()
        for _ in range(_READIES_PER_TURN_MAX):
            if not raft.has_ready:
                break
            self._carry_out(raft.ready())
        else:
            self.wake()
        if self._gateway is not None:
            self._gateway.note_turn()
        # Here and not with each entry: a snapshot may have brought what confirmed reads wait for.
        self._requests.answer_reads(raft.current_term)
        has_questions = self._requests.answer_questions(raft.current_term)
        if self._watches.turn() or has_questions:
            self.wake()
        self._requests.flush()
        if self.tracer.is_active:
            self.tracer.answered()
        if self._maker is not None:
            self._maker.consider(self.log_bytes_total)
        if self._idle is not None and self._is_at_rest() and not self._idle.done():
            self._idle.set_result(None)
        self._end_turn()

    def _take_requests(self) -> None:
        if self._gateway is not None:
            self._gateway.serve_backlog()
        if self._requests.has_queued_writes:
            self._propose()
        if self._requests.has_queued_reads:
            self._request_reads()
        if self._requests.has_queued_quorum_reads:
            self._request_quorum_reads()

    def _is_at_rest(self) -> bool:
        has_backlog = self._gateway is not None and not self._gateway.backlog.is_empty
        return not self._storing and self._requests.is_idle and not has_backlog and not self._watches.is_ending

    def _end_turn(self) -> None:
        turned, self._turned = self._turned, None
        if turned is not None:
            turned.set_result(None)

    def _propose(self) -> None:
        try:
            first_index = self.raft.propose(self._requests.queued_commands())
        except ProposalRefused:
            # Another node leads, or this one is handing over to it.
            self._requests.refuse_queued_writes(self._elsewhere())
            self.tracer.drop()
        else:
            self._requests.proposed(first_index, self.raft.current_term)
            if self.tracer.is_active:
                self.tracer.proposed(first_index, self.raft.current_term)

    def _request_reads(self) -> None:
        try:
            read_id = self.raft.request_read(self._overdue_ticks())
        except ProposalRefused as refused:
            self._requests.refuse_queued_reads(self._unread(refused))
        else:
            self._requests.reads_requested(read_id)

    def _request_quorum_reads(self) -> None:
        now = self._scheduler.time()
        if now < self._quorum_reads_at:
            if not self._is_quorum_read_planned:
                self._is_quorum_read_planned = True
                self._scheduler.call_at(self._quorum_reads_at, self._quorum_reads_due)
            return
        self._quorum_reads_at = now + _QUORUM_READS_SECONDS
        try:
            read_id = self.raft.request_read(by_quorum=True)
        except ProposalRefused as refused:
            self._requests.refuse_queued_quorum_reads(self._unread(refused))
        else:
            self._requests.quorum_reads_requested(read_id)

    def _quorum_reads_due(self) -> None:
        # Perhaps a little early, since uvloop counts whole milliseconds; then it is planned again.
        self._is_quorum_read_planned = False
        self.wake()

    def _unread(self, refused: ProposalRefused) -> Refusal:
        # Each turn's reads are one batch, and while no quorum answers, a busy client fills consensus with batches.
        if refused.reason is RefusalReason.TOO_MANY_READS:
            return Refusal(RefusalCode.OVERLOADED, refused.reason.value)
        return self._elsewhere()

    def _carry_out(self, ready: Ready) -> None:
        """Do what a Ready says (`raftd.consensus.ready`)."""
        self._note_leadership()
        self._send(ready.messages)
        if ready.must_store or (ready.messages_after_stored and self._storing):
            batch = self._batches.encoded(ready.entries) if ready.entries else b""
            self.log_bytes_total += len(batch)
            self._storing.append(ready)
            first_index = ready.entries[0][0] if ready.entries else None
            log_base = None if ready.log_base is None else ready.log_base[0]
            self._writer.submit(Submission(ready, ready.hard_state, first_index, len(ready.entries), batch, log_base))
        else:
            self._send(ready.messages_after_stored)
        self._applier.take(ready.committed)
        self._apply()
        if self._sender is not None:
            for chunk in ready.snapshot_chunks:
                self._sender.send(chunk)
        if self._installer is not None:
            for _, message in ready.snapshot_data:
                self._installer.receive(message)
        self._settle_reads(ready)

    def _settle_reads(self, ready: Ready) -> None:
        for read_id, read_index in ready.confirmed_reads:
            if read_id == self._keeper.read_id:
                self._keeper.confirmed(self._scheduler.time() - self.last_tick_at - self._tick_seconds)
            elif read_id == self.probe.read_id:
                self.probe.confirmed(read_index)
            else:
                self._requests.reads_confirmed(read_id, read_index, self.raft.current_term)
        for read_id in ready.refused_reads:
            if read_id == self._keeper.read_id:
                self._keeper.refused()
            elif read_id == self.probe.read_id:
                self.probe.refused()
            else:
                self._requests.reads_refused(read_id, self._elsewhere())

    def _apply(self) -> None:
        applied = self._applier.apply()
        if applied is not None:
            self.raft.applied(applied)
        if self._applier.is_behind:
            self.wake()

    def _send(self, messages: tuple[tuple[NodeId, Message], ...]) -> None:
        for peer, message in messages:
            version = self._network.version(peer)
            if isinstance(message, Heartbeat):
                self.round_trips.sent(peer, message.round, self._stopwatch())
            if isinstance(message, AppendEntries) and message.entries:
                parts = peer_codec.encode_message(message, self._batches.encoded(message.entries), version=version)
            else:
                parts = peer_codec.encode_message(message, version=version, wall_clock_ms=self.clocks.now_ms())
            if not self._network.send(peer, b"".join(parts)) and isinstance(message, AppendEntries | InstallSnapshot):
                self.raft.unreachable(peer)

    def _elsewhere(self) -> Refusal:
        if self._gateway is None:
            return Refusal(RefusalCode.NO_LEADER, "this node is starting")
        return self._gateway.admission.elsewhere()

    def _note_leadership(self) -> None:
        """Notice what consensus has become, before anything is answered under what it was."""
        raft = self.raft
        if raft.membership is not self._last_membership:
            self._last_membership = raft.membership
            if self._sender is not None:
                self._sender.keep(frozenset(raft.progress))
            if self._on_membership is not None:
                self._on_membership(raft.membership)
        if not self._is_proven and raft.is_proven:
            self._is_proven = True
            if self._on_proven is not None:
                self._on_proven()
        leadership = (raft.role, raft.current_term, raft.leader_id)
        if leadership == self._last_leadership:
            return
        last_role, last_term, last_leader = self._last_leadership
        self._last_leadership = leadership
        role, term, leader_id = leadership
        if last_role is Role.LEADER and (role is not Role.LEADER or term != last_term):
            self._requests.leadership_lost()
            self.tracer.drop()
            if self._sender is not None:
                self._sender.stop()
        self.round_trips.forget()
        if leader_id is not None and leader_id != last_leader:
            self.leader_changes_total += 1
            self.clocks.forget()
        if role is Role.CANDIDATE:
            self.elections_total += 1
        if self._on_leadership is not None:
            self._on_leadership(role, term, leader_id)
