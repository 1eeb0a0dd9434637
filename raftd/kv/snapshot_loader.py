"""Makes a state machine of a snapshot that comes piece by piece, the mirror of `raftd.kv.snapshot`.

Pieces may be cut anywhere. Each is dealt with when it comes, so that the work of a piece is bounded by its length: a
node that is sent a snapshot can go on with everything else between two pieces. What is kept of an item that has not
come in full is what has come of it; its length is checked first.
"""

import enum
from typing import Final, assert_never

from raftd.consensus.types import NO_INDEX
from raftd.errors import DecodeError
from raftd.kv.history import History
from raftd.kv.history_loader import HistoryLoader
from raftd.kv.leases import LeaseTable
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX, Limits
from raftd.kv.machine import StateMachine
from raftd.kv.sessions import Session, SessionTable
from raftd.kv.snapshot import (
    ANSWER,
    HEAD,
    LEASE,
    RECORD,
    SESSION,
    State,
    decode_head,
)
from raftd.kv.store import Store
from raftd.kv.types import LeaseId, SessionId

_FORMAT_BYTES: Final = 12
"""As soon as so much of a snapshot has come, it can be told from another thing."""

# `Struct.size` makes an int each time it is asked.
_RECORD_BYTES: Final = RECORD.size


class _Section(enum.Enum):
    """What comes next."""

    HEAD = enum.auto()
    SESSION = enum.auto()
    ANSWERS = enum.auto()
    LEASES = enum.auto()
    KEYS = enum.auto()
    CHANGES = enum.auto()
    NOTHING = enum.auto()


class SnapshotLoader:
    """Takes the pieces of one snapshot, and gives the machine at the end.

    Args:
        limits: as for `StateMachine`.

    After an error, drop it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._store = Store()
        self._sessions = SessionTable(self._limits)
        self._leases = LeaseTable(self._limits)
        self._history = History(self._limits)
        self._last_applied = NO_INDEX
        self._state_hash = 0
        self._section = _Section.HEAD
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._wanted_bytes = _FORMAT_BYTES  # as soon as there are so many, something can be done
        # What the head promises and has not come yet.
        self._sessions_left = 0
        self._answer_bytes_left = 0
        self._leases_left = 0
        self._keys_left = 0
        self._bytes_total = 0
        self._history_bytes = 0
        # The session whose answers are coming.
        self._session = Session(b"", 0, 0)
        self._answers_left = 0
        # What came last, since everything ascends.
        self._last_session = 0
        self._last_sequence = 0
        self._last_lease = 0
        self._last_key = b""
        # Names and addresses are many times the same: one object is enough.
        self._shared: dict[bytes, bytes] = {}
        self._changes = HistoryLoader(self._history, self._store, 0, 0, self._shared)

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            DecodeError: This is not the snapshot of a state, or of another version.
        """
        self._pieces.append(piece)
        self._buffered_bytes += len(piece)
        if self._buffered_bytes < self._wanted_bytes:
            return
        data = b"".join(self._pieces)
        rest = data[self._take(data) :]
        self._pieces = [rest]
        self._buffered_bytes = len(rest)

    def finish(self) -> StateMachine:
        """Give the machine, when all pieces are there.

        Raises:
            DecodeError: The snapshot is not complete.
        """
        if self._section is not _Section.NOTHING:
            raise DecodeError(
                f"the snapshot ends too early: {self._sessions_left} sessions, {self._leases_left} leases, "
                f"{self._keys_left} keys and {self._changes.changes_left} changes are missing"
            )
        self._history.end_prepending()
        return StateMachine.restored(
            State(self._store, self._sessions, self._leases, self._history, self._last_applied, self._state_hash)
        )

    def _take(self, data: bytes) -> int:
        """Take what is complete, and return where it ends; `_wanted_bytes` is what the rest must become."""
        offset = 0
        self._wanted_bytes = 0
        while not self._wanted_bytes:
            match self._section:
                case _Section.HEAD:
                    offset = self._take_head(data)
                case _Section.SESSION:
                    offset = self._take_session(data, offset)
                case _Section.ANSWERS:
                    offset = self._take_answers(data, offset)
                case _Section.LEASES:
                    offset = self._take_leases(data, offset)
                case _Section.KEYS:
                    offset = self._take_keys(data, offset)
                case _Section.CHANGES:
                    offset = self._take_changes(data, offset)
                case _Section.NOTHING:
                    if offset < len(data):
                        raise DecodeError(f"{len(data) - offset} bytes follow the end of the snapshot")
                    self._wanted_bytes = 1
                case _:
                    assert_never(self._section)
        return offset

    def _take_head(self, data: bytes) -> int:
        head = decode_head(data)
        if head is None:
            self._wanted_bytes = HEAD.size
            return 0
        if head.session_count > self._limits.sessions_max:
            raise DecodeError(f"{head.session_count} sessions, where {self._limits.sessions_max} may be")
        if head.lease_count > self._limits.leases_max:
            raise DecodeError(f"{head.lease_count} leases, where {self._limits.leases_max} may be")
        if head.compacted_revision > head.revision:
            raise DecodeError(f"the changes up to {head.compacted_revision} are not held, at revision {head.revision}")
        self._sessions_left = head.session_count
        self._answer_bytes_left = head.answer_bytes
        self._leases_left = head.lease_count
        self._keys_left = head.key_count
        self._bytes_total = head.bytes_total
        self._history_bytes = head.history_bytes
        self._last_applied = head.last_applied
        self._state_hash = head.state_hash
        self._store = Store(head.revision)
        self._history = History(self._limits, head.compacted_revision)
        self._changes = HistoryLoader(self._history, self._store, head.clock_ms, head.change_count, self._shared)
        self._sessions.clock_ms = head.clock_ms
        self._sessions.expired_total = head.expired_total
        self._after_session()
        return HEAD.size

    def _after_session(self) -> None:
        """A further session comes next, or the leases."""
        if self._sessions_left:
            self._section = _Section.SESSION
            return
        if self._answer_bytes_left:
            raise DecodeError(f"the remembered answers have {self._answer_bytes_left} bytes fewer than the head says")
        self._section = _Section.LEASES

    def _take_session(self, data: bytes, offset: int) -> int:
        start = offset + SESSION.size
        if len(data) < start:
            self._wanted_bytes = SESSION.size
            return offset
        session_id, ttl_ms, last_active_ms, first_unanswered, user_length, answer_count = SESSION.unpack_from(
            data, offset
        )
        end: int = start + user_length
        if len(data) < end:
            self._wanted_bytes = end - offset
            return offset
        if not self._last_session < session_id <= self._last_applied:
            raise DecodeError(f"session {session_id} after {self._last_session}, at index {self._last_applied}")
        if last_active_ms > self._sessions.clock_ms or first_unanswered == 0:
            raise DecodeError(f"session {session_id} was active in the future, or has sequences from 0 on")
        self._session = Session(self._share(data[start:end]), ttl_ms, last_active_ms)
        self._session.first_unanswered = first_unanswered
        if not self._sessions.restore(SessionId(session_id), self._session):
            raise DecodeError(f"session {session_id} is over")
        self._sessions_left -= 1
        self._answers_left = answer_count
        self._last_session = session_id
        self._last_sequence = first_unanswered - 1
        self._section = _Section.ANSWERS
        return end

    def _take_answers(self, data: bytes, offset: int) -> int:
        session = self._session
        window_end = session.first_unanswered + self._limits.in_flight_max
        while self._answers_left:
            start = offset + ANSWER.size
            if len(data) < start:
                self._wanted_bytes = ANSWER.size
                return offset
            sequence, length = ANSWER.unpack_from(data, offset)
            if not self._last_sequence < sequence < window_end:
                raise DecodeError(f"session {self._last_session} has sequence {sequence} after {self._last_sequence}")
            if length > self._answer_bytes_left:
                raise DecodeError(f"an answer of {length} bytes, where {self._answer_bytes_left} are left for all")
            end = start + length
            if len(data) < end:
                self._wanted_bytes = end - offset
                return offset
            self._sessions.remember(session, sequence, data[start:end])
            self._answers_left -= 1
            self._answer_bytes_left -= length
            self._last_sequence = sequence
            offset = end
        self._after_session()
        return offset

    def _share(self, text: bytes) -> bytes:
        return self._shared.setdefault(text, text)

    def _take_leases(self, data: bytes, offset: int) -> int:
        while self._leases_left:
            start = offset + LEASE.size
            if len(data) < start:
                self._wanted_bytes = LEASE.size
                return offset
            lease_id, ttl_ms, user_length = LEASE.unpack_from(data, offset)
            end: int = start + user_length
            if len(data) < end:
                self._wanted_bytes = end - offset
                return offset
            if not self._last_lease < lease_id <= self._last_applied:
                raise DecodeError(f"lease {lease_id} after {self._last_lease}, at index {self._last_applied}")
            self._leases.restore(LeaseId(lease_id), self._share(data[start:end]), ttl_ms)
            self._last_lease = lease_id
            self._leases_left -= 1
            offset = end
        self._section = _Section.KEYS
        return offset

    def _take_keys(self, data: bytes, offset: int) -> int:
        """Take records; a million of them come this way while a node starts, so this is one plain loop."""
        store, share = self._store, self._shared.setdefault
        create = store.create
        revision = store.revision
        unpack_from = RECORD.unpack_from
        data_bytes = len(data)
        last_key = self._last_key
        keys_left = self._keys_left
        while keys_left:
            start = offset + _RECORD_BYTES
            if data_bytes < start:
                self._wanted_bytes = _RECORD_BYTES
                break
            create_revision, modify_revision, version, lease, user_length, key_length, value_length = unpack_from(
                data, offset
            )
            if not (0 < create_revision <= modify_revision <= revision and version):
                raise DecodeError(f"the key after {last_key!r} has impossible revisions or version")
            if not 0 < key_length <= KEY_BYTES_MAX or value_length > VALUE_BYTES_MAX:
                raise DecodeError(f"a key of {key_length} bytes with a value of {value_length}")
            key_start: int = start + user_length
            value_start: int = key_start + key_length
            end: int = value_start + value_length
            if data_bytes < end:
                self._wanted_bytes = end - offset
                break
            key = data[key_start:value_start]
            if key <= last_key:
                raise DecodeError(f"the key {key!r} comes after {last_key!r}")
            if create_revision == modify_revision:
                create_revision = modify_revision  # one object is enough
            user = data[start:key_start]
            create(key, (create_revision, modify_revision, version, lease, share(user, user), data[value_start:end]))
            if lease:
                self._attach(lease, key)
            last_key = key
            keys_left -= 1
            offset = end
        self._last_key = last_key
        self._keys_left = keys_left
        if not keys_left:
            if store.bytes_total != self._bytes_total:
                raise DecodeError(
                    f"{store.bytes_total} bytes of keys and values, where the head says {self._bytes_total}"
                )
            self._section = _Section.CHANGES
        return offset

    def _attach(self, lease: int, key: bytes) -> None:
        found = self._leases.get(LeaseId(lease))
        if found is None or not self._leases.has_room(found, 1):
            raise DecodeError(f"the key {key!r} is on lease {lease}, which is not there or full")
        self._leases.attach(found.lease_id, key)

    def _take_changes(self, data: bytes, offset: int) -> int:
        offset, self._wanted_bytes = self._changes.take(data, offset)
        if not self._wanted_bytes:
            if self._history.bytes_total != self._history_bytes:
                raise DecodeError(
                    f"{self._history.bytes_total} bytes of changes, where the head says {self._history_bytes}"
                )
            self._section = _Section.NOTHING
        return offset
