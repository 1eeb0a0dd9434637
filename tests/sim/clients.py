"""Clients with sessions, who repeat the same bytes to anybody until they have an answer, and remember what they saw."""

import math
import random
from typing import TYPE_CHECKING

from raftd.consensus import NodeId
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import Revision, SessionId
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    RefusalCode,
    RequestKind,
    ResponseKind,
    decode_refusal,
    encode_read_body,
    encode_request,
    parse_response,
)
from raftd.wire.frames import LENGTH_BYTES, FrameReader
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX
from tests.linearizability.checker import Kind, Operation, State
from tests.sim.timeline import generator

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_TIMEOUT_SECONDS = 1.0
_KEEP_ALIVE = -1
"""The number of requests that nobody waits for."""


class ClientChannel:
    """A client's connection to one life of a process, as the gateway sees it: raftd's `Channel`, in what is used."""

    __slots__ = ("_client", "_process", "_reader", "remote_address", "unsent_bytes")

    def __init__(self, client: "Client", process: "Process") -> None:
        self._client = client
        self._process = process
        self._reader = FrameReader(CLIENT_FRAME_BYTES_MAX)
        self.remote_address = "192.0.2.1:1"
        self.unsent_bytes = 0

    def send(self, data: bytes) -> None:
        """Frames leave for the client."""
        self._process.reach("answer")
        for payload in self._reader.feed(data):
            self._client.respond(self._process.node_id, payload)

    def pause_reading(self) -> None:
        """What comes all the same has its place behind what waits."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""


class Request:
    """One operation, from its first sending to its answer."""

    __slots__ = ("attempts", "body", "expected", "first_term", "invoked", "key", "kind", "number", "sequence", "value")

    def __init__(self, number: int, kind: Kind | None, key: bytes, invoked: float) -> None:
        self.number = number
        self.kind = kind
        """None: opens a session."""
        self.key = key
        self.invoked = invoked
        self.sequence = 0
        self.value: State = None
        self.expected: State = None
        self.body = b""
        self.attempts = 0


class Client:
    """One client: some requests at a time, each with the next sequence of its session."""

    def __init__(self, world: "World", number: int, draw: random.Random) -> None:
        self._world = world
        self.name = f"client-{number}"
        self._draw = draw
        self._session: SessionId | None = None
        self._sequence = 0
        self._only_reads = generator(world.plan.seed, f"reader/{number}").random() < world.plan.readers
        self._window = draw.choice((1, 1, 3))
        self._asks_session = False
        self._requests: dict[int, Request] = {}
        """Without an answer, by number."""
        self._attempts: dict[int, tuple[Request, int, NodeId]] = {}
        """Request ids under way -> (request, the cluster's revision known to anybody at its sending, to whom)."""
        self._first_targets: dict[int, NodeId] = {}
        self._next_id = 0
        self._leader: NodeId | None = None
        self._known: dict[bytes, tuple[Revision, State]] = {}
        """What was last seen of a key: its revision, and what it held then."""
        self._channels: dict[NodeId, tuple[int, ClientChannel]] = {}
        self.is_idle = False
        """Nothing new is asked."""
        self._session_touched = 0.0

    @property
    def pending(self) -> list[Request]:
        """The requests without an answer."""
        return list(self._requests.values())

    def think(self) -> None:
        """Ask something new, if there is room, and think again later."""
        world, plan = self._world, self._world.plan
        if not self.is_idle and len(self._requests) < self._window:
            self._ask()
        pause = self._draw.expovariate(1 / plan.think_seconds)
        if plan.has("short_sessions") and self._draw.random() < 0.05:
            pause += 8.0
        world.timeline.after(pause, self.think)

    def write_now(self) -> None:
        """Ask for something that needs a commit, whatever is under way."""
        self._ask(Kind.PUT)

    def _ask(self, kind: Kind | None = None) -> None:
        if self._session is None:
            if not self._asks_session:
                self._asks_session = True
                request = self._new(None, b"")
                request.body = commands.open_session(self._world.plan.session_ttl_ms)
                self._attempt(request)
            return
        draw = self._draw
        key = draw.choice(self._world.plan.keys)
        if kind is None and self._only_reads:
            kind = Kind.GET
        kind = kind or draw.choice((Kind.GET, Kind.GET, Kind.PUT, Kind.PUT, Kind.DELETE, Kind.COMPARE_AND_PUT))
        revision, state = self._known.get(key, (Revision(0), None))
        if kind is Kind.COMPARE_AND_PUT and draw.random() < 0.2:
            kind = Kind.COMPARE_AND_DELETE
        if kind is Kind.COMPARE_AND_DELETE and state is None:
            kind = Kind.DELETE
        request = self._new(kind, key)
        if kind is Kind.GET:
            request.body = encode_read_body(Consistency.LINEARIZABLE, QueryOpcode.GET, key)
        else:
            self._sequence += 1
            request.sequence = self._sequence
            self._encode(request, revision, state)
        self._attempt(request)

    def _encode(self, request: Request, revision: Revision, state: State) -> None:
        """Make the bytes of a write; they are the same whenever they are sent."""
        kind, session = request.kind, self._session
        assert session is not None
        first = min((one.sequence for one in self._requests.values() if one.sequence), default=request.sequence)
        condition = revision if kind in {Kind.COMPARE_AND_PUT, Kind.COMPARE_AND_DELETE} else None
        request.expected = state if condition is not None else None
        if kind in {Kind.PUT, Kind.COMPARE_AND_PUT}:
            request.value = f"{self.name}/{session}/{request.sequence}".encode()
            if self._draw.random() < 0.25:
                # More than a sector, so that a write can be torn.
                request.value += b"." * self._draw.choice((300, 1200))
            request.body = commands.put(
                session, request.sequence, first, request.key, request.value, expected_revision=condition
            )
        else:
            request.body = commands.delete(session, request.sequence, first, request.key, expected_revision=condition)

    def _new(self, kind: Kind | None, key: bytes) -> Request:
        self._next_id += 1
        request = Request(self._next_id, kind, key, self._world.timeline.now)
        self._requests[request.number] = request
        return request

    # Sending.

    def _attempt(self, request: Request) -> None:
        """Send a request to somebody."""
        request.attempts += 1
        world, draw = self._world, self._draw
        target = self._leader
        if request.kind is Kind.GET and world.plan.follower_reads:
            target = None
        if target is None or target not in world.reachable or draw.random() < 0.1:
            target = draw.choice(world.reachable)
        self._first_targets.setdefault(request.number, target)
        self._send(request, target)
        if world.plan.has("client_duplicates") and draw.random() < 0.2:
            self._send(request, draw.choice(world.reachable))
        timeout = _TIMEOUT_SECONDS * draw.uniform(0.5, 1.5)
        world.timeline.after(timeout, self._timed_out, request, request.attempts)

    def _send(self, request: Request, target: NodeId) -> None:
        world = self._world
        self._next_id += 1
        self._attempts[self._next_id] = (request, world.known_revision, target)
        kind = RequestKind.READ if request.kind is Kind.GET else RequestKind.WRITE
        payload = encode_request(kind, self._next_id, request.body)[LENGTH_BYTES:]
        delay = self._draw.expovariate(1 / world.plan.latency)
        if world.plan.has("client_duplicates") and self._draw.random() < 0.1:
            delay += self._draw.uniform(0, 3)
        world.timeline.after(delay, self._arrive, target, payload)

    def _arrive(self, target: NodeId, payload: bytes) -> None:
        process = self._world.processes[target]
        if not process.is_up:
            return
        life, channel = self._channels.get(target, (0, None))
        if channel is None or life != process.life:
            channel = ClientChannel(self, process)
            self._channels[target] = (process.life, channel)
        process.enter(process.life, process.receive, self.name, channel, payload)

    def _timed_out(self, request: Request, attempts: int) -> None:
        if request.number in self._requests and request.attempts == attempts:
            self._leader = None
            self._attempt(request)

    # Receiving.

    def respond(self, node_id: NodeId, payload: bytes) -> None:
        """A response leaves the node; it may get lost."""
        world = self._world
        if not world.network.is_perfect and self._draw.random() < world.plan.response_loss:
            return
        world.timeline.after(self._draw.expovariate(1 / world.plan.latency), self._receive, node_id, payload)

    def _receive(self, node_id: NodeId, payload: bytes) -> None:
        kind, request_id = parse_response(payload)
        request, known_revision, target = self._attempts.pop(request_id)
        world = self._world
        world.trace.note(f"{self.name} {request.number} {kind.name} from {node_id}")
        if target != node_id:
            world.oracle.fail(f"{self.name} is answered by node {node_id} and had asked node {target}")
        if kind is ResponseKind.REFUSED:
            self._refused(request, payload)
        elif kind is ResponseKind.ANSWER:
            self._answered(request, payload[BODY_OFFSET:], known_revision, node_id)
        else:
            world.oracle.fail(f"{self.name} asked for no {kind.name}")

    def _refused(self, request: Request, payload: bytes) -> None:
        if request.number not in self._requests:
            return
        refusal = decode_refusal(payload)
        world = self._world
        if refusal.code in {RefusalCode.BAD_REQUEST, RefusalCode.DENIED, RefusalCode.TOO_LARGE}:
            world.oracle.fail(f"{self.name} is refused: {refusal}")
        if refusal.code is RefusalCode.OUTCOME_UNKNOWN:
            world.sometimes("outcome_unknown")
        self._leader = refusal.leader_id
        pause = 0.01 if refusal.code in {RefusalCode.NOT_LEADER, RefusalCode.OUTCOME_UNKNOWN} else 0.15
        attempts = request.attempts
        world.timeline.after(pause * self._draw.uniform(0.5, 1.5), self._again, request, attempts)

    def _again(self, request: Request, attempts: int) -> None:
        if request.number in self._requests and request.attempts == attempts:
            self._attempt(request)

    def _answered(self, request: Request, body: bytes, known_revision: int, node_id: NodeId) -> None:
        world = self._world
        answer = answers.decode(body)
        world.trace.note(f"{self.name} {request.number} sequence {request.sequence}: {answer.outcome.name}")
        if request.kind is Kind.GET:
            # Whatever anybody was told before this was sent must be in what it reads.
            if answer.revision < known_revision:
                world.oracle.fail(
                    f"stale read: {self.name} reads revision {answer.revision} of {request.key!r} from node {node_id}, "
                    f"and revision {known_revision} was known before it asked"
                )
            world.known_revision = max(world.known_revision, answer.revision)
        elif request.number == _KEEP_ALIVE:
            return
        elif request.kind is None:
            world.oracle.session_opened(int.from_bytes(answer.body[:8], "little"), body)
        else:
            session = int.from_bytes(request.body[1:9], "little")
            world.oracle.answered(session, request.sequence, body)
        self._leader = node_id
        if answer.outcome is Outcome.TOO_MANY_IN_FLIGHT:
            # An older request of this session still waits; its answer makes room, once the session hears of it.
            world.sometimes("session_full")
            self._tell_first_unanswered()
            world.timeline.after(0.2, self._again, request, request.attempts)
            return
        if self._requests.pop(request.number, None) is None:
            return
        if request.kind not in {None, Kind.GET}:
            # A remembered answer tells of an older revision than that of now, but never of one to come.
            world.known_revision = max(world.known_revision, answer.revision)
            if node_id != self._first_targets[request.number]:
                world.sometimes("answer_after_leader_change")
        self._settle(request, answer)

    def _settle(self, request: Request, answer: answers.Answer) -> None:
        """Note the outcome in the history."""
        now, outcome = self._world.timeline.now, answer.outcome
        if request.kind is None:
            self._asks_session = False
            self._session = answers.decode_open_session(answer.body).session
            self._sequence = 0
            self._session_touched = request.invoked
            return
        if request.kind is Kind.GET:
            if outcome is Outcome.OK:
                record = answers.decode_get(answer.body)
                self._known[request.key] = (record.modify_revision, record.value)
                request.value = record.value
            else:
                self._known[request.key] = (Revision(0), None)
            self._record(request, now, None)
            return
        if outcome in {Outcome.SESSION_EXPIRED, Outcome.SEQUENCE_ANSWERED}:
            self._lost_session(request, outcome)
            return
        self._session_touched = max(self._session_touched, request.invoked)
        if outcome is Outcome.OK and request.value is not None:
            self._known[request.key] = (answer.revision, request.value)
        elif outcome is Outcome.COMPARE_FAILED:
            self._world.sometimes("compare_failed")
            self._known.pop(request.key, None)
        self._record(request, now, outcome is Outcome.OK)

    def _tell_first_unanswered(self) -> None:
        """Say what need not be remembered any longer, without a write to say it with."""
        if self._session is None:
            return
        request = Request(_KEEP_ALIVE, None, b"", self._world.timeline.now)
        first = min((one.sequence for one in self._requests.values() if one.sequence), default=self._sequence + 1)
        request.body = commands.keep_alive(self._session, first)
        self._send(request, self._leader or self._draw.choice(self._world.reachable))

    def _lost_session(self, request: Request, outcome: Outcome) -> None:
        """The write may have happened by an earlier sending; nobody will ever know."""
        world = self._world
        if outcome is not Outcome.SESSION_EXPIRED:
            world.oracle.fail(f"{self.name} is told {outcome.name} for sequence {request.sequence}, still unanswered")
        world.sometimes("session_expired")
        self._record(request, math.inf, None)
        if int.from_bytes(request.body[1:9], "little") == self._session:
            idle = world.timeline.now - self._session_touched
            if idle < world.plan.session_ttl_ms / 1000 * (1 - world.plan.drift):
                world.oracle.fail(f"{self.name}'s session expired after {idle:.3f} s")
            self._session = None

    def _record(self, request: Request, returned: float, succeeded: bool | None) -> None:
        assert request.kind is not None
        self._world.history.setdefault(request.key, []).append(
            Operation(request.kind, request.invoked, returned, request.value, request.expected, succeeded)
        )

    def close(self) -> None:
        """The run is over: what has no answer has an unknown outcome."""
        for request in self._requests.values():
            if request.kind is not None:
                self._record(request, math.inf, None)
