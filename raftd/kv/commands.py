"""Commands: what a log entry asks of the state machine, as bytes.

A client encodes a command, and these very bytes travel into the log; the leader only puts a stamp in front of them
(`raftd.kv.stamps`).
All numbers are little-endian.

A command::

    opcode u8 | session u64 | sequence u64 | first_unanswered u64 | body

    opcode  name            session  sequence  first_unanswered  body
    ------  --------------  -------  --------  ----------------  ------------------------------------------------
    1       OPEN_SESSION    0        0         0                 ttl_ms u32 (0: the default)
    2       CLOSE_SESSION   >= 1     0         0                 nothing
    3       KEEP_ALIVE      >= 1     0         >= 0              nothing (first_unanswered 0: says nothing about it)
    16      PUT             >= 1     >= 1      1..sequence       the five: see `raftd.kv.write_codec`
    17      DELETE
    18      INCREMENT
    19      DELETE_RANGE
    20      TRANSACTION                                          see also `raftd.kv.transaction_codec`
    21      LEASE_GRANT     >= 1     >= 1      1..sequence       ttl_ms u32 (0: the default)
    22      LEASE_REVOKE    >= 1     >= 1      1..sequence       lease u64, not 0
    128     ADVANCE_CLOCK   0        0         0                 elapsed_ms u64 (servers only)
    129     EXPIRE_LEASES   0        0         0                 count u16 (1..4096), count times lease u64,
                                                                 ascending and not 0 (servers only)

    servers only    under a stamp without a user
    key_length      1..4096
    value_length    0..1048576
    command         at most 2097152 bytes

A command is valid if and only if it has these fields within these bounds, and nothing after them. So there is one way
only to spell each.
"""

import struct
from typing import Final, NamedTuple, NoReturn, TypeAlias

from raftd.kv.access import Need, Operation, needs_of_write
from raftd.kv.control_codec import (
    advance_clock,
    close_session,
    expire_leases,
    keep_alive,
    lease_grant,
    lease_revoke,
    open_session,
    parse_control,
    refuse_head,
)
from raftd.kv.limits import COMMAND_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.kv.operations import (
    Delete,
    Increment,
    Opcode,
    OperationCode,
    Put,
    Write,
    check_key,
    refuse_key,
    refuse_value,
)
from raftd.kv.stamps import ParsedStamp, Stamp, parse_stamp
from raftd.kv.transaction_codec import decode_write, encode_write
from raftd.kv.types import CommandTooLarge, InvalidCommand, LeaseId, Revision, SessionId
from raftd.kv.write_codec import WriteCode

__all__ = [
    "Argument",
    "Command",
    "CommandTooLarge",
    "InvalidCommand",
    "Opcode",
    "Parsed",
    "Revision",
    "SessionId",
    "Stamp",
    "Write",
    "advance_clock",
    "check_key",
    "close_session",
    "decode",
    "delete",
    "expire_leases",
    "keep_alive",
    "lease_grant",
    "lease_revoke",
    "open_session",
    "parse",
    "parse_stamped",
    "put",
    "validate_client_command",
    "write",
]


Argument: TypeAlias = int | Write | tuple[LeaseId, ...] | None
"""What a command says besides its head; see `Parsed`."""

Parsed: TypeAlias = tuple[Opcode, SessionId, int, int, Argument, bytes, int]
"""A valid command: (opcode, session, sequence, first_unanswered, argument, key, value_start).

`argument` is

- a `Write` for the opcodes from PUT to TRANSACTION; then `key` is empty,
- except for a plain PUT or DELETE, which nearly all writes are: it is the expected revision (None: unconditional), and
  the key is `key`. A plain PUT's value runs from `value_start` to the end, and is not copied here. So
  `type(argument) is Write` tells the two apart;
- the ttl_ms of an OPEN_SESSION or LEASE_GRANT, the lease of a LEASE_REVOKE, the elapsed_ms of an ADVANCE_CLOCK, the
  leases of an EXPIRE_LEASES;
- None for all others.

A tuple and not a class on purpose, like `raftd.consensus.types.Entry`: every command is parsed on every node.
"""

_HEADER: Final = struct.Struct("<BQQQ")
_PLAIN_WRITE: Final = struct.Struct("<BQQQBH")
_CONDITIONAL_WRITE: Final = struct.Struct("<BQQQBQH")
_VALUE_LENGTH: Final = struct.Struct("<I")
_FLAG_EXPECTED_REVISION: Final = 1

# `Struct.size` makes an int each time it is asked; every command is measured with these.
_HEADER_BYTES: Final = _HEADER.size
_PLAIN_WRITE_BYTES: Final = _PLAIN_WRITE.size
_CONDITIONAL_WRITE_BYTES: Final = _CONDITIONAL_WRITE.size
_VALUE_LENGTH_BYTES: Final = _VALUE_LENGTH.size

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_PUT: Final = Opcode.PUT
_DELETE: Final = Opcode.DELETE
_DELETE_NUMBER: Final = _DELETE.value
_WRITES_KEY: Final = Operation.WRITE
_ADVANCE_CLOCK: Final = Opcode.ADVANCE_CLOCK
_EXPIRE_LEASES: Final = Opcode.EXPIRE_LEASES
_OPCODES: Final = {opcode.value: opcode for opcode in Opcode}
_PLAIN_WRITES: Final = frozenset((int(_PUT), int(_DELETE)))
_GENERAL_WRITES: Final[dict[int, WriteCode]] = {
    OperationCode.INCREMENT.value: OperationCode.INCREMENT,
    OperationCode.DELETE_RANGE.value: OperationCode.DELETE_RANGE,
    OperationCode.TRANSACTION.value: OperationCode.TRANSACTION,
}


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
        refuse_value(len(value))
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


def write(session: SessionId, sequence: int, first_unanswered: int, wanted: Write) -> bytes:
    """Encode any write; `put` and `delete` are the fast forms of two, with the same bytes.

    Raises:
        CommandTooLarge: something in it, or all of it, is too long.
        InvalidCommand: something else is out of bounds.
    """
    code, fields = encode_write(wanted)
    if _HEADER_BYTES + len(fields) > COMMAND_BYTES_MAX:
        _refuse_command(_HEADER_BYTES + len(fields))
    return _HEADER.pack(code, session, sequence, first_unanswered) + fields


def validate_client_command(data: bytes, start: int = 0) -> tuple[Need, ...]:
    """Check what a client sent, before it is proposed: the gateway that the rest of the system trusts.

    Args:
        data: holds the command, from `start` to its end.
        start: so that nobody need cut the command out of its frame first.

    Returns:
        What the user must be allowed to do, for `Permissions.allows_all`; nothing for a command that concerns no key.

    Raises:
        CommandTooLarge: a key, a value or the whole is too long.
        InvalidCommand: it is not a valid command, or one that only servers may propose.
    """
    opcode, _, _, _, argument, key, _ = parse(data, start)
    if key:
        return ((_WRITES_KEY, key, None),)
    if type(argument) is Write:
        return needs_of_write(argument)
    _refuse_servers_commands(opcode)
    return ()


def parse(data: bytes, start: int) -> Parsed:
    """Parse the command that reaches from `start` to the end of `data`; this is the one place that knows the layout.

    Raises:
        CommandTooLarge: a key, a value or the whole is too long.
        InvalidCommand: it is not a valid command.
    """
    if len(data) - start < _HEADER_BYTES:
        raise InvalidCommand("a command has at least 25 bytes")
    number = data[start]
    if number in _PLAIN_WRITES:
        return _parse_write(data, start)
    code = _GENERAL_WRITES.get(number)
    if code is not None:
        return _parse_general_write(code, data, start)
    return parse_control(data, start)


def parse_stamped(data: bytes) -> tuple[ParsedStamp, Parsed]:
    """Parse a log entry's data into the stamp and the command.

    Raises:
        InvalidCommand: the stamp or the command is not valid, or a client's stamp is on a server's command.
    """
    stamp, start = parse_stamp(data)
    if start < len(data) and data[start] in _PLAIN_WRITES:
        return stamp, _parse_write(data, start)
    parsed = parse(data, start)
    # The gateway has refused it already; should it ever fail to, a client still cannot end others' sessions and leases.
    if stamp[1]:
        _refuse_servers_commands(parsed[0])
    return stamp, parsed


class Command(NamedTuple):
    """A log entry's data, for people to read."""

    wall_clock_ms: int
    user: str
    address: str
    opcode: Opcode
    session: SessionId
    sequence: int
    first_unanswered: int
    argument: Argument
    """See `Parsed`."""
    key: bytes
    """That is written; empty if it is none or more than one."""
    value: bytes


def decode(data: bytes) -> Command:
    """Decode a log entry's data in full.

    Raises:
        InvalidCommand: the state machine would answer INVALID.
    """
    (wall_clock_ms, user, address), parsed = parse_stamped(data)
    opcode, session, sequence, first_unanswered, argument, key, value_start = parsed
    value = data[value_start:]
    if isinstance(argument, Write):
        operation = argument.operation
        key = operation.key if isinstance(operation, Put | Delete | Increment) else b""
        value = operation.value if isinstance(operation, Put) else b""
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
        value,
    )


def _refuse_command(length: int) -> NoReturn:
    raise CommandTooLarge(f"a command has at most {COMMAND_BYTES_MAX} bytes, not {length}")


def _refuse_servers_commands(opcode: Opcode) -> None:
    if opcode is _ADVANCE_CLOCK:
        raise InvalidCommand("only servers advance the clock")
    if opcode is _EXPIRE_LEASES:
        raise InvalidCommand("only servers expire leases")


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
        return _PLAIN_WRITE.pack(opcode, session, sequence, first_unanswered, 0, len(key))
    return _CONDITIONAL_WRITE.pack(
        opcode, session, sequence, first_unanswered, _FLAG_EXPECTED_REVISION, expected_revision, len(key)
    )


def _parse_write(data: bytes, start: int) -> Parsed:
    end = len(data)
    if end - start < _PLAIN_WRITE_BYTES:
        raise InvalidCommand("a write is cut short before its key")
    opcode, session, sequence, first_unanswered, flags, key_length = _PLAIN_WRITE.unpack_from(data, start)
    key_start = start + _PLAIN_WRITE_BYTES
    expected_revision = None
    if flags:
        if flags != _FLAG_EXPECTED_REVISION:
            return _parse_general_write(OperationCode.PUT if opcode == _PUT else OperationCode.DELETE, data, start)
        key_start = start + _CONDITIONAL_WRITE_BYTES
        if key_start > end:
            raise InvalidCommand("a write is cut short before its key")
        *_, expected_revision, key_length = _CONDITIONAL_WRITE.unpack_from(data, start)
    if not (session and 1 <= first_unanswered <= sequence):
        refuse_head()
    if not 1 <= key_length <= KEY_BYTES_MAX:
        refuse_key(key_length)
    key_end: int = key_start + key_length
    if opcode == _DELETE_NUMBER:
        if key_end != end:
            raise InvalidCommand("a DELETE does not end with its key")
        return _DELETE, session, sequence, first_unanswered, expected_revision, data[key_start:key_end], end
    value_start = key_end + _VALUE_LENGTH_BYTES
    if value_start > end:
        raise InvalidCommand("a PUT is cut short before its value")
    (value_length,) = _VALUE_LENGTH.unpack_from(data, key_end)
    if value_length > VALUE_BYTES_MAX:
        refuse_value(value_length)
    if value_start + value_length != end:
        raise InvalidCommand("a PUT does not end with its value")
    return _PUT, session, sequence, first_unanswered, expected_revision, data[key_start:key_end], value_start


def _parse_general_write(code: WriteCode, data: bytes, start: int) -> Parsed:
    """Parse any write that is not a plain one."""
    end = len(data)
    if end - start > COMMAND_BYTES_MAX:
        _refuse_command(end - start)
    number, session, sequence, first_unanswered = _HEADER.unpack_from(data, start)
    if not (session and 1 <= first_unanswered <= sequence):
        refuse_head()
    wanted = decode_write(code, data, start + _HEADER_BYTES)
    return _OPCODES[number], session, sequence, first_unanswered, wanted, b"", end
