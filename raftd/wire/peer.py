"""What nodes say to each other (`raftd.consensus.messages`), as payloads of frames.

Little-endian; each begins with `type u8 | term u64`, and all but two are of a fixed length:

    type                   fields behind the term
     1 RequestPreVote        candidate_id u64 | last_log_index u64 | last_log_term u64 | unproven u8 | unanimous u8 *
     2 RequestPreVoteReply   vote_granted u8
     3 RequestVote           candidate_id u64 | last_log_index u64 | last_log_term u64 | leadership_transfer u8 |
                             unproven u8 | unanimous u8 *
     4 RequestVoteReply      vote_granted u8
     5 AppendEntries         leader_id u64 | prev_log_index u64 | prev_log_term u64 | leader_commit u64 | entries
     6 AppendEntriesReply    success u8 | match_index u64 | conflict_index u64 | conflict_term u64
     7 Heartbeat             leader_id u64 | leader_commit u64 | round u64 | wall_clock_ms u64 *
     8 HeartbeatReply        round u64 | wall_clock_ms u64 *
     9 ReadIndex             read_id u64
    10 ReadIndexReply        read_id u64 | confirmed u8 | read_index u64 (0 if not confirmed)
    11 TimeoutNow            leader_id u64
    12 InstallSnapshot       leader_id u64 | last_included_index u64 | last_included_term u64 | offset u64 | done u8
                             | data
    13 InstallSnapshotReply  last_included_index u64 | next_offset u64 | installed u8

Fields with a star are there from version 2 on. In version 1 `unanimous` is taken to be 0. `wall_clock_ms` is the
sender's, since 1970, for people (`raftd.node.clocks`); consensus does not get to see it.

`entries` is a batch as `raftd.wire.entries` describes it and fills the rest of the frame, so that bytes encoded once
serve the log and every peer, and those received are stored as they came. `data` fills the rest of the frame too, and
goes from file to file as it is.

Beside these there is `raftd.wire.state_hashes`, which consensus does not get to see either.

Links are one-way: a reply travels on the link that its sender dialled.
"""

import enum
import struct
from typing import Any, Final, assert_never

from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.types import LogIndex, NodeId
from raftd.errors import DecodeError, InvariantViolation, RemoteProtocolError
from raftd.wire.entries import decode_entries, encode_entries
from raftd.wire.handshake import PEER_VERSION_MAX
from raftd.wire.limits import PEER_FRAME_BYTES_MAX


class MessageType(enum.IntEnum):
    """The first byte of a message. The numbers are on the wire: never renumber."""

    REQUEST_PRE_VOTE = 1
    REQUEST_PRE_VOTE_REPLY = 2
    REQUEST_VOTE = 3
    REQUEST_VOTE_REPLY = 4
    APPEND_ENTRIES = 5
    APPEND_ENTRIES_REPLY = 6
    HEARTBEAT = 7
    HEARTBEAT_REPLY = 8
    READ_INDEX = 9
    READ_INDEX_REPLY = 10
    TIMEOUT_NOW = 11
    INSTALL_SNAPSHOT = 12
    INSTALL_SNAPSHOT_REPLY = 13


_LENGTH = struct.Struct("<I")
_CANDIDATE: Final = {1: struct.Struct("<BQQQQB"), 2: struct.Struct("<BQQQQBB")}
_VOTE: Final = {1: struct.Struct("<BQQQQBB"), 2: struct.Struct("<BQQQQBBB")}
_FLAG = struct.Struct("<BQB")
_APPEND = struct.Struct("<BQQQQQ")
_APPEND_REPLY = struct.Struct("<BQBQQQ")
_HEARTBEAT: Final = {1: struct.Struct("<BQQQQ"), 2: struct.Struct("<BQQQQQ")}
_HEARTBEAT_REPLY: Final = {1: struct.Struct("<BQQ"), 2: struct.Struct("<BQQQ")}
"""By version, as those of candidates."""
_WALL_CLOCK = struct.Struct("<Q")
_NUMBER = struct.Struct("<BQQ")
_READ_INDEX_REPLY = struct.Struct("<BQQBQ")
_SNAPSHOT = struct.Struct("<BQQQQQB")
_SNAPSHOT_REPLY = struct.Struct("<BQQQB")

SNAPSHOT_CHUNK_BYTES_MAX: Final = PEER_FRAME_BYTES_MAX - _SNAPSHOT.size
"""The data of one InstallSnapshot is no longer than this."""

_INDEX_MAX: Final = (1 << 64) - 1


def encode_message(  # noqa: C901, PLR0912 - flat and exhaustive, one case for each type
    message: Message, entries: bytes | None = None, *, version: int = PEER_VERSION_MAX, wall_clock_ms: int = 0
) -> tuple[bytes, ...]:
    """Make a message's frame, length included, in parts that are to be sent one after another.

    Args:
        message: What to send.
        entries: Of an AppendEntries, its entries already encoded; they become a part as they are, without a copy.
            None: they are encoded here.
        version: The one that the link speaks.
        wall_clock_ms: What time it is here; heartbeats and their answers tell.

    Raises:
        InvariantViolation: A message longer than any node accepts: the sender's batches are not bounded as
            `raftd.wire.limits.append_frame_bytes_max` demands, or its chunks by `SNAPSHOT_CHUNK_BYTES_MAX`.
    """
    match message:
        case AppendEntries():
            return _encode_append_entries(message, encode_entries(message.entries) if entries is None else entries)
        case RequestPreVote() | RequestVote():
            payload = _encode_request(message, version)
        case RequestPreVoteReply(term, vote_granted):
            payload = _FLAG.pack(MessageType.REQUEST_PRE_VOTE_REPLY, term, vote_granted)
        case RequestVoteReply(term, vote_granted):
            payload = _FLAG.pack(MessageType.REQUEST_VOTE_REPLY, term, vote_granted)
        case AppendEntriesReply(term, success, match_index, conflict_index, conflict_term):
            payload = _APPEND_REPLY.pack(
                MessageType.APPEND_ENTRIES_REPLY, term, success, match_index, conflict_index, conflict_term
            )
        case Heartbeat(term, leader_id, leader_commit, round_number):
            payload = _HEARTBEAT[version].pack(
                MessageType.HEARTBEAT, term, leader_id, leader_commit, round_number, *_since_2(version, wall_clock_ms)
            )
        case HeartbeatReply(term, round_number):
            payload = _HEARTBEAT_REPLY[version].pack(
                MessageType.HEARTBEAT_REPLY, term, round_number, *_since_2(version, wall_clock_ms)
            )
        case ReadIndex(term, read_id):
            payload = _NUMBER.pack(MessageType.READ_INDEX, term, read_id)
        case ReadIndexReply(term, read_id, read_index):
            confirmed = read_index is not None
            payload = _READ_INDEX_REPLY.pack(MessageType.READ_INDEX_REPLY, term, read_id, confirmed, read_index or 0)
        case TimeoutNow(term, leader_id):
            payload = _NUMBER.pack(MessageType.TIMEOUT_NOW, term, leader_id)
        case InstallSnapshot():
            return _encode_install_snapshot(message)
        case InstallSnapshotReply(term, last_included_index, next_offset, installed):
            payload = _SNAPSHOT_REPLY.pack(
                MessageType.INSTALL_SNAPSHOT_REPLY, term, last_included_index, next_offset, installed
            )
        case _:
            assert_never(message)
    return (_LENGTH.pack(len(payload)) + payload,)


def decode_message(  # noqa: C901, PLR0912 - flat and exhaustive, one case for each type
    payload: bytes, sender: NodeId, version: int = PEER_VERSION_MAX
) -> tuple[Message, bytes | None]:
    """Read a message that came by the link of `sender`, which speaks `version`.

    Returns:
        The message, and of an AppendEntries also the bytes of its entries, to be stored as they came; else None.

    Raises:
        RemoteProtocolError: The payload does not follow its format, contradicts itself, or names another leader or
            candidate than its sender.
    """
    try:
        message_type = MessageType(payload[0])
    except (IndexError, ValueError):
        raise RemoteProtocolError(f"a message of unknown type came: {payload[:1].hex()!r}") from None
    message: Message
    match message_type:
        case MessageType.REQUEST_PRE_VOTE:
            term, candidate_id, last_log_index, last_log_term, *flags = _unpack(_CANDIDATE[version], payload)
            _check_sender(candidate_id, sender)
            message = RequestPreVote(term, candidate_id, last_log_index, last_log_term, *map(_boolean, flags))
        case MessageType.REQUEST_PRE_VOTE_REPLY:
            term, vote_granted = _unpack(_FLAG, payload)
            message = RequestPreVoteReply(term, _boolean(vote_granted))
        case MessageType.REQUEST_VOTE:
            term, candidate_id, last_log_index, last_log_term, *flags = _unpack(_VOTE[version], payload)
            _check_sender(candidate_id, sender)
            message = RequestVote(term, candidate_id, last_log_index, last_log_term, *map(_boolean, flags))
        case MessageType.REQUEST_VOTE_REPLY:
            term, vote_granted = _unpack(_FLAG, payload)
            message = RequestVoteReply(term, _boolean(vote_granted))
        case MessageType.APPEND_ENTRIES:
            return _decode_append_entries(payload, sender)
        case MessageType.APPEND_ENTRIES_REPLY:
            term, success, match_index, conflict_index, conflict_term = _unpack(_APPEND_REPLY, payload)
            message = AppendEntriesReply(term, _boolean(success), match_index, conflict_index, conflict_term)
        case MessageType.HEARTBEAT:
            term, leader_id, leader_commit, round_number, *_ = _unpack(_HEARTBEAT[version], payload)
            _check_sender(leader_id, sender)
            message = Heartbeat(term, leader_id, leader_commit, round_number)
        case MessageType.HEARTBEAT_REPLY:
            term, round_number, *_ = _unpack(_HEARTBEAT_REPLY[version], payload)
            message = HeartbeatReply(term, round_number)
        case MessageType.READ_INDEX:
            term, read_id = _unpack(_NUMBER, payload)
            message = ReadIndex(term, read_id)
        case MessageType.READ_INDEX_REPLY:
            message = _decode_read_index_reply(payload)
        case MessageType.TIMEOUT_NOW:
            term, leader_id = _unpack(_NUMBER, payload)
            _check_sender(leader_id, sender)
            message = TimeoutNow(term, leader_id)
        case MessageType.INSTALL_SNAPSHOT:
            message = _decode_install_snapshot(payload, sender)
        case MessageType.INSTALL_SNAPSHOT_REPLY:
            term, last_included_index, next_offset, installed = _unpack(_SNAPSHOT_REPLY, payload)
            message = InstallSnapshotReply(term, last_included_index, next_offset, _boolean(installed))
        case _:
            assert_never(message_type)
    return message, None


def wall_clock_ms(payload: bytes, version: int) -> int | None:
    """When its sender says that it sent a heartbeat, or an answer to one, which was decoded; None: it does not say."""
    if version < 2:
        return None
    sent_ms: int = _WALL_CLOCK.unpack_from(payload, len(payload) - _WALL_CLOCK.size)[0]
    return sent_ms


def _encode_request(message: RequestPreVote | RequestVote, version: int) -> bytes:
    candidate = message.term, message.candidate_id, message.last_log_index, message.last_log_term
    newer = _since_2(version, message.unanimous)
    if isinstance(message, RequestPreVote):
        return _CANDIDATE[version].pack(MessageType.REQUEST_PRE_VOTE, *candidate, message.unproven, *newer)
    flags = message.leadership_transfer, message.unproven
    return _VOTE[version].pack(MessageType.REQUEST_VOTE, *candidate, *flags, *newer)


def _encode_append_entries(message: AppendEntries, entries: bytes) -> tuple[bytes, ...]:
    header = _length(message, _APPEND, entries) + _APPEND.pack(
        MessageType.APPEND_ENTRIES,
        message.term,
        message.leader_id,
        message.prev_log_index,
        message.prev_log_term,
        message.leader_commit,
    )
    return (header, entries) if entries else (header,)


def _encode_install_snapshot(message: InstallSnapshot) -> tuple[bytes, ...]:
    header = _length(message, _SNAPSHOT, message.data) + _SNAPSHOT.pack(
        MessageType.INSTALL_SNAPSHOT,
        message.term,
        message.leader_id,
        message.last_included_index,
        message.last_included_term,
        message.offset,
        message.done,
    )
    return (header, message.data) if message.data else (header,)


def _length(message: Message, layout: struct.Struct, rest: bytes) -> bytes:
    length = layout.size + len(rest)
    if length > PEER_FRAME_BYTES_MAX:
        kind = type(message).__name__
        raise InvariantViolation(f"a message {kind} of {length} bytes, and peers accept {PEER_FRAME_BYTES_MAX}")
    return _LENGTH.pack(length)


def _decode_append_entries(payload: bytes, sender: NodeId) -> tuple[AppendEntries, bytes]:
    if len(payload) < _APPEND.size:
        raise RemoteProtocolError(f"an AppendEntries of {len(payload)} bytes came, and its header has {_APPEND.size}")
    _, term, leader_id, prev_log_index, prev_log_term, leader_commit = _APPEND.unpack_from(payload)
    _check_sender(leader_id, sender)
    if (prev_log_index == 0) != (prev_log_term == 0):
        raise RemoteProtocolError(f"entry {prev_log_index} is said to have term {prev_log_term}")
    batch = payload[_APPEND.size :]
    try:
        entries = decode_entries(batch, LogIndex(prev_log_index + 1), previous_term=prev_log_term)
    except DecodeError as error:
        raise RemoteProtocolError(f"an AppendEntries cannot be read: {error}") from error
    last_index, last_term = entries[-1][:2] if entries else (prev_log_index, prev_log_term)
    if last_term > term:
        raise RemoteProtocolError(f"a leader of term {term} sent an entry of term {last_term}")
    if last_index > _INDEX_MAX:
        raise RemoteProtocolError(f"an entry with index {last_index} came")
    return AppendEntries(term, leader_id, prev_log_index, prev_log_term, leader_commit, tuple(entries)), batch


def _decode_install_snapshot(payload: bytes, sender: NodeId) -> InstallSnapshot:
    if len(payload) < _SNAPSHOT.size:
        raise RemoteProtocolError(
            f"an InstallSnapshot of {len(payload)} bytes came, and its header has {_SNAPSHOT.size}"
        )
    _, term, leader_id, last_included_index, last_included_term, offset, done = _SNAPSHOT.unpack_from(payload)
    _check_sender(leader_id, sender)
    data = payload[_SNAPSHOT.size :]
    if offset + len(data) > _INDEX_MAX:
        raise RemoteProtocolError(f"a snapshot of {offset + len(data)} bytes came")
    return InstallSnapshot(term, leader_id, last_included_index, last_included_term, offset, data, _boolean(done))


def _decode_read_index_reply(payload: bytes) -> ReadIndexReply:
    term, read_id, confirmed, read_index = _unpack(_READ_INDEX_REPLY, payload)
    if not _boolean(confirmed) and read_index:
        raise RemoteProtocolError(f"a read index of {read_index} came, and was not confirmed")
    return ReadIndexReply(term, read_id, read_index if confirmed else None)


def _since_2(version: int, field: int) -> tuple[int, ...]:
    return (field,) if version >= 2 else ()


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[Any, ...]:
    """Return the fields behind the type."""
    if len(payload) != layout.size:
        raise RemoteProtocolError(f"a message of type {payload[0]} has {layout.size} bytes, and {len(payload)} came")
    return layout.unpack(payload)[1:]


def _boolean(number: int) -> bool:
    if number > 1:
        raise RemoteProtocolError(f"a flag is {number}, and may be 0 or 1")
    return number == 1


def _check_sender(named: int, sender: NodeId) -> None:
    """Refuse a node that speaks in another's name: the link it came by was authenticated, the message was not."""
    if named != sender:
        raise RemoteProtocolError(f"node {sender} sent a message as node {named}")
