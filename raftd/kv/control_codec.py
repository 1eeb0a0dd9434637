"""The bytes of commands about sessions, leases and the clock; `raftd.kv.commands` has the table of all commands.

They are the rare ones.
"""

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NoReturn, TypeAlias

from raftd.kv.limits import EXPIRED_LEASES_MAX
from raftd.kv.operations import U32_MAX, U64_MAX, Opcode, check_lease, check_u64
from raftd.kv.types import NO_LEASE, InvalidCommand, LeaseId, SessionId

ParsedControl: TypeAlias = tuple[Opcode, SessionId, int, int, int | tuple[LeaseId, ...] | None, bytes, int]
"""A `raftd.kv.commands.Parsed` of one of these commands."""

_HEADER: Final = struct.Struct("<BQQQ")
_TTL: Final = struct.Struct("<I")
_ELAPSED: Final = struct.Struct("<Q")
_LEASE: Final = struct.Struct("<Q")
_LEASE_COUNT: Final = struct.Struct("<H")


def open_session(ttl_ms: int = 0) -> bytes:
    """Encode OPEN_SESSION; `ttl_ms` is brought into the bounds of `Limits`, and 0 asks for the default."""
    return _HEADER.pack(Opcode.OPEN_SESSION, 0, 0, 0) + _TTL.pack(ttl_ms)


def close_session(session: SessionId) -> bytes:
    """Encode CLOSE_SESSION: the session and its remembered answers are forgotten."""
    return _HEADER.pack(Opcode.CLOSE_SESSION, session, 0, 0)


def keep_alive(session: SessionId, first_unanswered: int = 0) -> bytes:
    """Encode KEEP_ALIVE; answers to sequences below `first_unanswered` need not be remembered any longer."""
    return _HEADER.pack(Opcode.KEEP_ALIVE, session, 0, first_unanswered)


def lease_grant(session: SessionId, sequence: int, first_unanswered: int, ttl_ms: int = 0) -> bytes:
    """Encode LEASE_GRANT; `ttl_ms` is brought into the bounds of `Limits`, and 0 asks for the default.

    Raises:
        InvalidCommand: `ttl_ms` does not fit into 32 bits.
    """
    if not 0 <= ttl_ms <= U32_MAX:
        raise InvalidCommand(f"a time to live is 0 to {U32_MAX} ms, not {ttl_ms}")
    return _HEADER.pack(Opcode.LEASE_GRANT, session, sequence, first_unanswered) + _TTL.pack(ttl_ms)


def lease_revoke(session: SessionId, sequence: int, first_unanswered: int, lease: LeaseId) -> bytes:
    """Encode LEASE_REVOKE: the lease ends, and its keys with it.

    Raises:
        InvalidCommand: `lease` is none.
    """
    check_lease(lease)
    check_u64(lease, "a lease")
    return _HEADER.pack(Opcode.LEASE_REVOKE, session, sequence, first_unanswered) + _LEASE.pack(lease)


def advance_clock(elapsed_ms: int) -> bytes:
    """Encode ADVANCE_CLOCK, to be stamped with the empty user: `Stamp("")`."""
    return _HEADER.pack(Opcode.ADVANCE_CLOCK, 0, 0, 0) + _ELAPSED.pack(min(elapsed_ms, U64_MAX))


def expire_leases(leases: Sequence[LeaseId]) -> bytes:
    """Encode EXPIRE_LEASES, to be stamped with the empty user: `Stamp("")`.

    Args:
        leases: 1 to 4096 of them, ascending.

    Raises:
        InvalidCommand: none, too many, or not ascending.
    """
    _check_leases(leases)
    return b"".join(
        (_HEADER.pack(Opcode.EXPIRE_LEASES, 0, 0, 0), struct.pack(f"<H{len(leases)}Q", len(leases), *leases))
    )


def parse_control(data: bytes, start: int) -> ParsedControl:
    """Parse one of these commands, which has a whole header and reaches from `start` to the end of `data`.

    Raises:
        InvalidCommand: it is not a valid command, or of another kind.
    """
    number, session, sequence, first_unanswered = _HEADER.unpack_from(data, start)
    body = data[start + _HEADER.size :]
    argument: int | tuple[LeaseId, ...] | None = None
    match number:
        case Opcode.OPEN_SESSION:
            valid = session == sequence == first_unanswered == 0 and len(body) == _TTL.size
            if valid:
                (argument,) = _TTL.unpack(body)
        case Opcode.CLOSE_SESSION:
            valid = session != 0 and sequence == first_unanswered == 0 and not body
        case Opcode.KEEP_ALIVE:
            valid = session != 0 and sequence == 0 and not body
        case Opcode.LEASE_GRANT | Opcode.LEASE_REVOKE:
            if not (session and 1 <= first_unanswered <= sequence):
                refuse_head()
            layout = _TTL if number == Opcode.LEASE_GRANT else _LEASE
            valid = len(body) == layout.size
            if valid:
                (argument,) = layout.unpack(body)
                valid = number == Opcode.LEASE_GRANT or argument != NO_LEASE
        case Opcode.ADVANCE_CLOCK:
            valid = session == sequence == first_unanswered == 0 and len(body) == _ELAPSED.size
            if valid:
                (argument,) = _ELAPSED.unpack(body)
        case Opcode.EXPIRE_LEASES:
            argument = _parse_leases(body)
            valid = session == sequence == first_unanswered == 0
        case _:
            raise InvalidCommand(f"unknown opcode {number}")
    opcode = Opcode(number)
    if not valid:
        raise InvalidCommand(f"{opcode.name} has fields that it may not have, or lacks some")
    return opcode, session, sequence, first_unanswered, argument, b"", len(data)


def refuse_head() -> NoReturn:
    """Say what is wrong with the head of a command that is to be done once.

    Raises:
        InvalidCommand: always.
    """
    raise InvalidCommand("a write needs a session, a sequence, and a first unanswered one that is not above it")


def _check_leases(leases: Sequence[int]) -> None:
    if not 1 <= len(leases) <= EXPIRED_LEASES_MAX:
        raise InvalidCommand(f"an EXPIRE_LEASES names 1 to {EXPIRED_LEASES_MAX} leases, not {len(leases)}")
    check_lease(leases[0])
    if any(one >= next_one for one, next_one in pairwise(leases)):
        raise InvalidCommand("the leases of an EXPIRE_LEASES do not ascend")


def _parse_leases(body: bytes) -> tuple[LeaseId, ...]:
    count = _LEASE_COUNT.unpack_from(body)[0] if len(body) >= _LEASE_COUNT.size else 0
    if len(body) != _LEASE_COUNT.size + count * _LEASE.size:
        raise InvalidCommand("an EXPIRE_LEASES does not end with its leases")
    leases = struct.unpack_from(f"<{count}Q", body, _LEASE_COUNT.size)
    _check_leases(leases)
    return leases
