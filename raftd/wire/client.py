"""What clients and nodes say to each other, as frames; docs/protocol.md explains it to a client's author.

Many requests may be under way on one connection, and responses come in any order: the request id, which the client
chooses, names them. Both directions, as payload of a frame:

    offset  size  field
         0     1  kind        `RequestKind` or `ResponseKind`
         1     8  request_id
         9     n  body

The body of a write is a command and that of an answer is what the state machine made of it: neither is looked into
here, so that the client's very bytes reach the log, and the state machine's the client (`raftd.kv`).

A payload whose header is wrong says that the other side speaks something else, and ends the connection
(`RemoteProtocolError`). A request whose body is wrong is answered: its decoder raises `DecodeError`, which a server
turns into a refusal, `RefusalCode.BAD_REQUEST`.
"""

import enum
import struct
from dataclasses import dataclass
from typing import Final

from raftd.consensus.types import NodeId
from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv.queries import QueryOpcode as QueryOpcode  # noqa: PLC0414 - a part of a READ, to be had where READ is
from raftd.wire.limits import CLIENT_HEADER_BYTES, REFUSAL_ADDRESS_BYTES_MAX, REFUSAL_MESSAGE_BYTES_MAX

_FRAME = struct.Struct("<IBQ")
_HEADER = struct.Struct("<BQ")
_LAST = struct.Struct("<I")
_INDEX = struct.Struct("<Q")

BODY_OFFSET: Final = CLIENT_HEADER_BYTES
"""Where the body starts in a payload."""

_QUERY_OFFSET: Final = BODY_OFFSET + 2


class RequestKind(enum.IntEnum):
    """What a client asks for. The numbers are on the wire: never renumber."""

    WRITE = 1
    """Body: a command. Response: ANSWER."""
    READ = 2
    """Body: consistency u8, query opcode u8, query. Response: ANSWER."""
    STATUS = 3
    """No body. Response: DOCUMENT, about the node that was asked."""
    LOG = 4
    """Body: last u32, how many entries. Response: DOCUMENT, newest entry first, of the node that was asked."""
    PING = 5
    """No body. Response: PONG, from the connection alone: it proves neither a leader nor a quorum."""
    MEMBERSHIP_CHANGE = 6
    """Body: see `raftd.wire.administration`. Response: DOCUMENT, `{"index": …}`: where it is in the log."""
    TRANSFER_LEADERSHIP = 7
    """Body: target u64. Response: DOCUMENT, `{"target": …}`: who was chosen, which it has not become by then."""
    WATCH = 8
    """Body: see `raftd.wire.watch`. Responses: WATCHING, then CHANGES, at last WATCH_ENDED."""
    UNWATCH = 9
    """Body: the watch's request_id u64. Response: UNWATCHED, after the watch's WATCH_ENDED if it was still going on."""
    LEASE_KEEP_ALIVE = 10
    """Body: count u16, lease u64 each. Response: ANSWER, see `raftd.wire.watch`."""
    RELOAD = 20
    """No body. Response: DOCUMENT, `{"changed": […], "waiting": […]}`, or NOT_POSSIBLE: the old settings stay."""
    BACKUP = 24
    """Body: see `raftd.wire.backup`. Response: DOCUMENT, what to call the backup and how long it is."""
    BACKUP_PIECE = 25
    """Body: backup u64, offset u64. Response: PIECE."""
    BACKUP_REPORT = 26
    """Body: outcome u8, wall_clock_ms u64. Response: DOCUMENT, what the node remembers of backups now."""
    DIAGNOSTICS = 28
    """No body. Response: DOCUMENT, more about the node that was asked than its status, for a report or a check."""
    TRACED_WRITE = 29
    """Body: a command. Response: ANSWER, as for a WRITE; the node notes when it did what for it, for a TRACE."""
    TRACE = 30
    """Body: index u64. Response: DOCUMENT, what the node noted of the connection's latest TRACED_WRITE (0), or how long
    it took to store that entry."""


class ResponseKind(enum.IntEnum):
    """What came of a request. The numbers are on the wire: never renumber."""

    ANSWER = 1
    """Body: what the state machine answered."""
    REFUSED = 2
    """Body: `Refusal`."""
    DOCUMENT = 3
    """Body: JSON, in UTF-8."""
    PONG = 4
    """No body."""
    WATCHING = 5
    """Body: revision u64. The watch goes on from there; see `raftd.wire.watch` for all four."""
    CHANGES = 6
    """Body: revision u64, flags u8, count u32, changes."""
    WATCH_ENDED = 7
    """Body: reason u8, revision u64."""
    UNWATCHED = 8
    """No body."""
    PIECE = 24
    """Body: bytes of a backup's file."""


# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_ANSWER: Final = ResponseKind.ANSWER


class Consistency(enum.IntEnum):
    """How fresh a read must be. The numbers are on the wire: never renumber."""

    LINEARIZABLE = 0
    """Sees every write that was answered before the read was sent."""
    STALE = 1
    """Whatever the node that is asked has applied, which may be arbitrarily old."""


class RefusalCode(enum.IntEnum):
    """Why a request was not answered. The numbers are on the wire: never renumber.

    Only OUTCOME_UNKNOWN leaves open whether a write happened; with every other code it did not happen by this request
    (an earlier sending of the same bytes may still have).
    """

    NOT_LEADER = 1
    """Another node leads: repeat there (`leader_address`). Nothing was proposed."""
    NO_LEADER = 2
    """No leader is known at the moment: try again here or elsewhere after a pause. Nothing was proposed."""
    OVERLOADED = 3
    """Too much is under way: try again after a pause. Nothing was proposed."""
    STOPPING = 4
    """This node is going down: go to another one. Or it ends this connection. Nothing was proposed."""
    OUTCOME_UNKNOWN = 5
    """Leadership was lost while the write was under way: it may or may not happen. Repeat the same bytes."""
    DENIED = 6
    """This user may not do this: repeating does not help. Nothing was proposed."""
    BAD_REQUEST = 7
    """The body does not follow its format: a bug of the client's. Nothing was proposed."""
    TOO_LARGE = 8
    """A key, a value or the whole is longer than allowed: repeating does not help. Nothing was proposed."""
    UNAVAILABLE = 9
    """A read could not be confirmed by a quorum in time: try again. Reads change nothing."""
    NOT_POSSIBLE = 10
    """The cluster or the node as it is does not allow this; the message says why. Nothing was changed."""
    FULL = 11
    """As many keys or bytes are there as the settings allow, and this write would add to them: delete some first. What
    reads, deletes or replaces by no more is still done. Nothing was proposed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The body of a REFUSED response."""

    code: RefusalCode
    message: str = ""
    """For people; at most `REFUSAL_MESSAGE_BYTES_MAX` in UTF-8, and cut there."""
    leader_id: NodeId | None = None
    leader_address: str = ""
    """Where the leader listens for clients, `host:port`; empty if unknown."""


_REQUEST_KINDS: Final = {kind.value: kind for kind in RequestKind}
_RESPONSE_KINDS: Final = {kind.value: kind for kind in ResponseKind}
_REFUSAL_CODES: Final = {code.value: code for code in RefusalCode}
_QUERY_OPCODES: Final = {opcode.value: opcode for opcode in QueryOpcode}
_CONSISTENCIES: Final = {consistency.value: consistency for consistency in Consistency}


def encode_request(kind: RequestKind, request_id: int, body: bytes = b"") -> bytes:
    """Make a request's whole frame, length included."""
    return _FRAME.pack(CLIENT_HEADER_BYTES + len(body), kind, request_id) + body


def encode_read_body(consistency: Consistency, opcode: QueryOpcode, query: bytes) -> bytes:
    """Make the body of a READ."""
    return bytes((consistency, opcode)) + query


def encode_log_body(last: int) -> bytes:
    """Make the body of a LOG that asks for the `last` entries."""
    return _LAST.pack(last)


def encode_trace_body(index: int) -> bytes:
    """Make the body of a TRACE of entry `index`; 0: of the connection's latest traced write."""
    return _INDEX.pack(index)


def parse_request(payload: bytes) -> tuple[RequestKind, int]:
    """Return a request's kind and id; its body starts at `BODY_OFFSET`.

    Raises:
        RemoteProtocolError: The header is cut, or the kind unknown.
    """
    if len(payload) < CLIENT_HEADER_BYTES:
        raise RemoteProtocolError(f"a request of {len(payload)} bytes came, and its header alone has 9")
    number, request_id = _HEADER.unpack_from(payload)
    kind = _REQUEST_KINDS.get(number)
    if kind is None:
        raise RemoteProtocolError(f"a request of unknown kind {number} came")
    return kind, request_id


def decode_read(payload: bytes) -> tuple[Consistency, QueryOpcode, bytes]:
    """Return a READ's consistency, and what it asks of the state machine: the opcode and the query itself.

    The query may be empty or too long still: what it may be is `raftd.kv.queries.parse_query`'s to say.

    Raises:
        DecodeError: The body is cut, or the consistency or opcode unknown.
    """
    if len(payload) < _QUERY_OFFSET:
        raise DecodeError("a read without a query")
    consistency = _CONSISTENCIES.get(payload[BODY_OFFSET])
    if consistency is None:
        raise DecodeError(f"a read of unknown consistency {payload[BODY_OFFSET]}")
    opcode = _QUERY_OPCODES.get(payload[BODY_OFFSET + 1])
    if opcode is None:
        raise DecodeError(f"a read with unknown opcode {payload[BODY_OFFSET + 1]}")
    return consistency, opcode, payload[_QUERY_OFFSET:]


def decode_log(payload: bytes) -> int:
    """Return how many entries a LOG asks for; the server gives fewer if that is too many.

    Raises:
        DecodeError: The body is not four bytes long.
    """
    if len(payload) != BODY_OFFSET + _LAST.size:
        raise DecodeError(f"a log request with a body of {len(payload) - BODY_OFFSET} bytes, and it has 4")
    last: int = _LAST.unpack_from(payload, BODY_OFFSET)[0]
    return last


def decode_trace(payload: bytes) -> int:
    """Return which entry a TRACE asks about; 0: that of the connection's latest traced write.

    Raises:
        DecodeError: The body is not eight bytes long.
    """
    if len(payload) != BODY_OFFSET + _INDEX.size:
        raise DecodeError(f"a trace request with a body of {len(payload) - BODY_OFFSET} bytes, and it has 8")
    index: int = _INDEX.unpack_from(payload, BODY_OFFSET)[0]
    return index


def check_no_body(payload: bytes) -> None:
    """Check a STATUS, PING, RELOAD or DIAGNOSTICS.

    Raises:
        DecodeError: There is a body.
    """
    if len(payload) != BODY_OFFSET:
        raise DecodeError(f"a request with a body of {len(payload) - BODY_OFFSET} bytes, and it has none")


def encode_answer(request_id: int, answer: bytes) -> bytes:
    """Make the whole frame of an ANSWER, length included."""
    return _FRAME.pack(CLIENT_HEADER_BYTES + len(answer), _ANSWER, request_id) + answer


def encode_document(request_id: int, text: str) -> bytes:
    """Make the whole frame of a DOCUMENT, length included."""
    body = text.encode()
    return _FRAME.pack(CLIENT_HEADER_BYTES + len(body), ResponseKind.DOCUMENT, request_id) + body


def encode_pong(request_id: int) -> bytes:
    """Make the whole frame of a PONG, length included."""
    return _FRAME.pack(CLIENT_HEADER_BYTES, ResponseKind.PONG, request_id)


def encode_refusal(request_id: int, refusal: Refusal) -> bytes:
    """Make the whole frame of a REFUSED, length included."""
    writer = Writer()
    writer.u8(refusal.code)
    writer.u64(refusal.leader_id or 0)
    writer.text_u16(refusal.leader_address, REFUSAL_ADDRESS_BYTES_MAX)
    writer.text_u16(refusal.message, REFUSAL_MESSAGE_BYTES_MAX)
    body = writer.finish()
    return _FRAME.pack(CLIENT_HEADER_BYTES + len(body), ResponseKind.REFUSED, request_id) + body


def parse_response(payload: bytes) -> tuple[ResponseKind, int]:
    """Return a response's kind and request id; an ANSWER's body starts at `BODY_OFFSET`.

    Raises:
        RemoteProtocolError: The header is cut, or the kind unknown.
    """
    if len(payload) < CLIENT_HEADER_BYTES:
        raise RemoteProtocolError(f"a response of {len(payload)} bytes came, and its header alone has 9")
    number, request_id = _HEADER.unpack_from(payload)
    kind = _RESPONSE_KINDS.get(number)
    if kind is None:
        raise RemoteProtocolError(f"a response of unknown kind {number} came")
    return kind, request_id


def decode_document(payload: bytes) -> str:
    """Return the JSON text of a DOCUMENT.

    Raises:
        RemoteProtocolError: It is not UTF-8.
    """
    try:
        return payload[BODY_OFFSET:].decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"a document is not UTF-8: {error.reason} at byte {error.start}") from None


def decode_refusal(payload: bytes) -> Refusal:
    """Return the body of a REFUSED.

    Raises:
        RemoteProtocolError: The body does not follow its format, or the code is unknown.
    """
    reader = Reader(payload, BODY_OFFSET)
    try:
        number = reader.u8("refusal code")
        leader_id = reader.u64("leader id")
        leader_address = reader.text_u16("leader address", REFUSAL_ADDRESS_BYTES_MAX)
        message = reader.text_u16("message", REFUSAL_MESSAGE_BYTES_MAX)
        reader.finish()
    except DecodeError as error:
        raise RemoteProtocolError(f"a refusal cannot be read: {error}") from error
    code = _REFUSAL_CODES.get(number)
    if code is None:
        raise RemoteProtocolError(f"a refusal with unknown code {number} came")
    return Refusal(code, message, NodeId(leader_id) if leader_id else None, leader_address)
