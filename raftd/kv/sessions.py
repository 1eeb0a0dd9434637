"""The session table: who may write, and which answers must be given again (thesis §6.3).

A session remembers its answers from its first unanswered sequence on. What the table does with a sequence of a session:

    below first_unanswered                      SEQUENCE_ANSWERED: the client has said that it needs no answer
    remembered                                  the remembered answer, byte for byte
    first_unanswered + in_flight_max or above   TOO_MANY_IN_FLIGHT, not remembered
    any other, with too many answers of its     TOO_MANY_IN_FLIGHT, not remembered, where this session remembers one
    user, or of all users                       already, or the new one would be long
    any other                                   applied, and its answer remembered

`first_unanswered` never goes back, so a delayed duplicate cannot bring a forgotten sequence to life: each sequence is
applied at most once, however its copies are reordered.

The clock is the cluster's, in milliseconds. It moves by logged entries only, and sessions expire only then: nodes
agree. Between two of those entries it stands still, so a command that comes at the end of such an interval looks as old
as the interval. A session is therefore given one more interval, `advance_ms_max`, and no single entry moves the clock
further than that: a session lives for its time to live after its last command, and up to two intervals longer.

Deadlines are kept in a heap that is mended lazily: one item a session, with a deadline that may be too early by
now, since commands make sessions live longer all the time. An item that comes up too early goes back with the true
deadline. So a command costs nothing here, and a session is looked at once per time to live. No result depends on the
heap's inner order.

A walk (`SessionWalk`) shows the sessions as they were when it began, some at a time, while commands go on: the first
command that touches or ends a session whose turn is still to come leaves a copy of it with the walk.
"""

import heapq
from collections.abc import Iterator
from typing import Final

from raftd.errors import LocalProtocolError
from raftd.kv.answers import Outcome
from raftd.kv.letting_go import drop_all
from raftd.kv.limits import ANSWER_BYTES_MAX, ANSWER_OVERHEAD_BYTES, SHORT_ANSWER_BYTES_MAX, Limits
from raftd.kv.types import SessionId

CLOCK_MS_MAX: Final = (1 << 64) - 1
"""The clock stops here, so that it always fits its field."""

_HEAP_SLACK: Final = 64
_MANY_MIN: Final = 256
"""With so many deadlines that have come, all are looked at, instead of taking one after the other off the heap."""


class Share:
    """What one user has of the table, in all of his sessions together; for the table to change."""

    __slots__ = ("answer_bytes", "session_count")

    def __init__(self) -> None:
        self.session_count = 0
        self.answer_bytes = 0
        """Of his remembered answers, each with `ANSWER_OVERHEAD_BYTES`."""


class Session:
    """One client's session. Fields are the table's to change.

    Invariant: every remembered sequence is in [first_unanswered, first_unanswered + in_flight_max).
    """

    __slots__ = ("address", "answers", "first_unanswered", "last_active_ms", "share", "ttl_ms", "user")

    def __init__(self, user: bytes, ttl_ms: int, last_active_ms: int) -> None:
        self.user = user
        self.ttl_ms = ttl_ms
        """As granted, without the interval that the table adds."""
        self.last_active_ms = last_active_ms
        """What the clock showed at the last command."""
        self.first_unanswered = 1
        self.answers: dict[int, bytes] = {}
        self.address = b""
        """Where the last write came from: no part of the state, but one object for all of the session's changes."""
        self.share: Share
        """Its user's; there once the session is in a table. A write has it at hand, where a dict would have to be asked
        three times."""

    def copy(self) -> "Session":
        """Another one that is the same."""
        twin = Session(self.user, self.ttl_ms, self.last_active_ms)
        twin.first_unanswered = self.first_unanswered
        twin.answers = self.answers.copy()
        return twin


class SessionTable:
    """All open sessions, and the cluster's clock."""

    __slots__ = (
        "_deadlines",
        "_in_flight_max",
        "_limits",
        "_sessions",
        "_shares",
        "_walk",
        "answer_bytes",
        "answer_count",
        "clock_ms",
        "expired_total",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._in_flight_max = limits.in_flight_max
        self._sessions: dict[SessionId, Session] = {}
        self._shares: dict[bytes, Share] = {}
        """Of each user; one without sessions is not there."""
        self._deadlines: list[tuple[int, SessionId]] = []
        self._walk: SessionWalk | None = None
        self.clock_ms = 0
        self.answer_bytes = 0
        """Of all remembered answers, without what Python needs to keep them."""
        self.answer_count = 0
        self.expired_total = 0
        """Sessions that expired since the log began; closed ones are not counted."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[tuple[SessionId, Session]]:
        """All sessions by id; sorts, so it is not for a request's path."""
        return iter(sorted(self._sessions.items()))

    def open(self, session_id: SessionId, user: bytes, ttl_ms: int) -> Session | None:
        """Open a session that lives `ttl_ms` (0: the default), brought into bounds; None if there are too many."""
        limits = self._limits
        if len(self._sessions) >= limits.sessions_max:
            return None
        share = self._shares.get(user)
        if share is not None and share.session_count >= limits.sessions_per_user_max:
            return None
        granted_ms = max(limits.ttl_ms_min, min(ttl_ms or limits.ttl_ms_default, limits.ttl_ms_max))
        session = Session(user, granted_ms, self.clock_ms)
        self._add(session_id, session)
        return session

    def let_go(self) -> Iterator[int]:
        """Give up all sessions, as `raftd.kv.letting_go` has it."""
        while self._sessions:
            yield 1 + len(self._sessions.popitem()[1].answers)
        yield from drop_all(self._deadlines)

    def touch(self, session_id: SessionId, user: bytes, first_unanswered: int) -> Session | None:
        """Note that the owner is active, and from which sequence on it still waits.

        Returns:
            The session; None if there is none or it is another user's, which nobody can tell apart.
        """
        session = self._sessions.get(session_id)
        if session is None or session.user != user:
            return None
        if self._walk is not None:
            self._walk.keep(session_id, session)
        session.last_active_ms = self.clock_ms
        if first_unanswered > session.first_unanswered:
            self._forget_below(session, first_unanswered)
        return session

    def refusal(self, session: Session, sequence: int) -> Outcome | None:
        """Why a sequence that is not remembered may not be applied; None if it may."""
        if sequence < session.first_unanswered:
            return Outcome.SEQUENCE_ANSWERED
        if sequence - session.first_unanswered >= self._in_flight_max:
            return Outcome.TOO_MANY_IN_FLIGHT
        # One short answer (`room_bytes`) is always allowed: else a session could be shut out by what others have the
        # table remember.
        if session.answers and self._is_full(session.share):
            return Outcome.TOO_MANY_IN_FLIGHT
        return None

    def room_bytes(self, session: Session) -> int:
        """How long the body of a further answer may be that the session is to remember.

        Without this, each of a user's twenty thousand sessions could have every node remember the longest answer there
        is: thirty gigabytes.
        """
        return SHORT_ANSWER_BYTES_MAX if self._is_full(session.share) else ANSWER_BYTES_MAX

    def _is_full(self, share: Share) -> bool:
        """Whether too much is remembered for this user, or for all.

        His own bound is the one that he meets: else one who never says what he has got would have the table full, and
        everybody else wait for him.
        """
        limits = self._limits
        return (
            share.answer_bytes >= limits.answer_bytes_per_user_max
            or self.answer_bytes + ANSWER_OVERHEAD_BYTES * self.answer_count >= limits.answer_bytes_max
        )

    def has_answered(self, session_id: SessionId, sequence: int) -> bool:
        """Whether an answer to the sequence is remembered."""
        session = self._sessions.get(session_id)
        return session is not None and sequence in session.answers

    def remember(self, session: Session, sequence: int, answer: bytes) -> None:
        """Keep the answer to a sequence for which `refusal` gave None, in a session that the same command touched."""
        session.answers[sequence] = answer
        answer_bytes = len(answer)
        self.answer_bytes += answer_bytes
        self.answer_count += 1
        session.share.answer_bytes += answer_bytes + ANSWER_OVERHEAD_BYTES

    def close(self, session_id: SessionId, user: bytes) -> bool:
        """Forget a session and its answers.

        Returns:
            Whether there was such a session of this user.
        """
        session = self._sessions.get(session_id)
        if session is None or session.user != user:
            return False
        self._remove(session_id, session)
        # A closed session's item stays in the heap until it comes up, and a client may open and close all day long.
        if len(self._deadlines) > 2 * len(self._sessions) + _HEAP_SLACK:
            self._deadlines = [(self._deadline_ms(left), left_id) for left_id, left in self._sessions.items()]
            heapq.heapify(self._deadlines)
        return True

    def advance_clock(self, elapsed_ms: int) -> None:
        """Move the clock, by `advance_ms_max` at most, and forget every session whose deadline has come."""
        elapsed_ms = min(elapsed_ms, self._limits.advance_ms_max)
        clock_ms = self.clock_ms = min(self.clock_ms + elapsed_ms, CLOCK_MS_MAX)
        postponed: list[tuple[int, SessionId]] = []
        for session_id in self._take_due():
            session = self._sessions.get(session_id)
            if session is None:
                continue
            deadline_ms = self._deadline_ms(session)
            if deadline_ms > clock_ms:
                postponed.append((deadline_ms, session_id))
            else:
                self._remove(session_id, session)
                self.expired_total += 1
        deadlines = self._deadlines
        if len(postponed) < _MANY_MIN:
            for item in postponed:
                heapq.heappush(deadlines, item)
        else:
            deadlines += postponed
            heapq.heapify(deadlines)

    def _take_due(self) -> list[SessionId]:
        """Take off the heap whatever has come up: of sessions that were opened together, all at the same time."""
        clock_ms, deadlines = self.clock_ms, self._deadlines
        due: list[SessionId] = []
        while deadlines and deadlines[0][0] <= clock_ms:
            if len(due) == _MANY_MIN:
                due += [session_id for deadline_ms, session_id in deadlines if deadline_ms <= clock_ms]
                self._deadlines = [item for item in deadlines if item[0] > clock_ms]
                heapq.heapify(self._deadlines)
                break
            due.append(heapq.heappop(deadlines)[1])
        return due

    def _deadline_ms(self, session: Session) -> int:
        """The session is over as soon as the cluster's clock shows this."""
        return session.last_active_ms + session.ttl_ms + self._limits.advance_ms_max

    def restore(self, session_id: SessionId, session: Session) -> bool:
        """Put back what a walk has shown, without answers: `remember` is for those. The clock must have been set.

        Returns:
            Whether it was put back: one that is over at the present clock is not.
        """
        if self._deadline_ms(session) <= self.clock_ms:
            return False
        self._add(session_id, session)
        return True

    def begin_walk(self) -> "SessionWalk":
        """Begin a walk over all sessions as they are now; `end_walk` must follow, whether it came to its end or not.

        Raises:
            LocalProtocolError: There is a walk already.
        """
        if self._walk is not None:
            raise LocalProtocolError("the sessions are being walked over already")
        self._walk = SessionWalk(self._sessions)
        return self._walk

    def end_walk(self) -> None:
        """Keep nothing for a walk any more."""
        self._walk = None

    def _forget_below(self, session: Session, first_unanswered: int) -> None:
        answers = session.answers
        # No answer is remembered from first_unanswered + in_flight_max on, however far the client says it has come.
        skipped = first_unanswered - session.first_unanswered
        if skipped > self._in_flight_max:
            self._uncount(session)
            answers.clear()
        else:
            before, forgotten_bytes = len(answers), 0
            for sequence in range(session.first_unanswered, first_unanswered):
                forgotten_bytes += len(answers.pop(sequence, b""))
            # As `_uncount`, without the call: nearly every write comes this way.
            forgotten = before - len(answers)
            self.answer_bytes -= forgotten_bytes
            self.answer_count -= forgotten
            session.share.answer_bytes -= forgotten_bytes + ANSWER_OVERHEAD_BYTES * forgotten
        session.first_unanswered = first_unanswered

    def _add(self, session_id: SessionId, session: Session) -> None:
        self._sessions[session_id] = session
        share = session.share = self._shares.setdefault(session.user, Share())
        share.session_count += 1
        heapq.heappush(self._deadlines, (self._deadline_ms(session), session_id))

    def _remove(self, session_id: SessionId, session: Session) -> None:
        if self._walk is not None:
            self._walk.keep(session_id, session)
        del self._sessions[session_id]
        share = session.share
        share.session_count -= 1
        if not share.session_count:
            del self._shares[session.user]
        if session.answers:
            self._uncount(session)

    def _uncount(self, session: Session) -> None:
        """Count off all answers of a session, which are about to be forgotten."""
        answer_bytes, answer_count = sum(map(len, session.answers.values())), len(session.answers)
        self.answer_bytes -= answer_bytes
        self.answer_count -= answer_count
        session.share.answer_bytes -= answer_bytes + ANSWER_OVERHEAD_BYTES * answer_count


class SessionWalk:
    """One pass over the sessions as they were when this was made, by id.

    Invariant: each session of then is either at or before `_position`, and was given out; or behind, and in the table
    as it was; or behind, and in `_kept`.
    """

    __slots__ = ("_ids", "_kept", "_newest", "_next", "_position", "_sessions", "session_count")

    def __init__(self, sessions: dict[SessionId, Session]) -> None:
        """Use `SessionTable.begin_walk`."""
        self._sessions = sessions
        # The one thing that is done for all sessions at once: a millisecond for as many as there may be.
        self._ids = sorted(sessions)
        self._kept: dict[SessionId, Session] = {}
        self._next = 0
        self._position = 0
        self._newest = self._ids[-1] if self._ids else 0
        self.session_count = len(self._ids)

    def keep(self, session_id: SessionId, session: Session) -> None:
        """Take note of a session that is changed or ended now."""
        if self._position < session_id <= self._newest and session_id not in self._kept:
            self._kept[session_id] = session.copy()

    def resume(self) -> Iterator[tuple[SessionId, Session]]:
        """Go on where the walk was left. Leave it before the table changes, and begin anew with a further call."""
        for position in range(self._next, self.session_count):
            session_id = self._ids[position]
            self._next = position + 1
            self._position = session_id
            session = self._kept.pop(session_id, None)
            yield session_id, self._sessions[session_id] if session is None else session
