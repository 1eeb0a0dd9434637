"""Snapshots of the state machine: the whole state as bytes, made and read piece by piece.

All numbers are little-endian. A snapshot is a head, the sessions by id, and the keys in byte order::

    offset  size  head
         0     8  magic             b"raftd-kv"
         8     4  format_version    2
        12     8  last_applied      the log index that this is the state at
        20     8  revision          of the store
        28     8  clock_ms          the cluster's clock
        36     8  expired_total     sessions that expired since the log began
        44     4  state_hash        CRC-32 chained over all answers so far
        48     4  session_count
        52     8  answer_bytes      of all remembered answers together
        60     8  key_count
        68     8  bytes_total       of all keys and values together

    offset  size  session           session_count times
         0     8  session
         8     8  ttl_ms
        16     8  last_active_ms
        24     8  first_unanswered
        32     1  user_length
        33     4  answer_count
        37     n  user              UTF-8
      37+n     -  answers           answer_count times: sequence u64 | answer_length u32 | answer

    offset  size  key               key_count times
         0     8  create_revision
         8     8  modify_revision
        16     8  version
        24     8  lease             0: none; this format knows no other
        32     2  key_length        1..4096
        34     4  value_length      0..1048576
        38     1  user_length
        39     n  key
      39+n     k  user              who wrote it last
    39+n+k     m  value

A snapshot is valid if and only if it has these fields within these bounds and nothing after them; the counts and totals
are those of what follows; sessions ascend, are 1..last_applied, within the limits, and not over at clock_ms; the
sequences of a session ascend and are in [first_unanswered, first_unanswered + in_flight_max); and keys ascend, with
1 <= create_revision <= modify_revision <= revision and version >= 1.

So equal states give equal bytes, on whichever node and however they came about. There is no checksum: whoever stores or
sends these bytes adds one (`raftd.storage.snapshots`).

**While it is made, the machine goes on.** The reader shows the state at the moment when it was made; what changes
before the reader has come there is kept for it by the store and the session table (`raftd.kv.store`,
`raftd.kv.sessions`). Sessions come first, because every write touches one: the sooner they are past, the less is kept.
"""

import struct
from itertools import chain
from typing import Final

from raftd.consensus.types import LogIndex
from raftd.errors import InvariantViolation
from raftd.kv.sessions import Session, SessionTable
from raftd.kv.store import Store
from raftd.kv.types import SessionId

MAGIC: Final = b"raftd-kv"
FORMAT_VERSION: Final = 2

HEAD: Final = struct.Struct("<8sIQQQQIIQQQ")
SESSION: Final = struct.Struct("<QQQQBI")
ANSWER: Final = struct.Struct("<QI")
RECORD: Final = struct.Struct("<QQQQHIB")

# `Struct.size` makes an int each time it is asked.
_RECORD_BYTES: Final = RECORD.size


class SnapshotReader:
    """Gives the state as it was when this was made; use `StateMachine.begin_snapshot`.

    To be read to the end or closed: until then the machine keeps for it what changes.
    """

    __slots__ = (
        "_bytes_left",
        "_ended",
        "_head",
        "_keys_left",
        "_record_walk",
        "_session_walk",
        "_sessions",
        "_sessions_left",
        "_store",
        "last_applied",
    )

    def __init__(self, store: Store, sessions: SessionTable, last_applied: LogIndex, state_hash: int) -> None:
        """Begin.

        Raises:
            LocalProtocolError: Another reader is at work.
        """
        self._store = store
        self._sessions = sessions
        self._record_walk = store.begin_walk()
        self._session_walk = sessions.begin_walk()
        self.last_applied = last_applied
        """The log index that the snapshot is the state at."""
        self._sessions_left = self._session_walk.session_count
        self._keys_left = self._record_walk.key_count
        self._bytes_left = self._record_walk.bytes_total
        self._ended = False
        self._head = HEAD.pack(
            MAGIC,
            FORMAT_VERSION,
            last_applied,
            store.revision,
            sessions.clock_ms,
            sessions.expired_total,
            state_hash,
            self._sessions_left,
            sessions.answer_bytes,
            self._keys_left,
            self._bytes_left,
        )

    @property
    def kept_count(self) -> int:
        """Old records that are in memory for this reader only."""
        return self._record_walk.kept_count

    def read(self, budget_bytes: int) -> bytes | None:
        """The next piece; None at the end, and from then on.

        A piece has about `budget_bytes`: more by at most one session or key, and fewer (perhaps none) where many keys
        are new since the reader was made, since passing over them takes time too.
        """
        if self._ended:
            return None
        parts = [self._head]
        room = max(budget_bytes, 1) - len(self._head)
        self._head = b""
        if self._sessions_left:
            room = self._read_sessions(parts, room)
        if room > 0:
            self._read_keys(parts, room)
        return b"".join(parts)

    def close(self) -> None:
        """Let the machine keep nothing for this reader any more. May be called at any time, and again."""
        if not self._ended:
            self._ended = True
            self._store.end_walk()
            self._sessions.end_walk()

    def _read_sessions(self, parts: list[bytes], room: int) -> int:
        """Add sessions to `parts` while there is room; returns the room that is left."""
        for session_id, session in self._session_walk.resume():
            encoded = _encode_session(session_id, session)
            parts.append(encoded)
            self._sessions_left -= 1
            room -= len(encoded)
            if room <= 0:
                break
        return room

    def _read_keys(self, parts: list[bytes], room: int) -> None:
        """Add keys to `parts` while there is room, and end the reader behind the last one."""
        pack = RECORD.pack
        for item in self._record_walk.resume():
            room -= _RECORD_BYTES
            if item is not None:
                key, (create_revision, modify_revision, version, lease, user, value) = item
                parts += (
                    pack(create_revision, modify_revision, version, lease, len(key), len(value), len(user)),
                    key,
                    user,
                    value,
                )
                content_bytes = len(key) + len(value)
                room -= content_bytes + len(user)
                self._keys_left -= 1
                self._bytes_left -= content_bytes
            if room <= 0:
                return
        self.close()
        if self._sessions_left or self._keys_left or self._bytes_left:
            raise InvariantViolation(
                f"the snapshot at {self.last_applied} lacks {self._sessions_left} sessions, "
                f"{self._keys_left} keys and {self._bytes_left} bytes of them"
            )


def _encode_session(session_id: SessionId, session: Session) -> bytes:
    answers = sorted(session.answers.items())
    head = SESSION.pack(
        session_id, session.ttl_ms, session.last_active_ms, session.first_unanswered, len(session.user), len(answers)
    )
    encoded = ((ANSWER.pack(sequence, len(answer)), answer) for sequence, answer in answers)
    return b"".join((head, session.user, *chain.from_iterable(encoded)))
