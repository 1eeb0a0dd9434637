"""Answers: what the state machine says to a command or a read, as bytes.

An answer to a write is remembered in its session and reaches the client unchanged, however often the client asks.
All numbers are little-endian::

    outcome u8 | term u64 | revision u64 | body

    term        of the entry that was applied; for a read, of the node that answered it
    revision    the store's global revision after the command, or at the read

    outcome                body
    ---------------------  ----------------------------------------------------------------------------------------
     0  OK                  of what was asked, see below
     1  NOT_FOUND           nothing; the key to get or delete is absent
     2  COMPARE_FAILED      modify_revision u64: the key's, 0 if it is absent; nothing was changed
     3  SESSION_EXPIRED     nothing; the session never was, is over, or is another user's; nothing was changed
     4  SEQUENCE_ANSWERED   nothing; below the session's first unanswered sequence, so it was dealt with before
     5  SESSION_LIMIT       nothing; no further session can be opened now
     6  TOO_MANY_IN_FLIGHT  nothing; nothing was changed, and the same command may be sent again after others' answers
     7  INVALID             nothing; not a valid command; nothing was changed
     8  LEASE_NOT_FOUND     nothing; the lease never was, is over, or is another user's; nothing was changed
     9  FENCED              create_revision u64: the fence key's, 0 if it is absent; nothing was changed
    10  NOT_A_NUMBER        nothing; what is to be incremented is no number; nothing was changed
    11  OUT_OF_RANGE        nothing; the sum does not fit into 64 bits; nothing was changed
    12  LEASE_LIMIT         nothing; there are too many leases, or too many keys on this one; nothing was changed
    13  RESULT_TOO_LARGE    nothing; the answer would be longer than may be remembered; nothing was changed
    14  COMPACTED           compacted_revision u64; changes up to it, or the state before it, are not held any more
    15  FUTURE_REVISION     nothing; the store has not come to the revision that was asked for

    asked                  body of OK
    ---------------------  ----------------------------------------------------------------------------------------
    OPEN_SESSION           session u64 | ttl_ms u32 (as granted)
    CLOSE_SESSION          nothing
    KEEP_ALIVE             nothing
    PUT                    version u64 | create_revision u64 (of the key, after the write) [| previous]
    DELETE                 [previous]
    INCREMENT, DELETE_RANGE, TRANSACTION: see `raftd.kv.results`
    LEASE_GRANT            lease u64 | ttl_ms u32 (as granted)
    LEASE_REVOKE           deleted u32 (its keys)
    ADVANCE_CLOCK          nothing
    EXPIRE_LEASES          nothing
    get                    item
    range, history, lease, leases: see `raftd.kv.pages`

`raftd.kv.items` has `item` and `previous`, which is there only if it was asked for. `version` counts the writes of a
key since it was created: 1 after the first.
"""

import enum
import struct
from typing import Final, NamedTuple

from raftd.consensus.types import Term
from raftd.errors import DecodeError
from raftd.kv.items import KeyValue, decode_item, decode_previous
from raftd.kv.types import LeaseId, Record, Revision, SessionId


class Outcome(enum.IntEnum):
    """How a command or read ended. The numbers are on the wire and in snapshots: never renumber."""

    OK = 0
    NOT_FOUND = 1
    COMPARE_FAILED = 2
    SESSION_EXPIRED = 3
    SEQUENCE_ANSWERED = 4
    SESSION_LIMIT = 5
    TOO_MANY_IN_FLIGHT = 6
    INVALID = 7
    LEASE_NOT_FOUND = 8
    FENCED = 9
    NOT_A_NUMBER = 10
    OUT_OF_RANGE = 11
    LEASE_LIMIT = 12
    RESULT_TOO_LARGE = 13
    COMPACTED = 14
    FUTURE_REVISION = 15


class Answer(NamedTuple):
    """A decoded answer; `body` is for one of the `decode_…` functions, by what was asked."""

    outcome: Outcome
    term: Term
    revision: Revision
    body: bytes


class PutResult(NamedTuple):
    """What a successful PUT says."""

    version: int
    create_revision: Revision
    previous: KeyValue | None = None
    """None: there was none, or it was not asked for."""


class DeleteResult(NamedTuple):
    """What a successful DELETE says."""

    previous: KeyValue | None = None
    """None: it was not asked for."""


class OpenedSession(NamedTuple):
    """What a successful OPEN_SESSION says."""

    session: SessionId
    ttl_ms: int


class GrantedLease(NamedTuple):
    """What a successful LEASE_GRANT says."""

    lease: LeaseId
    ttl_ms: int


_HEADER: Final = struct.Struct("<BQQ")
_PUT: Final = struct.Struct("<BQQQQ")
_PUT_BODY: Final = struct.Struct("<QQ")
_GET: Final = struct.Struct("<BQQQQQQB")
_VALUE_LENGTH: Final = struct.Struct("<I")
_REVISION: Final = struct.Struct("<Q")
_IDENTIFIED: Final = struct.Struct("<QI")
_COUNT: Final = struct.Struct("<I")

_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_OK: Final = Outcome.OK


def encode(outcome: Outcome, term: Term, revision: Revision, body: bytes = b"") -> bytes:
    """Encode an answer with the body that a `…_body` function made, or without one."""
    return _HEADER.pack(outcome, term, revision) + body


def encode_put(term: Term, revision: Revision, version: int, create_revision: Revision) -> bytes:
    """Encode a PUT's OK, the previous item not being asked for."""
    return _PUT.pack(_OK, term, revision, version, create_revision)


def encode_compare_failed(term: Term, revision: Revision, modify_revision: Revision) -> bytes:
    """Encode COMPARE_FAILED; `modify_revision` is 0 if the key is absent."""
    return encode(Outcome.COMPARE_FAILED, term, revision, _REVISION.pack(modify_revision))


def encode_fenced(term: Term, revision: Revision, create_revision: Revision) -> bytes:
    """Encode FENCED; `create_revision` is the fence key's, 0 if it is absent."""
    return encode(Outcome.FENCED, term, revision, _REVISION.pack(create_revision))


def encode_compacted(term: Term, revision: Revision, compacted_revision: Revision) -> bytes:
    """Encode COMPACTED."""
    return encode(Outcome.COMPACTED, term, revision, _REVISION.pack(compacted_revision))


def encode_open_session(term: Term, revision: Revision, session: SessionId, ttl_ms: int) -> bytes:
    """Encode an OPEN_SESSION's OK."""
    return encode(_OK, term, revision, _IDENTIFIED.pack(session, ttl_ms))


def encode_lease_grant(term: Term, revision: Revision, lease: LeaseId, ttl_ms: int) -> bytes:
    """Encode a LEASE_GRANT's OK."""
    return encode(_OK, term, revision, _IDENTIFIED.pack(lease, ttl_ms))


def encode_lease_revoke(term: Term, revision: Revision, deleted_count: int) -> bytes:
    """Encode a LEASE_REVOKE's OK."""
    return encode(_OK, term, revision, _COUNT.pack(deleted_count))


def encode_get(term: Term, revision: Revision, record: Record) -> bytes:
    """Encode a get's OK."""
    create_revision, modify_revision, version, lease, user, value = record
    return b"".join(
        (
            _GET.pack(_OK, term, revision, create_revision, modify_revision, version, lease, len(user)),
            user,
            _VALUE_LENGTH.pack(len(value)),
            value,
        )
    )


def put_body(version: int, create_revision: Revision, previous: bytes = b"") -> bytes:
    """The body of a PUT's OK; `previous` is what `encode_previous` gives, if it was asked for."""
    return _PUT_BODY.pack(version, create_revision) + previous


def decode(answer: bytes) -> Answer:
    """Decode what every answer has.

    Raises:
        DecodeError: too short, or an outcome that this version does not know.
    """
    if len(answer) < _HEADER.size:
        raise DecodeError(f"an answer has at least {_HEADER.size} bytes, not {len(answer)}")
    number, term, revision = _HEADER.unpack_from(answer)
    return Answer(decode_outcome(number), term, revision, answer[_HEADER.size :])


def decode_outcome(number: int) -> Outcome:
    """Decode an outcome.

    Raises:
        DecodeError: this version does not know it.
    """
    outcome = _OUTCOMES.get(number)
    if outcome is None:
        raise DecodeError(f"unknown outcome {number}")
    return outcome


def decode_put(body: bytes, *, previous: bool = False) -> PutResult:
    """Decode the body of a PUT's OK; `previous`: whether it was asked for.

    Raises:
        DecodeError: it is not one.
    """
    if not previous:
        _check_length("PUT", body, _PUT_BODY.size)
        return PutResult(*_PUT_BODY.unpack(body))
    if len(body) < _PUT_BODY.size:
        raise DecodeError("the answer to PUT is cut short")
    item, end = decode_previous(body, _PUT_BODY.size)
    _check_length("PUT", body, end)
    version, create_revision = _PUT_BODY.unpack_from(body)
    return PutResult(version, create_revision, item)


def decode_delete(body: bytes, *, previous: bool = False) -> DeleteResult:
    """Decode the body of a DELETE's OK; `previous`: whether it was asked for.

    Raises:
        DecodeError: it is not one.
    """
    if not previous:
        _check_length("DELETE", body, 0)
        return DeleteResult()
    item, end = decode_previous(body, 0)
    _check_length("DELETE", body, end)
    if item is None:
        raise DecodeError("the answer to DELETE says that an absent key was deleted")
    return DeleteResult(item)


def decode_compare_failed(body: bytes) -> Revision:
    """Decode the body of COMPARE_FAILED: the key's modify revision, 0 if it is absent.

    Raises:
        DecodeError: its length is wrong.
    """
    return _decode_revision("COMPARE_FAILED", body)


def decode_fenced(body: bytes) -> Revision:
    """Decode the body of FENCED: the fence key's create revision, 0 if it is absent.

    Raises:
        DecodeError: its length is wrong.
    """
    return _decode_revision("FENCED", body)


def decode_compacted(body: bytes) -> Revision:
    """Decode the body of COMPACTED: changes up to this revision are not held.

    Raises:
        DecodeError: its length is wrong.
    """
    return _decode_revision("COMPACTED", body)


def decode_open_session(body: bytes) -> OpenedSession:
    """Decode the body of an OPEN_SESSION's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    _check_length("OPEN_SESSION", body, _IDENTIFIED.size)
    return OpenedSession(*_IDENTIFIED.unpack(body))


def decode_lease_grant(body: bytes) -> GrantedLease:
    """Decode the body of a LEASE_GRANT's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    _check_length("LEASE_GRANT", body, _IDENTIFIED.size)
    return GrantedLease(*_IDENTIFIED.unpack(body))


def decode_lease_revoke(body: bytes) -> int:
    """Decode the body of a LEASE_REVOKE's OK: how many keys were deleted.

    Raises:
        DecodeError: its length is wrong.
    """
    _check_length("LEASE_REVOKE", body, _COUNT.size)
    deleted_count: int = _COUNT.unpack(body)[0]
    return deleted_count


def decode_get(body: bytes) -> KeyValue:
    """Decode the body of a get's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    item, end = decode_item(body, 0)
    _check_length("get", body, end)
    return item


def _decode_revision(what: str, body: bytes) -> Revision:
    _check_length(what, body, _REVISION.size)
    return Revision(_REVISION.unpack(body)[0])


def _check_length(asked: str, body: bytes, length: int) -> None:
    if len(body) != length:
        raise DecodeError(f"the answer to {asked} has a body of {len(body)} bytes instead of {length}")
