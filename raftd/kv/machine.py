"""The replicated state machine: committed entries in, answers out, the same on every node (paper §2).

`StateMachine.apply` is total. Whatever bytes an entry holds, it returns an answer and never raises for them: an entry
that made one node raise would stop every node, again at each restart, for ever. Bytes are parsed in full before
anything is changed, so an invalid command has no effect besides its answer.

Nothing that can be seen from outside depends on the order of a dict or set, on a clock, or on entropy.
"""

import hashlib
import struct
import zlib
from typing import Final

from raftd.consensus.types import NO_INDEX, LogIndex, Term
from raftd.errors import InvariantViolation
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.commands import InvalidCommand, Opcode, Parsed, Revision, SessionId, Write, parse_stamped
from raftd.kv.limits import Limits
from raftd.kv.sessions import SessionTable
from raftd.kv.snapshot import SnapshotReader
from raftd.kv.store import Store

_DIGEST_HEAD: Final = struct.Struct("<QQQQIQQ")
_DIGEST_RECORD: Final = struct.Struct("<QQQQQQQ")
_DIGEST_SESSION: Final = struct.Struct("<QQQQQQ")
_DIGEST_ANSWER: Final = struct.Struct("<QQ")

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_PUT: Final = Opcode.PUT
_DELETE: Final = Opcode.DELETE


# The codec knows them already, and no node proposes them yet.
_NOT_YET: Final = frozenset((Opcode.LEASE_GRANT, Opcode.LEASE_REVOKE, Opcode.EXPIRE_LEASES))


class StateMachine:
    """Keys, sessions and the cluster's clock, as of `last_applied`."""

    __slots__ = ("_sessions", "_store", "last_applied", "state_hash")

    def __init__(self, limits: Limits | None = None) -> None:
        self._store = Store()
        self._sessions = SessionTable(limits or Limits())
        self.last_applied = NO_INDEX
        self.state_hash = 0
        """CRC-32 chained over all answers so far: nodes that applied the same index show the same, or have diverged."""

    @classmethod
    def restored(cls, store: Store, sessions: SessionTable, last_applied: LogIndex, state_hash: int) -> "StateMachine":
        """Make a machine of the parts of another one; `raftd.kv.snapshot_loader` has them from a snapshot."""
        machine = cls()
        machine._store = store
        machine._sessions = sessions
        machine.last_applied = last_applied
        machine.state_hash = state_hash
        return machine

    def become(self, other: "StateMachine") -> None:
        """Take over the state of `other`, which must not be used any more.

        For a node that has been sent a snapshot: whoever holds this machine goes on with the new state. A reader of the
        old one may be read on or closed; it keeps the old state in memory until then.
        """
        self._store, self._sessions = other._store, other._sessions  # noqa: SLF001 - another one of this class
        self.last_applied = other.last_applied
        self.state_hash = other.state_hash

    def begin_snapshot(self) -> SnapshotReader:
        """Begin a snapshot of the present state, to be read piece by piece while the machine goes on.

        Raises:
            LocalProtocolError: One is being read already.
        """
        return SnapshotReader(self._store, self._sessions, self.last_applied, self.state_hash)

    def apply(self, index: LogIndex, term: Term, data: bytes) -> bytes:
        """Apply the data of a COMMAND entry.

        Returns:
            The answer, for the client and to be remembered: `raftd.kv.answers` has its layout.

        Raises:
            InvariantViolation: `index` does not follow `last_applied`.
        """
        self._advance(index)
        try:
            (_, user, _), parsed = parse_stamped(data)
        except InvalidCommand:
            answer = answers.encode(Outcome.INVALID, term, self._store.revision)
        else:
            opcode, _, _, _, argument, _, _ = parsed
            if type(argument) is Write or opcode in _NOT_YET:
                answer = answers.encode(Outcome.INVALID, term, self._store.revision)
            elif opcode is _PUT or opcode is _DELETE:
                answer = self._write_once(term, user, parsed, data)
            else:
                answer = self._control(index, term, user, parsed)
        self.state_hash = zlib.crc32(answer, self.state_hash)
        return answer

    def skip(self, index: LogIndex) -> None:
        """Pass over an entry that is not a command.

        Raises:
            InvariantViolation: `index` does not follow `last_applied`.
        """
        self._advance(index)

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None if it is absent."""
        record = self._store.get(key)
        return None if record is None else record[-1]

    def answer_get(self, key: bytes, term: Term) -> bytes:
        """The answer to a get of `key`, by a leader of `term`."""
        record = self._store.get(key)
        if record is None:
            return answers.encode(Outcome.NOT_FOUND, term, self._store.revision)
        return answers.encode_get(term, self._store.revision, record)

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
        sessions = self._sessions
        digest = hashlib.sha256(
            _DIGEST_HEAD.pack(
                self.last_applied,
                self._store.revision,
                self._store.bytes_total,
                sessions.clock_ms,
                self.state_hash,
                sessions.answer_bytes,
                sessions.expired_total,
            )
        )
        for key, (create_revision, modify_revision, version, lease, user, value) in self._store:
            digest.update(
                _DIGEST_RECORD.pack(create_revision, modify_revision, version, lease, len(key), len(user), len(value))
            )
            digest.update(key)
            digest.update(user)
            digest.update(value)
        for session_id, session in sessions:
            digest.update(
                _DIGEST_SESSION.pack(
                    session_id,
                    session.ttl_ms,
                    session.last_active_ms,
                    session.first_unanswered,
                    len(session.user),
                    len(session.answers),
                )
            )
            digest.update(session.user)
            for sequence, answer in sorted(session.answers.items()):
                digest.update(_DIGEST_ANSWER.pack(sequence, len(answer)))
                digest.update(answer)
        return digest.digest()

    def _advance(self, index: LogIndex) -> None:
        if index != self.last_applied + 1:
            raise InvariantViolation(f"entry {index} is to be applied after entry {self.last_applied}")
        self.last_applied = index

    def _write_once(self, term: Term, user: bytes, parsed: Parsed, data: bytes) -> bytes:
        """Apply a write, unless its session and sequence say that this must not happen (again)."""
        _, session_id, sequence, first_unanswered, _, _, _ = parsed
        sessions = self._sessions
        session = sessions.touch(session_id, user, first_unanswered)
        if session is None:
            return answers.encode(Outcome.SESSION_EXPIRED, term, self._store.revision)
        remembered = session.answers.get(sequence)
        if remembered is not None:
            return remembered
        refusal = sessions.refusal(session, sequence)
        if refusal is not None:
            return answers.encode(refusal, term, self._store.revision)
        answer = self._write(term, session.user, parsed, data)
        sessions.remember(session, sequence, answer)
        return answer

    def _write(self, term: Term, user: bytes, parsed: Parsed, data: bytes) -> bytes:
        opcode, _, _, _, expected_revision, key, value_start = parsed
        store = self._store
        if expected_revision is not None:
            modify_revision = store.modify_revision(key)
            if modify_revision != expected_revision:
                return answers.encode_compare_failed(term, store.revision, modify_revision)
        if opcode is _PUT:
            create_revision, revision, version, _, _, _ = store.put(key, data[value_start:], user)
            return answers.encode_put(term, revision, version, create_revision)
        deleted = store.delete(key)
        return answers.encode(Outcome.OK if deleted else Outcome.NOT_FOUND, term, store.revision)

    def _control(self, index: LogIndex, term: Term, user: bytes, parsed: Parsed) -> bytes:
        """Apply a command about a session or the clock."""
        opcode, session_id, _, first_unanswered, argument, _, _ = parsed
        revision = self._store.revision
        sessions = self._sessions
        match opcode:
            case Opcode.OPEN_SESSION:
                opened = sessions.open(SessionId(index), user, argument if isinstance(argument, int) else 0)
                if opened is None:
                    return answers.encode(Outcome.SESSION_LIMIT, term, revision)
                return answers.encode_open_session(term, revision, SessionId(index), opened.ttl_ms)
            case Opcode.CLOSE_SESSION:
                found = sessions.close(session_id, user)
            case Opcode.KEEP_ALIVE:
                found = sessions.touch(session_id, user, first_unanswered) is not None
            case Opcode.ADVANCE_CLOCK:
                sessions.advance_clock(argument if isinstance(argument, int) else 0)
                found = True
            case _:
                raise InvariantViolation(f"{opcode.name} reached the commands about sessions")
        return answers.encode(Outcome.OK if found else Outcome.SESSION_EXPIRED, term, revision)
