"""A digest of the whole state of a machine, in a canonical order: equal states, and no others, have equal digests."""

import hashlib
import struct
from typing import Final

from raftd.kv.snapshot import State
from raftd.kv.types import Record

_TOTALS: Final = struct.Struct("<15Q")
_RECORD: Final = struct.Struct("<4Q2Q")
_SESSION: Final = struct.Struct("<6Q")
_ANSWER: Final = struct.Struct("<2Q")
_LEASE: Final = struct.Struct("<4Q")
_LENGTH: Final = struct.Struct("<Q")
_CHANGE: Final = struct.Struct("<Q3?2Q")


def totals_of(state: State) -> bytes:
    """How much there is of everything, as of which entry, and the hash of all answers; takes no time.

    Counts and bytes both: what is there may be empty, and what was lost may have been.
    """
    store, sessions, leases, history, last_applied, state_hash = state
    return _TOTALS.pack(
        last_applied,
        state_hash,
        store.revision,
        len(store),
        store.bytes_total,
        sessions.clock_ms,
        len(sessions),
        sessions.answer_count,
        sessions.answer_bytes,
        sessions.expired_total,
        len(leases),
        leases.key_total,
        history.compacted_revision,
        len(history),
        history.bytes_total,
    )


def digest_of(state: State) -> bytes:
    """SHA-256 of everything; goes over everything, so it is for tests and audits."""
    store, sessions, leases, history, _, _ = state
    digest = hashlib.sha256(totals_of(state))
    for key, record in store:
        digest.update(_sized(key) + _record(record))
    for session_id, session in sessions:
        digest.update(
            _SESSION.pack(
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
            digest.update(_ANSWER.pack(sequence, len(answer)))
            digest.update(answer)
    for lease in leases:
        digest.update(_LEASE.pack(lease.lease_id, lease.ttl_ms, len(lease.user), len(lease.keys)))
        digest.update(lease.user)
        for key in sorted(lease.keys):
            digest.update(_sized(key))
    for revision, key, previous, after, by_lease, wall_clock_ms, user, address, clock_ms in history.held():
        digest.update(
            _CHANGE.pack(revision, previous is not None, after is not None, by_lease, wall_clock_ms, clock_ms)
        )
        digest.update(_sized(key) + _sized(user) + _sized(address))
        digest.update(_record(previous) + _record(after))
    for key in history.absent_keys:
        digest.update(_sized(key))
    return digest.digest()


def _record(record: Record | None) -> bytes:
    if record is None:
        return b""
    create_revision, modify_revision, version, lease, user, value = record
    head = _RECORD.pack(create_revision, modify_revision, version, lease, len(user), len(value))
    return b"".join((head, user, value))


def _sized(text: bytes) -> bytes:
    return _LENGTH.pack(len(text)) + text
