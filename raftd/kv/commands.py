"""Commands: what a log entry asks of the state machine, as bytes.

A client encodes a command, and these very bytes travel into the log; the leader only puts a stamp in front of them.
All numbers are little-endian.

The data of a log entry::

    stamp_length u16 | wall_clock_ms u64 | user_length u8 | user | address_length u8 | address | command

    stamp_length    what follows it up to the command: 10 + user_length + address_length
    wall_clock_ms   the leader's, since 1970; for people, never for ordering or expiry
    user            the name in the client's certificate, UTF-8; empty: a server wrote this itself
    address         where the client was connected from, UTF-8; may be empty

A command::

    opcode u8 | session u64 | sequence u64 | first_unanswered u64 | body

    opcode  name            session  sequence  first_unanswered  body
    ------  --------------  -------  --------  ----------------  ------------------------------------------------
    1       OPEN_SESSION    0        0         0                 ttl_ms u32 (0: the default)
    2       CLOSE_SESSION   >= 1     0         0                 nothing
    3       KEEP_ALIVE      >= 1     0         >= 0              nothing (first_unanswered 0: says nothing about it)
    16      PUT             >= 1     >= 1      1..sequence       flags u8, [expected_revision u64],
                                                                 key_length u16, key, value_length u32, value
    17      DELETE          >= 1     >= 1      1..sequence       flags u8, [expected_revision u64],
                                                                 key_length u16, key
    128     ADVANCE_CLOCK   0        0         0                 elapsed_ms u64 (servers only: empty user in the stamp)

    flags           1: expected_revision is there, and the key's modify revision must equal it (0: no such key yet);
                    no other bit may be set
    key_length      1..4096
    value_length    0..1048576

A command is valid if and only if it has these fields within these bounds, and nothing after them.
"""

import enum
import struct
from typing import Final, NamedTuple, NewType, NoReturn, TypeAlias

from raftd.errors import DecodeError
from raftd.kv.limits import ADDRESS_BYTES_MAX, KEY_BYTES_MAX, USER_BYTES_MAX, VALUE_BYTES_MAX

SessionId = NewType("SessionId", int)
"""Names a session for ever: the log index of the entry that opened it, so 1 or greater."""

Revision = NewType("Revision", int)
"""Counts the commands that changed a key; 0 before the first."""


class InvalidCommand(DecodeError):  # noqa: N818 - it names the command, which is at fault
    """Bytes are not a valid command; the message says why, for the client who sent them."""


class CommandTooLarge(InvalidCommand):
    """A key or a value is longer than it may be."""


class Opcode(enum.IntEnum):
    """What a command does. The numbers are on disk and on the wire: never renumber."""

    OPEN_SESSION = 1
    CLOSE_SESSION = 2
    KEEP_ALIVE = 3
    PUT = 16
    DELETE = 17
    ADVANCE_CLOCK = 128


Parsed: TypeAlias = tuple[Opcode, SessionId, int, int, int | None, bytes, int]
"""A valid command: (opcode, session, sequence, first_unanswered, argument, key, value_start).

`argument` is the expected revision of a PUT or DELETE (None: unconditional), the ttl_ms of an OPEN_SESSION, or the
elapsed_ms of an ADVANCE_CLOCK. A PUT's value runs from `value_start` to the end, and is not copied here.

A tuple and not a class on purpose, like `raftd.consensus.types.Entry`: every command is parsed on every node.
"""

_HEADER: Final = struct.Struct("<BQQQ")
_STAMP: Final = struct.Struct("<HQB")
_STAMP_LENGTH_BYTES: Final = 2
_STAMP_FIXED_BYTES: Final = 10  # wall_clock_ms, user_length, address_length
_WRITE: Final = struct.Struct("<BQQQBH")
_CONDITIONAL_WRITE: Final = struct.Struct("<BQQQBQH")
_VALUE_LENGTH: Final = struct.Struct("<I")
_TTL: Final = struct.Struct("<I")
_ELAPSED: Final = struct.Struct("<Q")
_FLAG_EXPECTED_REVISION: Final = 1

# `Struct.size` makes an int each time it is asked; every command is measured with these.
_HEADER_BYTES: Final = _HEADER.size
_STAMP_BYTES: Final = _STAMP.size
_WRITE_BYTES: Final = _WRITE.size
_CONDITIONAL_WRITE_BYTES: Final = _CONDITIONAL_WRITE.size
_VALUE_LENGTH_BYTES: Final = _VALUE_LENGTH.size

_U64_MAX: Final = (1 << 64) - 1

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_PUT: Final = Opcode.PUT
_DELETE: Final = Opcode.DELETE
_ADVANCE_CLOCK: Final = Opcode.ADVANCE_CLOCK
_WRITES: Final = frozenset((int(_PUT), int(_DELETE)))


class Stamp:
    """Who writes, from where: the part of a stamp that stays the same on one connection, encoded once.

    Args:
        user: the name in the client's certificate; `""` for what a server proposes itself.
        address: where the client is connected from; for people to read, so an overlong one is cut.

    Raises:
        ValueError: the user's name has more than 255 bytes.
    """

    __slots__ = ("_identity", "_length", "_user_length")

    def __init__(self, user: str, address: str = "") -> None:
        user_bytes = user.encode()
        if len(user_bytes) > USER_BYTES_MAX:
            raise ValueError(f"a user's name has at most {USER_BYTES_MAX} bytes, not {len(user_bytes)}")
        address_bytes = address.encode()[:ADDRESS_BYTES_MAX]
        self._user_length = len(user_bytes)
        self._identity = user_bytes + bytes((len(address_bytes),)) + address_bytes
        self._length = _STAMP_FIXED_BYTES + len(user_bytes) + len(address_bytes)

    def at(self, wall_clock_ms: int) -> bytes:
        """The stamp's bytes; a log entry's data is these followed by the command."""
        return _STAMP.pack(self._length, wall_clock_ms, self._user_length) + self._identity


def open_session(ttl_ms: int = 0) -> bytes:
    """Encode OPEN_SESSION; `ttl_ms` is brought into the bounds of `Limits`, and 0 asks for the default."""
    return _HEADER.pack(Opcode.OPEN_SESSION, 0, 0, 0) + _TTL.pack(ttl_ms)


def close_session(session: SessionId) -> bytes:
    """Encode CLOSE_SESSION: the session and its remembered answers are forgotten."""
    return _HEADER.pack(Opcode.CLOSE_SESSION, session, 0, 0)


def keep_alive(session: SessionId, first_unanswered: int = 0) -> bytes:
    """Encode KEEP_ALIVE; answers to sequences below `first_unanswered` need not be remembered any longer."""
    return _HEADER.pack(Opcode.KEEP_ALIVE, session, 0, first_unanswered)


def put(
    session: SessionId,
    sequence: int,
    first_unanswered: int,
    key: bytes,
    value: bytes,
    *,
    expected_revision: Revision | None = None,
) -> bytes:
    """Encode PUT.

    Args:
        session: the id in the answer to OPEN_SESSION.
        sequence: names this write within the session; the first is 1.
        first_unanswered: the lowest sequence that the client has no answer for; at most `sequence`.
        key: 1 to 4096 bytes.
        value: 0 to 1 MiB.
        expected_revision: write only if the key's modify revision is this; 0: only if the key is absent.

    Raises:
        CommandTooLarge: key or value is too long.
        InvalidCommand: the key is empty.
    """
    check_key(key)
    if len(value) > VALUE_BYTES_MAX:
        _refuse_value(len(value))
    head = _write_head(_PUT, session, sequence, first_unanswered, key, expected_revision=expected_revision)
    return b"".join((head, key, _VALUE_LENGTH.pack(len(value)), value))


def delete(
    session: SessionId, sequence: int, first_unanswered: int, key: bytes, *, expected_revision: Revision | None = None
) -> bytes:
    """Encode DELETE; arguments as for `put`.

    Raises:
        CommandTooLarge: the key is too long.
        InvalidCommand: the key is empty.
    """
    check_key(key)
    return _write_head(_DELETE, session, sequence, first_unanswered, key, expected_revision=expected_revision) + key


def advance_clock(elapsed_ms: int) -> bytes:
    """Encode ADVANCE_CLOCK, to be stamped with the empty user: `Stamp("")`."""
    return _HEADER.pack(Opcode.ADVANCE_CLOCK, 0, 0, 0) + _ELAPSED.pack(min(elapsed_ms, _U64_MAX))


def check_key(key: bytes) -> None:
    """Check a key's length.

    Raises:
        CommandTooLarge: it is longer than 4096 bytes.
        InvalidCommand: it is empty.
    """
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        _refuse_key(len(key))


def validate_client_command(data: bytes, start: int = 0) -> bytes:
    """Check what a client sent, before it is proposed: the gateway that the rest of the system trusts.

    Args:
        data: holds the command, from `start` to its end.
        start: so that nobody need cut the command out of its frame first.

    Returns:
        The key that the command writes, for the access check; empty if it writes none.

    Raises:
        CommandTooLarge: a key or a value is too long.
        InvalidCommand: it is not a valid command, or one that only servers may propose.
    """
    opcode, _, _, _, _, key, _ = parse(data, start)
    if opcode is _ADVANCE_CLOCK:
        raise InvalidCommand("only servers advance the clock")
    return key


def parse(data: bytes, start: int) -> Parsed:
    """Parse the command that reaches from `start` to the end of `data`; this is the one place that knows the layout.

    Raises:
        CommandTooLarge: a key or a value is too long.
        InvalidCommand: it is not a valid command.
    """
    if len(data) - start < _HEADER_BYTES:
        raise InvalidCommand("a command has at least 25 bytes")
    if data[start] in _WRITES:
        return _parse_write(data, start)
    return _parse_control(data, start)


def parse_stamped(data: bytes) -> tuple[bytes, Parsed]:
    """Parse a log entry's data into the stamp's user and the command.

    Raises:
        InvalidCommand: the stamp or the command is not valid, or a client's stamp is on a server's command.
    """
    user, start = _parse_stamp(data)
    parsed = parse(data, start)
    # The gateway has refused it already; should it ever fail to, a client still cannot expire other clients' sessions.
    if parsed[0] is _ADVANCE_CLOCK and user:
        raise InvalidCommand("only servers advance the clock")
    return user, parsed


class Command(NamedTuple):
    """A log entry's data, for people to read."""

    wall_clock_ms: int
    user: str
    address: str
    opcode: Opcode
    session: SessionId
    sequence: int
    first_unanswered: int
    argument: int | None
    """See `Parsed`."""
    key: bytes
    value: bytes


def decode(data: bytes) -> Command:
    """Decode a log entry's data in full.

    Raises:
        InvalidCommand: the state machine would answer INVALID.
    """
    user, parsed = parse_stamped(data)
    opcode, session, sequence, first_unanswered, argument, key, value_start = parsed
    stamp_length, wall_clock_ms, user_length = _STAMP.unpack_from(data)
    address = data[_STAMP_BYTES + user_length + 1 : _STAMP_LENGTH_BYTES + stamp_length]
    return Command(
        wall_clock_ms,
        user.decode(errors="backslashreplace"),
        address.decode(errors="backslashreplace"),
        opcode,
        session,
        sequence,
        first_unanswered,
        argument,
        key,
        data[value_start:],
    )


def _refuse_key(length: int) -> NoReturn:
    if length == 0:
        raise InvalidCommand("a key has at least one byte")
    raise CommandTooLarge(f"a key has at most {KEY_BYTES_MAX} bytes, not {length}")


def _refuse_value(length: int) -> NoReturn:
    raise CommandTooLarge(f"a value has at most {VALUE_BYTES_MAX} bytes, not {length}")


def _write_head(
    opcode: Opcode,
    session: SessionId,
    sequence: int,
    first_unanswered: int,
    key: bytes,
    *,
    expected_revision: Revision | None,
) -> bytes:
    if expected_revision is None:
        return _WRITE.pack(opcode, session, sequence, first_unanswered, 0, len(key))
    return _CONDITIONAL_WRITE.pack(
        opcode, session, sequence, first_unanswered, _FLAG_EXPECTED_REVISION, expected_revision, len(key)
    )


def _parse_stamp(data: bytes) -> tuple[bytes, int]:
    """The user, and where the command starts."""
    if len(data) < _STAMP_BYTES:
        raise InvalidCommand("the stamp is cut short")
    stamp_length, _, user_length = _STAMP.unpack_from(data)
    user_end = _STAMP_BYTES + user_length
    start: int = _STAMP_LENGTH_BYTES + stamp_length
    if user_end >= len(data) or user_end + 1 + data[user_end] != start:
        raise InvalidCommand("the stamp's lengths disagree")
    return data[_STAMP_BYTES:user_end], start


def _parse_write(data: bytes, start: int) -> Parsed:
    end = len(data)
    if end - start < _WRITE_BYTES:
        raise InvalidCommand("a write is cut short before its key")
    opcode, session, sequence, first_unanswered, flags, key_length = _WRITE.unpack_from(data, start)
    key_start = start + _WRITE_BYTES
    expected_revision = None
    if flags:
        if flags != _FLAG_EXPECTED_REVISION:
            raise InvalidCommand(f"unknown flags {flags:#x}")
        key_start = start + _CONDITIONAL_WRITE_BYTES
        if key_start > end:
            raise InvalidCommand("a write is cut short before its key")
        *_, expected_revision, key_length = _CONDITIONAL_WRITE.unpack_from(data, start)
    if not (session and 1 <= first_unanswered <= sequence):
        raise InvalidCommand("a write needs a session, a sequence, and a first unanswered one that is not above it")
    if not 1 <= key_length <= KEY_BYTES_MAX:
        _refuse_key(key_length)
    key_end: int = key_start + key_length
    if opcode == _DELETE:
        if key_end != end:
            raise InvalidCommand("a DELETE does not end with its key")
        return _DELETE, session, sequence, first_unanswered, expected_revision, data[key_start:key_end], end
    value_start = key_end + _VALUE_LENGTH_BYTES
    if value_start > end:
        raise InvalidCommand("a PUT is cut short before its value")
    (value_length,) = _VALUE_LENGTH.unpack_from(data, key_end)
    if value_length > VALUE_BYTES_MAX:
        _refuse_value(value_length)
    if value_start + value_length != end:
        raise InvalidCommand("a PUT does not end with its value")
    return _PUT, session, sequence, first_unanswered, expected_revision, data[key_start:key_end], value_start


def _parse_control(data: bytes, start: int) -> Parsed:
    """Parse a command about a session or the clock: the rare ones, all of a fixed length."""
    number, session, sequence, first_unanswered = _HEADER.unpack_from(data, start)
    body = data[start + _HEADER_BYTES :]
    argument: int | None = None
    match number:
        case Opcode.OPEN_SESSION:
            valid = session == sequence == first_unanswered == 0 and len(body) == _TTL.size
            if valid:
                (argument,) = _TTL.unpack(body)
        case Opcode.CLOSE_SESSION:
            valid = session != 0 and sequence == first_unanswered == 0 and not body
        case Opcode.KEEP_ALIVE:
            valid = session != 0 and sequence == 0 and not body
        case Opcode.ADVANCE_CLOCK:
            valid = session == sequence == first_unanswered == 0 and len(body) == _ELAPSED.size
            if valid:
                (argument,) = _ELAPSED.unpack(body)
        case _:
            raise InvalidCommand(f"unknown opcode {number}")
    opcode = Opcode(number)
    if not valid:
        raise InvalidCommand(f"{opcode.name} has fields that it may not have, or lacks some")
    return opcode, session, sequence, first_unanswered, argument, b"", len(data)
