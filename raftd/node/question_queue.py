"""Questions that wait for their turn, and whose turn it is; gets wait so, too, if a turn has answered enough of them.

A question is what a read asks if it is more than one key. Some take long, so these are answered in steps, of a
millisecond or two; what is unfinished after one waits for its next turn. Connections take turns, a step each, and of
each connection its oldest question goes first, to its end:

- Whoever asks for much shares the time with others evenly, however many questions he has under way; a short question of
  somebody else waits for one step of his. If questions took turns instead, it would wait for one step of each.
- Of what one client asks, what it has waited for longest is done first. If all its questions advanced alike, each would
  come as late as the last, and they might all come too late.
- Of each connection one question is unfinished at most, so that is what bounds what unfinished answers hold: a page
  (`PAGE_BYTES_MAX` and an item) for each connection, which is less than it may leave unread; of an administrator also
  the newest entries of the log (`LogQuestion`).

Nobody starves: each turn of the loop takes one step at least, and each connection's turn comes after one step of each
other.
"""

import enum
from collections import deque
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from raftd.consensus.types import Term
from raftd.node.connection import ClientConnection
from raftd.wire.client import Refusal


class Unfinished(enum.Enum):
    """A question has done a step, and needs more."""

    UNFINISHED = enum.auto()


UNFINISHED: Final = Unfinished.UNFINISHED


class Question(Protocol):
    """What is read, if it is more than one key."""

    @property
    def is_urgent(self) -> bool:
        """Whether it goes before those that are not."""
        ...

    def answer(self, term: Term, /) -> bytes | Refusal | Unfinished | None:
        """Do a step of answering, in this term, of two milliseconds at most.

        Returns:
            The state machine's answer; a refusal; UNFINISHED: this is to be called again, or `refused`; or None: what
            there was to answer, was.
        """
        ...

    def refused(self) -> bool:
        """It will not be answered; returns whether the client is to be told so, which is not so if it was already."""
        ...


Asked: TypeAlias = tuple[ClientConnection, int, Question, float]
"""A read of a question that may be answered: (connection, request id, question, when it came)"""


WaitingT = TypeVar("WaitingT", bound=tuple[ClientConnection, int, object, float])
"""What waits in a queue: questions, or gets that earlier turns were not done with."""


class QuestionQueue(Generic[WaitingT]):
    """Questions that may be answered.

    Invariant: `_waiting` has the very deques that are in `_turns`, each once, and none of them is empty.
    """

    __slots__ = ("_count", "_turns", "_waiting")

    def __init__(self) -> None:
        self._turns: deque[deque[WaitingT]] = deque()
        """Each connection's questions, in the order of the connections' turns."""
        self._waiting: dict[ClientConnection, deque[WaitingT]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, asked: WaitingT) -> None:
        """Add a question behind the others of its connection."""
        self._of(asked[0]).append(asked)
        self._count += 1

    def take(self) -> WaitingT:
        """Take out the question whose turn it is; there must be one."""
        questions = self._turns.popleft()
        asked = questions.popleft()
        if questions:
            self._turns.append(questions)
        else:
            del self._waiting[asked[0]]
        self._count -= 1
        return asked

    def put_back(self, asked: WaitingT) -> None:
        """Put back a question that was taken and is unfinished: in front of the others of its connection."""
        self._of(asked[0]).appendleft(asked)
        self._count += 1

    def _of(self, connection: ClientConnection) -> deque[WaitingT]:
        """A connection's questions, of which there will be one more."""
        questions = self._waiting.get(connection)
        if questions is None:
            questions = self._waiting[connection] = deque()
            self._turns.append(questions)
        return questions
