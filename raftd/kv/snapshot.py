"""Snapshots of the state machine: the whole state as bytes, made and read piece by piece.

All numbers are little-endian. A snapshot is a head, the sessions by id, the leases by id, the keys in byte order, and
the held changes from the newest to the oldest::

    offset  size  head
         0     8  magic              b"raftd-kv"
         8     4  format_version     2
        12     8  last_applied       the log index that this is the state at
        20     8  revision           of the store
        28     8  clock_ms           the cluster's clock
        36     8  expired_total      sessions that expired since the log began
        44     4  state_hash         CRC-32 chained over all answers so far
        48     4  session_count
        52     8  answer_bytes       of all remembered answers together
        60     4  lease_count
        64     8  key_count
        72     8  bytes_total        of all keys and values together
        80     8  compacted_revision the newest revision whose changes are not held
        88     4  change_count
        92     8  history_bytes      of the keys and previous values of all held changes together

    offset  size  session            session_count times
         0     8  session
         8     8  ttl_ms
        16     8  last_active_ms
        24     8  first_unanswered
        32     1  user_length
        33     4  answer_count
        37     n  user               UTF-8
      37+n     -  answers            answer_count times: sequence u64 | answer_length u32 | answer

    offset  size  lease              lease_count times
         0     8  lease
         8     4  ttl_ms
        12     1  user_length
        13     n  user

    offset  size  key                key_count times
         0     8  create_revision
         8     8  modify_revision
        16     8  version
        24     8  lease              0: none
        32     1  user_length        who wrote it last
        33     2  key_length         1..4096
        35     4  value_length       0..1048576
        39     -  user | key | value

    offset  size  change             change_count times
         0     1  flags              1: previous is there; 2: by_lease
         1     8  revision
         9     8  clock_ms           the cluster's clock at the change
        17     8  wall_clock_ms
        25     1  user_length
        26     1  address_length
        27     2  key_length
        29     -  user | address | key | previous

              previous               create_revision u64 | modify_revision u64 | version u64 | lease u64 |
                                     user_length u8 | value_length u32 | user | value

What a change made of its key is not said, since it is there: as `previous` of the key's next change, which came before
in the snapshot, or as the key's record, or as its absence. So no value is in a snapshot twice.

A snapshot is valid if and only if it has these fields within these bounds and nothing after them; the counts and totals
are those of what follows; sessions and leases ascend, are 1..last_applied and within the limits, and no session is over
at clock_ms; the sequences of a session ascend and are in [first_unanswered, first_unanswered + in_flight_max); keys
ascend, with 1 <= create_revision <= modify_revision <= revision and version >= 1, and their leases are there. Changes
do not ascend in revision, which is in (compacted_revision, revision], nor in clock_ms, which is the head's at most; and
each makes of its key a record with its own revision as modify_revision, or takes a previous record away.

So equal states give equal bytes, on whichever node and however they came about. There is no checksum: whoever stores or
sends these bytes adds one (`raftd.storage.snapshots`).

**While it is made, the machine goes on.** The reader shows the state at the moment when it was made; what changes
before the reader has come there is kept for it by the store and the session table (`raftd.kv.store`,
`raftd.kv.sessions`). Sessions come first, because every write touches one: the sooner they are past, the less is kept.
Leases never change but come and go, and held changes never change at all, so a list of each is enough: a millisecond.
"""

import struct
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from raftd.consensus.types import LogIndex
from raftd.errors import DecodeError, InvariantViolation
from raftd.kv.history import Held, History
from raftd.kv.leases import Lease, LeaseTable
from raftd.kv.sessions import Session, SessionTable, SessionWalk
from raftd.kv.store import Store, StoreWalk
from raftd.kv.types import Record, Revision, SessionId

MAGIC: Final = b"raftd-kv"
FORMAT_VERSION: Final = 2

HEAD: Final = struct.Struct("<8sIQQQQIIQIQQQIQ")
SESSION: Final = struct.Struct("<QQQQBI")
ANSWER: Final = struct.Struct("<QI")
LEASE: Final = struct.Struct("<QIB")
RECORD: Final = struct.Struct("<QQQQBHI")
CHANGE: Final = struct.Struct("<BQQQBBH")
PREVIOUS: Final = struct.Struct("<QQQQBI")

FLAG_PREVIOUS: Final = 1
FLAG_BY_LEASE: Final = 2

_FORMAT: Final = struct.Struct("<8sI")

# `Struct.size` makes an int each time it is asked.
_RECORD_BYTES: Final = RECORD.size


class Head(NamedTuple):
    """What a snapshot says first; the fields are described in the module's table."""

    last_applied: LogIndex
    revision: Revision
    clock_ms: int
    expired_total: int
    state_hash: int
    session_count: int
    answer_bytes: int
    lease_count: int
    key_count: int
    bytes_total: int
    compacted_revision: Revision
    change_count: int
    history_bytes: int


def decode_head(data: bytes) -> Head | None:
    """Read the head at the beginning of `data`; None if not all of it has come.

    Raises:
        DecodeError: This is not the snapshot of a state, or one of another version.
    """
    if len(data) < _FORMAT.size:
        return None
    magic, version = _FORMAT.unpack_from(data)
    if magic != MAGIC:
        raise DecodeError("this is not the snapshot of a state machine")
    if version != FORMAT_VERSION:
        raise DecodeError(f"the snapshot has format {version}; this raftd knows format {FORMAT_VERSION} only")
    return Head(*HEAD.unpack_from(data)[2:]) if len(data) >= HEAD.size else None


class State(NamedTuple):
    """All that a state machine is."""

    store: Store
    sessions: SessionTable
    leases: LeaseTable
    history: History
    last_applied: LogIndex
    state_hash: int


class SnapshotReader:
    """Gives the state as it was when this was made; use `StateMachine.begin_snapshot`.

    To be read to the end or closed: until then the machine keeps for it what changes.
    """

    __slots__ = (
        "_bytes_left",
        "_changes",
        "_ended",
        "_keys_left",
        "_parts",
        "_record_walk",
        "_sessions",
        "_sessions_left",
        "_store",
        "last_applied",
    )

    def __init__(self, state: State) -> None:
        """Begin.

        Raises:
            LocalProtocolError: Another reader is at work.
        """
        store, sessions, leases, history, last_applied, state_hash = state
        self._store = store
        self._sessions = sessions
        self._record_walk: StoreWalk = store.begin_walk()
        session_walk = sessions.begin_walk()
        lease_list = list(leases)
        self._changes = history.held()
        self.last_applied = last_applied
        """The log index that the snapshot is the state at."""
        self._sessions_left = session_walk.session_count
        self._keys_left = self._record_walk.key_count
        self._bytes_left = self._record_walk.bytes_total
        self._ended = False
        head = HEAD.pack(
            MAGIC,
            FORMAT_VERSION,
            last_applied,
            store.revision,
            sessions.clock_ms,
            sessions.expired_total,
            state_hash,
            self._sessions_left,
            sessions.answer_bytes,
            len(lease_list),
            self._keys_left,
            self._bytes_left,
            history.compacted_revision,
            len(self._changes),
            history.bytes_total,
        )
        # What comes before the keys. It may be left anywhere, since it holds on to nothing that changes meanwhile.
        self._parts = chain((head,), self._session_parts(session_walk), map(_encode_lease, lease_list))

    @property
    def kept_count(self) -> int:
        """Old records that are in memory for this reader only."""
        return self._record_walk.kept_count

    def read(self, budget_bytes: int) -> bytes | None:
        """The next piece; None at the end, and from then on.

        A piece has about `budget_bytes`: more by at most one answer, key or change, and fewer (perhaps none) where many
        keys are new since the reader was made, since passing over them takes time too.
        """
        if self._ended:
            return None
        pieces: list[bytes] = []
        room = max(budget_bytes, 1)
        for part in self._parts:
            pieces.append(part)
            room -= len(part)
            if room <= 0:
                return b"".join(pieces)
        room = self._read_keys(pieces, room)
        if room > 0:
            self._read_changes(pieces, room)
        return b"".join(pieces)

    def close(self) -> None:
        """Let the machine keep nothing for this reader any more. May be called at any time, and again."""
        if not self._ended:
            self._ended = True
            self._store.end_walk()
            self._sessions.end_walk()
            self._changes = []

    def _session_parts(self, walk: SessionWalk) -> Iterator[bytes]:
        for session_id, session in walk.resume():
            answers = sorted(session.answers.items())
            yield _encode_session(session_id, session, len(answers))
            # One session may remember a quarter of a gigabyte.
            for sequence, answer in answers:
                yield ANSWER.pack(sequence, len(answer)) + answer
            self._sessions_left -= 1

    def _read_keys(self, pieces: list[bytes], room: int) -> int:
        """Add keys to `pieces` while there is room; returns the room that is left."""
        pack = RECORD.pack
        for item in self._record_walk.resume():
            room -= _RECORD_BYTES
            if item is not None:
                key, (create_revision, modify_revision, version, lease, user, value) = item
                pieces += (
                    pack(create_revision, modify_revision, version, lease, len(user), len(key), len(value)),
                    user,
                    key,
                    value,
                )
                content_bytes = len(key) + len(value)
                room -= content_bytes + len(user)
                self._keys_left -= 1
                self._bytes_left -= content_bytes
            if room <= 0:
                break
        return room

    def _read_changes(self, pieces: list[bytes], room: int) -> None:
        """Add changes to `pieces` while there is room, and end the reader behind the last one."""
        changes = self._changes
        while changes:
            part = _encode_change(changes.pop())
            pieces.append(part)
            room -= len(part)
            if room <= 0:
                return
        self.close()
        if self._sessions_left or self._keys_left or self._bytes_left:
            raise InvariantViolation(
                f"the snapshot at {self.last_applied} lacks {self._sessions_left} sessions, "
                f"{self._keys_left} keys and {self._bytes_left} bytes of them"
            )


def _encode_session(session_id: SessionId, session: Session, answer_count: int) -> bytes:
    user = session.user
    return (
        SESSION.pack(
            session_id, session.ttl_ms, session.last_active_ms, session.first_unanswered, len(user), answer_count
        )
        + user
    )


def _encode_lease(lease: Lease) -> bytes:
    return LEASE.pack(lease.lease_id, lease.ttl_ms, len(lease.user)) + lease.user


def _encode_change(held: Held) -> bytes:
    revision, key, previous, _, by_lease, wall_clock_ms, user, address, clock_ms = held
    flags = FLAG_BY_LEASE if by_lease else 0
    if previous is not None:
        flags |= FLAG_PREVIOUS
    head = CHANGE.pack(flags, revision, clock_ms, wall_clock_ms, len(user), len(address), len(key))
    return b"".join((head, user, address, key, _encode_previous(previous)))


def _encode_previous(record: Record | None) -> bytes:
    if record is None:
        return b""
    create_revision, modify_revision, version, lease, user, value = record
    head = PREVIOUS.pack(create_revision, modify_revision, version, lease, len(user), len(value))
    return b"".join((head, user, value))
