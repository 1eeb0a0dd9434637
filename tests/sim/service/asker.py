"""Has requests answered, whatever becomes of nodes and connections: the same bytes again, to anybody."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftd.consensus import NodeId
from raftd.kv import answers
from raftd.kv.answers import Answer
from raftd.wire.client import (
    BODY_OFFSET,
    RefusalCode,
    RequestKind,
    ResponseKind,
    decode_refusal,
    encode_request,
    parse_response,
)
from raftd.wire.frames import LENGTH_BYTES
from tests.sim.service.stream import Stream

if TYPE_CHECKING:
    from tests.sim.world import World

_TIMEOUT_SECONDS = 1.0
_ERRORS = frozenset((RefusalCode.BAD_REQUEST, RefusalCode.DENIED, RefusalCode.TOO_LARGE))


class Question:
    """One request, from its first sending to its answer."""

    __slots__ = ("_hear", "attempts", "body", "invoked", "is_answered", "kind", "known_revision", "sent_at", "term")

    def __init__(
        self, world: "World", kind: RequestKind, body: bytes, hear: Callable[["Question", Answer, bytes], None]
    ) -> None:
        self.kind = kind
        self.body = body
        self._hear = hear
        self.invoked = self.sent_at = world.timeline.now
        """When it was sent first, and last."""
        self.known_revision = world.known_revision
        """The newest that anybody was told of before it was sent."""
        self.term = max(world.oracle.leaders, default=0)
        """The newest that had a leader then."""
        self.attempts = 0
        self.is_answered = False

    def answered(self, answer: bytes) -> None:
        """An answer came; further ones may follow, if it was sent more than once."""
        self._hear(self, answers.decode(answer), answer)
        self.is_answered = True


class Asker:
    """The connections of one client, one to a node, and what is under way on them."""

    def __init__(self, world: "World", user: str, draw: random.Random) -> None:
        self._world = world
        self._user = user
        self._draw = draw
        self._streams: dict[NodeId, Stream] = {}
        self._under_way: dict[int, tuple[Question, NodeId]] = {}
        self._next_id = 0
        self._leader: NodeId | None = None
        self.open: dict[Question, None] = {}
        """Without an answer."""

    def ask(
        self,
        kind: RequestKind,
        body: bytes,
        hear: Callable[[Question, Answer, bytes], None],
    ) -> Question:
        """Have a request answered; `hear` gets the question, the answer, and its bytes, perhaps more than once."""
        question = Question(self._world, kind, body, hear)
        self.open[question] = None
        self._attempt(question)
        return question

    def note_revision(self, question: Question, answer: Answer, *, is_change: bool = False) -> None:
        """See that an answer tells of nothing before what anybody was told of before the question was asked.

        Of a write that has changed something, `is_change`, it tells of something after that.
        """
        world = self._world
        if answer.revision < question.known_revision + is_change:
            world.oracle.fail(
                f"{self._user} asks when revision {question.known_revision} is known, and is answered at "
                f"{answer.revision}"
            )
        world.known_revision = max(world.known_revision, answer.revision)

    def give_up(self, question: Question) -> None:
        """Whatever becomes of it."""
        self.open.pop(question, None)

    def break_off(self) -> None:
        """Lose a connection, with what is under way on it."""
        if self._streams:
            node_id = self._draw.choice(list(self._streams))
            self._streams.pop(node_id).close()

    def leave_unreachable(self) -> None:
        """Leave nodes that need not come back."""
        for node_id in [node_id for node_id in self._streams if node_id not in self._world.reachable]:
            self._streams.pop(node_id).close()

    def _attempt(self, question: Question) -> None:
        world, draw = self._world, self._draw
        question.attempts += 1
        question.sent_at = world.timeline.now
        target = self._leader
        if target is None or target not in world.reachable or draw.random() < 0.1:
            target = draw.choice(world.reachable)
        self._send(question, target)
        if question.kind is RequestKind.LEASE_KEEP_ALIVE and draw.random() < 0.3:
            # Who holds a lease is in a hurry, and one of all may believe that it still leads.
            for node_id in world.reachable:
                self._send(question, node_id)
        elif world.plan.has("client_duplicates") and draw.random() < 0.2:
            self._send(question, draw.choice(world.reachable))
        world.timeline.after(_TIMEOUT_SECONDS * draw.uniform(0.5, 1.5), self._timed_out, question, question.attempts)

    def _send(self, question: Question, target: NodeId) -> None:
        stream = self._streams.get(target)
        if stream is None:
            process = self._world.processes[target]
            stream = self._streams[target] = Stream(process, self._user, self._draw, self._take, self._lost)
        self._next_id += 1
        self._under_way[self._next_id] = question, target
        stream.request(encode_request(question.kind, self._next_id, question.body)[LENGTH_BYTES:])

    def _timed_out(self, question: Question, attempts: int) -> None:
        if question in self.open and question.attempts == attempts:
            self._leader = None
            self._attempt(question)

    def _lost(self, stream: Stream) -> None:
        node_id = stream.node_id
        if self._streams.get(node_id) is stream:
            del self._streams[node_id]
        if self._leader == node_id:
            self._leader = None

    def _take(self, stream: Stream, payload: bytes) -> None:
        kind, request_id = parse_response(payload)
        question, target = self._under_way.pop(request_id)
        world = self._world
        world.trace.note(f"{self._user} {question.kind.name} {kind.name} from {stream.node_id}")
        if target != stream.node_id:
            world.oracle.fail(f"{self._user} is answered by node {stream.node_id} and had asked node {target}")
        if kind is ResponseKind.REFUSED:
            self._refused(question, payload)
        elif kind is ResponseKind.ANSWER:
            if question in self.open:
                self._leader = target
                del self.open[question]
            question.answered(payload[BODY_OFFSET:])
        else:
            world.oracle.fail(f"{self._user} asked for no {kind.name}")

    def _refused(self, question: Question, payload: bytes) -> None:
        refusal = decode_refusal(payload)
        if refusal.code in _ERRORS:
            self._world.oracle.fail(f"{self._user} is refused: {refusal}")
        if question not in self.open:
            return
        self._leader = refusal.leader_id
        is_prompt = refusal.code in {RefusalCode.NOT_LEADER, RefusalCode.OUTCOME_UNKNOWN}
        pause = (0.01 if is_prompt else 0.15) * self._draw.uniform(0.5, 1.5)
        self._world.timeline.after(pause, self._again, question, question.attempts)

    def _again(self, question: Question, attempts: int) -> None:
        if question in self.open and question.attempts == attempts:
            self._attempt(question)
