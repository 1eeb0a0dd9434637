from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import Term
from raftd.node.question_queue import UNFINISHED, Asked, QuestionQueue, Unfinished
from tests.node.parts import Client, Server


class Long:
    """A question that takes some steps."""

    is_urgent = False

    def __init__(self, name: str, steps: int) -> None:
        self.name = name
        self.steps = steps

    def answer(self, _: Term, /) -> bytes | Unfinished:
        self.steps -= 1
        return UNFINISHED if self.steps else b"\0" + self.name.encode()

    def refused(self) -> bool:
        return True


def steps_of(queue: QuestionQueue[Asked], count: int = 1000) -> list[str]:
    """Take so many steps, or all: whose they were."""
    taken: list[str] = []
    while queue and len(taken) < count:
        asked = queue.take()
        question = asked[2]
        assert isinstance(question, Long)
        taken.append(question.name)
        if question.answer(Term(1)) is UNFINISHED:
            queue.put_back(asked)
    return taken


def clients(count: int) -> list[Client]:
    server = Server(size=1)
    return [server.client() for _ in range(count)]


def test_connections_take_turns_and_the_oldest_question_of_each_goes_first() -> None:
    """However many questions one of them asks, and however long they are."""
    queue = QuestionQueue[Asked]()
    much, little = clients(2)
    for name, steps in (("a", 3), ("b", 3), ("c", 1)):
        queue.add((much.connection, 1, Long(name, steps), 0.0))
    queue.add((little.connection, 1, Long("short", 1), 0.0))
    queue.add((little.connection, 2, Long("next", 2), 0.0))
    assert len(queue) == 5
    assert steps_of(queue) == ["a", "short", "a", "next", "a", "next", "b", "b", "b", "c"]
    assert len(queue) == 0


def test_who_comes_later_waits_for_one_step_of_each_other() -> None:
    """And not for what they have still to do."""
    queue = QuestionQueue[Asked]()
    first, second, third = clients(3)
    queue.add((first.connection, 1, Long("first", 100), 0.0))
    queue.add((second.connection, 1, Long("second", 100), 0.0))
    assert steps_of(queue, 5) == ["first", "second"] * 2 + ["first"]
    queue.add((third.connection, 1, Long("third", 1), 0.0))
    assert steps_of(queue, 3) == ["second", "first", "third"]


@given(
    st.lists(
        st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(1, 4))),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=100)
def test_every_question_comes_to_its_end_in_its_connection_s_order(steps: list[tuple[int, int] | None]) -> None:
    """Whenever it is asked; and one of each connection is unfinished at most."""
    queue = QuestionQueue[Asked]()
    askers = clients(4)
    asked: list[list[str]] = [[] for _ in askers]
    taken: list[str] = []
    for number, step in enumerate(steps):
        if step is None:
            taken += steps_of(queue, 1)
        else:
            whose, length = step
            asked[whose] += [f"{whose}:{number}"] * length
            queue.add((askers[whose].connection, number, Long(f"{whose}:{number}", length), 0.0))
    taken += steps_of(queue)
    for whose, names in enumerate(asked):
        assert [name for name in taken if name.startswith(f"{whose}:")] == names
    assert (len(queue), list(queue._turns), queue._waiting) == (0, [], {})
