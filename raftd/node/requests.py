"""What clients have asked and are owed: from a request's arrival to its answer's departure.

A write is `queued` until the turn's propose, then `pending` until its entry is applied here or the leadership it was
proposed under ends. A read is queued until the turn's ReadIndex, then waits for its confirmation and, if the state
machine is behind its read index, for that. Then a get is answered, at once unless this turn has answered so much that
heartbeats would have to wait for the rest; and a question, which may cost more, when its turn comes
(`raftd.node.question_queue`): only so much time is spent on questions in one turn of the loop, and one that takes
longer is answered in steps, over several turns. Before each of them it is looked whether its client is still there, and
reads. Keep-alives do not wait behind the others, or whoever reads much would cost all others their leases; nor may a
step be long, for a leader that is held up takes its leases to be held up, too.

Invariants: pending writes are of one term, in the log's order; `bytes_held` is the sum over both stages.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Final, TypeAlias

from raftd.consensus.types import NO_TERM, LogIndex, ReadId, Term
from raftd.errors import InvariantViolation
from raftd.kv.machine import StateMachine
from raftd.node.connection import ClientConnection
from raftd.node.latency import NOT_MEASURED, Latencies, Observers
from raftd.node.question_queue import Asked, Question, QuestionQueue, Unfinished
from raftd.node.unread import UNREAD_SHARE_BYTES, Unread
from raftd.wire.client import Refusal, RefusalCode, RequestKind, encode_answer, encode_refusal

Asker: TypeAlias = tuple[ClientConnection, int, int, float, Observers]
"""(connection, request id, bytes held, when it came, where its latency goes)"""

Read: TypeAlias = tuple[ClientConnection, int, "bytes | Question", float]
"""(connection, request id, key or question, when it came)"""

DueGet: TypeAlias = tuple[ClientConnection, int, bytes, float]
"""A read of a key that may be answered."""

QUESTION_SECONDS_MAX: Final = 0.003
"""Spent on answering questions in one turn, and what the last step takes; the same on urgent ones."""

GET_BYTES_MAX: Final = 16 << 20
"""Of values, answered to gets in one turn; and what the last one has."""

GETS_MAX: Final = 4096
"""Gets answered in one turn: some five milliseconds."""

_SMALL_BYTES: Final = 1 << 10
"""Of an answer; such do not count for `GET_BYTES_MAX`, for so many of them are little."""

UNREAD: Final = Refusal(RefusalCode.OVERLOADED, "too many bytes of answers are unread on this connection already")
"""What a client gets that asks faster than it reads: small, and it may ask again."""


class Requests:
    """All requests under way on this node. Tuples, not objects: there are as many as writes."""

    def __init__(
        self,
        machine: StateMachine,
        *,
        clock: Callable[[], float] = time.monotonic,
        latencies: Latencies = NOT_MEASURED,
    ) -> None:
        """`clock` gives monotonic seconds."""
        self._machine = machine
        self._clock = clock
        self._latencies = latencies
        self._commands: list[bytes] = []
        self._askers: list[Asker] = []
        self._pending: deque[tuple[LogIndex, Asker]] = deque()
        self._pending_term = NO_TERM
        self._reads: list[Read] = []
        self._quorum_reads: list[Read] = []
        self._unconfirmed_reads: dict[ReadId, list[Read]] = {}
        self._confirmed_reads: deque[tuple[LogIndex, list[Read]]] = deque()
        self._due_gets = QuestionQueue[DueGet]()
        """Those that may be answered, and wait for another turn: this one has answered enough."""
        self._gets_left, self._get_bytes_left = GETS_MAX, GET_BYTES_MAX
        """In this turn."""
        self._questions = QuestionQueue[Asked]()
        self._urgent_questions = QuestionQueue[Asked]()
        self._owed: list[ClientConnection] = []
        self.unread = Unread()
        self.bytes_held = 0
        """Bytes of commands that are queued or pending."""
        self.committed_total = 0
        self.failed_total = 0
        """Writes that were refused, and never in the log."""
        self.unknown_total = 0
        """Writes that were under way when leadership was lost."""
        self.reads_confirmed_total = 0
        self.reads_refused_total = 0

    @property
    def write_count(self) -> int:
        """Writes without an answer."""
        return len(self._commands) + len(self._pending)

    @property
    def read_count(self) -> int:
        """Reads without an answer."""
        waiting = sum(map(len, self._unconfirmed_reads.values())) + sum(
            len(reads) for _, reads in self._confirmed_reads
        )
        questions = len(self._questions) + len(self._urgent_questions)
        return len(self._reads) + len(self._quorum_reads) + waiting + len(self._due_gets) + questions

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return self.write_count == 0 and self.read_count == 0

    @property
    def has_queued_writes(self) -> bool:
        """Whether there are writes to propose."""
        return bool(self._commands)

    @property
    def queued_write_count(self) -> int:
        """Writes that wait for the next propose."""
        return len(self._commands)

    @property
    def has_queued_reads(self) -> bool:
        """Whether there are reads to ask a ReadIndex for."""
        return bool(self._reads)

    @property
    def has_queued_quorum_reads(self) -> bool:
        """Whether there are reads to ask a ReadIndex for that no lease may answer."""
        return bool(self._quorum_reads)

    # Writes.

    def queue_write(
        self, connection: ClientConnection, request_id: int, command: bytes, *, is_session: bool = False
    ) -> None:
        """Queue a stamped command for the next propose; `is_session`: it writes no key."""
        size = len(command)
        observers = self._latencies.session if is_session else self._latencies.write
        self.bytes_held += size
        connection.in_flight += 1
        self._commands.append(command)
        self._askers.append((connection, request_id, size, self._clock(), observers))

    def queued_commands(self) -> list[bytes]:
        """The commands to propose now, to be followed by `proposed` or `refuse_queued_writes`."""
        return self._commands

    def proposed(self, first_index: LogIndex, term: Term) -> None:
        """The queued writes are in the log from `first_index` on.

        Raises:
            InvariantViolation: writes of another term are still pending, or of indexes not below these.
        """
        pending = self._pending
        if pending and (self._pending_term != term or pending[-1][0] >= first_index):
            raise InvariantViolation(
                f"writes were proposed from {first_index} on in term {term}, "
                f"and those pending go up to {pending[-1][0]} in term {self._pending_term}"
            )
        self._pending_term = term
        pending.extend(zip(count(first_index), self._askers, strict=False))  # type: ignore[arg-type]  # LogIndex is int
        self._commands = []
        self._askers = []

    def applied(self, index: LogIndex, term: Term, answer: bytes) -> None:
        """An entry was applied: answer whoever waits for it here.

        Raises:
            InvariantViolation: a pending write's entry was passed over or replaced while its leadership lasted.
        """
        pending = self._pending
        if not pending or index < pending[0][0]:
            return
        due, (connection, request_id, size, arrived, observers) = pending.popleft()
        if index != due or term != self._pending_term:
            raise InvariantViolation(
                f"entry {index} of term {term} was applied, and {due} of term {self._pending_term} was due"
            )
        self.bytes_held -= size
        self.committed_total += 1
        observe = observers.refused if answer[0] else observers.ok
        observe(self._clock() - arrived, index)
        self._settle(connection, encode_answer(request_id, answer))

    def refuse_queued_writes(self, refusal: Refusal) -> None:
        """The queued writes were not proposed."""
        self._commands = []
        askers, self._askers = self._askers, []
        self.failed_total += len(askers)
        self._refuse_writes(askers, refusal)

    def leadership_lost(self) -> None:
        """Whether the pending writes will be committed is for another leader to say."""
        pending, self._pending = self._pending, deque()
        lost = Refusal(RefusalCode.OUTCOME_UNKNOWN, "leadership was lost while the write was under way")
        self.unknown_total += len(pending)
        self._refuse_writes([asker for _, asker in pending], lost)

    # Reads.

    def queue_read(self, connection: ClientConnection, request_id: int, asked: bytes | Question) -> None:
        """Queue a linearizable read, of a key or of more, for the next ReadIndex."""
        connection.in_flight += 1
        self._reads.append((connection, request_id, asked, self._clock()))

    def queue_quorum_read(self, connection: ClientConnection, request_id: int, question: Question) -> None:
        """Queue a read that a quorum must confirm, though others may be answered by a lease."""
        connection.in_flight += 1
        self._quorum_reads.append((connection, request_id, question, self._clock()))

    def queue_question(self, connection: ClientConnection, request_id: int, question: Question) -> None:
        """Have a question answered without confirmation."""
        connection.in_flight += 1
        self._may_answer((connection, request_id, question, self._clock()))

    def reads_requested(self, read_id: ReadId) -> None:
        """The queued reads share the ReadIndex `read_id`."""
        self._unconfirmed_reads[read_id] = self._reads
        self._reads = []

    def quorum_reads_requested(self, read_id: ReadId) -> None:
        """Those that a quorum must confirm share the ReadIndex `read_id`."""
        self._unconfirmed_reads[read_id] = self._quorum_reads
        self._quorum_reads = []

    def refuse_queued_reads(self, refusal: Refusal) -> None:
        """The queued reads cannot be asked for now."""
        reads, self._reads = self._reads, []
        self._refuse_reads(reads, refusal)

    def refuse_queued_quorum_reads(self, refusal: Refusal) -> None:
        """Nor those that a quorum must confirm."""
        reads, self._quorum_reads = self._quorum_reads, []
        self._refuse_reads(reads, refusal)

    def reads_confirmed(self, read_id: ReadId, read_index: LogIndex, term: Term) -> None:
        """These reads may be answered from any state that has `read_index` applied."""
        reads = self._unconfirmed_reads.pop(read_id)
        if self._machine.last_applied >= read_index:
            self._answer_reads(reads, term)
        else:
            self._confirmed_reads.append((read_index, reads))

    def reads_refused(self, read_id: ReadId, refusal: Refusal) -> None:
        """These reads will not be confirmed."""
        self._refuse_reads(self._unconfirmed_reads.pop(read_id), refusal)

    def answer_reads(self, term: Term) -> None:
        """Answer the confirmed reads that the state machine has caught up with, as many as one turn may."""
        if self._due_gets:
            self._answer_gets(self._taken(), len(self._due_gets), term)
        waiting = self._confirmed_reads
        while waiting and waiting[0][0] <= self._machine.last_applied:
            self._answer_reads(waiting.popleft()[1], term)

    def answer_questions(self, term: Term) -> bool:
        """Answer questions for as long as one turn may; returns whether there are reads left for the next one."""
        self._answer_some(self._urgent_questions, term)
        self._answer_some(self._questions, term)
        return bool(self._urgent_questions or self._questions or self._due_gets)

    def _answer_some(self, questions: QuestionQueue[Asked], term: Term) -> None:
        if not questions:
            return
        observers = self._latencies.read
        end = self._clock() + QUESTION_SECONDS_MAX
        while questions:
            asked = questions.take()
            connection, request_id, question, arrived = asked
            if connection.channel.is_closed:
                question.refused()
                _done_without_answer(connection)
                continue
            answer = UNREAD if connection.is_behind else question.answer(term)
            now = self._clock()
            if isinstance(answer, bytes):
                (observers.refused if answer[0] else observers.ok)(now - arrived, self._machine.last_applied)
                self._settle(connection, encode_answer(request_id, answer))
            elif isinstance(answer, Unfinished):
                questions.put_back(asked)
            elif answer is None:
                _done_without_answer(connection)
            else:
                self._refuse_reads([(connection, request_id, question, arrived)], answer)
            if now >= end:
                break

    # Answers.

    def owe(self, connection: ClientConnection, frame: bytes) -> None:
        """Send a frame at the end of this turn."""
        if connection.owe(frame):
            self._owed.append(connection)

    def owe_parts(self, connection: ClientConnection, head: bytes, body: bytes) -> None:
        """Send a frame in two parts at the end of this turn."""
        if connection.owe_parts(head, body):
            self._owed.append(connection)

    def flush(self) -> None:
        """Send what this turn owes, in one write for each connection."""
        owed, self._owed = self._owed, []
        for connection in owed:
            frames, connection.answers = connection.answers, []
            connection.channel.send(frames[0] if len(frames) == 1 else b"".join(frames))
            if connection.unread_bytes > UNREAD_SHARE_BYTES:
                self.unread.sent(connection)
            if connection.leaving:
                connection.end_if_left()
        self.unread.look()
        self._gets_left, self._get_bytes_left = GETS_MAX, GET_BYTES_MAX

    def turn_away(self, connection: ClientConnection, kind: RequestKind, request_id: int, refusal: Refusal) -> None:
        """Refuse a request as it comes, and count it if it is one of those that are measured."""
        if kind is RequestKind.WRITE:
            self._latencies.write.refused_at_once(refusal.code)
        elif kind is RequestKind.READ:
            self._latencies.read.refused_at_once(refusal.code)
        self.owe(connection, encode_refusal(request_id, refusal))

    def _may_answer(self, asked: Asked) -> None:
        (self._urgent_questions if asked[2].is_urgent else self._questions).add(asked)

    def _settle(self, connection: ClientConnection, frame: bytes) -> None:
        connection.in_flight -= 1
        self.owe(connection, frame)

    def _refuse_writes(self, askers: list[Asker], refusal: Refusal) -> None:
        now = self._clock()
        for connection, request_id, size, arrived, observers in askers:
            self.bytes_held -= size
            observers.failed(now - arrived)
            self._settle(connection, encode_refusal(request_id, refusal))

    def _refuse_reads(self, reads: list[Read], refusal: Refusal) -> None:
        self.reads_refused_total += len(reads)
        now, observe = self._clock(), self._latencies.read.failed
        for connection, request_id, asked, arrived in reads:
            observe(now - arrived)
            if isinstance(asked, bytes) or asked.refused():
                self._settle(connection, encode_refusal(request_id, refusal))
            else:
                _done_without_answer(connection)

    def _answer_reads(self, reads: list[Read], term: Term) -> None:
        self.reads_confirmed_total += len(reads)
        rest = iter(reads)
        if not self._due_gets:
            self._answer_gets(rest, len(reads), term)
        for connection, request_id, asked, arrived in rest:
            if isinstance(asked, bytes):
                self._due_gets.add((connection, request_id, asked, arrived))
            else:
                self._may_answer((connection, request_id, asked, arrived))

    def _taken(self) -> Iterator[DueGet]:
        """Gets that are due, each taken out as it is asked for, but for those whose client has gone."""
        while self._due_gets:
            get = self._due_gets.take()
            if get[0].channel.is_closed:
                _done_without_answer(get[0])
            else:
                yield get

    def _answer_gets(self, reads: Iterator[Read] | Iterator[DueGet], read_count: int, term: Term) -> None:
        """Answer so many reads, or until this turn has answered enough: gets themselves, and others as questions."""
        bytes_left = self._get_bytes_left
        if bytes_left <= 0:
            return
        most = min(read_count, self._gets_left)
        self._gets_left -= most
        answer_get = self._machine.answer_get
        now, index, observers = self._clock(), self._machine.last_applied, self._latencies.read
        for connection, request_id, key, arrived in islice(reads, most):
            if not isinstance(key, bytes):
                self._may_answer((connection, request_id, key, arrived))
            elif connection.is_behind:
                observers.refused(now - arrived, index)
                self._settle(connection, encode_refusal(request_id, UNREAD))
            else:
                observers.ok(now - arrived, index)
                answer = answer_get(key, term)
                self._settle(connection, encode_answer(request_id, answer))
                if len(answer) > _SMALL_BYTES:
                    bytes_left -= len(answer)
                    if bytes_left <= 0:
                        break
        self._get_bytes_left = bytes_left


def _done_without_answer(connection: ClientConnection) -> None:
    """A request is not under way any more, and nothing is owed for it here, which would end a connection that is to."""
    connection.in_flight -= 1
    connection.end_if_left()
