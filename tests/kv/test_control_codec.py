"""The bytes of commands about sessions, leases and the clock."""

import pytest

from raftd.kv import control_codec
from raftd.kv.control_codec import parse_control
from raftd.kv.operations import Opcode
from raftd.kv.types import InvalidCommand, LeaseId, SessionId

SESSION = SessionId(0x0102)
LEASES = [LeaseId(1), LeaseId(5), LeaseId((1 << 64) - 1)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (control_codec.lease_grant(SESSION, 9, 7, 60_000), (Opcode.LEASE_GRANT, SESSION, 9, 7, 60_000, b"", 29)),
        (control_codec.lease_grant(SESSION, 9, 7), (Opcode.LEASE_GRANT, SESSION, 9, 7, 0, b"", 29)),
        (control_codec.lease_revoke(SESSION, 9, 7, LeaseId(5)), (Opcode.LEASE_REVOKE, SESSION, 9, 7, 5, b"", 33)),
        (control_codec.expire_leases(LEASES), (Opcode.EXPIRE_LEASES, 0, 0, 0, tuple(LEASES), b"", 51)),
        (control_codec.keep_alive(SESSION, 7), (Opcode.KEEP_ALIVE, SESSION, 0, 7, None, b"", 25)),
    ],
)
def test_commands_are_read_as_they_were_written(command: bytes, expected: tuple[object, ...]) -> None:
    """All fields come back."""
    assert parse_control(command, 0) == expected


def test_as_many_leases_expire_at_once_as_may() -> None:
    """4096 of them, and not one more; and never none."""
    leases = [LeaseId(number) for number in range(1, 4098)]
    assert parse_control(control_codec.expire_leases(leases[:-1]), 0)[4] == tuple(leases[:-1])
    for wrong in (leases, []):
        with pytest.raises(InvalidCommand, match="1 to 4096 leases"):
            control_codec.expire_leases(wrong)


@pytest.mark.parametrize("leases", [[0], [0, 1], [2, 1], [1, 1]])
def test_leases_that_expire_ascend(leases: list[int]) -> None:
    """So there is one spelling of each command, and 0 is no lease."""
    with pytest.raises(InvalidCommand):
        control_codec.expire_leases([LeaseId(lease) for lease in leases])
    head = bytes((Opcode.EXPIRE_LEASES,)) + bytes(24)
    body = len(leases).to_bytes(2, "little") + b"".join(lease.to_bytes(8, "little") for lease in leases)
    with pytest.raises(InvalidCommand):
        parse_control(head + body, 0)


def test_a_lease_to_revoke_is_one() -> None:
    """0 is refused by the encoder, and by the decoder."""
    with pytest.raises(InvalidCommand):
        control_codec.lease_revoke(SESSION, 9, 7, LeaseId(0))
    with pytest.raises(InvalidCommand):
        parse_control(control_codec.lease_revoke(SESSION, 9, 7, LeaseId(1))[:25] + bytes(8), 0)


def test_the_encoders_keep_the_bounds() -> None:
    """A client learns of a number that does not fit before it sends anything."""
    for ttl_ms in (-1, 1 << 32):
        with pytest.raises(InvalidCommand, match="a time to live"):
            control_codec.lease_grant(SESSION, 9, 7, ttl_ms)
    for lease in (-1, 1 << 64):
        with pytest.raises(InvalidCommand, match="a lease"):
            control_codec.lease_revoke(SESSION, 9, 7, LeaseId(lease))


@pytest.mark.parametrize(("session", "sequence", "first_unanswered"), [(0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 2)])
def test_leases_are_granted_and_revoked_once(session: int, sequence: int, first_unanswered: int) -> None:
    """Such a command has a session and a sequence like any write."""
    for command in (
        control_codec.lease_grant(SessionId(session), sequence, first_unanswered),
        control_codec.lease_revoke(SessionId(session), sequence, first_unanswered, LeaseId(5)),
    ):
        with pytest.raises(InvalidCommand, match="needs a session"):
            parse_control(command, 0)
