"""Latencies go where /metrics shows them, by what was asked and how it ended."""

import pytest

from raftd.consensus.types import LogIndex, ReadId, Term
from raftd.http.durations import RequestKind, RequestOutcome
from raftd.http.metrics import Metrics
from raftd.kv.machine import StateMachine
from raftd.node.latency import latencies_of
from raftd.node.requests import Requests
from raftd.wire.client import Refusal, RefusalCode
from raftd.wire.client import RequestKind as AskedFor
from tests.node.parts import Client, Server

TERM = Term(1)
REFUSAL = Refusal(RefusalCode.NO_LEADER)


class Clock:
    """Shows what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(metrics: Metrics) -> dict[tuple[str, str], tuple[int, float]]:
    """(kind, outcome) -> how many, and how many seconds in all; those without any left out."""
    seen = {}
    for (kind, outcome), histogram in metrics.request_seconds.items():
        buckets, total = histogram.cumulative()
        if buckets[-1][1]:
            seen[kind.value, outcome.value] = (int(buckets[-1][1]), total)
    return seen


def test_each_request_is_measured_once_from_its_arrival_to_its_answer() -> None:
    """Writes and sessions by their entries' answers, reads by their confirmation, and whatever is refused as failed."""
    metrics, clock = Metrics(), Clock()
    requests = Requests(StateMachine(), clock=clock, latencies=latencies_of(metrics))
    connection = Client(Server(size=1).gateway).connection
    requests.queue_write(connection, 1, b"write")
    requests.queue_write(connection, 2, b"write that is compared")
    requests.queue_write(connection, 3, b"session", is_session=True)
    clock.now = 1.0
    requests.proposed(LogIndex(1), TERM)
    clock.now = 2.0
    requests.applied(LogIndex(1), TERM, b"\0ok")
    requests.applied(LogIndex(2), TERM, b"\2compare failed")
    requests.applied(LogIndex(3), TERM, b"\0ok")
    requests.queue_read(connection, 4, b"key")
    requests.reads_requested(ReadId(1))
    clock.now = 2.5
    requests.reads_confirmed(ReadId(1), LogIndex(0), TERM)
    requests.queue_read(connection, 5, b"key")
    requests.queue_write(connection, 6, b"write")
    clock.now = 3.0
    requests.refuse_queued_reads(REFUSAL)
    requests.refuse_queued_writes(REFUSAL)
    assert counted(metrics) == {
        ("write", "ok"): (1, 2.0),
        ("write", "refused"): (1, 2.0),
        ("session", "ok"): (1, 2.0),
        ("read", "ok"): (1, 0.5),
        ("read", "failed"): (1, 0.5),
        ("write", "failed"): (1, 0.5),
    }


class Question:
    """One with this answer."""

    is_urgent = False

    def __init__(self, answer: bytes | Refusal | None) -> None:
        self._answer = answer

    def answer(self, _: Term, /) -> bytes | Refusal | None:
        return self._answer

    def refused(self) -> bool:
        return True


def test_what_takes_its_turn_is_measured_with_its_wait() -> None:
    """Questions from their arrival on, by what they were answered; and a get of a client that does not read."""
    metrics, clock = Metrics(), Clock()
    requests = Requests(StateMachine(), clock=clock, latencies=latencies_of(metrics))
    client = Client(Server(size=1).gateway)
    clock.now = 1.0
    for number, answer in enumerate((b"\0ok", b"\1not found", REFUSAL, None)):
        requests.queue_question(client.connection, number, Question(answer))
    requests.queue_read(client.connection, 9, b"key")
    requests.reads_requested(ReadId(1))
    clock.now = 3.0
    while requests.answer_questions(TERM):
        pass
    assert counted(metrics) == {("read", "ok"): (1, 2.0), ("read", "refused"): (1, 2.0), ("read", "failed"): (1, 2.0)}
    client.channel.unsent_bytes = 1 << 30
    requests.flush()
    clock.now = 3.5
    requests.reads_confirmed(ReadId(1), LogIndex(0), TERM)
    assert counted(metrics)["read", "refused"] == (2, 4.5)


def test_a_slow_request_names_its_entry() -> None:
    """A write's exemplar is the index of its entry; a read's, of the entry as of which it was answered."""
    metrics, clock = Metrics(), Clock()
    requests = Requests(StateMachine(), clock=clock, latencies=latencies_of(metrics))
    connection = Client(Server(size=1).gateway).connection
    requests.queue_write(connection, 1, b"write")
    requests.proposed(LogIndex(7), TERM)
    clock.now = 2.0
    requests.applied(LogIndex(7), TERM, b"\0ok")
    histogram = metrics.request_seconds[RequestKind.WRITE, RequestOutcome.OK]
    assert [each for each in histogram.exemplars() if each is not None] == [(7, 2.0)]


def test_all_kinds_and_outcomes_are_measured() -> None:
    """No histogram of requests is shown that nothing ever goes to."""
    metrics = Metrics()
    for observers in latencies_of(metrics):
        for observe in observers:
            observe(1.0)
    assert set(counted(metrics)) == {(kind.value, outcome.value) for kind in RequestKind for outcome in RequestOutcome}


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (RefusalCode.NOT_LEADER, None),
        (RefusalCode.NO_LEADER, "failed"),
        (RefusalCode.OVERLOADED, "failed"),
        (RefusalCode.STOPPING, "failed"),
        (RefusalCode.UNAVAILABLE, "failed"),
        (RefusalCode.DENIED, "refused"),
        (RefusalCode.FULL, "refused"),
        (RefusalCode.BAD_REQUEST, "refused"),
    ],
)
def test_what_is_turned_away_is_counted(code: RefusalCode, outcome: str | None) -> None:
    """By whose fault it is; what another node is to answer is that node's to count, and what is not measured is not."""
    metrics = Metrics()
    requests = Requests(StateMachine(), latencies=latencies_of(metrics))
    connection = Client(Server(size=1).gateway).connection
    for kind in (AskedFor.WRITE, AskedFor.READ, AskedFor.STATUS):
        requests.turn_away(connection, kind, 1, Refusal(code))
    expected = {} if outcome is None else {("write", outcome): (1, 0.0), ("read", outcome): (1, 0.0)}
    assert counted(metrics) == expected
