"""Answers: what the state machine says to a command or a read, as bytes.

An answer to a write is remembered in its session and reaches the client unchanged, however often the client asks.
All numbers are little-endian::

    outcome u8 | term u64 | revision u64 | body

    term        of the entry that was applied; for a read, of the leader that answered it
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

    asked                  body of OK
    ---------------------  ----------------------------------------------------------------------------------------
    OPEN_SESSION           session u64 | ttl_ms u32 (as granted)
    CLOSE_SESSION          nothing
    KEEP_ALIVE             nothing
    PUT                    version u64 | create_revision u64 (of the key, after the write)
    DELETE                 nothing
    ADVANCE_CLOCK          nothing
    get                    create_revision u64 | modify_revision u64 | version u64 | lease u64 |
                           value_length u32 | value

`version` counts the puts of a key since it was created: 1 after the first. `lease` is 0: none.
"""

import enum
import struct
from typing import Final, NamedTuple

from raftd.consensus.types import Term
from raftd.errors import DecodeError
from raftd.kv.commands import Revision, SessionId
from raftd.kv.store import Record


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


class OpenedSession(NamedTuple):
    """What a successful OPEN_SESSION says."""

    session: SessionId
    ttl_ms: int


class KeyValue(NamedTuple):
    """What a successful get says."""

    create_revision: Revision
    modify_revision: Revision
    version: int
    lease: int
    value: bytes


_HEADER: Final = struct.Struct("<BQQ")
_PUT: Final = struct.Struct("<BQQQQ")
_PUT_BODY: Final = struct.Struct("<QQ")
_COMPARE_FAILED: Final = struct.Struct("<BQQQ")
_COMPARE_FAILED_BODY: Final = struct.Struct("<Q")
_OPEN_SESSION: Final = struct.Struct("<BQQQI")
_OPEN_SESSION_BODY: Final = struct.Struct("<QI")
_GET: Final = struct.Struct("<BQQQQQQI")
_GET_BODY: Final = struct.Struct("<QQQQI")

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_OK: Final = Outcome.OK


def encode(outcome: Outcome, term: Term, revision: Revision) -> bytes:
    """Encode an answer that has no body."""
    return _HEADER.pack(outcome, term, revision)


def encode_put(term: Term, revision: Revision, version: int, create_revision: Revision) -> bytes:
    """Encode a PUT's OK."""
    return _PUT.pack(_OK, term, revision, version, create_revision)


def encode_compare_failed(term: Term, revision: Revision, modify_revision: Revision) -> bytes:
    """Encode COMPARE_FAILED; `modify_revision` is 0 if the key is absent."""
    return _COMPARE_FAILED.pack(Outcome.COMPARE_FAILED, term, revision, modify_revision)


def encode_open_session(term: Term, revision: Revision, session: SessionId, ttl_ms: int) -> bytes:
    """Encode an OPEN_SESSION's OK."""
    return _OPEN_SESSION.pack(_OK, term, revision, session, ttl_ms)


def encode_get(term: Term, revision: Revision, record: Record) -> bytes:
    """Encode a get's OK."""
    create_revision, modify_revision, version, lease, value = record
    return _GET.pack(_OK, term, revision, create_revision, modify_revision, version, lease, len(value)) + value


def decode(answer: bytes) -> Answer:
    """Decode what every answer has.

    Raises:
        DecodeError: too short, or an outcome that this version does not know.
    """
    if len(answer) < _HEADER.size:
        raise DecodeError(f"an answer has at least {_HEADER.size} bytes, not {len(answer)}")
    number, term, revision = _HEADER.unpack_from(answer)
    try:
        outcome = Outcome(number)
    except ValueError:
        raise DecodeError(f"unknown outcome {number}") from None
    return Answer(outcome, term, revision, answer[_HEADER.size :])


def decode_put(body: bytes) -> PutResult:
    """Decode the body of a PUT's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    _check_length("PUT", body, _PUT_BODY.size)
    return PutResult(*_PUT_BODY.unpack(body))


def decode_compare_failed(body: bytes) -> Revision:
    """Decode the body of COMPARE_FAILED: the key's modify revision, 0 if it is absent.

    Raises:
        DecodeError: its length is wrong.
    """
    _check_length("COMPARE_FAILED", body, _COMPARE_FAILED_BODY.size)
    return Revision(_COMPARE_FAILED_BODY.unpack(body)[0])


def decode_open_session(body: bytes) -> OpenedSession:
    """Decode the body of an OPEN_SESSION's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    _check_length("OPEN_SESSION", body, _OPEN_SESSION_BODY.size)
    return OpenedSession(*_OPEN_SESSION_BODY.unpack(body))


def decode_get(body: bytes) -> KeyValue:
    """Decode the body of a get's OK.

    Raises:
        DecodeError: its length is wrong.
    """
    if len(body) < _GET_BODY.size:
        raise DecodeError("a get's answer is cut short")
    create_revision, modify_revision, version, lease, value_length = _GET_BODY.unpack_from(body)
    _check_length("get", body, _GET_BODY.size + value_length)
    return KeyValue(create_revision, modify_revision, version, lease, body[_GET_BODY.size :])


def _check_length(asked: str, body: bytes, length: int) -> None:
    if len(body) != length:
        raise DecodeError(f"the answer to {asked} has a body of {len(body)} bytes instead of {length}")
