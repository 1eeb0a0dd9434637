import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from raftd.consensus.messages import AppendEntriesReply, Heartbeat
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Term
from raftd.kv import commands
from raftd.kv.commands import SessionId
from raftd.node.admission import AdmissionLimits
from raftd.node.connection import ClientConnection
from raftd.node.tracing import SYNCS_MAX, TRACE_SECONDS_MAX, TRACES_MAX, SyncLog, Tracer, Traces
from raftd.storage.writer import SyncRecord
from raftd.wire.client import RefusalCode, RequestKind, ResponseKind, decode_document, encode_trace_body
from tests.node.parts import Client, Server


def traced_put(client: Client, key: bytes = b"key") -> int:
    return client.send((RequestKind.TRACED_WRITE, commands.put(SessionId(1), 1, 1, key, b"value")))[0]


def trace(server: Server, client: Client, index: int = 0) -> dict[str, Any] | RefusalCode:
    """What is answered to a TRACE."""
    (request_id,) = client.send((RequestKind.TRACE, encode_trace_body(index)))
    server.scheduler.run()
    kind, payload = client.responses[request_id]
    if kind is ResponseKind.REFUSED:
        return client.refusal(request_id).code
    document: dict[str, Any] = json.loads(decode_document(payload))
    return document


def reply(server: Server, peer: int) -> None:
    """A peer has stored all that there is."""
    raft = server.raft
    server.hear(peer, AppendEntriesReply(raft.current_term, True, raft.last_index, NO_INDEX, NO_TERM))
    server.scheduler.run()


def test_a_write_is_followed_from_its_arrival_to_its_answer() -> None:
    """Each span begins where the one before ends, and each member's storing is told, as soon as it is known."""
    server = Server(size=3)
    server.become_leader()
    client, scheduler = server.client(), server.scheduler
    written = traced_put(client)
    scheduler.now += 0.001
    scheduler.run()
    scheduler.now += 0.002
    server.store()
    assert trace(server, client) is RefusalCode.NOT_POSSIBLE
    scheduler.now += 0.003
    reply(server, 2)
    assert client.responses[written][0] is ResponseKind.ANSWER
    told = trace(server, client)
    assert isinstance(told, dict)
    assert (told["index"], told["term"]) == (server.raft.last_index, server.raft.current_term)
    spans = [told[f"{name}_seconds"] for name in ("queue", "commit", "apply", "answer")]
    assert spans == pytest.approx([0.001, 0.005, 0.0, 0.0])
    assert [node["stored_seconds"] for node in told["nodes"][:3]] == [pytest.approx(0.002), pytest.approx(0.005), None]
    assert told["nodes"][1]["address"] == "node-2:7400"
    assert told["nodes"][0]["sync_seconds"] is None
    scheduler.now += 0.004
    reply(server, 3)
    told = trace(server, client)
    assert isinstance(told, dict)
    assert told["nodes"][2]["stored_seconds"] == pytest.approx(0.009)


def test_each_write_has_its_own_place_among_those_queued_with_it() -> None:
    """A traced write in the midst of others gets its own index, and only its connection is told."""
    server = Server(size=1)
    server.become_leader()
    first, second = server.client(), server.client()
    first.put(b"before")
    traced_put(first)
    traced_put(second)
    first.put(b"after")
    server.scheduler.run()
    last = server.raft.last_index
    server.store()
    told = [trace(server, client) for client in (first, second, server.client())]
    assert [isinstance(each, dict) and each["index"] for each in told] == [last - 2, last - 1, False]


def test_an_administrator_may_ask_any_node_about_an_entry() -> None:
    """How long the batch took that it was stored in; null where nobody knows any more."""
    server = Server(size=3)
    server.syncs.note(SyncRecord(1, 10, 0.001, 0.002, LogIndex(5), 3))
    told = trace(server, server.client("dave"), 7)
    assert told == {"node_id": 1, "write_seconds": 0.001, "sync_seconds": 0.002, "entries": 3}
    told = trace(server, server.client("dave"), 8)
    assert told == {"node_id": 1, "write_seconds": None, "sync_seconds": None, "entries": None}
    assert trace(server, server.client("bob"), 7) is RefusalCode.DENIED


def test_what_is_not_traced_is_not_noted() -> None:
    """Nothing is active while nobody has asked, and a write that is refused begins no trace."""
    server = Server(size=3)
    client = server.client()
    traced_put(client)
    server.scheduler.run()
    assert not server.driver.tracer.is_active
    server.become_leader()
    client.put(b"key")
    server.scheduler.run()
    assert not server.driver.tracer.is_active


def test_lost_leadership_ends_all_traces() -> None:
    """The next leader may commit the write or not; when, this node cannot say."""
    server = Server(size=3)
    server.become_leader()
    client = server.client()
    traced_put(client)
    server.scheduler.run()
    assert server.driver.tracer.is_active
    server.hear(2, Heartbeat(Term(server.raft.current_term + 1), NodeId(2), LogIndex(0), 1))
    server.scheduler.run()
    assert not server.driver.tracer.is_active
    assert trace(server, client) is RefusalCode.NOT_POSSIBLE


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def connection() -> ClientConnection:
    return cast("ClientConnection", object())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracer(clock: Clock) -> Tracer:
    return Tracer(clock)


def finish(tracer: Tracer, index: int) -> None:
    for step in (tracer.committed, tracer.applied):
        step(LogIndex(index))
    tracer.answered()


def test_only_so_many_are_remembered(tracer: Tracer) -> None:
    """The oldest gives way, however many are asked for."""
    connections = [connection() for _ in range(TRACES_MAX + 3)]
    for number, each in enumerate(connections, 1):
        tracer.begin(each, 0)
        tracer.proposed(LogIndex(number), Term(1))
    finish(tracer, 100)
    known = [tracer.latest(each) is not None for each in connections]
    assert known == [False] * 3 + [True] * TRACES_MAX


def test_none_is_remembered_for_long(tracer: Tracer, clock: Clock) -> None:
    """Whether it was asked for or not; then nothing is to be noted any more."""
    mine = connection()
    tracer.begin(mine, 0)
    tracer.proposed(LogIndex(1), Term(1))
    finish(tracer, 1)
    clock.now = TRACE_SECONDS_MAX + 1
    assert tracer.is_active
    tracer.answered()
    assert not tracer.is_active
    assert tracer.latest(mine) is None


def test_later_news_do_not_change_what_was_noted(tracer: Tracer, clock: Clock) -> None:
    """Each step is noted when it was first known."""
    mine = connection()
    tracer.begin(mine, 0)
    steps: list[Callable[[], None]] = [
        lambda: tracer.proposed(LogIndex(4), Term(1)),
        lambda: tracer.stored(NodeId(2), LogIndex(4)),
        lambda: tracer.committed(LogIndex(4)),
        lambda: tracer.applied(LogIndex(4)),
        tracer.answered,
    ]
    for _ in range(2):
        for step in steps:
            clock.now += 0.5
            step()
    noted = tracer.latest(mine)
    assert noted is not None
    times = (noted.proposed, noted.stored[NodeId(2)], noted.committed, noted.applied, noted.answered)
    assert times == (0.5, 1.0, 1.5, 2.0, 2.5)
    tracer.stored(NodeId(3), LogIndex(3))
    assert NodeId(3) not in noted.stored


def test_the_latest_storing_of_an_entry_counts() -> None:
    """An entry may be written again after a conflict; batches without entries are none's; and there is a bound."""
    syncs = SyncLog()
    syncs.note(SyncRecord(1, 1, 0.1, 0.1, LogIndex(1), 2))
    again = SyncRecord(1, 1, 0.2, 0.2, LogIndex(2), 1)
    syncs.note(again)
    syncs.note(SyncRecord(1, 0, 0.3, 0.3))
    assert syncs.of(LogIndex(2)) is again
    assert syncs.of(LogIndex(1)) is not None
    assert syncs.of(LogIndex(3)) is None
    for _ in range(SYNCS_MAX):
        syncs.note(SyncRecord(1, 0, 0.3, 0.3))
    assert syncs.of(LogIndex(1)) is None
    assert (syncs.batches_total, syncs.entries_total, syncs.bytes_total) == (3 + SYNCS_MAX, 3, 2)


def test_what_is_told_of_writes_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for it takes as long as a large write, and one piece of a stream may ask ten thousand times."""
    server = Server(size=1, admission_limits=AdmissionLimits(requests_in_flight_max=100))
    server.become_leader()
    client = server.client()
    traced_put(client)
    server.scheduler.run()
    server.store()
    looked_at: list[ClientConnection] = []
    told = Traces.write

    def write(traces: Traces, connection: ClientConnection) -> dict[str, object] | None:
        looked_at.append(connection)
        return told(traces, connection)

    monkeypatch.setattr(Traces, "write", write)
    ids = client.send(*[(RequestKind.TRACE, encode_trace_body(0))] * 101)
    assert looked_at == []
    server.scheduler.run()
    assert len(looked_at) == 100
    assert {client.responses[request_id][0] for request_id in ids[:-1]} == {ResponseKind.DOCUMENT}
    assert client.refusal(ids[-1]).code is RefusalCode.OVERLOADED
    assert client.connection.in_flight == 0
