from collections.abc import Iterator

from raftd.consensus.types import Term
from raftd.kv import answers
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Put, Range
from raftd.kv.pages import decode_range
from raftd.kv.queries import RangeQuery
from raftd.kv.types import Revision
from raftd.node.question_queue import UNFINISHED
from raftd.node.questions import LOG_ENTRIES_PER_STEP, LeaderQuestion, LogQuestion, PageQuestion, WatchQuestion
from raftd.wire.client import BODY_OFFSET, Refusal, RefusalCode, ResponseKind
from raftd.wire.watch import WatchFlag, WatchRequest
from tests.kv.test_execution import Writer
from tests.node.parts import Server
from tests.node.watch_parts import Node, as_connection

TERM = Term(3)


def test_a_page_is_of_the_state_when_it_is_answered() -> None:
    """And not of that when it was asked for."""
    question = PageQuestion(StateMachine(), RangeQuery(Range(b"", b"")))
    answered = question.answer(TERM)
    assert isinstance(answered, bytes)
    answer = answers.decode(answered)
    assert (answer.term, decode_range(answer.body).key_count) == (TERM, 0)
    assert question.refused()


def test_a_page_that_takes_several_steps_says_so() -> None:
    """Until it is there."""
    past = Writer()
    past.write(Put(b"z", b"then"))
    for number in range(1001):
        past.write(Put(b"%04d" % number, b""))
    question = PageQuestion(past.driver.machine, RangeQuery(Range(b"", b""), Revision(1)))
    steps = 1
    while (answer := question.answer(TERM)) is UNFINISHED:
        steps += 1
    assert steps > 1
    assert isinstance(answer, bytes)
    assert [key for key, _ in decode_range(answers.decode(answer).body).items] == [b"z"]


def test_a_watch_answers_for_itself() -> None:
    """It begins; or, if it is not confirmed, is forgotten, and its client told so."""
    node = Node()
    connection = node.connect()
    request = WatchRequest(WatchFlag(0), 0, b"", b"")
    for request_id in (1, 2):
        watch = node.watches.admit(as_connection(connection), request_id, request)
        assert watch is not None
        question = WatchQuestion(node.watches, watch)
        if request_id == 1:
            question.answer(TERM)
        else:
            assert question.refused()
            assert not question.refused()
    assert [(request_id, kind) for request_id, kind, _ in connection.take()] == [(1, ResponseKind.WATCHING)]
    assert node.watches.count == 1


def test_the_log_is_told_in_steps_to_one_who_waits_for_it() -> None:
    """Of a few entries each; nothing is done before its turn comes, and the answer is whole."""
    server = Server(size=3)
    client = server.client()
    asked: list[str] = []

    def pieces() -> Iterator[str]:
        for piece in ("[", *["1,"] * 3 * LOG_ENTRIES_PER_STEP, "1]"):
            asked.append(piece)
            yield piece

    question = LogQuestion(pieces(), server.requests, client.connection, 7)
    steps = []
    while question.answer(TERM) is UNFINISHED:
        steps.append(len(asked))
    assert steps == [LOG_ENTRIES_PER_STEP * number for number in (1, 2, 3)]
    server.requests.flush()
    kind, payload = client.responses[7]
    assert (kind, payload[BODY_OFFSET:]) == (ResponseKind.DOCUMENT, "".join(asked).encode())
    assert question.refused()


def test_who_leads_no_more_sends_elsewhere() -> None:
    """Instead of an answer."""
    refusal = Refusal(RefusalCode.NOT_LEADER, "node 2 leads")
    assert LeaderQuestion(lambda term: b"%d" % term, lambda: refusal).answer(TERM) == b"3"
    question = LeaderQuestion(lambda _: None, lambda: refusal)
    assert question.answer(TERM) is refusal
    assert question.refused()
