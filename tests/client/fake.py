"""A cluster in one event loop: real TLS, real frames, the real state machine, no Raft; and it does what it is told."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

from raftd.client import ClientTls
from raftd.client.tls import cluster_of
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.commands import Opcode, Stamp, advance_clock, expire_leases
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Get
from raftd.kv.pages import LeaseInfo, ListedLease, lease_body, leases_body
from raftd.kv.queries import LeaseQuery, LeasesQuery, Query, parse_query
from raftd.kv.types import LeaseId, Revision
from raftd.wire.backup import decode_backup_piece, decode_backup_report, encode_piece
from raftd.wire.client import (
    BODY_OFFSET,
    Refusal,
    RefusalCode,
    RequestKind,
    decode_read,
    decode_trace,
    encode_answer,
    encode_document,
    encode_pong,
    encode_refusal,
    parse_request,
)
from raftd.wire.frames import FrameReader, encode_frame
from raftd.wire.handshake import ConnectionRole, Listener, decode_hello, encode_reply, negotiate
from raftd.wire.identity import identity_of_alternative_names
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX
from raftd.wire.watch import (
    decode_keep_alive,
    decode_unwatch,
    decode_watch,
    encode_unwatched,
    keep_alive_answer_body,
)
from tests.client.fake_watches import ALL_CHANGES, FakeWatches

CLUSTER_ID = bytes(range(16))
BACKUP = b"all of it"
"""The file that every node hands out, four bytes at a time."""


@dataclass
class Refuse:
    """Answer with a refusal, and do nothing."""

    refusal: Refusal


@dataclass
class Cut:
    """Send only the first bytes of the answer, and end the connection; 0: reset it."""

    sent_bytes: int = 0
    apply: bool = True


@dataclass
class Silent:
    """Never answer."""

    apply: bool = False
    freeze: bool = False
    """Nor anything else on this node, from now on."""


@dataclass
class Say:
    """Send these bytes instead of the answer."""

    frames: Callable[[int], bytes]
    apply: bool = False


@dataclass
class Wait:
    """Answer after the event."""

    until: asyncio.Event = field(default_factory=asyncio.Event)


Reaction: TypeAlias = Refuse | Cut | Silent | Say | Wait
Request: TypeAlias = tuple[RequestKind, bytes]


class FakeNode:
    """One node. Requests find the next reaction of `plan`, if they are of interest to it; else it behaves."""

    def __init__(self, cluster: "FakeCluster", node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.plan: deque[Reaction] = deque()
        self.plan_for: Callable[[RequestKind, bytes], bool] = is_data
        self.requests: list[Request] = []
        self.connections: set[FakeConnection] = set()
        self.accepted_total = 0
        self.frozen = False
        self.handshake: Callable[[bytes], bytes] = self._welcome
        self.requests_in_flight_max = 64
        self.frame_bytes_max = CLIENT_FRAME_BYTES_MAX
        self.address = ""
        self.status: dict[str, Any] = {"node_id": node_id}
        self.traces: dict[int, list[dict[str, Any]]] = {}
        """What it tells of an entry, one after the other, the last again and again."""
        self.lags = False
        """Whether it has not come to any revision that is asked for."""
        self.changes_per_frame = ALL_CHANGES
        self.frames_left: int | None = None
        """How many frames of changes a connection that is made from now on gets, before it is cut; None: all."""
        self._server: asyncio.Server | None = None
        self._alone = asyncio.Event()
        self._alone.set()

    @property
    def data_requests(self) -> list[Request]:
        """The requests that are about keys, without those about sessions."""
        return [request for request in self.requests if is_data(*request)]

    async def start(self, context: ssl.SSLContext, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: FakeConnection(self), "127.0.0.1", port, ssl=context)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.transport.abort()
        await self._alone.wait()

    def joined(self, connection: "FakeConnection") -> None:
        self.connections.add(connection)
        self.accepted_total += 1
        self._alone.clear()

    def left(self, connection: "FakeConnection") -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._alone.set()

    def _welcome(self, payload: bytes) -> bytes:
        listener = Listener(
            ConnectionRole.CLIENT,
            self.cluster.cluster_id,
            NodeId(self.node_id),
            self.frame_bytes_max,
            self.requests_in_flight_max,
        )
        return encode_frame(encode_reply(negotiate(decode_hello(payload), listener)))


class FakeConnection(asyncio.Protocol):
    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.reader = FrameReader(CLIENT_FRAME_BYTES_MAX)
        self.greeted = False
        self.user = ""
        self.transport: asyncio.Transport
        self.watches = FakeWatches(node.cluster.machine, self.write, self.cut)
        self.watches.changes_per_frame = node.changes_per_frame
        self.watches.frames_left = node.frames_left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        certificate = transport.get_extra_info("ssl_object").getpeercert()
        self.user = identity_of_alternative_names(certificate["subjectAltName"]).user or ""
        self.node.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        self.node.left(self)

    def data_received(self, data: bytes) -> None:
        if self.node.frozen:
            return
        for payload in self.reader.feed(data):
            if not self.greeted:
                self.greeted = True
                self.transport.write(self.node.handshake(payload))
            else:
                self.receive(payload)

    def write(self, frame: bytes) -> None:
        self.transport.write(frame)

    def cut(self) -> None:
        self.transport.abort()

    def receive(self, payload: bytes) -> None:
        node = self.node
        kind, request_id = parse_request(payload)
        body = payload[BODY_OFFSET:]
        node.requests.append((kind, body))
        reaction = node.plan.popleft() if node.plan and node.plan_for(kind, body) else None
        match reaction:
            case None:
                self.transport.write(self.answer(kind, request_id, payload))
                asyncio.get_running_loop().call_soon(self.watches.tell)
            case Refuse(refusal):
                self.transport.write(encode_refusal(request_id, refusal))
            case Cut(sent_bytes, apply):
                if apply:
                    self.transport.write(self.answer(kind, request_id, payload)[:sent_bytes])
                if sent_bytes:
                    self.transport.close()
                else:
                    self.transport.abort()
            case Silent(apply, freeze):
                node.frozen = freeze
                if apply:
                    self.answer(kind, request_id, payload)
            case Say(frames, apply):
                if apply:
                    self.answer(kind, request_id, payload)
                self.transport.write(frames(request_id))
            case Wait(until):
                answer = self.answer(kind, request_id, payload)
                node.cluster.spawn(self._answer_later(until, answer))

    def answer(  # noqa: PLR0911 - one for each kind
        self, kind: RequestKind, request_id: int, payload: bytes
    ) -> bytes:
        """The whole frame that a node that behaves sends."""
        cluster = self.node.cluster
        match kind:
            case RequestKind.PING:
                return encode_pong(request_id)
            case RequestKind.STATUS:
                return encode_document(request_id, json.dumps(self.node.status))
            case RequestKind.DIAGNOSTICS:
                return encode_document(request_id, '{"metrics": ""}')
            case RequestKind.LOG:
                return encode_document(request_id, '{"entries": []}')
            case RequestKind.RELOAD:
                return encode_document(request_id, '{"changed": ["access"], "waiting": []}')
            case RequestKind.BACKUP:
                return encode_document(request_id, json.dumps({"backup": 5, "size": len(BACKUP)}))
            case RequestKind.BACKUP_PIECE:
                _, offset = decode_backup_piece(payload)
                return encode_piece(request_id, BACKUP[offset : offset + 4])
            case RequestKind.BACKUP_REPORT:
                _, wall_clock_ms = decode_backup_report(payload)
                return encode_document(request_id, json.dumps({"success_ms": wall_clock_ms, "failure_ms": 7}))
            case RequestKind.MEMBERSHIP_CHANGE | RequestKind.TRANSFER_LEADERSHIP:
                if cluster.leader is not self.node:
                    return encode_refusal(request_id, cluster.redirection())
                return encode_document(request_id, '{"index": 7, "target": 2}')
            case RequestKind.WATCH:
                if cluster.leader is None:
                    return encode_refusal(request_id, cluster.redirection())
                return self.watches.begin(request_id, decode_watch(payload))
            case RequestKind.UNWATCH:
                return self.watches.end(decode_unwatch(payload)) + encode_unwatched(request_id)
            case RequestKind.TRACE:
                if not (told := self.node.traces.get(decode_trace(payload))):
                    return encode_refusal(request_id, Refusal(RefusalCode.NOT_POSSIBLE, "it is not remembered"))
                return encode_document(request_id, json.dumps(told.pop(0) if len(told) > 1 else told[0]))
            case RequestKind.WRITE | RequestKind.TRACED_WRITE | RequestKind.READ | RequestKind.LEASE_KEEP_ALIVE:
                stale = kind is RequestKind.READ and payload[BODY_OFFSET] == 1
                if cluster.leader is not self.node and not stale:
                    return encode_refusal(request_id, cluster.redirection())
        if kind is RequestKind.READ:
            _, opcode, query = decode_read(payload)
            if self.node.lags:
                return encode_answer(request_id, answers.encode(Outcome.FUTURE_REVISION, cluster.term, Revision(0)))
            return encode_answer(request_id, cluster.answer(self.user, parse_query(opcode, query)))
        if kind is RequestKind.LEASE_KEEP_ALIVE:
            return encode_answer(request_id, cluster.keep_alive(self.user, decode_keep_alive(payload)))
        return encode_answer(request_id, cluster.apply(self.user, payload[BODY_OFFSET:]))

    async def _answer_later(self, until: asyncio.Event, answer: bytes) -> None:
        await until.wait()
        self.transport.write(answer)


class FakeCluster:
    """Nodes that share one state machine; `leader` is whoever the test says."""

    def __init__(self, make_context: Callable[[int], ssl.SSLContext], size: int = 3) -> None:
        self.cluster_id = CLUSTER_ID
        self.machine = StateMachine()
        self.term = Term(1)
        self.wall_clock_ms = 0
        self.leases_per_page = 1000
        self.kept_alive: list[tuple[int, ...]] = []
        self.nodes = [FakeNode(self, node_id) for node_id in range(1, size + 1)]
        self.leader: FakeNode | None = self.nodes[0]
        self._make_context = make_context
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop

    @property
    def endpoints(self) -> list[str]:
        return [node.address for node in self.nodes]

    def redirection(self) -> Refusal:
        if self.leader is None:
            return Refusal(RefusalCode.NO_LEADER, "no leader is known")
        return Refusal(RefusalCode.NOT_LEADER, "another node leads", NodeId(self.leader.node_id), self.leader.address)

    def apply(self, user: str, command: bytes) -> bytes:
        data = Stamp(user, "10.0.0.1:5").at(self.wall_clock_ms) + command
        answer = self.machine.apply(LogIndex(self.machine.last_applied + 1), self.term, data)
        self.tell()
        return answer

    def answer(self, user: str, query: Query) -> bytes:
        """Answer a read."""
        machine = self.machine
        match query:
            case Get():
                return machine.answer_get(query.key, self.term)
            case LeaseQuery():
                lease = machine.leases.of_user(query.lease, user.encode())
                if lease is None:
                    return answers.encode(Outcome.LEASE_NOT_FOUND, self.term, machine.revision)
                info = LeaseInfo(lease.ttl_ms, lease.ttl_ms - 1, lease.user, sorted(lease.keys))
                return answers.encode(Outcome.OK, self.term, machine.revision, lease_body(info))
            case LeasesQuery():
                found = [
                    ListedLease(lease.lease_id, lease.ttl_ms, len(lease.keys), lease.user)
                    for lease in machine.leases
                    if lease.lease_id > query.after
                ]
                page = found[: self.leases_per_page]
                body = leases_body(page, more=len(page) < len(found))
                return answers.encode(Outcome.OK, self.term, machine.revision, body)
            case _:
                return machine.answer(query, self.term)

    def keep_alive(self, user: str, lease_ids: Sequence[int]) -> bytes:
        """Answer a keep-alive; no lease of this cluster ever expires by itself."""
        self.kept_alive.append(tuple(lease_ids))
        leases = [self.machine.leases.of_user(LeaseId(lease_id), user.encode()) for lease_id in lease_ids]
        remaining = [0 if lease is None else lease.ttl_ms for lease in leases]
        body = keep_alive_answer_body(remaining)
        return answers.encode(Outcome.OK, self.term, self.machine.revision, body)

    def expire_leases(self, *lease_ids: LeaseId) -> None:
        """End leases in one revision, as a leader does; all, if none is named."""
        self.apply("", expire_leases(sorted(lease_ids) or [lease.lease_id for lease in self.machine.leases]))

    def tell(self) -> None:
        """Have all nodes tell their watches what is new, after what is being written now."""
        for node in self.nodes:
            for connection in node.connections:
                self._loop.call_soon_threadsafe(connection.watches.tell)

    def expire_sessions(self) -> None:
        """Let the cluster's clock run past every session."""
        while self.machine.session_count:  # one entry moves the clock no further than a bound
            self.apply("", advance_clock(1 << 62))

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def restart(self, node: FakeNode) -> None:
        """Bring a stopped node back where it was."""
        await node.start(self._make_context(node.node_id), int(node.address.rpartition(":")[2]))

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for node in self.nodes:
            await node.start(self._make_context(node.node_id))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(node.stop() for node in self.nodes))
        # asyncio closes a transport's socket one turn after connection_lost.
        await asyncio.sleep(0.01)


def is_data(kind: RequestKind, body: bytes) -> bool:
    """Whether a request is about keys or leases, and not about a session."""
    return kind in _DATA_KINDS or (kind is RequestKind.WRITE and body[0] in _DATA_OPCODES)


_DATA_KINDS = (RequestKind.READ, RequestKind.WATCH, RequestKind.UNWATCH, RequestKind.LEASE_KEEP_ALIVE)
_DATA_OPCODES = range(Opcode.PUT, Opcode.LEASE_REVOKE + 1)


@dataclass
class Pki:
    """Certificates of a cluster, made once for all tests."""

    node_context: Callable[[int], ssl.SSLContext]
    user: ClientTls

    def cluster(self, size: int = 3) -> FakeCluster:
        return FakeCluster(self.node_context, size)

    @property
    def name(self) -> str | None:
        return cluster_of(self.user.context())
