"""The replicated state machine: committed entries in, answers out, the same on every node (paper §2).

`StateMachine.apply` is total. Whatever bytes an entry holds, it returns an answer and never raises for them: an entry
that made one node raise would stop every node, again at each restart, for ever. Bytes are parsed in full before
anything is changed, so an invalid command has no effect besides its answer; and a write that is more than a plain PUT
or DELETE is carried out on a draft first (`raftd.kv.draft`), so that one that cannot be done has none either.

Nothing that can be seen from outside depends on the order of a dict or set, on a clock, or on entropy.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, TypeAlias

from raftd.consensus.types import NO_INDEX, LogIndex, Term
from raftd.errors import InvariantViolation
from raftd.kv import answers
from raftd.kv.answers import Outcome, encode_put
from raftd.kv.audit import audit_of
from raftd.kv.commands import InvalidCommand, Opcode, Parsed, Write, parse, parse_stamped
from raftd.kv.digest import digest_of
from raftd.kv.draft import Draft
from raftd.kv.execution import Execution, Refused, first_keys
from raftd.kv.history import History
from raftd.kv.leases import Lease, LeaseTable
from raftd.kv.letting_go import in_pieces
from raftd.kv.limits import EXPIRED_KEYS_MAX, Limits
from raftd.kv.operations import Delete, DeleteRange, Increment, Put, Transaction
from raftd.kv.queries import HistoryQuery, RangeQuery
from raftd.kv.reads import Reading, begin_reading
from raftd.kv.results import delete_range_body
from raftd.kv.sessions import Session, SessionTable
from raftd.kv.snapshot import SnapshotReader, State
from raftd.kv.stamps import ParsedStamp
from raftd.kv.store import NO_REVISION, Store
from raftd.kv.types import NO_LEASE, LeaseId, NetChange, Record, Revision, SessionId

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_PUT: Final = Opcode.PUT
_TOO_MANY_IN_FLIGHT: Final = Outcome.TOO_MANY_IN_FLIGHT.value

_MANY_MIN: Final = 16
_PART_MAX: Final = 512
"""Changes that are made at a time: few enough for all that they touch to stay in a processor's own cache."""

Origin: TypeAlias = tuple[bool, int, bytes, bytes]
"""Of a change: (by_lease, wall_clock_ms, user, address)."""


class StateMachine:
    """Keys, their history, sessions, leases and the cluster's clock, as of `last_applied`."""

    __slots__ = ("_sessions", "_store", "history", "last_applied", "leases", "limits", "state_hash")

    def __init__(self, limits: Limits | None = None) -> None:
        limits = self.limits = limits or Limits()
        self._store = Store()
        self._sessions = SessionTable(limits)
        self.leases = LeaseTable(limits)
        """To be read only; another one after `become`."""
        self.history = History(limits)
        """To be read only; another one after `become`."""
        self.last_applied = NO_INDEX
        self.state_hash = 0
        """CRC-32 chained over all answers so far: nodes that applied the same index show the same, or have diverged."""

    @classmethod
    def restored(cls, state: State) -> "StateMachine":
        """Make a machine of the state of another one; `raftd.kv.snapshot_loader` has it from a snapshot."""
        machine = cls()
        machine._store, machine._sessions = state.store, state.sessions
        machine.leases, machine.history = state.leases, state.history
        machine.last_applied = state.last_applied
        machine.state_hash = state.state_hash
        return machine

    def become(self, other: "StateMachine") -> Iterator[int]:
        """Take over the state of `other`, which must not be used any more.

        For a node that has been sent a snapshot: whoever holds this machine goes on with the new state. A reader of the
        old one may be read on or closed; it keeps the old state in memory until then.

        Returns:
            As `let_go`, for the old state; then no reader of it must be left.
        """
        remains = self.let_go()
        self._store, self._sessions = other._store, other._sessions  # noqa: SLF001 - another one of this class
        self.leases, self.history = other.leases, other.history
        self.last_applied = other.last_applied
        self.state_hash = other.state_hash
        return remains

    def let_go(self) -> Iterator[int]:
        """Give up the present state, which must not be used any more, piece by piece (`raftd.kv.letting_go`).

        Returns:
            What frees a piece with each step, and ends when there is nothing left; dropped, it frees the rest at once.
        """
        # The store comes last, and frees what the others refer to, too.
        parts = (self._sessions, self.leases, self.history, self._store)
        return in_pieces(chain.from_iterable(part.let_go() for part in parts))

    def begin_anew(self, gap: int) -> None:
        """Go on as the state of another cluster, with keys, sessions and leases, and so much further on.

        Sessions and leases are named by the index that made them, and locks by revisions. What the old cluster did
        after this state is forgotten, but not by its clients. So no name of then may be given a second time: index and
        revision leave out `gap`, which has to be more than what the old cluster can have come to. The changes that were
        held go, for a watch that goes on from a revision of then must be told that it has missed something.
        """
        self.last_applied = LogIndex(self.last_applied + gap)
        self._store.revision = Revision(self._store.revision + gap)
        self.history = History(self.limits, self._store.revision)

    def items(self) -> Iterator[tuple[bytes, Record]]:
        """All keys in byte order, with what is kept of them; nothing may be applied meanwhile."""
        return iter(self._store)

    def begin_snapshot(self) -> SnapshotReader:
        """Begin a snapshot of the present state, to be read piece by piece while the machine goes on.

        Raises:
            LocalProtocolError: One is being read already.
        """
        return SnapshotReader(self._state())

    def apply(self, index: LogIndex, term: Term, data: bytes) -> bytes:
        """Apply the data of a COMMAND entry.

        Returns:
            The answer, for the client: `raftd.kv.answers` has its layout.

        Raises:
            InvariantViolation: `index` does not follow `last_applied`.
        """
        if index != self.last_applied + 1:
            self._refuse_index(index)
        self.last_applied = index
        try:
            stamp, parsed = parse_stamped(data)
        except InvalidCommand:
            answer = answers.encode(Outcome.INVALID, term, self._store.revision)
        else:
            # Only writes have a sequence.
            if parsed[2]:
                answer = self._write_once(term, stamp, parsed, data)
            else:
                answer = self._control(index, term, stamp, parsed)
        self.state_hash = zlib.crc32(answer, self.state_hash)
        return answer

    def skip(self, index: LogIndex) -> None:
        """Pass over an entry that is not a command.

        Raises:
            InvariantViolation: `index` does not follow `last_applied`.
        """
        if index != self.last_applied + 1:
            self._refuse_index(index)
        self.last_applied = index

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None if it is absent."""
        record = self._store.get(key)
        return None if record is None else record[-1]

    def answer_get(self, key: bytes, term: Term) -> bytes:
        """The answer to a get of `key`, by a node in `term`."""
        record = self._store.get(key)
        if record is None:
            return answers.encode(Outcome.NOT_FOUND, term, self._store.revision)
        return answers.encode_get(term, self._store.revision, record)

    def answer(self, query: RangeQuery | HistoryQuery, term: Term) -> bytes:
        """The answer to a query about more than one present value, by a node in `term`, however long it takes."""
        reading = begin_reading(query)
        answer = None
        while answer is None:
            answer = self.go_on(reading, term)
        return answer

    def go_on(self, reading: Reading, term: Term) -> bytes | None:
        """Take one step of answering a query (`raftd.kv.reads`), by a node that is in `term` now.

        Returns:
            The answer, which is of one moment, whatever was applied since the first step; None: it takes a further one.
        """
        return reading.step(self._store, self.history, term)

    def grows(self, data: bytes, start: int = 0, *, or_stays: bool = False) -> bool:
        """Whether the command from `start` to the end of `data` would make more keys or bytes, if it were applied now.

        A write that is remembered as done would not, nor would one that cannot be done. With `or_stays`: whether it
        would make no fewer bytes, and so takes room in the log and gives none back, also where it changes nothing.
        """
        try:
            opcode, session_id, sequence, _, argument, key, value_start = parse(data, start)
        except InvalidCommand:
            return False
        if self._sessions.has_answered(session_id, sequence):
            return False
        if isinstance(argument, Write):
            # What needs no rehearsal is what is sent most where there is no room: deletions.
            is_deletion = isinstance(argument.operation, Delete | DeleteRange)
            return not is_deletion and self._would_grow(argument, or_stays=or_stays)
        if opcode is not _PUT:
            return False
        record = self._store.get(key)
        modify_revision, value_bytes = (NO_REVISION, -1) if record is None else (record[1], len(record[-1]))
        return argument in {None, modify_revision} and len(data) - value_start + or_stays > value_bytes

    def _would_grow(self, write: Write, *, or_stays: bool) -> bool:
        draft = self._rehearse(write)
        if draft is None:
            return or_stays
        more_keys, more_bytes = draft.growth()
        return more_bytes >= 0 if or_stays else more_keys > 0 or more_bytes > 0

    def hinges(self, data: bytes, start: int = 0, *, or_stays: bool = False) -> bool:
        """Whether a command for which `grows` says no may make the store grow all the same, behind others.

        A transaction that puts something may, since what it deletes instead may be gone by then; with `or_stays` any
        transaction counts, since it takes room in the log whatever is left for it to delete. And so may a single write
        that cannot be done now. One that can overwrites as much as is there, or fails; a deletion never adds; and what
        is remembered as done is not done again.
        """
        try:
            opcode, session_id, sequence, _, argument, key, _ = parse(data, start)
        except InvalidCommand:
            return False
        if self._sessions.has_answered(session_id, sequence):
            return False
        if isinstance(argument, Write):
            if isinstance(argument.operation, Transaction):
                return or_stays or _puts(argument.operation)
            return not isinstance(argument.operation, Delete | DeleteRange) and self._rehearse(argument) is None
        if opcode is not _PUT or argument is None:
            return False
        record = self._store.get(key)
        return argument != (NO_REVISION if record is None else record[1])

    def _rehearse(self, write: Write) -> Draft | None:
        """What a write would change, if it were applied now; None: it cannot be done."""
        draft = Draft(self._store, self.leases, b"")
        try:
            Execution(draft, self.leases, None).run(write)
        except Refused:
            return None
        return draft

    @property
    def revision(self) -> Revision:
        """How many commands have changed a key."""
        return self._store.revision

    @property
    def clock_ms(self) -> int:
        """The cluster's clock: milliseconds that leaders have seen pass."""
        return self._sessions.clock_ms

    @property
    def key_count(self) -> int:
        """Keys that are there."""
        return len(self._store)

    @property
    def bytes_total(self) -> int:
        """Bytes of all keys and values."""
        return self._store.bytes_total

    @property
    def session_count(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    @property
    def sessions_expired_total(self) -> int:
        """Sessions that have expired since the log began."""
        return self._sessions.expired_total

    @property
    def answer_bytes(self) -> int:
        """Bytes of all remembered answers."""
        return self._sessions.answer_bytes

    def digest(self) -> bytes:
        """SHA-256 of the whole state in a canonical order; goes over everything, so it is for tests and audits."""
        return digest_of(self._state())

    def audit(self) -> int:
        """A hash of a part of the state as of `last_applied`, to compare nodes by (`raftd.kv.audit`)."""
        return audit_of(self._state())

    def _state(self) -> State:
        return State(self._store, self._sessions, self.leases, self.history, self.last_applied, self.state_hash)

    def _refuse_index(self, index: LogIndex) -> None:
        raise InvariantViolation(f"entry {index} is to be applied after entry {self.last_applied}")

    def _write_once(self, term: Term, stamp: ParsedStamp, parsed: Parsed, data: bytes) -> bytes:
        """Apply a write, unless its session and sequence say that this must not happen (again)."""
        _, session_id, sequence, first_unanswered, argument, key, _ = parsed
        sessions = self._sessions
        session = sessions.touch(session_id, stamp[1], first_unanswered)
        if session is None:
            return answers.encode(Outcome.SESSION_EXPIRED, term, self._store.revision)
        remembered = session.answers.get(sequence)
        if remembered is not None:
            return remembered
        refusal = sessions.refusal(session, sequence)
        if refusal is not None:
            return answers.encode(refusal, term, self._store.revision)
        if session.address != stamp[2]:
            session.address = stamp[2]
        if key:
            answer = self._write_plainly(term, session, stamp[0], parsed, data)
        elif isinstance(argument, Write):
            answer = self._execute(term, session, stamp[0], argument)
        else:
            answer = self._change_lease(term, session, stamp[0], parsed)
        if answer[0] != _TOO_MANY_IN_FLIGHT:
            sessions.remember(session, sequence, answer)
        return answer

    def _write_plainly(self, term: Term, session: Session, wall_clock_ms: int, parsed: Parsed, data: bytes) -> bytes:
        """Apply a PUT or DELETE of one key, which nearly all commands are, without a draft."""
        opcode, _, _, _, expected_revision, key, value_start = parsed
        store = self._store
        if expected_revision is not None:
            found = store.get(key)
            modify_revision = NO_REVISION if found is None else found[1]
            if modify_revision != expected_revision:
                return answers.encode_compare_failed(term, store.revision, modify_revision)
        record: Record | None
        if opcode is _PUT:
            previous, record = store.put(key, data[value_start:], session.user)
            answer = encode_put(term, store.revision, record[2], record[0])
        else:
            previous, record = store.get(key), None
            if previous is None:
                return answers.encode(Outcome.NOT_FOUND, term, store.revision)
            store.revision = Revision(store.revision + 1)
            store.change(key, previous, None)
            answer = answers.encode(Outcome.OK, term, store.revision)
        if previous is not None and previous[3]:
            self.leases.detach(previous[3], key)
        if self.history.append(
            (
                store.revision,
                key,
                previous,
                record,
                False,
                wall_clock_ms,
                session.user,
                session.address,
                self._sessions.clock_ms,
            )
        ):
            self.history.trim()
        return answer

    def _execute(self, term: Term, session: Session, wall_clock_ms: int, write: Write) -> bytes:
        """Apply any write of keys."""
        origin = (False, wall_clock_ms, session.user, session.address)
        operation = write.operation
        if isinstance(operation, DeleteRange) and not operation.previous and write.fence is None:
            return self._delete_range(term, operation, origin)
        draft = Draft(self._store, self.leases, session.user)
        try:
            outcome, body = Execution(draft, self.leases, session.user).run(write)
        except Refused as refused:
            revision = self._store.revision
            if refused.outcome is Outcome.COMPARE_FAILED:
                return answers.encode_compare_failed(term, revision, refused.revision)
            if refused.outcome is Outcome.FENCED:
                return answers.encode_fenced(term, revision, refused.revision)
            return answers.encode(refused.outcome, term, revision)
        if len(body) > self._sessions.room_bytes(session):
            return answers.encode(Outcome.TOO_MANY_IN_FLIGHT, term, self._store.revision)
        changes = draft.changes()
        if len(changes) < _MANY_MIN:
            self._commit_few(changes, origin)
        else:
            self._commit(changes, origin)
        return answers.encode(outcome, term, self._store.revision, body)

    def _delete_range(self, term: Term, wanted: DeleteRange, origin: Origin) -> bytes:
        """Apply a DELETE_RANGE that asks for nothing and depends on nothing: it cannot fail, so it needs no draft."""
        store = self._store
        keys, more = first_keys(store.sorted_keys.between(wanted.low, wanted.high), wanted.limit)
        self._commit(((key, store.get(key), None) for key in keys), origin)
        return answers.encode(Outcome.OK, term, store.revision, delete_range_body(len(keys), more=more))

    def _commit(self, changes: Iterable[NetChange], origin: Origin) -> None:
        """Make changes of distinct keys, as one revision; without any there is no new revision.

        Some at a time: of ten thousand keys each would be fetched from memory anew in each step of it.
        """
        store, history = self._store, self.history
        revision = Revision(store.revision + 1)
        by_lease, wall_clock_ms, user, address = origin
        clock_ms = self._sessions.clock_ms
        is_full = False
        changes = iter(changes)
        while part := list(islice(changes, _PART_MAX)):
            store.revision = revision
            store.change_all(part)
            for change in part:
                self._move_lease(*change)
            is_full = history.extend(
                [
                    (revision, key, previous, record, by_lease, wall_clock_ms, user, address, clock_ms)
                    for key, previous, record in part
                ]
            )
        if is_full:
            history.trim()

    def _commit_few(self, changes: Sequence[NetChange], origin: Origin) -> None:
        """As `_commit`, of less than `_MANY_MIN` changes: what is done for many together costs these more."""
        store, history = self._store, self.history
        revision = Revision(store.revision + 1)
        clock_ms = self._sessions.clock_ms
        is_full = False
        for key, previous, record in changes:
            store.revision = revision
            store.change(key, previous, record)
            self._move_lease(key, previous, record)
            is_full = history.append((revision, key, previous, record, *origin, clock_ms))
        if is_full:
            history.trim()

    def _move_lease(self, key: bytes, previous: Record | None, record: Record | None) -> None:
        """Take a changed key from the lease that it had to the one that it has."""
        before = NO_LEASE if previous is None else previous[3]
        after = NO_LEASE if record is None else record[3]
        if before != after:
            if before:
                self.leases.detach(before, key)
            if after:
                self.leases.attach(after, key)

    def _change_lease(self, term: Term, session: Session, wall_clock_ms: int, parsed: Parsed) -> bytes:
        """Apply LEASE_GRANT or LEASE_REVOKE; the id of a lease is the index of the entry that grants it."""
        opcode, _, _, _, argument, _, _ = parsed
        leases = self.leases
        number = argument if isinstance(argument, int) else 0
        if opcode is Opcode.LEASE_GRANT:
            granted = leases.grant(LeaseId(self.last_applied), session.user, number)
            if granted is None:
                return answers.encode(Outcome.LEASE_LIMIT, term, self._store.revision)
            return answers.encode_lease_grant(term, self._store.revision, granted.lease_id, granted.ttl_ms)
        lease = leases.of_user(LeaseId(number), session.user)
        if lease is None:
            return answers.encode(Outcome.LEASE_NOT_FOUND, term, self._store.revision)
        deleted_count = self._end_leases([lease], (True, wall_clock_ms, session.user, session.address))
        return answers.encode_lease_revoke(term, self._store.revision, deleted_count)

    def _expired(self, named: Sequence[LeaseId]) -> list[Lease]:
        """Of the leases that a leader names those that end now.

        It has counted their keys, but others may have come to them since: a client may have tens of thousands of writes
        in the log. What would be too much in one step is left, and the leader names it anew.
        """
        expired: list[Lease] = []
        keys_left = EXPIRED_KEYS_MAX
        for lease in map(self.leases.get, named):
            if lease is not None:
                keys_left -= len(lease.keys)
                if keys_left < 0:
                    break
                expired.append(lease)
        return expired

    def _end_leases(self, ended: Sequence[Lease], origin: Origin) -> int:
        """End leases, and delete their keys as one revision; returns how many these were."""
        store = self._store
        keys = sorted(chain.from_iterable(lease.keys for lease in ended))
        self._commit(((key, store.get(key), None) for key in keys), origin)
        for lease in ended:
            self.leases.remove(lease)
        return len(keys)

    def _control(self, index: LogIndex, term: Term, stamp: ParsedStamp, parsed: Parsed) -> bytes:
        """Apply a command that is not exactly once: about sessions, or a server's."""
        opcode, session_id, _, first_unanswered, argument, _, _ = parsed
        wall_clock_ms, user, address = stamp
        number = argument if isinstance(argument, int) else 0
        sessions = self._sessions
        found = True
        match opcode:
            case Opcode.OPEN_SESSION:
                opened = sessions.open(SessionId(index), user, number)
                if opened is None:
                    return answers.encode(Outcome.SESSION_LIMIT, term, self._store.revision)
                return answers.encode_open_session(term, self._store.revision, SessionId(index), opened.ttl_ms)
            case Opcode.CLOSE_SESSION:
                found = sessions.close(session_id, user)
            case Opcode.KEEP_ALIVE:
                found = sessions.touch(session_id, user, first_unanswered) is not None
            case Opcode.ADVANCE_CLOCK:
                sessions.advance_clock(number)
                self.history.trim_old(sessions.clock_ms)
            case Opcode.EXPIRE_LEASES:
                named = () if not isinstance(argument, tuple) or isinstance(argument, Write) else argument
                self._end_leases(self._expired(named), (True, wall_clock_ms, user, address))
            case _:
                raise InvariantViolation(f"{opcode.name} reached the commands without a sequence")
        return answers.encode(Outcome.OK if found else Outcome.SESSION_EXPIRED, term, self._store.revision)


def _puts(transaction: Transaction) -> bool:
    """Whether one of its operations, done or not, would write a key."""
    return any(
        _puts(each) if isinstance(each, Transaction) else isinstance(each, Put | Increment)
        for each in (*transaction.then, *transaction.otherwise)
    )
