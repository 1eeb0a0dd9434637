"""Nodes without a network, a disk or a clock: each of these does what a test tells it, when it tells it."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from raftd.consensus import HardState, Limits, Membership, Raft, Ready
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.messages import AppendEntries, Message, RequestPreVoteReply, RequestVoteReply
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId, Role, Term
from raftd.kv import answers, commands
from raftd.kv.access import AccessRules, Grant
from raftd.kv.changes import ShownChange, decode_changes
from raftd.kv.commands import SessionId
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Write, WriteOperation
from raftd.kv.queries import Query, encode_query
from raftd.node.admission import AdmissionLimits
from raftd.node.clocks import PeerClocks
from raftd.node.connection import ClientConnection
from raftd.node.driver import NOT_OBSERVED, Driver, DriverObservers
from raftd.node.gateway import Gateway
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.requests import Requests
from raftd.node.tracing import SyncLog, Traces
from raftd.node.watches import Watches
from raftd.storage.writer import Submission
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    Refusal,
    RequestKind,
    ResponseKind,
    decode_refusal,
    encode_read_body,
    encode_request,
    parse_response,
)
from raftd.wire.entries import decode_entries
from raftd.wire.frames import LENGTH_BYTES, FrameReader
from raftd.wire.handshake import PEER_VERSION_MAX
from raftd.wire.peer import decode_message, encode_message
from raftd.wire.state_hashes import is_state_hashes
from raftd.wire.watch import (
    CHANGES_OFFSET,
    WatchEnd,
    WatchFlag,
    WatchRequest,
    decode_changes_head,
    decode_watch_ended,
    decode_watching,
    encode_keep_alive_body,
    encode_watch_body,
)

TICK_SECONDS = 0.1
ADDRESSES = {NodeId(number): f"node-{number}:7400" for number in range(1, 8)}
RULES = AccessRules(
    [
        Grant("alice", b"", read=True, write=True),
        Grant("bob", b"open/", read=True),
        Grant("carol", b"open/", write=True),
    ],
    administrators=["alice", "dave"],
)
OF_WATCHES = {ResponseKind.WATCHING, ResponseKind.CHANGES, ResponseKind.WATCH_ENDED}


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Scheduler:
    """A loop that turns when told, with a clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0
        self._soon: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None], /) -> object:
        self._soon.append(callback)
        return None

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def one_pass(self) -> bool:
        """Call what is due in this pass; what that asks for comes in the next one."""
        due, self._soon = self._soon, []
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                due.append(timer.callback)
        for callback in due:
            callback()
        return bool(due)

    def run(self) -> None:
        while self.one_pass():
            pass

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        self.run()
        while self._timers and self._timers[0][0] <= end:
            self.now = max(self.now, self._timers[0][0])
            self.run()
        self.now = end


@dataclass
class Disk:
    """A log writer that stores when told, and remembers what it has stored."""

    submissions: deque[Submission[Ready]] = field(default_factory=deque)
    history: list[Submission[Ready]] = field(default_factory=list)
    hard_state: HardState = field(default_factory=lambda: HardState(Term(0), None))
    entries: list[Entry] = field(default_factory=list)
    disk_low: bool = False
    busy_since: float | None = None

    @property
    def queued_bytes(self) -> int:
        return sum(len(submission.payload) for submission in self.submissions)

    def submit(self, submission: Submission[Ready], /) -> None:
        self.submissions.append(submission)
        self.history.append(submission)

    def store(self) -> Ready:
        """Put the oldest submission on the disk."""
        submission = self.submissions.popleft()
        if submission.hard_state is not None:
            self.hard_state = submission.hard_state
        if submission.first_index is not None:
            del self.entries[submission.first_index - 1 :]
            self.entries += decode_entries(submission.payload, submission.first_index)
        return submission.token


@dataclass
class Channel:
    """A client's connection: what was written to it, write by write."""

    sent: list[bytes] = field(default_factory=list)
    is_closed: bool = False
    is_held: bool = False
    unsent_bytes: int = 0
    remote_address: str = "192.0.2.1:5000"
    reason: str = ""

    def send(self, data: bytes) -> None:
        if not self.is_closed:
            self.sent.append(data)

    def close(self, reason: str = "") -> None:
        self.is_closed, self.reason = True, reason

    abort = close

    def pause_reading(self) -> None:
        self.is_held = True

    def resume_reading(self) -> None:
        self.is_held = False


@dataclass
class Told:
    """What a watch was told."""

    began: int | None = None
    """What WATCHING said."""
    revision: int = 0
    changes: list[ShownChange] = field(default_factory=list)
    end: WatchEnd | None = None

    def hear(self, kind: ResponseKind, payload: bytes) -> None:
        assert self.end is None, "a watch that has ended goes on"
        if kind is ResponseKind.WATCHING:
            assert self.began is None
            self.began = self.revision = decode_watching(payload)
        elif kind is ResponseKind.WATCH_ENDED:
            self.end = decode_watch_ended(payload)
        else:
            assert self.began is not None, "a watch tells something before it begins"
            head = decode_changes_head(payload)
            self.revision = head.revision
            self.changes += decode_changes(payload, CHANGES_OFFSET, head.change_count)[0]

    @property
    def keys(self) -> list[bytes]:
        """Of the changes, in order."""
        return [change.key for change in self.changes]


class Client:
    """A client of one node."""

    def __init__(self, gateway: Gateway, user: str = "alice") -> None:
        self.channel = Channel()
        # All that a connection asks of a channel is there.
        self.connection: ClientConnection = gateway.client_connected(self.channel, user)  # type: ignore[arg-type]  # see above
        self._ids = count(1)
        self.session = SessionId(0)
        self._sequence = 0

    def send(self, *requests: tuple[RequestKind, bytes]) -> list[int]:
        """Send requests in one piece; returns their ids."""
        ids = [next(self._ids) for _ in requests]
        frames = [
            encode_request(kind, request_id, body) for request_id, (kind, body) in zip(ids, requests, strict=True)
        ]
        self.connection.receive([frame[LENGTH_BYTES:] for frame in frames])
        return ids

    def put(self, *keys: bytes, value: bytes = b"value") -> list[int]:
        """Ask for writes, in one piece."""
        bodies = []
        for key in keys:
            self._sequence += 1
            bodies.append(commands.put(self.session or SessionId(1), self._sequence, 1, key, value))
        return self.send(*((RequestKind.WRITE, body) for body in bodies))

    def get(self, key: bytes, consistency: Consistency = Consistency.LINEARIZABLE) -> int:
        return self.send((RequestKind.READ, encode_read_body(consistency, QueryOpcode.GET, key)))[0]

    def ask(self, query: Query, consistency: Consistency = Consistency.LINEARIZABLE) -> int:
        return self.send((RequestKind.READ, encode_read_body(consistency, *encode_query(query))))[0]

    def write(self, operation: WriteOperation) -> int:
        """Ask for a write."""
        self._sequence += 1
        session = self.session or SessionId(1)
        return self.send((RequestKind.WRITE, commands.write(session, self._sequence, 1, Write(operation))))[0]

    def grant_lease(self, ttl_ms: int) -> int:
        self._sequence += 1
        session = self.session or SessionId(1)
        return self.send((RequestKind.WRITE, commands.lease_grant(session, self._sequence, 1, ttl_ms)))[0]

    def keep_alive(self, *leases: int) -> int:
        return self.send((RequestKind.LEASE_KEEP_ALIVE, encode_keep_alive_body(leases)))[0]

    def open_session(self) -> int:
        return self.send((RequestKind.WRITE, commands.open_session()))[0]

    def watch(self, low: bytes, high: bytes, *, start: int = 0, flags: WatchFlag | None = None) -> int:
        """Ask for a watch; returns its id."""
        body = encode_watch_body(WatchRequest(flags or WatchFlag(0), start, low, high))
        return self.send((RequestKind.WATCH, body))[0]

    @property
    def responses(self) -> dict[int, tuple[ResponseKind, bytes]]:
        """All responses so far: request id -> kind and payload; but for those that `told` has."""
        found: dict[int, tuple[ResponseKind, bytes]] = {}
        for kind, request_id, payload in self._frames():
            if kind not in OF_WATCHES:
                assert request_id not in found, f"request {request_id} was answered twice"
                found[request_id] = kind, payload
        return found

    def told(self, watch_id: int) -> Told:
        """What a watch was told so far, in order."""
        told = Told()
        for kind, request_id, payload in self._frames():
            if request_id == watch_id and kind in OF_WATCHES:
                told.hear(kind, payload)
        return told

    def _frames(self) -> Iterator[tuple[ResponseKind, int, bytes]]:
        for payload in FrameReader(1 << 24).feed(b"".join(self.channel.sent)):
            yield *parse_response(payload), payload

    def refusal(self, request_id: int) -> Refusal:
        kind, payload = self.responses[request_id]
        assert kind is ResponseKind.REFUSED
        return decode_refusal(payload)

    def answer(self, request_id: int) -> answers.Answer:
        kind, payload = self.responses[request_id]
        assert kind is ResponseKind.ANSWER, self.refusal(request_id)
        return answers.decode(payload[BODY_OFFSET:])


class Documents:
    def status_document(self) -> object:
        return {"node_id": 1}

    def log_document(self, last: int) -> Iterator[str]:
        return iter(f'{{"last":{last}}}')

    def diagnostics_document(self) -> object:
        return {"metrics": ""}


class Server:
    """One node: everything of `raftd.node` around a real Raft and a real state machine."""

    def __init__(
        self,
        node_id: int = 1,
        size: int = 3,
        *,
        scheduler: Scheduler | None = None,
        disk: Disk | None = None,
        limits: Limits | None = None,
        admission_limits: AdmissionLimits | None = None,
        deliver: Callable[[NodeId, NodeId, bytes], bool] | None = None,
        machine: StateMachine | None = None,
        snapshot: SnapshotMetadata | None = None,
        membership: Membership | None = None,
        clocks: PeerClocks | None = None,
        version: int = PEER_VERSION_MAX,
        unproven: bool = False,
        observers: DriverObservers = NOT_OBSERVED,
    ) -> None:
        """`machine` is what was loaded from `snapshot`."""
        self.scheduler = scheduler or Scheduler()
        self.disk = disk or Disk()
        self.sent: list[tuple[NodeId, Message]] = []
        self.frames: list[tuple[NodeId, bytes]] = []
        self.unreachable: set[int] = set()
        self.reloads: list[Callable[[dict[str, object] | Refusal], None]] = []
        self._deliver = deliver
        self._version = version
        self.node_id = NodeId(node_id)
        self.machine = machine or StateMachine()
        self.requests = Requests(self.machine)
        self.leaderships: list[tuple[Role, Term, NodeId | None]] = []
        self.memberships: list[Membership] = []
        self.proofs = 0
        raft = Raft(
            node_id=self.node_id,
            membership=membership or Membership(frozenset(NodeId(number) for number in range(1, size + 1))),
            hard_state=self.disk.hard_state,
            entries=tuple(self.disk.entries),
            random=random.Random(node_id),
            limits=limits or Limits(),
            snapshot=snapshot,
            unproven=unproven,
        )
        self.watches = Watches(self.machine, self.requests, self.scheduler.time)
        self.keeper = LeaseKeeper(raft, self.machine, self.scheduler.time)
        self.syncs = SyncLog()
        self.driver = Driver(
            raft=raft,
            machine=self.machine,
            requests=self.requests,
            watches=self.watches,
            keeper=self.keeper,
            writer=self.disk,
            network=self,
            scheduler=self.scheduler,
            tick_seconds=TICK_SECONDS,
            clocks=clocks,
            observers=observers,
        )
        self.gateway = self._make_gateway(admission_limits or AdmissionLimits())
        self.driver.start(
            self.gateway,
            lambda *leadership: self.leaderships.append(leadership),
            self.memberships.append,
            self._prove,
        )

    def _make_gateway(self, limits: AdmissionLimits) -> Gateway:
        return Gateway(
            leadership=self.raft,
            machine=self.machine,
            requests=self.requests,
            watches=self.watches,
            keeper=self.keeper,
            disk=self.disk,
            documents=Documents(),
            rules=RULES,
            client_addresses=ADDRESSES,
            wake=self.driver.wake,
            limits=limits,
            traces=Traces(self.node_id, self.driver.tracer, self.syncs, lambda: dict(sorted(ADDRESSES.items()))),
            wall_clock_ns=lambda: 1_700_000_000_000_000_000,
            reload=self.reloads.append,
            clock=self.scheduler.time,
        )

    def _prove(self) -> None:
        self.proofs += 1

    @property
    def raft(self) -> Raft:
        return self.driver.raft

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """As a network."""
        if peer in self.unreachable:
            return False
        self.frames.append((peer, frame))
        if not is_state_hashes(frame[LENGTH_BYTES:], self._version):
            self.sent.append((peer, decode_message(frame[LENGTH_BYTES:], self.node_id, self._version)[0]))
        return self._deliver is None or self._deliver(self.node_id, peer, frame)

    def version(self, _: NodeId) -> int:
        """As a network."""
        return self._version

    def take_sent(self) -> list[tuple[NodeId, Message]]:
        taken, self.sent = self.sent, []
        self.frames.clear()
        return taken

    def hear(self, sender: int, *messages: Message) -> None:
        """Messages of a peer arrive, in one piece; no turn yet."""
        payloads = [b"".join(encode_message(message, version=self._version))[LENGTH_BYTES:] for message in messages]
        self.driver.peer_payloads(NodeId(sender), payloads, self._version)

    def store(self) -> None:
        """The disk stores all that was submitted, one at a time."""
        while self.disk.submissions:
            self.driver.stored([self.disk.store()])
            self.scheduler.run()

    def become_leader(self) -> None:
        """Win an election, as far as the votes of the lower half of the others."""
        others = sorted(self.raft.membership.members - {self.node_id})
        self.raft.campaign()
        self.driver.wake()
        self.scheduler.run()
        for peer in others:
            self.hear(peer, RequestPreVoteReply(Term(self.raft.current_term + 1), True))
            self.scheduler.run()
            if self.raft.role is Role.CANDIDATE:
                break
        self.store()
        term = self.raft.current_term
        for peer in others:
            if self.raft.role is not Role.LEADER:
                self.hear(peer, RequestVoteReply(term, True))
                self.scheduler.run()
        assert self.raft.role is Role.LEADER
        self.store()

    def client(self, user: str = "alice") -> Client:
        return Client(self.gateway, user)

    def follow(self, leader_id: int, term: int, *entry_data: bytes, prev: tuple[int, int] = (0, 0)) -> None:
        """Hear of a leader, and of entries of its term."""
        entries = tuple(
            (LogIndex(prev[0] + offset), Term(term), EntryKind.COMMAND, data)
            for offset, data in enumerate(entry_data, 1)
        )
        message = AppendEntries(Term(term), NodeId(leader_id), LogIndex(prev[0]), Term(prev[1]), LogIndex(0), entries)
        self.hear(leader_id, message)


class Cluster:
    """Servers that hear each other in the next pass of one loop, and whose disks take a pass as well."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scheduler = Scheduler()
        self.disks = {NodeId(number): Disk() for number in range(1, size + 1)}
        self.servers: dict[NodeId, Server] = {}
        for node_id in self.disks:
            self.start(node_id)

    def start(self, node_id: NodeId) -> Server:
        server = Server(node_id, self.size, scheduler=self.scheduler, disk=self.disks[node_id], deliver=self._deliver)
        self.servers[node_id] = server
        self._store_soon(server)
        return server

    def crash(self, node_id: NodeId) -> None:
        """Forget a server with all that is not on its disk."""
        self.servers.pop(node_id).driver.stop()
        self.disks[node_id].submissions.clear()

    @property
    def leader(self) -> Server | None:
        leaders = [server for server in self.servers.values() if server.raft.role is Role.LEADER]
        return max(leaders, key=lambda server: server.raft.current_term, default=None)

    def hear(self, client: Client, request_id: int) -> answers.Answer | None:
        """Let time pass until a client has the answer to a request; None if it was refused."""
        self.advance_until(lambda: request_id in client.responses)
        return client.answer(request_id) if client.responses[request_id][0] is ResponseKind.ANSWER else None

    def advance_until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        end = self.scheduler.now + seconds
        while not condition():
            assert self.scheduler.now < end, "it did not happen in time"
            self.scheduler.advance(TICK_SECONDS / 10)

    def _deliver(self, sender: NodeId, receiver: NodeId, frame: bytes) -> bool:
        server = self.servers.get(receiver)
        if server is None:
            return False
        self.scheduler.call_soon(lambda: self._arrive(server, sender, frame))
        return True

    def _arrive(self, server: Server, sender: NodeId, frame: bytes) -> None:
        if self.servers.get(server.node_id) is server:
            server.driver.peer_payloads(sender, [frame[LENGTH_BYTES:]], PEER_VERSION_MAX)

    def _store_soon(self, server: Server) -> None:
        if self.servers.get(server.node_id) is not server:
            return
        tokens: Iterable[Ready] = [server.disk.store() for _ in range(len(server.disk.submissions))]
        if tokens:
            server.driver.stored(list(tokens))
        self.scheduler.call_at(self.scheduler.now + 0.001, lambda: self._store_soon(server))
