"""What a user reads: keys, pages of one revision, histories, what is left of leases; all is compared to the log."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftd.client.paging import behind
from raftd.kv.answers import Answer, Outcome
from raftd.kv.operations import Get, Range
from raftd.kv.pages import decode_range
from raftd.kv.queries import HistoryQuery, LeaseQuery, Query, RangeQuery, encode_query
from raftd.kv.types import LeaseId, Revision
from raftd.wire.client import Consistency, RequestKind, encode_read_body
from tests.sim.service.asker import Asker, Question
from tests.sim.service.reference import Reference
from tests.sim.service.wishes import Wishes

if TYPE_CHECKING:
    from tests.sim.world import World


class Reader:
    """One user's reads."""

    def __init__(self, world: "World", reference: Reference, asker: Asker, wishes: Wishes, draw: random.Random) -> None:
        self._world = world
        self._reference = reference
        self._asker = asker
        self._wishes = wishes
        self._draw = draw

    def read(self) -> None:
        """Something."""
        draw, wishes = self._draw, self._wishes
        kind = draw.choice(("get", "get", "page", "page", "page", "history", "lease"))
        if kind == "page":
            self._read_page(wishes.wanted(), None, max(self._world.oracle.leaders, default=0))
        elif kind == "history":
            self._read_history(HistoryQuery(wishes.key(), draw.choice((0, 2)), values=draw.random() < 0.5))
        elif kind == "lease" and wishes.leases:
            self._ask_of_lease(draw.choice(wishes.leases))
        else:
            self._read_key(wishes.key())

    def _read_key(self, key: bytes) -> None:
        def hear(_: Question, answer: Answer) -> None:
            self._reference.check_get(key, answer)

        self._ask(Get(key), hear, stale=self._draw.random() < 0.3)

    def _read_page(self, wanted: Range, revision: int | None, first_term: int) -> None:
        """Read a page, and then the next one of the same revision."""

        def hear(question: Question, answer: Answer) -> None:
            world = self._world
            self._reference.check_page(wanted, revision, answer)
            if answer.outcome is Outcome.FUTURE_REVISION:
                world.oracle.fail(f"revision {revision} was shown, and is said to be to come")
            if answer.outcome is not Outcome.OK:
                world.sometimes("page_compacted")
                return
            shown = decode_range(answer.body, keys_only=wanted.keys_only)
            if revision is not None and question.term > first_term:
                world.sometimes("page_after_leader_change")
            if shown.more and shown.items and not question.is_answered:
                rest = wanted._replace(low=behind(shown.items[-1][0]))
                pause = self._draw.expovariate(2.0)
                world.timeline.after(pause, self._read_page, rest, shown.at_revision, first_term)

        self._ask(RangeQuery(wanted, None if revision is None else Revision(revision)), hear)

    def _read_history(self, query: HistoryQuery) -> None:
        def hear(_: Question, answer: Answer) -> None:
            self._reference.check_history(query, answer)

        self._ask(query, hear, stale=self._draw.random() < 0.3)

    def _ask_of_lease(self, lease: LeaseId) -> None:
        def hear(_: Question, answer: Answer) -> None:
            self._reference.check_lease(lease, answer)

        self._ask(LeaseQuery(lease), hear)

    def _ask(self, query: Query, hear: Callable[[Question, Answer], None], *, stale: bool = False) -> None:
        def hear_first(question: Question, answer: Answer, _: bytes) -> None:
            if not stale:
                self._asker.note_revision(question, answer)
            hear(question, answer)

        opcode, data = encode_query(query)
        consistency = Consistency.STALE if stale else Consistency.LINEARIZABLE
        self._asker.ask(RequestKind.READ, encode_read_body(consistency, opcode, data), hear_first)
