"""Keeps the leases of the cluster while this node leads it: keep-alives, what is told of leases, and their expiry.

`raftd.node.lease_clock` knows when a lease is due; here is when it is asked, and what comes of it. Everything that
rests on deadlines waits for a quorum's word that this node still leads. A lease for reads (`reads.lease`) is no such
word: clocks alone must not end a lease of the other kind.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from raftd.consensus.types import LogIndex, ProposalRefused, ReadId, Role, Term
from raftd.errors import InvariantViolation
from raftd.kv.answers import Outcome, encode
from raftd.kv.commands import Stamp, expire_leases
from raftd.kv.leases import LeaseTable
from raftd.kv.limits import ANSWER_BYTES_MAX, PAGE_ITEMS_MAX
from raftd.kv.pages import LeaseInfo, ListedLease, lease_body, leases_body
from raftd.kv.queries import LeaseQuery, LeasesQuery
from raftd.kv.types import LeaseId, Revision
from raftd.node.lease_clock import LeaseClock
from raftd.wire.watch import keep_alive_answer_body

PAUSE_SECONDS_MIN: Final = 0.1
"""A tick that is later than this says that the process stood still; what is less is a busy loop."""


class Leadership(Protocol):
    """What must be known of consensus, and done with it."""

    @property
    def role(self) -> Role:
        """This node's role."""
        ...

    @property
    def current_term(self) -> Term:
        """This node's term."""
        ...

    def term_at(self, index: LogIndex, /) -> Term | None:
        """The term of an entry, where the log reaches it."""
        ...

    def request_read(self, overdue_ticks: int = 0, *, by_quorum: bool = False) -> ReadId:
        """Ask whether this node leads. Raises: ProposalRefused."""
        ...

    def propose(self, commands: Sequence[bytes], /) -> LogIndex:
        """Propose commands. Raises: ProposalRefused."""
        ...


class Machine(Protocol):
    """What must be known of the state machine."""

    last_applied: LogIndex

    @property
    def revision(self) -> Revision:
        """The newest."""
        ...

    @property
    def leases(self) -> LeaseTable:
        """All leases; other ones after a snapshot was installed."""
        ...


class LeaseKeeper:
    """Keeps leases."""

    def __init__(self, leadership: Leadership, machine: Machine, now: Callable[[], float]) -> None:
        """`now` gives this node's monotonic clock, in seconds."""
        self._leadership = leadership
        self._machine = machine
        self._now = now
        self._clock = LeaseClock()
        self._server_stamp = Stamp("")
        self._settled_term: Term | None = None
        """The latest term that this node led and of which it has applied an entry."""
        self.read_id: ReadId | None = None
        """The ReadIndex that is to confirm that leases may be ended; None if none is under way."""

    @property
    def expired_total(self) -> int:
        """Leases whose expiry this node has proposed."""
        return self._clock.expired_total

    def tick(self, late_seconds: float, behind_seconds: float = 0.0) -> None:
        """Look for leases that are due, in a tick that comes so late.

        `behind_seconds` is how long committed entries have been waiting since the last tick: keep-alives wait for these
        as all reads do, so no lease ages meanwhile.
        """
        if behind_seconds:
            self._clock.pause(behind_seconds)
            return
        if late_seconds >= PAUSE_SECONDS_MIN:
            self._clock.pause(late_seconds)
        now = self._now()
        if not self._leads(now) or self.read_id is not None:
            return
        if self._clock.due(self._machine.leases, now, self._machine.last_applied):
            with contextlib.suppress(ProposalRefused):
                self.read_id = self._leadership.request_read(by_quorum=True)

    def confirmed(self, late_seconds: float) -> None:
        """This node led when `read_id` was asked for: end what is still due, unless a tick is so late.

        Between a pause and the tick that notices it all leases look older than they are.
        """
        self.read_id = None
        leases, now = self._machine.leases, self._now()
        if late_seconds >= PAUSE_SECONDS_MIN or not self._leads(now):
            return
        due = self._clock.due(leases, now, self._machine.last_applied)
        if due:
            # Whoever hands over takes no proposals: the next leader gives them all their time again.
            with contextlib.suppress(ProposalRefused):
                index = self._leadership.propose([self._server_stamp.at(0) + expire_leases(due)])
                self._clock.proposed(due, leases, index)

    def refused(self) -> None:
        """Nobody knows whether this node led."""
        self.read_id = None

    # Answers, of a leader that was confirmed; None: it is one no more.

    def keep_alive(self, lease_ids: Sequence[int], user: bytes, term: Term) -> bytes | None:
        """Let leases of a user live on, and answer for how long."""
        now = self._now()
        if not self._leads(now):
            return None
        leases, keep_alive = self._machine.leases, self._clock.keep_alive
        remaining_ms = [keep_alive(LeaseId(lease_id), user, leases, now) for lease_id in lease_ids]
        return encode(Outcome.OK, term, self._machine.revision, keep_alive_answer_body(remaining_ms))

    def answer(self, query: LeaseQuery | LeasesQuery, user: bytes | None, term: Term) -> bytes | None:
        """Answer what is asked of leases; `user` sees his own ones, None all."""
        now = self._now()
        if not self._leads(now):
            return None
        revision = self._machine.revision
        if isinstance(query, LeasesQuery):
            return encode(Outcome.OK, term, revision, self._list(query, user))
        leases = self._machine.leases
        lease = leases.get(query.lease)
        if lease is None or (user is not None and lease.user != user):
            return encode(Outcome.LEASE_NOT_FOUND, term, revision)
        remaining_ms = self._clock.remaining_ms(query.lease, leases, now)
        # Without the keys' lengths, and before they are sorted and joined: a lease may have tens of megabytes of them.
        if sum(map(len, lease.keys)) > ANSWER_BYTES_MAX:
            return encode(Outcome.RESULT_TOO_LARGE, term, revision)
        body = lease_body(LeaseInfo(lease.ttl_ms, remaining_ms, lease.user, sorted(lease.keys)))
        if len(body) > ANSWER_BYTES_MAX:
            return encode(Outcome.RESULT_TOO_LARGE, term, revision)
        return encode(Outcome.OK, term, revision, body)

    def _list(self, query: LeasesQuery, user: bytes | None) -> bytes:
        leases = self._machine.leases
        limit = min(query.limit or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX)
        listed: list[ListedLease] = []
        for lease_id in leases.ids_after(query.after, user):
            lease = leases.get(lease_id)
            if lease is None:
                raise InvariantViolation(f"lease {lease_id} is listed and not there")
            if len(listed) == limit:
                return leases_body(listed, more=True)
            listed.append(ListedLease(lease_id, lease.ttl_ms, len(lease.keys), lease.user))
        return leases_body(listed, more=False)

    def _leads(self, now: float) -> bool:
        """Whether this node leads, and has applied an entry of its term; the clock hears of it."""
        leadership = self._leadership
        term = leadership.current_term
        if leadership.role is not Role.LEADER:
            term_led = None
        elif term == self._settled_term or leadership.term_at(self._machine.last_applied) == term:
            term_led = self._settled_term = term
        else:
            term_led = None
        return self._clock.lead(term_led, self._machine.leases, now)
