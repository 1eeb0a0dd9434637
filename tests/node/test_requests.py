import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, ReadId, Term
from raftd.errors import InvariantViolation
from raftd.kv.answers import Outcome
from raftd.node.question_queue import UNFINISHED, Unfinished
from raftd.node.requests import GETS_MAX, QUESTION_SECONDS_MAX, Requests
from raftd.wire.client import Refusal, RefusalCode
from tests.node.parts import Client, Server

REFUSAL = Refusal(RefusalCode.NO_LEADER, "nobody")


@pytest.fixture
def server() -> Server:
    return Server(size=3)


@pytest.fixture
def requests(server: Server) -> Requests:
    return server.requests


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


def queue(requests: Requests, client: Client, *request_ids: int) -> None:
    for request_id in request_ids:
        requests.queue_write(client.connection, request_id, b"command")


def apply(requests: Requests, server: Server, index: int, term: int) -> None:
    requests.applied(LogIndex(index), Term(term), server.machine.answer_get(b"absent", Term(term)))


def test_each_write_gets_the_answer_of_its_entry(requests: Requests, server: Server, client: Client) -> None:
    """By index; entries of nobody's in between and before change nothing."""
    queue(requests, client, 1, 2)
    requests.proposed(LogIndex(5), Term(1))
    queue(requests, client, 3)
    requests.proposed(LogIndex(8), Term(1))
    assert (requests.write_count, requests.bytes_held, client.connection.in_flight) == (3, 21, 3)
    for index in range(3, 9):
        apply(requests, server, index, 1)
    requests.flush()
    assert list(client.responses) == [1, 2, 3]
    assert (requests.write_count, requests.bytes_held, client.connection.in_flight) == (0, 0, 0)
    assert (requests.committed_total, requests.failed_total) == (3, 0)


@pytest.mark.parametrize(("first_index", "term"), [(4, 1), (5, 1), (6, 2)])
def test_writes_cannot_be_pending_out_of_order(requests: Requests, client: Client, first_index: int, term: int) -> None:
    """Below what is pending, or in another term while something is."""
    queue(requests, client, 1)
    requests.proposed(LogIndex(5), Term(1))
    queue(requests, client, 2)
    with pytest.raises(InvariantViolation):
        requests.proposed(LogIndex(first_index), Term(term))


@pytest.mark.parametrize(("index", "term"), [(6, 1), (5, 2)])
def test_a_pending_write_cannot_be_passed_over(
    requests: Requests, server: Server, client: Client, index: int, term: int
) -> None:
    """An answer for the wrong write would be worse than an end."""
    queue(requests, client, 1)
    requests.proposed(LogIndex(5), Term(1))
    with pytest.raises(InvariantViolation):
        apply(requests, server, index, term)


def test_reads_wait_for_their_confirmation_and_for_their_index(
    requests: Requests, server: Server, client: Client
) -> None:
    """Confirmed but not applied is not enough."""
    requests.queue_read(client.connection, 1, b"key")
    requests.reads_requested(ReadId(7))
    assert (requests.read_count, requests.has_queued_reads, requests.is_idle) == (1, False, False)
    requests.reads_confirmed(ReadId(7), LogIndex(2), Term(1))
    assert requests.read_count == 1
    server.machine.skip(LogIndex(1))
    requests.answer_reads(Term(1))
    requests.flush()
    assert client.responses == {}
    server.machine.skip(LogIndex(2))
    requests.answer_reads(Term(1))
    requests.flush()
    assert client.answer(1).outcome is Outcome.NOT_FOUND
    assert (requests.read_count, requests.reads_confirmed_total, client.connection.in_flight) == (0, 1, 0)


def test_who_does_not_read_gets_a_small_refusal_for_a_large_answer(requests: Requests, client: Client) -> None:
    """Asking is cheaper than answering: what waits for one client is bounded."""
    client.channel.unsent_bytes = 1 << 30
    requests.queue_read(client.connection, 1, b"key")
    requests.reads_requested(ReadId(7))
    requests.reads_confirmed(ReadId(7), LogIndex(0), Term(1))
    requests.flush()
    assert client.refusal(1).code is RefusalCode.OVERLOADED


def test_answers_to_who_has_gone_go_nowhere(requests: Requests, server: Server, client: Client) -> None:
    """Its writes go on; nothing is kept for it, and nothing is sent."""
    queue(requests, client, 1, 2)
    requests.queue_read(client.connection, 3, b"key")
    requests.proposed(LogIndex(1), Term(1))
    requests.owe(client.connection, b"owed")
    client.channel.is_closed = True
    client.connection.closed()
    apply(requests, server, 1, 1)
    requests.leadership_lost()
    requests.refuse_queued_reads(REFUSAL)
    requests.flush()
    requests.flush()
    assert client.channel.sent == []
    assert client.connection.answers == []
    assert (requests.bytes_held, requests.is_idle, client.connection.in_flight) == (0, True, 0)


class FakeQuestion:
    """Is answered, or refused; every third one sees to that itself."""

    def __init__(self, number: int, *, is_urgent: bool = False) -> None:
        self.number = number
        self.is_silent = number % 3 == 0
        self.is_urgent = is_urgent
        self.is_done = False

    def answer(self, _: Term, /) -> bytes | Refusal | Unfinished | None:
        assert not self.is_done
        self.is_done = True
        if self.is_silent:
            return None
        return REFUSAL if self.number % 2 else b"\0answer"

    def refused(self) -> bool:
        self.is_done = True
        return not self.is_silent


def test_questions_take_a_bounded_time_in_each_turn(server: Server, client: Client) -> None:
    """One at least; gets do not wait for them."""
    now = [0.0]

    def passing() -> float:
        now[0] += QUESTION_SECONDS_MAX / 4
        return now[0]

    requests = Requests(server.machine, clock=passing)
    for request_id in range(1, 31):
        requests.queue_read(client.connection, request_id, FakeQuestion(request_id * 3 + 1))
    requests.queue_read(client.connection, 99, b"key")
    requests.reads_requested(ReadId(1))
    requests.reads_confirmed(ReadId(1), LogIndex(0), Term(1))
    requests.flush()
    assert list(client.responses) == [99]
    turns = 1
    while requests.answer_questions(Term(1)):
        requests.flush()
        assert len(client.responses) < 1 + 5 * turns
        turns += 1
    requests.flush()
    assert len(client.responses) == 31
    assert turns > 6


def test_keep_alives_do_not_wait_behind_ranges(server: Server, client: Client) -> None:
    """A lease must not end since somebody else reads much; nor do keep-alives keep ranges from being answered."""
    now = [0.0]

    def passing() -> float:
        now[0] += QUESTION_SECONDS_MAX
        return now[0]

    requests = Requests(server.machine, clock=passing)
    for number in (1, 2, 4, 25, 35):
        requests.queue_quorum_read(client.connection, number, FakeQuestion(number, is_urgent=number > 4))
    requests.quorum_reads_requested(ReadId(1))
    requests.reads_confirmed(ReadId(1), LogIndex(0), Term(1))
    answered: list[list[int]] = []
    while requests.read_count:
        is_left = requests.answer_questions(Term(1))
        requests.flush()
        answered.append(sorted(set(client.responses) - set().union(*answered)))
        assert is_left == bool(requests.read_count)
    assert answered == [[1, 25], [2, 35], [4]]


def test_what_waits_is_counted_wherever_it_waits(server: Server, client: Client) -> None:
    """To be asked for, to be confirmed, to be applied as far, or for its turn: who drains waits for all of them."""
    requests = server.requests
    counts = [requests.read_count]
    requests.queue_read(client.connection, 1, b"unconfirmed")
    requests.reads_requested(ReadId(1))
    counts.append(requests.read_count)
    requests.queue_read(client.connection, 2, b"not applied as far")
    requests.reads_requested(ReadId(2))
    requests.reads_confirmed(ReadId(2), LogIndex(9), Term(1))
    counts.append(requests.read_count)
    requests.queue_read(client.connection, 3, b"not asked for")
    counts.append(requests.read_count)
    requests.queue_quorum_read(client.connection, 4, FakeQuestion(4))
    counts.append(requests.read_count)
    requests.queue_question(client.connection, 5, FakeQuestion(5))
    counts.append(requests.read_count)
    assert counts == [0, 1, 2, 3, 4, 5]
    assert not requests.is_idle
    requests.answer_questions(Term(1))
    assert requests.read_count == 4


def test_a_write_without_an_answer_keeps_a_node_busy(requests: Requests, client: Client) -> None:
    """Queued or pending; and what was never in the log is counted apart from what may have been lost with it."""
    assert requests.is_idle
    queue(requests, client, 1)
    assert not requests.is_idle
    requests.proposed(LogIndex(5), Term(1))
    assert not requests.is_idle
    queue(requests, client, 2, 3)
    requests.refuse_queued_writes(REFUSAL)
    requests.leadership_lost()
    assert requests.is_idle
    assert (requests.committed_total, requests.failed_total, requests.unknown_total) == (0, 2, 1)


def test_a_question_of_who_has_gone_is_not_answered(requests: Requests, client: Client) -> None:
    """What it would begin, a watch or a backup, would be nobody's."""
    question = FakeQuestion(1)
    requests.queue_question(client.connection, 1, question)
    client.channel.is_closed = True
    question.answer = None  # type: ignore[method-assign,assignment]  # it must not be called
    assert not requests.answer_questions(Term(1))
    assert question.is_done
    assert client.connection.in_flight == 0


class LongQuestion(FakeQuestion):
    """Takes some steps first, each of which is counted."""

    def __init__(self, number: int, steps: int) -> None:
        super().__init__(number)
        self.steps = steps
        self.done = 0

    def answer(self, term: Term, /) -> bytes | Refusal | Unfinished | None:
        self.done += 1
        return UNFINISHED if self.done < self.steps else super().answer(term)


def test_a_question_that_takes_long_is_answered_over_several_turns(server: Server, client: Client) -> None:
    """Meanwhile it counts as under way, so whoever drains waits for it, and others are answered."""
    now = [0.0]

    def passing() -> float:
        now[0] += QUESTION_SECONDS_MAX / 2
        return now[0]

    requests = Requests(server.machine, clock=passing)
    question, other = LongQuestion(4, 9), server.client()
    requests.queue_question(client.connection, 1, question)
    turns = 0
    while not requests.is_idle:
        if turns == 1:
            requests.queue_question(other.connection, 1, FakeQuestion(2))
        assert requests.read_count >= 1
        assert client.connection.in_flight == 1
        is_left = requests.answer_questions(Term(1))
        turns += 1
        requests.flush()
        assert is_left == (requests.read_count > 0)
        assert question.done <= 2 * turns
        assert bool(other.responses) == (turns > 1)
    assert list(client.responses) == [1]
    assert (question.done, turns, client.connection.in_flight) == (9, 5, 0)


@pytest.mark.parametrize("end", ["gone", "behind"])
def test_nobody_works_on_for_a_client_that_has_gone_or_does_not_read(server: Server, client: Client, end: str) -> None:
    """What is unfinished is dropped, or refused, before the next step."""
    now = [0.0]

    def passing() -> float:
        now[0] += QUESTION_SECONDS_MAX
        return now[0]

    requests = Requests(server.machine, clock=passing)
    question = LongQuestion(4, 9)
    requests.queue_question(client.connection, 1, question)
    assert requests.answer_questions(Term(1))
    if end == "gone":
        client.channel.is_closed = True
    else:
        client.channel.unsent_bytes = 1 << 30
    assert not requests.answer_questions(Term(1))
    requests.flush()
    assert (question.done, question.is_done, requests.is_idle, client.connection.in_flight) == (1, True, True, 0)
    if end == "behind":
        assert client.refusal(1).code is RefusalCode.OVERLOADED


def skip_to(server: Server, index: int) -> None:
    while server.machine.last_applied < index:
        server.machine.skip(LogIndex(server.machine.last_applied + 1))


def queue_question(requests: Requests, step: str, client: Client, number: int) -> FakeQuestion:
    is_urgent = number % 5 == 0
    question = FakeQuestion(number, is_urgent=is_urgent) if is_urgent else LongQuestion(number, 1 + number % 4)
    if step == "question":
        requests.queue_read(client.connection, number, question)
    elif step == "question by quorum":
        requests.queue_quorum_read(client.connection, number, question)
    else:
        requests.queue_question(client.connection, number, question)
    return question


STEPS = st.lists(
    st.sampled_from(
        [
            "write",
            "read",
            "propose",
            "refuse writes",
            "refuse reads",
            "apply",
            "lose",
            "ask",
            "confirm",
            "refuse",
            "close",
            "question",
            "question by quorum",
            "question without confirmation",
            "ask by quorum",
            "refuse reads by quorum",
            "answer questions",
        ]
    ),
    max_size=60,
)


LAST_STEPS = [
    "refuse writes",
    "refuse reads",
    "refuse reads by quorum",
    "lose",
    *["refuse"] * 60,
    *["answer questions"] * 60,
]


@given(steps=STEPS)
@settings(deadline=None, max_examples=150)
def test_everyone_is_answered_once_and_nothing_is_held_in_the_end(steps: list[str]) -> None:
    """Whatever the order of events: one answer for each request, and no byte or place is lost."""
    server = Server(size=3)
    requests = server.requests
    clients = [server.client(), server.client()]
    asked: dict[int, Client] = {}
    questions: list[FakeQuestion] = []
    last_index, applied, term, reads, asked_reads = 0, 0, 1, 0, list[ReadId]()
    for number, step in enumerate([*steps, *LAST_STEPS], 1):
        client = clients[number % 2]
        match step:
            case "write":
                requests.queue_write(client.connection, number, b"x" * number)
                asked[number] = client
            case "read":
                requests.queue_read(client.connection, number, b"key")
                asked[number] = client
            case "question" | "question by quorum" | "question without confirmation":
                questions.append(queue_question(requests, step, client, number))
                if not questions[-1].is_silent:
                    asked[number] = client
            case "ask by quorum":
                reads += 1
                asked_reads.append(ReadId(reads))
                requests.quorum_reads_requested(ReadId(reads))
            case "refuse reads by quorum":
                requests.refuse_queued_quorum_reads(REFUSAL)
            case "answer questions":
                requests.answer_questions(Term(term))
            case "propose":
                count = len(requests.queued_commands())
                requests.proposed(LogIndex(last_index + 1), Term(term))
                last_index += count
            case "refuse writes":
                requests.refuse_queued_writes(REFUSAL)
            case "refuse reads":
                requests.refuse_queued_reads(REFUSAL)
            case "apply":
                if applied < last_index:
                    applied += 1
                    server.machine.skip(LogIndex(applied))
                    apply(requests, server, applied, term)
                    requests.answer_reads(Term(term))
            case "lose":
                requests.leadership_lost()
                applied, term = last_index, term + 1
                skip_to(server, applied)
                requests.answer_reads(Term(term))
            case "ask":
                reads += 1
                asked_reads.append(ReadId(reads))
                requests.reads_requested(ReadId(reads))
            case "confirm" if asked_reads:
                requests.reads_confirmed(asked_reads.pop(0), LogIndex(last_index), Term(term))
            case "refuse" if asked_reads:
                requests.reads_refused(asked_reads.pop(0), REFUSAL)
            case "close":
                clients[0].channel.is_closed = True
                clients[0].connection.closed()
            case _:
                pass  # Nothing waits to be confirmed or refused.
        requests.flush()
    assert requests.is_idle
    assert requests.bytes_held == 0
    assert all(client.connection.in_flight == 0 for client in clients)
    for request_id, client in asked.items():
        assert request_id in client.responses or client.channel.is_closed
    assert all(question.is_done for question in questions)
    answered = {*clients[0].responses, *clients[1].responses}
    assert not any(question.number in answered for question in questions if question.is_silent)


def test_a_connection_that_leaves_ends_behind_its_last_answer(
    requests: Requests, server: Server, client: Client
) -> None:
    """The last of its writes is answered, in the same turn in which it ends."""
    queue(requests, client, 1, 2)
    requests.proposed(LogIndex(5), Term(1))
    client.connection.leave("why")
    apply(requests, server, 5, 1)
    requests.flush()
    assert not client.channel.is_closed
    apply(requests, server, 6, 1)
    requests.flush()
    assert list(client.responses) == [1, 2]
    assert client.channel.is_closed


@pytest.mark.parametrize("end", ["answer", "refuse"])
def test_a_connection_that_leaves_waits_for_no_answer_that_never_comes(
    requests: Requests, client: Client, end: str
) -> None:
    """A question that owes nothing, such as a watch that was taken back before it began, holds up no end."""
    question = next(each for number in range(3) if (each := FakeQuestion(number)).is_silent)
    if end == "answer":
        requests.queue_question(client.connection, 1, question)
        client.connection.leave("why")
        assert not client.channel.is_closed
        requests.answer_questions(Term(1))
    else:
        requests.queue_read(client.connection, 1, question)
        client.connection.leave("why")
        assert not client.channel.is_closed
        requests.refuse_queued_reads(REFUSAL)
    requests.flush()
    assert client.channel.is_closed


def test_gets_are_answered_so_many_in_a_turn(server: Server) -> None:
    """Then those who have asked for much wait for later turns, a get of each connection after the other."""
    requests, crowd = server.requests, [server.client() for _ in range(3)]
    for client in crowd:
        for request_id in range(GETS_MAX):
            requests.queue_read(client.connection, request_id, b"absent")
    requests.reads_requested(ReadId(1))
    late = server.client()
    requests.reads_confirmed(ReadId(1), LogIndex(0), Term(1))
    requests.queue_read(late.connection, 1, b"absent")
    requests.reads_requested(ReadId(2))
    requests.reads_confirmed(ReadId(2), LogIndex(0), Term(1))
    requests.answer_reads(Term(1))
    assert [len(client.connection.answers) for client in crowd] == [GETS_MAX, 0, 0]
    assert requests.answer_questions(Term(1))
    requests.flush()
    # One has gone: what it asked for takes nobody's time.
    crowd[2].channel.is_closed = True
    requests.answer_reads(Term(1))
    assert len(late.connection.answers) == 1
    assert len(crowd[1].connection.answers) == GETS_MAX - 1
    while requests.answer_questions(Term(1)):
        requests.flush()
        requests.answer_reads(Term(1))
    assert [client.connection.in_flight for client in crowd] == [0, 0, 0]
    assert requests.read_count == 0
