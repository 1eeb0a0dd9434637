"""Watches and the keeping alive of leases, as bytes; `raftd.wire.client` has the frames around them.

Bodies of requests:

    WATCH             flags u8, start_revision u64, low_length u16, low, high_length u16, high
    UNWATCH           the watch's request_id u64
    LEASE_KEEP_ALIVE  count u16, lease u64 each

Bodies of responses; all that a watch has to say carries the request id of its WATCH:

    WATCHING          revision u64: the changes after it follow
    CHANGES           revision u64, flags u8, count u32, changes (`raftd.kv.changes`)
    WATCH_ENDED       reason u8, revision u64
    UNWATCHED         nothing; it carries the request id of the UNWATCH

What answers a LEASE_KEEP_ALIVE is an ANSWER whose own body, if its outcome is OK, is count u16, remaining_ms u32 each.
"""

import enum
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv.limits import BOUND_BYTES_MAX
from raftd.wire.client import BODY_OFFSET, ResponseKind
from raftd.wire.limits import CLIENT_HEADER_BYTES

_FRAME = struct.Struct("<IBQ")
_CHANGES_FRAME = struct.Struct("<IBQQBI")
_CHANGES_HEAD = struct.Struct("<QBI")
_WATCHING = struct.Struct("<IBQQ")
_ENDED = struct.Struct("<IBQBQ")
_U64 = struct.Struct("<Q")

LEASES_KEPT_ALIVE_MAX: Final = 4096
"""One LEASE_KEEP_ALIVE names 1 to this many."""

CHANGES_OFFSET: Final = BODY_OFFSET + _CHANGES_HEAD.size
"""Where the changes start in the payload of a CHANGES."""


class WatchFlag(enum.IntFlag):
    """What a watch wants to be told, and what not. The numbers are on the wire: never renumber."""

    PREVIOUS = 1
    """Each change tells what was there before."""
    NO_PUTS = 2
    NO_DELETES = 4
    PROGRESS = 8
    """Be told from time to time how far the node has come, though nothing concerned this watch."""
    KEYS_ONLY = 16
    """No values; PREVIOUS gives the previous ones all the same."""


class WatchEndReason(enum.IntEnum):
    """Why a watch has ended. The numbers are on the wire: never renumber."""

    CANCELLED = 1
    """By an UNWATCH."""
    COMPACTED = 2
    """Changes that it has not been told of are no longer held; the revision is the last of those."""
    FUTURE_REVISION = 3
    """It was to start behind the change that comes next; the revision is the newest."""
    TOO_MANY = 4
    """This connection, its user on this node, or this node has as many watches as it may have."""
    DENIED = 5
    """The user may not read all of the range any more."""
    NODE_STOPPING = 6
    """The node is going down, or has heard no leader for long: watch on at another one, from the revision on that came
    last."""


class WatchRequest(NamedTuple):
    """What is to be watched: the keys in [low, high), where an empty `high` is the end of all keys."""

    flags: WatchFlag
    start_revision: int
    """The first revision whose changes are wanted; 0: from now on."""
    low: bytes
    high: bytes


class ChangesHead(NamedTuple):
    """What a CHANGES says before its changes."""

    revision: int
    """All up to this one was delivered, with this frame and those before."""
    is_partial: bool
    """Further changes of `revision` itself follow, in the next frame."""
    change_count: int


class WatchEnd(NamedTuple):
    """The body of a WATCH_ENDED."""

    reason: WatchEndReason
    revision: int
    """With COMPACTED: changes up to this one are no longer held. Otherwise the newest that the node had applied."""


_FLAGS_ALL: Final = int(
    WatchFlag.PREVIOUS | WatchFlag.NO_PUTS | WatchFlag.NO_DELETES | WatchFlag.PROGRESS | WatchFlag.KEYS_ONLY
)
_REASONS: Final = {reason.value: reason for reason in WatchEndReason}
_PARTIAL: Final = 1


# Requests.


def encode_watch_body(request: WatchRequest) -> bytes:
    """Make the body of a WATCH."""
    writer = Writer()
    writer.u8(request.flags)
    writer.u64(request.start_revision)
    writer.bytes_u16(request.low)
    writer.bytes_u16(request.high)
    return writer.finish()


def decode_watch(payload: bytes) -> WatchRequest:
    """Return what a WATCH asks for.

    Raises:
        DecodeError: The body does not follow its format, has unknown flags, or wants to be told of nothing.
    """
    reader = Reader(payload, BODY_OFFSET)
    number = reader.u8("flags")
    if number & ~_FLAGS_ALL:
        raise DecodeError(f"a watch with unknown flags {number}")
    flags = WatchFlag(number)
    if WatchFlag.NO_PUTS in flags and WatchFlag.NO_DELETES in flags:
        raise DecodeError("a watch of neither puts nor deletes")
    start_revision = reader.u64("start revision")
    low = reader.bytes_u16("low", BOUND_BYTES_MAX)
    high = reader.bytes_u16("high", BOUND_BYTES_MAX)
    reader.finish()
    return WatchRequest(flags, start_revision, low, high)


def encode_unwatch_body(watch_request_id: int) -> bytes:
    """Make the body of an UNWATCH."""
    return _U64.pack(watch_request_id)


def decode_unwatch(payload: bytes) -> int:
    """Return the request id of the watch that an UNWATCH is about.

    Raises:
        DecodeError: The body is not eight bytes long.
    """
    if len(payload) != BODY_OFFSET + _U64.size:
        raise DecodeError(f"an UNWATCH with a body of {len(payload) - BODY_OFFSET} bytes, and it has 8")
    request_id: int = _U64.unpack_from(payload, BODY_OFFSET)[0]
    return request_id


def encode_keep_alive_body(leases: Sequence[int]) -> bytes:
    """Make the body of a LEASE_KEEP_ALIVE of 1 to `LEASES_KEPT_ALIVE_MAX` leases."""
    return struct.pack(f"<H{len(leases)}Q", len(leases), *leases)


def decode_keep_alive(payload: bytes) -> tuple[int, ...]:
    """Return the leases that a LEASE_KEEP_ALIVE names, in its order.

    Raises:
        DecodeError: The body does not follow its format, or names none or too many.
    """
    reader = Reader(payload, BODY_OFFSET)
    count = reader.u16("count")
    if not 1 <= count <= LEASES_KEPT_ALIVE_MAX:
        raise DecodeError(f"a keep-alive of {count} leases, and it has 1 to {LEASES_KEPT_ALIVE_MAX}")
    leases = struct.unpack(f"<{count}Q", reader.raw(8 * count, "leases"))
    reader.finish()
    return leases


# Responses.


def encode_watching(request_id: int, revision: int) -> bytes:
    """Make the whole frame of a WATCHING, length included."""
    return _WATCHING.pack(CLIENT_HEADER_BYTES + 8, ResponseKind.WATCHING, request_id, revision)


def changes_body(revision: int, changes: Sequence[bytes], *, is_partial: bool) -> bytes:
    """Make the body of a CHANGES of changes that are encoded already (`raftd.kv.changes`)."""
    return _CHANGES_HEAD.pack(revision, _PARTIAL if is_partial else 0, len(changes)) + b"".join(changes)


def changes_head(request_id: int, body_bytes: int) -> bytes:
    """Make what stands before a body of that length to have a whole frame: one body may go to many watches."""
    return _FRAME.pack(CLIENT_HEADER_BYTES + body_bytes, ResponseKind.CHANGES, request_id)


def encode_progress(request_id: int, revision: int) -> bytes:
    """Make the whole frame of a CHANGES that has none, length included."""
    return _CHANGES_FRAME.pack(
        CLIENT_HEADER_BYTES + _CHANGES_HEAD.size, ResponseKind.CHANGES, request_id, revision, 0, 0
    )


def encode_watch_ended(request_id: int, reason: WatchEndReason, revision: int) -> bytes:
    """Make the whole frame of a WATCH_ENDED, length included."""
    return _ENDED.pack(CLIENT_HEADER_BYTES + 9, ResponseKind.WATCH_ENDED, request_id, reason, revision)


def encode_unwatched(request_id: int) -> bytes:
    """Make the whole frame of an UNWATCHED, length included."""
    return _FRAME.pack(CLIENT_HEADER_BYTES, ResponseKind.UNWATCHED, request_id)


def keep_alive_answer_body(remaining_ms: Sequence[int]) -> bytes:
    """Make the body of an answer to a LEASE_KEEP_ALIVE: for each lease what is left of it, 0 if there is none."""
    return struct.pack(f"<H{len(remaining_ms)}I", len(remaining_ms), *remaining_ms)


def decode_watching(payload: bytes) -> int:
    """Return the revision of a WATCHING.

    Raises:
        RemoteProtocolError: The body is not eight bytes long.
    """
    if len(payload) != BODY_OFFSET + _U64.size:
        raise RemoteProtocolError(f"a WATCHING of {len(payload)} bytes came, and it has {BODY_OFFSET + _U64.size}")
    revision: int = _U64.unpack_from(payload, BODY_OFFSET)[0]
    return revision


def decode_changes_head(payload: bytes) -> ChangesHead:
    """Return what a CHANGES says before its changes, which start at `CHANGES_OFFSET`.

    Raises:
        RemoteProtocolError: The body is cut before them, or has unknown flags.
    """
    if len(payload) < CHANGES_OFFSET:
        raise RemoteProtocolError(f"a CHANGES of {len(payload)} bytes came, and it has {CHANGES_OFFSET} at least")
    revision, flags, count = _CHANGES_HEAD.unpack_from(payload, BODY_OFFSET)
    if flags & ~_PARTIAL:
        raise RemoteProtocolError(f"a CHANGES with unknown flags {flags} came")
    return ChangesHead(revision, bool(flags), count)


def decode_watch_ended(payload: bytes) -> WatchEnd:
    """Return the body of a WATCH_ENDED.

    Raises:
        RemoteProtocolError: It does not follow its format, or the reason is unknown.
    """
    reader = Reader(payload, BODY_OFFSET)
    try:
        number = reader.u8("reason")
        revision = reader.u64("revision")
        reader.finish()
    except DecodeError as error:
        raise RemoteProtocolError(f"the end of a watch cannot be read: {error}") from error
    reason = _REASONS.get(number)
    if reason is None:
        raise RemoteProtocolError(f"a watch ended for the unknown reason {number}")
    return WatchEnd(reason, revision)


def decode_keep_alive_answer(body: bytes) -> tuple[int, ...]:
    """Return what is left of each lease, in milliseconds, in the order of the request; 0: there is none.

    `body` is that of the answer, behind its outcome, term and revision.

    Raises:
        RemoteProtocolError: It does not follow its format.
    """
    reader = Reader(body)
    try:
        count = reader.u16("count")
        remaining_ms = struct.unpack(f"<{count}I", reader.raw(4 * count, "remaining times"))
        reader.finish()
    except DecodeError as error:
        raise RemoteProtocolError(f"the answer to a keep-alive cannot be read: {error}") from error
    return remaining_ms
