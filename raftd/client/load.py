"""A closed-loop load generator: many connections, each with so many requests under way, as lean as Python allows.

Each connection goes to the leader and has a session of its own. Frames are a template, made by the protocol's own
encoders, in which request id, sequences and the key's number are overwritten. What came in one piece is answered by
one write. When the leader is lost, a connection finds the new one and repeats what it has under way, byte for byte:
no put is applied twice, and its latency counts from the first sending.
"""

import asyncio
import enum
import math
import struct
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from raftd.client.asynchronous import AsyncClient, Tls
from raftd.client.config import DEFAULT_TIMEOUT_SECONDS
from raftd.client.connection import Connection, ConnectionLost, NotConnected, connect
from raftd.client.errors import ClientError, InvalidRequest, Unavailable, first_of_many
from raftd.client.namespace import Namespace
from raftd.client.tls import ClientTls
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import SessionId
from raftd.kv.limits import VALUE_BYTES_MAX
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    RequestKind,
    ResponseKind,
    decode_refusal,
    encode_read_body,
    encode_request,
    parse_response,
)
from raftd.wire.frames import FrameReader
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX

_KEY_PREFIX: Final = b"bench/"
_KEY_DIGITS: Final = 12
_SPREAD: Final = 2_654_435_761
"""A prime, so that consecutive requests go to keys far apart (Knuth, volume 3, §6.4: multiplicative hashing)."""
_U64 = struct.Struct("<Q")
_SEQUENCES = struct.Struct("<QQ")
_ANSWER = struct.Struct("<BQB")
"""The beginning of most answers: `ResponseKind`, request id, `Outcome`."""
_DEAD_AFTER_SECONDS: Final = 2.0
_SESSION_TTL_MS: Final = 60_000
_PAUSE_SECONDS: Final = 0.05
_BUFFER_BYTES: Final = 64 << 10


class LoadMode(enum.Enum):
    """What is asked for."""

    PUT = "put"
    GET = "get"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How much of what; ends after `requests` or `seconds`, whichever comes first, and one must be given."""

    mode: LoadMode = LoadMode.PUT
    connections: int = 100
    pipeline: int = 1
    """Requests under way on each connection."""
    requests: int | None = None
    """Of all connections together."""
    seconds: float | None = None
    value_bytes: int = 256
    key_count: int = 10_000
    """How many different keys are used."""
    namespace: bytes | str = b""
    """What stands before each key."""

    @property
    def key_prefix(self) -> bytes:
        """What comes before a key's number. Raises: InvalidRequest, TooLarge: there is no such namespace."""
        return Namespace(self.namespace).key(_KEY_PREFIX + bytes(_KEY_DIGITS))[:-_KEY_DIGITS]

    def check(self) -> None:
        """Raises: InvalidRequest, TooLarge, when it makes no sense."""
        _ = self.key_prefix
        if self.requests is None and self.seconds is None:
            raise InvalidRequest("a number of requests or of seconds must be given")
        if min(self.connections, self.pipeline, self.key_count) < 1 or self.key_count > 10**_KEY_DIGITS:
            raise InvalidRequest("connections, pipeline and keys are at least 1 each, and keys at most 10^12")
        if self.requests is not None and self.requests < 1:
            raise InvalidRequest("requests is at least 1")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise InvalidRequest("seconds is more than 0")
        if not 0 <= self.value_bytes <= VALUE_BYTES_MAX:
            raise InvalidRequest(f"a value has at most {VALUE_BYTES_MAX} bytes")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What came of it; latencies are seconds from the first sending to the answer."""

    plan: LoadPlan
    seconds: float
    """From the first request, when all connections stood, to the last answer."""
    answered: int
    not_found: int
    """Of those answered, how many gets found no key."""
    errors: dict[str, int]
    """Refusals and answers other than success, by name; each was tried again."""
    reconnects: int
    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    max_seconds: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ascending values: the least one that `share` of all do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def run_load(
    endpoints: Sequence[str], tls: Tls, plan: LoadPlan, *, leader_within: float = DEFAULT_TIMEOUT_SECONDS
) -> LoadReport:
    """Put a plan's load on a cluster; `leader_within`: seconds that finding a leader may take.

    Raises:
        ClientError: the plan makes no sense, the cluster cannot be reached, or refuses for good.
    """
    plan.check()
    async with AsyncClient(endpoints, tls=tls, timeout=leader_within) as client:
        run = _Run(client, tls, plan)
        workers = [_Worker(run) for _ in range(plan.connections)]
        await asyncio.gather(*(worker.open() for worker in workers))
        run.begin()
        with first_of_many():
            async with asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(worker.work())
        return run.report()


class FrameTemplate:
    """The frame of a request, but for what differs. Where that is, is found by encoding numbers that stand out.

    Args:
        mode: put or get.
        session: for a put.
        value: for a put.
        key_prefix: what comes before a key's number.
    """

    __slots__ = ("_fixed", "_has_sequence", "_pack")

    _ID: Final = 0xA1A2A3A4A5A6A7A8
    _SEQUENCE: Final = 0xB1B2B3B4B5B6B7B8
    _FIRST: Final = 0xB0B2B3B4B5B6B7B8

    def __init__(self, mode: LoadMode, session: SessionId, value: bytes, key_prefix: bytes = _KEY_PREFIX) -> None:
        key = key_prefix + bytes(_KEY_DIGITS)
        if mode is LoadMode.PUT:
            frame = encode_request(
                RequestKind.WRITE, self._ID, commands.put(session, self._SEQUENCE, self._FIRST, key, value)
            )
        else:
            frame = encode_request(
                RequestKind.READ, self._ID, encode_read_body(Consistency.LINEARIZABLE, QueryOpcode.GET, key)
            )
        self._has_sequence = mode is LoadMode.PUT
        head, rest = frame.split(_U64.pack(self._ID), 1)
        sequences = _SEQUENCES.pack(self._SEQUENCE, self._FIRST)
        before, rest = rest.split(sequences, 1) if self._has_sequence else (b"", rest)
        between, rest = rest.split(key, 1)
        between += key_prefix
        self._fixed = head, before, between, rest
        varying = "QQ" if self._has_sequence else ""
        layout = f"<{len(head)}sQ{len(before)}s{varying}{len(between)}s{_KEY_DIGITS}s{len(rest)}s"
        self._pack = struct.Struct(layout).pack

    def fill(self, request_id: int, key_number: int, sequence: int, first_unanswered: int) -> bytes:
        """One request's frame."""
        head, before, between, rest = self._fixed
        digits = b"%012d" % key_number
        if self._has_sequence:
            return self._pack(head, request_id, before, sequence, first_unanswered, between, digits, rest)
        return self._pack(head, request_id, before, between, digits, rest)


class _Run:
    """What all workers share."""

    def __init__(self, client: AsyncClient, tls: Tls, plan: LoadPlan) -> None:
        self.plan = plan
        self.client = client
        self.make_context = tls.context if isinstance(tls, ClientTls) else tls
        self.latencies = array("d")
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        """What was just received, on whatever connection: it is used before the loop turns to another one."""
        self.errors: Counter[str] = Counter()
        self.not_found = 0
        self.reconnects = 0
        self.issued = 0
        self.requests = plan.requests if plan.requests is not None else math.inf
        self.started_at = self.ends_at = self.ended_at = 0.0

    def begin(self) -> None:
        """All connections stand: the clock starts."""
        self.started_at = self.ended_at = perf_counter()
        self.ends_at = self.started_at + self.plan.seconds if self.plan.seconds is not None else math.inf

    def report(self) -> LoadReport:
        ordered = sorted(self.latencies)
        return LoadReport(
            plan=self.plan,
            seconds=self.ended_at - self.started_at,
            answered=len(ordered),
            not_found=self.not_found,
            errors=dict(self.errors),
            reconnects=self.reconnects,
            p50_seconds=percentile(ordered, 0.5),
            p99_seconds=percentile(ordered, 0.99),
            p999_seconds=percentile(ordered, 0.999),
            max_seconds=ordered[-1] if ordered else 0.0,
        )


class _Worker(asyncio.BufferedProtocol):
    """One connection's worth of load: `pipeline` slots, each of which always has one request under way.

    A request's id is its slot. Invariant: a slot's frame is kept until its answer came, so that it can be repeated.

    Buffered, since for an `asyncio.Protocol` uvloop allocates 256 KiB for each answer, which the C library may map and
    unmap each time: that cost more than all the rest of a request.
    """

    def __init__(self, run: _Run) -> None:
        self._run = run
        pipeline = run.plan.pipeline
        self._frames: list[bytes | None] = [None] * pipeline
        self._sent_at = [0.0] * pipeline
        self._sequences = [0] * pipeline
        self._sequence = 0
        self._first_unanswered = 1
        self._busy = 0
        self._session: SessionId | None = None
        self._template: FrameTemplate
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(CLIENT_FRAME_BYTES_MAX)
        self._failure: ClientError | None = None
        self._heard = True
        self._idle = asyncio.Event()
        """Set when the connection is over, or nothing is left to do on it."""

    async def open(self) -> None:
        """Connect to the leader, with a session for puts. Raises: ClientError."""
        # Each attempt asks who leads, which is itself repeated until the client's deadline.
        deadline = asyncio.get_running_loop().time() + DEFAULT_TIMEOUT_SECONDS
        while True:
            leader = await self._run.client.find_leader()
            try:
                await self._open(leader)
            except (NotConnected, ConnectionLost, RemoteProtocolError, DecodeError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise Unavailable(f"{leader}: {error}") from None
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    async def _open(self, leader: str) -> None:
        connection = await connect(leader, self._run.make_context(), dead_after=_DEAD_AFTER_SECONDS)
        try:
            plan = self._run.plan
            _check_pipeline(plan.pipeline, connection)
            if self._session is None:
                self._session = await _open_session(connection) if plan.mode is LoadMode.PUT else SessionId(0)
                self._template = FrameTemplate(plan.mode, self._session, bytes(plan.value_bytes), plan.key_prefix)
            self._reader = FrameReader(CLIENT_FRAME_BYTES_MAX)
            self._idle.clear()
            self._transport = connection.hand_over(self)
        except BaseException:
            connection.abort("the load generator could not use it")
            raise

    async def work(self) -> None:
        """Go on until the plan is fulfilled. Raises: ClientError."""
        while True:
            self._start()
            await self._until_idle()
            if self._failure is not None:
                raise self._failure
            if not self._busy:
                break
            self._run.reconnects += 1
            await asyncio.sleep(_PAUSE_SECONDS)
            await self.open()
        if self._transport is not None:
            self._transport.abort()

    async def _until_idle(self) -> None:
        """Wait, and end a connection on which nothing is heard."""
        while not self._idle.is_set():
            self._heard = False
            try:
                async with asyncio.timeout(_DEAD_AFTER_SECONDS):
                    await self._idle.wait()
            except TimeoutError:
                if not self._heard:
                    self._leave("silent")

    def _start(self) -> None:
        """Repeat what is under way, and fill the slots that are free."""
        now = perf_counter()
        for slot, frame in enumerate(self._frames):
            if frame is None:
                self._issue(slot, now)
        frames = [frame for frame in self._frames if frame is not None]
        if self._transport is not None and frames:
            self._transport.write(b"".join(frames))
        else:
            self._idle.set()

    def _issue(self, slot: int, now: float) -> bytes | None:
        """Make the slot's next request; None when there is nothing left to do."""
        run = self._run
        if run.issued >= run.requests or now >= run.ends_at:
            return None
        run.issued += 1
        self._sequence = sequence = self._sequence + 1
        self._sequences[slot] = sequence
        # Any lower bound will do, so the lowest is looked for once for as many requests as there are slots.
        if sequence % len(self._sequences) == 0:
            self._first_unanswered = min(self._sequences)
        key_number = run.issued * _SPREAD % run.plan.key_count
        frame = self._template.fill(slot, key_number, sequence, self._first_unanswered)
        self._frames[slot] = frame
        self._sent_at[slot] = now
        self._busy += 1
        return frame

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio gives it
        """Where the next answers go; what does not fit comes with the next call."""
        return self._run.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Note each answer, and send as many requests again, in one write."""
        now = perf_counter()
        self._heard = True
        run = self._run
        out: list[bytes] = []
        try:
            for payload in self._reader.feed(bytes(run.buffer[:nbytes])):
                slot = self._slot_of(payload)
                if slot < 0:
                    return
                if slot >= len(self._frames) or self._frames[slot] is None:
                    self._leave("answer to nothing")
                    return
                run.latencies.append(now - self._sent_at[slot])
                self._frames[slot] = None
                self._busy -= 1
                frame = self._issue(slot, now)
                if frame is not None:
                    out.append(frame)
        except (RemoteProtocolError, DecodeError) as error:
            self._leave(f"protocol: {error}")
            return
        run.ended_at = now
        if out and self._transport is not None:
            self._transport.write(b"".join(out))
        elif not self._busy:
            self._idle.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        """The connection is over; `work` finds a new one, after a pause, if requests are under way."""
        self._transport = None
        self._idle.set()

    def _slot_of(self, payload: bytes) -> int:
        """Whose answer this is; negative if it is none, and the connection is left."""
        if len(payload) >= _ANSWER.size:
            kind, slot, outcome = _ANSWER.unpack_from(payload)
            if kind == ResponseKind.ANSWER and outcome == Outcome.OK:
                return slot  # type: ignore[no-any-return]  # a u64
        kind, slot = parse_response(payload)
        return slot if self._accepts(kind, payload) else -1

    def _accepts(self, kind: ResponseKind, payload: bytes) -> bool:
        """Whether a response other than OK still is an answer; if not, the connection is left, for good or to retry."""
        if kind is ResponseKind.REFUSED:
            self._leave(decode_refusal(payload).code.name)
            return False
        if kind is not ResponseKind.ANSWER:
            raise RemoteProtocolError(f"{kind.name} came, and an answer was expected")
        outcome = answers.decode(payload[BODY_OFFSET:]).outcome
        if outcome is Outcome.NOT_FOUND:
            self._run.not_found += 1
            return True
        self._failure = ClientError(f"the cluster answered {outcome.name}")
        self._leave(outcome.name)
        return False

    def _leave(self, reason: str) -> None:
        self._run.errors[reason] += 1
        if reason in ("DENIED", "BAD_REQUEST", "TOO_LARGE"):
            self._failure = ClientError(f"the cluster refuses: {reason}")
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._idle.set()


def _check_pipeline(pipeline: int, connection: Connection) -> None:
    allowed = connection.welcomed.result().requests_in_flight_max
    if pipeline > allowed:
        raise InvalidRequest(f"the cluster allows {allowed} requests under way on one connection")


async def _open_session(connection: Connection) -> SessionId:
    kind, payload = await connection.request(RequestKind.WRITE, commands.open_session(_SESSION_TTL_MS))
    if kind is not ResponseKind.ANSWER:
        raise ConnectionLost(f"no session: {kind.name}")
    answer = answers.decode(payload[BODY_OFFSET:])
    if answer.outcome is not Outcome.OK:
        raise ConnectionLost(f"no session: {answer.outcome.name}")
    return answers.decode_open_session(answer.body).session
