"""What a node refuses so that it goes on: driver, gateway and consensus together, with a disk made of numbers."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from raftd.consensus import Membership, Raft, Ready
from raftd.consensus.limits import Limits
from raftd.consensus.messages import RequestPreVoteReply, RequestVoteReply
from raftd.consensus.types import HardState, NodeId, ProposalRefused, RefusalReason, Role, Term
from raftd.kv import commands
from raftd.kv.access import AccessRules, Grant
from raftd.kv.commands import SessionId, Write
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Delete, DeleteRange, Get, Transaction, WriteOperation
from raftd.node.admission import REHEARSAL_SECONDS_MAX, AdmissionLimits
from raftd.node.connection import ClientConnection
from raftd.node.driver import Driver
from raftd.node.gateway import Gateway
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.requests import Requests
from raftd.node.watches import Watches
from raftd.storage.writer import Submission
from raftd.wire.client import (
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
from raftd.wire.handshake import PEER_VERSION_MAX
from raftd.wire.watch import encode_keep_alive_body

ME, OTHER = NodeId(1), NodeId(2)
PENDING_BYTES_MAX = 1 << 20


@dataclass
class Disk:
    """Keeps what it is given waiting, until `store`."""

    waiting: list[Submission[Ready]] = field(default_factory=list)
    disk_low: bool = False
    busy_since: float | None = None

    @property
    def queued_bytes(self) -> int:
        return sum(len(submission.payload) for submission in self.waiting)

    def submit(self, submission: Submission[Ready], /) -> None:
        self.waiting.append(submission)


class Turns:
    """An event loop that runs what is due when it is told to."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.timer: Callable[[], None] | None = None
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None], /) -> object:
        self.due.append(callback)
        return None

    def call_at(self, _when: float, callback: Callable[[], None], /) -> "Turns":
        self.timer = callback
        return self

    def cancel(self) -> None:
        pass

    def tick(self) -> None:
        assert self.timer is not None
        self.timer()
        self.run()

    def run(self) -> None:
        while self.due:
            self.due.pop(0)()


class Channel:
    """A client that reads everything."""

    remote_address = "192.0.2.1:1"
    unsent_bytes = 0
    is_closed = False

    def __init__(self) -> None:
        self.reader = FrameReader(1 << 22)
        self.payloads: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.payloads += self.reader.feed(data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Nowhere:
    """A network without anyone, and documents about nothing."""

    def send(self, _peer: NodeId, _frame: bytes) -> bool:
        return True

    def version(self, _peer: NodeId) -> int:
        return PEER_VERSION_MAX

    def status_document(self) -> object:
        return json.loads("{}")

    def log_document(self, _last: int) -> Iterator[str]:
        return iter("{}")

    def diagnostics_document(self) -> object:
        return json.loads("{}")


class Node:
    """One node of two, or of one, and a client of it."""

    def __init__(self, members: int, limits: Limits | None = None) -> None:
        self.turns, self.disk, self.machine = Turns(), Disk(), StateMachine()
        self.requests = Requests(self.machine)
        voters = frozenset(NodeId(node_id) for node_id in range(1, members + 1))
        self.raft = Raft(
            node_id=ME,
            membership=Membership(voters),
            hard_state=HardState(Term(0), None),
            entries=[],
            random=random.Random(1),
            limits=limits or Limits(),
        )
        self.watches = Watches(self.machine, self.requests, self.turns.time)
        keeper = LeaseKeeper(self.raft, self.machine, self.turns.time)
        self.driver = Driver(
            raft=self.raft,
            machine=self.machine,
            requests=self.requests,
            watches=self.watches,
            keeper=keeper,
            writer=self.disk,
            network=Nowhere(),
            scheduler=self.turns,
            tick_seconds=0.1,
        )
        self.gateway = Gateway(
            leadership=self.raft,
            machine=self.machine,
            requests=self.requests,
            watches=self.watches,
            keeper=keeper,
            disk=self.disk,
            documents=Nowhere(),
            rules=AccessRules([Grant("*", b"", read=True, write=True)]),
            client_addresses={},
            wake=self.driver.wake,
            limits=AdmissionLimits(pending_bytes_max=PENDING_BYTES_MAX),
            wall_clock_ns=lambda: 0,
            clock=lambda: next(self.seconds),
        )
        self.seconds: Iterator[float] = itertools.repeat(0.0)
        self.channel = Channel()
        self.connection: ClientConnection = self.gateway.client_connected(self.channel, "ann")  # type: ignore[arg-type]  # of a channel, only what is needed here
        self.driver.start(self.gateway, lambda *_: None)
        self.turns.run()

    def lead(self) -> None:
        """Have this node elected; its entries are stored up to then."""
        self.raft.campaign()
        if self.raft.role is Role.PRE_CANDIDATE:
            self.raft.step(OTHER, RequestPreVoteReply(Term(1), True))
        self.driver.wake()
        self.turns.run()
        self.store()
        if self.raft.role is Role.CANDIDATE:
            self.raft.step(OTHER, RequestVoteReply(Term(1), True))
            self.driver.wake()
            self.turns.run()
            self.store()
        assert self.raft.role is Role.LEADER

    def store(self) -> None:
        """Let the disk do what it was asked for."""
        while self.disk.waiting:
            waiting, self.disk.waiting = self.disk.waiting, []
            self.driver.stored([submission.token for submission in waiting])
            self.turns.run()

    def ask(self, kind: RequestKind, body: bytes) -> None:
        """One request, in a turn of its own."""
        self.connection.receive([encode_request(kind, 1, body)[LENGTH_BYTES:]])
        self.turns.run()

    def refusals(self) -> list[RefusalCode]:
        """What was refused since the last time."""
        payloads, self.channel.payloads = self.channel.payloads, []
        return [
            decode_refusal(payload).code for payload in payloads if parse_response(payload)[0] is ResponseKind.REFUSED
        ]


def read(consistency: Consistency) -> bytes:
    return encode_read_body(consistency, QueryOpcode.GET, b"key")


def put(sequence: int = 1, value: bytes = b"value") -> bytes:
    return commands.put(SessionId(1), sequence, 1, b"key", value)


def test_reads_that_no_quorum_confirms_are_refused_and_not_the_end() -> None:
    """Each turn's reads are a batch; more batches than consensus takes are the clients' trouble, not the node's."""
    node = Node(members=2, limits=Limits(pending_reads_max=3))
    node.lead()
    for _ in range(5):
        node.ask(RequestKind.READ, read(Consistency.LINEARIZABLE))
    assert node.refusals() == [RefusalCode.OVERLOADED] * 2
    assert node.requests.read_count == 3
    assert node.connection.in_flight == 3


def test_a_full_disk_takes_deletes_and_sessions_but_no_puts() -> None:
    """A reserve of space is for making room, so what grows is refused, and everything else goes on."""
    node = Node(members=1)
    node.lead()
    node.disk.disk_low = True
    node.ask(RequestKind.WRITE, put())
    assert node.refusals() == [RefusalCode.OVERLOADED]
    node.ask(RequestKind.WRITE, commands.open_session())
    node.ask(RequestKind.WRITE, commands.delete(SessionId(1), 1, 1, b"key"))
    node.ask(RequestKind.WRITE, commands.keep_alive(SessionId(1)))
    node.ask(RequestKind.READ, read(Consistency.LINEARIZABLE))
    node.store()
    assert len(node.channel.payloads) == 4
    assert node.refusals() == []
    node.disk.disk_low = False
    node.ask(RequestKind.WRITE, put())
    assert node.refusals() == []


@pytest.mark.parametrize("opcode", ["put", "delete"])
def test_a_disk_that_falls_behind_its_quorum_slows_clients_down(opcode: str) -> None:
    """Others may commit without this node's disk; what it still owes is bounded all the same."""
    node = Node(members=1)
    node.lead()
    node.disk.waiting.append(Submission(Ready(), payload=bytes(PENDING_BYTES_MAX)))
    node.ask(RequestKind.WRITE, put() if opcode == "put" else commands.delete(SessionId(1), 1, 1, b"key"))
    assert node.refusals() == [RefusalCode.OVERLOADED]
    node.disk.waiting.clear()
    node.ask(RequestKind.WRITE, put())
    assert node.refusals() == []


def test_writes_that_wait_hold_up_no_reads_and_no_leases() -> None:
    """A keep-alive needs neither log nor disk: one user who writes, and a slow disk, cost nobody else a lock."""
    node = Node(members=1)
    node.lead()
    node.ask(RequestKind.WRITE, put(1, bytes(PENDING_BYTES_MAX)))
    node.ask(RequestKind.WRITE, put(2))
    assert node.refusals() == [RefusalCode.OVERLOADED]
    node.ask(RequestKind.LEASE_KEEP_ALIVE, encode_keep_alive_body([1]))
    node.ask(RequestKind.READ, read(Consistency.LINEARIZABLE))
    assert len(node.channel.payloads) == 2
    assert node.refusals() == []


@pytest.mark.parametrize(("lacks", "taken"), [("disk", 0), ("keys", 2)])
def test_what_transactions_would_do_is_looked_at_for_a_bounded_time_in_a_turn(lacks: str, taken: int) -> None:
    """Where there is no room; deletions need no look, and are what makes room."""
    node = Node(members=1)
    node.lead()
    node.disk.disk_low = lacks == "disk"
    if lacks == "keys":
        node.gateway.admission.limits = AdmissionLimits(keys_max=0)
        node.gateway.note_turn()
    seconds = list(itertools.islice(itertools.count(0.0, REHEARSAL_SECONDS_MAX / 2), 100))
    node.seconds = iter(seconds)
    node.gateway.backlog.clock = lambda: 0.0  # All of this comes in one turn.
    range_of_all = DeleteRange(b"", b"")

    def ask(write: WriteOperation) -> bytes:
        return encode_request(RequestKind.WRITE, 1, commands.write(SessionId(1), 1, 1, Write(write)))[LENGTH_BYTES:]

    looked_at = ask(Transaction((), (range_of_all, Get(b"key"))))
    node.connection.receive([looked_at] * 5 + [ask(range_of_all), ask(Delete(b"key"))])
    assert node.refusals() == []
    node.requests.flush()
    assert next(node.seconds) == seconds[4]  # It was asked before and after each of two looks.
    assert node.refusals() == [RefusalCode.OVERLOADED] * (5 - taken)
    assert node.requests.queued_write_count == taken + 2
    node.turns.run()
    node.store()
    node.connection.receive([looked_at])
    assert next(node.seconds) == seconds[7]


def test_a_stale_read_of_a_node_without_its_state_is_refused() -> None:
    """Stale is old, not "there is no such key" from a node that has not looked yet."""
    node = Node(members=1)
    node.ask(RequestKind.READ, read(Consistency.STALE))
    assert node.refusals() == [RefusalCode.UNAVAILABLE]
    assert not node.gateway.is_replayed
    node.lead()
    node.ask(RequestKind.READ, read(Consistency.STALE))
    assert len(node.channel.payloads) == 1
    assert node.refusals() == []
    assert node.gateway.is_replayed


def test_only_batches_that_a_peer_may_be_sent_are_kept() -> None:
    """A turn's entries may have many mebibytes; to hold on to some of those would hold on to a gibibyte."""
    node = Node(members=1)
    node.lead()
    before = len(node.driver._batches)
    payloads = [encode_request(RequestKind.WRITE, 1, put(1, bytes(900_000)))[LENGTH_BYTES:]] * 6
    node.gateway.admission.limits = AdmissionLimits(pending_bytes_max=64 << 20)
    node.connection.receive(payloads)
    node.turns.run()
    assert node.disk.queued_bytes > 5 << 20
    assert len(node.driver._batches) == before


def test_a_leader_that_takes_no_proposals_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reason consensus has to refuse, such as handing over, it is an answer for clients and no failure."""
    node = Node(members=1)
    node.lead()
    node.ask(RequestKind.WRITE, commands.open_session())
    node.store()
    assert (node.refusals(), node.machine.session_count) == ([], 1)

    def refuse(_: object) -> None:
        raise ProposalRefused(RefusalReason.TRANSFERRING, ME)

    monkeypatch.setattr(type(node.raft), "propose", lambda _, commands: refuse(commands))
    node.ask(RequestKind.WRITE, put())
    assert node.refusals() == [RefusalCode.NO_LEADER]
    assert (node.connection.in_flight, node.requests.bytes_held) == (0, 0)
    for node.turns.now in (1000.0, 2000.0):
        node.turns.tick()
    assert node.raft.role is Role.LEADER
