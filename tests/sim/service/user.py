"""A user of everything that the service has but watches: writes of several keys, reads, leases that are held."""

import random
from typing import TYPE_CHECKING

from raftd.client.lease_time import LeaseTime
from raftd.kv import answers, commands
from raftd.kv.answers import Answer, Outcome
from raftd.kv.operations import Put, Transaction, Write
from raftd.kv.results import decode_transaction
from raftd.kv.types import LeaseId, SessionId
from raftd.wire.client import RequestKind
from raftd.wire.watch import decode_keep_alive_answer, encode_keep_alive_body
from tests.sim.service.asker import Asker, Question
from tests.sim.service.reader import Reader
from tests.sim.service.wishes import LOCK, Wishes

if TYPE_CHECKING:
    from tests.sim.service.service import Service
    from tests.sim.world import World

_SEQUENCES_MAX = 8
"""Above the first that has no answer; see `Plan.machine_limits`."""
_HELD_MAX = 2
_LEASE_TTLS_MS = (1_000, 1_500, 3_000)


class User:
    """One user, with one session at a time."""

    def __init__(self, world: "World", service: "Service", number: int, draw: random.Random) -> None:
        self._world = world
        self._service = service
        self.name = f"user-{number}"
        self._draw = draw
        self._asker = Asker(world, self.name, draw)
        self._session: SessionId | None = None
        self._is_opening = False
        self._sequence = 0
        self._unanswered: dict[int, Question] = {}
        """Writes of this session by their sequences."""
        self._window = draw.choice((1, 1, 3))
        self._keeps_alive = draw.random() < 0.6
        """Whether leases are kept alive for long."""
        self._held: dict[LeaseId, LeaseTime] = {}
        self._keep_alives: set[LeaseId] = set()
        """Leases of which one is under way."""
        self._ended: dict[LeaseId, None] = {}
        """Leases that were held once."""
        self._wishes = Wishes(draw, service.reference.model, self._new_value)
        self._reader = Reader(world, service.reference, self._asker, self._wishes, draw)
        self._values = 0
        self.is_idle = False
        """Nothing new is asked."""

    def leave_unreachable(self) -> None:
        """Leave nodes that need not come back."""
        self._asker.leave_unreachable()

    def is_settled(self) -> bool:
        """Whether everything has its answer."""
        return not self._asker.open

    def think(self) -> None:
        """Ask something new, if there is room, and think again later."""
        world, draw, plan = self._world, self._draw, self._world.plan
        if not self.is_idle:
            if len(self._asker.open) < self._window:
                self._act()
            self._keep_alive()
        if world.is_chaotic and draw.random() < plan.stream_breaks:
            self._asker.break_off()
        pause = draw.expovariate(1 / max(plan.think_seconds, 0.05))
        if plan.has("short_sessions") and draw.random() < 0.03:
            pause += 8.0
        world.timeline.after(pause, self.think)

    def _act(self) -> None:
        if self._session is None:
            if not self._is_opening:
                self._is_opening = True
                self._asker.ask(
                    RequestKind.WRITE, commands.open_session(self._world.plan.session_ttl_ms), self._session_opened
                )
            return
        draw = self._draw
        chance = draw.random()
        self._wishes.leases = [*self._held, *list(self._ended)[-1:]]
        if chance < 0.3:
            self._reader.read()
        elif self._sequence + 1 - min(self._unanswered, default=self._sequence + 1) >= _SEQUENCES_MAX:
            return
        elif chance < 0.4 and len(self._held) < _HELD_MAX:
            self._write(None, commands.lease_grant(*self._head(), draw.choice(_LEASE_TTLS_MS)))
        elif chance < 0.43 and (self._held or self._ended):
            self._revoke(draw.choice([*self._held, *self._ended]))
        else:
            wanted = self._wishes.write()
            self._write(wanted, commands.write(*self._head(), wanted))

    # Sessions.

    def _session_opened(self, question: Question, answer: Answer, data: bytes) -> None:
        if question.is_answered:
            return
        self._session = answers.decode_open_session(answer.body).session
        self._world.oracle.session_opened(self._session, data)
        self._is_opening = False
        self._sequence = 0
        self._unanswered.clear()

    def _head(self) -> tuple[SessionId, int, int]:
        """Of the next write."""
        assert self._session is not None
        self._sequence += 1
        return self._session, self._sequence, min(self._unanswered, default=self._sequence)

    def _new_value(self) -> bytes:
        self._values += 1
        return f"{self.name}/{self._values}".encode() + b"." * self._draw.choice((0, 0, 0, 100))

    # Writes.

    def _write(self, wanted: Write | LeaseId | None, command: bytes) -> None:
        """Send a write; None: it grants a lease; or the lease that it revokes."""
        session, sequence = self._session, self._sequence

        def hear(question: Question, answer: Answer, data: bytes) -> None:
            assert session is not None
            self._world.oracle.answered(session, sequence, data)
            if question.is_answered:
                return
            if self._session == session:
                self._unanswered.pop(sequence, None)
            if answer.outcome in {Outcome.SESSION_EXPIRED, Outcome.SEQUENCE_ANSWERED, Outcome.TOO_MANY_IN_FLIGHT}:
                self._lost_session(session, answer.outcome)
                return
            is_change = (session, sequence) in self._world.oracle.changed
            self._asker.note_revision(question, answer, is_change=is_change)
            if isinstance(wanted, Write):
                self._written(wanted, answer)
            elif wanted is None:
                self._granted(question, answer)

        self._unanswered[sequence] = self._asker.ask(RequestKind.WRITE, command, hear)

    def _lost_session(self, session: SessionId, outcome: Outcome) -> None:
        world = self._world
        if outcome is not Outcome.SESSION_EXPIRED:
            world.oracle.fail(f"{self.name} is told {outcome.name} of a write without an answer")
        world.sometimes("session_expired")
        if session == self._session:
            self._session = None

    def _written(self, wanted: Write, answer: Answer) -> None:
        sometimes, operation = self._world.sometimes, wanted.operation
        if answer.outcome is Outcome.FENCED:
            sometimes("write_fenced")
        elif answer.outcome is Outcome.LEASE_NOT_FOUND:
            sometimes("put_on_lost_lease")
        elif answer.outcome is Outcome.OK and isinstance(operation, Transaction):
            if not decode_transaction(answer.body, operation).succeeded:
                sometimes("transaction_else")
        elif answer.outcome is Outcome.OUT_OF_RANGE or answer.outcome is Outcome.NOT_A_NUMBER:
            sometimes("transaction_refused")
        if isinstance(operation, Put) and operation.key == LOCK and answer.outcome is Outcome.OK:
            self._wishes.lock_revision = answers.decode_put(answer.body).create_revision

    # Leases.

    def _granted(self, question: Question, answer: Answer) -> None:
        if answer.outcome is Outcome.OK:
            lease, ttl_ms = answers.decode_lease_grant(answer.body)
            self._held[lease] = LeaseTime(ttl_ms / 1000, question.invoked)
            self._service.lease_times.promised(lease, self._held[lease].certain_until)

    def _revoke(self, lease: LeaseId) -> None:
        self._let_go(lease)
        self._service.lease_times.given_up(lease)
        self._write(lease, commands.lease_revoke(*self._head(), lease))

    def _keep_alive(self) -> None:
        """As a client does in the background."""
        now = self._world.timeline.now
        for lease, time in list(self._held.items()):
            if time.lost(now):
                self._let_go(lease)
                self._world.sometimes("lease_lost")
        due = [lease for lease, time in self._held.items() if time.due_at <= now and lease not in self._keep_alives]
        if self._ended and self._draw.random() < 0.3:
            # Who does not look at the clock asks for what is over, or just about to be.
            due += [lease for lease in list(self._ended)[-1:] if lease not in self._keep_alives]
        if not due or not (self._keeps_alive or self._draw.random() < 0.2):
            return
        self._keep_alives.update(due)

        def hear(question: Question, answer: Answer, _: bytes) -> None:
            self._asker.note_revision(question, answer)
            remaining = decode_keep_alive_answer(answer.body)
            if not question.is_answered:
                self._kept_alive(question, dict(zip(due, remaining, strict=True)))

        question = self._asker.ask(RequestKind.LEASE_KEEP_ALIVE, encode_keep_alive_body(due), hear)
        # Sent again, it would promise time from when it was sent first, and so it is of little use by then.
        self._world.timeline.after(0.9, self._end_keep_alive, question, due)

    def _kept_alive(self, question: Question, remaining: dict[LeaseId, int]) -> None:
        self._keep_alives.difference_update(remaining)
        for lease, remaining_ms in remaining.items():
            time = self._held.get(lease)
            if not remaining_ms:
                self._let_go(lease)
                continue
            self._world.sometimes("lease_kept_alive")
            if time is None:
                time = LeaseTime(remaining_ms / 1000, question.invoked)
            time.confirmed(question.invoked, self._world.timeline.now)
            self._service.lease_times.promised(lease, time.certain_until)

    def _end_keep_alive(self, question: Question, leases: list[LeaseId]) -> None:
        if not question.is_answered:
            self._asker.give_up(question)
            self._keep_alives.difference_update(leases)

    def _let_go(self, lease: LeaseId) -> None:
        self._held.pop(lease, None)
        self._ended[lease] = None
