"""The bytes of commands and stamps."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv import commands
from raftd.kv.access import Need, Operation
from raftd.kv.commands import CommandTooLarge, InvalidCommand, Opcode, Revision, SessionId, Stamp
from raftd.kv.limits import COMMAND_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.kv.operations import Delete, DeleteRange, Increment, Put, Transaction, Write, WriteOperation

SESSION = SessionId(0x0102)
U64_MAX = (1 << 64) - 1

sessions = st.integers(1, U64_MAX).map(SessionId)
u64 = st.integers(0, U64_MAX)
keys = st.binary(min_size=1, max_size=40)
values = st.binary(max_size=40)
revisions = st.none() | u64.map(Revision)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def writes(key: bytes) -> tuple[Need, ...]:
    return ((Operation.WRITE, key, None),)


def stamped(command: bytes, user: str = "alice") -> bytes:
    return Stamp(user, "192.0.2.1:5000").at(1_700_000_000_000) + command


GOLDEN = [
    (commands.open_session(60_000), "01 0000000000000000 0000000000000000 0000000000000000 60ea0000"),
    (commands.close_session(SESSION), "02 0201000000000000 0000000000000000 0000000000000000"),
    (commands.keep_alive(SESSION, 7), "03 0201000000000000 0000000000000000 0700000000000000"),
    (commands.keep_alive(SESSION), "03 0201000000000000 0000000000000000 0000000000000000"),
    (
        commands.put(SESSION, 9, 7, b"key", b"value"),
        "10 0201000000000000 0900000000000000 0700000000000000 00 0300 6b6579 05000000 76616c7565",
    ),
    (
        commands.put(SESSION, 9, 7, b"k", b"", expected_revision=Revision(5)),
        "10 0201000000000000 0900000000000000 0700000000000000 01 0500000000000000 0100 6b 00000000",
    ),
    (
        commands.delete(SESSION, 9, 7, b"key"),
        "11 0201000000000000 0900000000000000 0700000000000000 00 0300 6b6579",
    ),
    (
        commands.delete(SESSION, 9, 7, b"k", expected_revision=Revision(0)),
        "11 0201000000000000 0900000000000000 0700000000000000 01 0000000000000000 0100 6b",
    ),
    (commands.advance_clock(1000), "80 0000000000000000 0000000000000000 0000000000000000 e803000000000000"),
    (Stamp("bob", "::1").at(0x0A0B), "1000 0b0a000000000000 03 626f62 03 3a3a31"),
    (Stamp("").at(0), "0a00 0000000000000000 00 00"),
]


@pytest.mark.parametrize(("encoded", "expected"), GOLDEN)
def test_layout(encoded: bytes, expected: str) -> None:
    """The bytes are those of ARCHITECTURE.md: logs and clients in other languages depend on each of them."""
    assert encoded.hex() == expected.replace(" ", "")


@given(
    session=sessions,
    numbers=st.tuples(st.integers(1, U64_MAX), st.integers(1, U64_MAX)).map(sorted),
    key=keys,
    value=values,
    expected=revisions,
    stamp=st.tuples(u64, names, names),
)
@settings(deadline=None)
def test_a_put_is_read_as_it_was_written(
    *,
    session: SessionId,
    numbers: list[int],
    key: bytes,
    value: bytes,
    expected: Revision | None,
    stamp: tuple[int, str, str],
) -> None:
    """Every field of a stamped PUT comes back."""
    first_unanswered, sequence = numbers
    command = commands.put(session, sequence, first_unanswered, key, value, expected_revision=expected)
    wall_clock_ms, user, address = stamp
    decoded = commands.decode(Stamp(user, address).at(wall_clock_ms) + command)
    assert decoded == (*stamp, Opcode.PUT, session, sequence, first_unanswered, expected, key, value)
    assert commands.validate_client_command(command) == writes(key)


@given(sessions, keys, revisions)
@settings(deadline=None)
def test_a_delete_is_read_as_it_was_written(session: SessionId, key: bytes, expected: Revision | None) -> None:
    """Every field of a stamped DELETE comes back."""
    command = commands.delete(session, 3, 2, key, expected_revision=expected)
    decoded = commands.decode(stamped(command))
    assert decoded[3:] == (Opcode.DELETE, session, 3, 2, expected, key, b"")
    assert commands.validate_client_command(command) == writes(key)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (commands.open_session(5), (Opcode.OPEN_SESSION, 0, 0, 0, 5, b"", b"")),
        (commands.close_session(SESSION), (Opcode.CLOSE_SESSION, SESSION, 0, 0, None, b"", b"")),
        (commands.keep_alive(SESSION, 4), (Opcode.KEEP_ALIVE, SESSION, 0, 4, None, b"", b"")),
    ],
)
def test_a_session_command_is_read_as_it_was_written(command: bytes, expected: tuple[object, ...]) -> None:
    """The commands about sessions come back, and write no key."""
    assert commands.decode(stamped(command))[3:] == expected
    assert commands.validate_client_command(command) == ()


@pytest.mark.parametrize(
    ("operation", "key", "value"),
    [
        (Put(b"k", b"v", previous=True), b"k", b"v"),
        (Delete(b"k", previous=True), b"k", b""),
        (Increment(b"k", 5), b"k", b""),
        (DeleteRange(b"a", b"b"), b"", b""),
        (Transaction((), (Put(b"k", b"v"),)), b"", b""),
    ],
)
def test_the_key_of_a_write_is_shown_if_it_has_one(operation: WriteOperation, key: bytes, value: bytes) -> None:
    """For people; what writes none or several is told by its argument."""
    write = Write(operation)
    decoded = commands.decode(stamped(commands.write(SESSION, 3, 2, write)))
    assert (decoded.argument, decoded.key, decoded.value) == (write, key, value)


def test_a_command_is_checked_where_it_lies() -> None:
    """Neither parsing nor checking looks at what stands before the command."""
    command = commands.put(SESSION, 1, 1, b"key", b"value")
    assert commands.validate_client_command(b"\xff" * 9 + command, 9) == writes(b"key")


def test_clients_do_not_advance_the_clock() -> None:
    """ADVANCE_CLOCK is refused at the gateway, and once more under a client's stamp; a server's goes through."""
    command = commands.advance_clock(5)
    with pytest.raises(InvalidCommand, match="only servers"):
        commands.validate_client_command(command)
    with pytest.raises(InvalidCommand, match="only servers"):
        commands.decode(stamped(command))
    assert commands.decode(stamped(command, user="")).argument == 5


@pytest.mark.parametrize(("command", "_"), GOLDEN[:7])
def test_every_cut_is_refused(command: bytes, _: str) -> None:
    """No proper prefix of a command is one, nor is a command with something after it."""
    for length in range(len(command)):
        with pytest.raises(InvalidCommand):
            commands.validate_client_command(command[:length])
    with pytest.raises(InvalidCommand):
        commands.validate_client_command(command + b"\0")


def test_every_cut_of_a_stamp_is_refused() -> None:
    """A stamped session command, whose stamp or command is cut anywhere, is refused."""
    data = stamped(commands.close_session(SESSION))
    for length in range(len(data)):
        with pytest.raises(InvalidCommand):
            commands.parse_stamped(data[:length])


@pytest.mark.parametrize("offset", [0, 10, 16])
def test_a_stamp_whose_lengths_disagree_is_refused(offset: int) -> None:
    """The three lengths of a stamp bind each other."""
    data = bytearray(stamped(commands.close_session(SESSION)))
    assert data[0] == 10 + 5 + 14
    assert data[10] == 5
    assert data[16] == 14
    for change in (-1, 1):
        damaged = bytearray(data)
        damaged[offset] += change
        with pytest.raises(InvalidCommand):
            commands.parse_stamped(bytes(damaged))


def write_head(
    opcode: int = 16, session: int = 1, sequence: int = 1, first_unanswered: int = 1, flags: int = 0
) -> bytes:
    numbers = b"".join(number.to_bytes(8, "little") for number in (session, sequence, first_unanswered))
    return bytes((opcode,)) + numbers + bytes((flags,))


PUT_BODY = b"\1\0k" + b"\1\0\0\0v"


@pytest.mark.parametrize(
    "command",
    [
        write_head(session=0) + PUT_BODY,
        write_head(sequence=0, first_unanswered=0) + PUT_BODY,
        write_head(first_unanswered=0) + PUT_BODY,
        write_head(first_unanswered=2) + PUT_BODY,
        write_head(flags=16, session=0) + PUT_BODY,
        write_head(flags=16, first_unanswered=0) + PUT_BODY,
        write_head(flags=16, first_unanswered=2) + PUT_BODY,
        write_head(flags=2) + PUT_BODY,
        write_head(flags=3) + bytes(8) + PUT_BODY,
        write_head(flags=128) + PUT_BODY,
        write_head(opcode=23) + PUT_BODY,
        write_head(flags=32) + PUT_BODY,
        write_head(opcode=0) + PUT_BODY,
        write_head() + b"\0\0" + b"\1\0\0\0v",
        write_head(opcode=17) + b"\0\0",
        write_head(opcode=17) + b"\2\0k",
        write_head(opcode=17, flags=1) + b"\1\0k",
        commands.open_session()[:1] + bytes(23) + b"\1" + bytes(4),
        commands.close_session(SessionId(0)),
        commands.keep_alive(SessionId(0)),
        commands.close_session(SESSION)[:-1] + b"\1",
        commands.keep_alive(SESSION)[:9] + b"\1" + bytes(15),
    ],
)
def test_fields_out_of_bounds_are_refused(command: bytes) -> None:
    """A command with a field that it may not have is refused, whole."""
    with pytest.raises(InvalidCommand) as refused:
        commands.validate_client_command(command)
    assert not isinstance(refused.value, CommandTooLarge)


def test_well_formed_by_hand() -> None:
    """The commands that the test above damages are valid before."""
    assert commands.validate_client_command(write_head() + PUT_BODY) == writes(b"k")
    assert commands.validate_client_command(write_head(flags=1) + bytes(8) + PUT_BODY) == writes(b"k")
    assert commands.validate_client_command(write_head(opcode=17) + b"\1\0k") == writes(b"k")
    assert writes(b"k")[0] in commands.validate_client_command(write_head(flags=16) + PUT_BODY)


KEY_TOO_LONG = (KEY_BYTES_MAX + 1).to_bytes(2, "little") + bytes(KEY_BYTES_MAX + 1)
VALUE_TOO_LONG = (VALUE_BYTES_MAX + 1).to_bytes(4, "little") + bytes(VALUE_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "command",
    [
        write_head() + KEY_TOO_LONG + b"\0\0\0\0",
        write_head(opcode=17) + KEY_TOO_LONG,
        write_head() + b"\1\0k" + VALUE_TOO_LONG,
        write_head() + b"\1\0k" + b"\xff\xff\xff\xff",
    ],
)
def test_what_is_too_large_is_told_apart(command: bytes) -> None:
    """A key or value over its bound is refused as too large, be it there or only announced."""
    with pytest.raises(CommandTooLarge):
        commands.validate_client_command(command)


def test_bounds_are_reached() -> None:
    """The longest key and the longest value are allowed, and the shortest."""
    for key, value in ((b"k" * KEY_BYTES_MAX, b""), (b"k", bytes(VALUE_BYTES_MAX))):
        assert commands.validate_client_command(commands.put(SESSION, 1, 1, key, value)) == writes(key)


def test_the_longest_command_is_taken_behind_any_stamp() -> None:
    """Its own length counts, and not where it ends."""

    def of_length(length: int) -> bytes:
        first, empty = Put(b"a", bytes(VALUE_BYTES_MAX)), Put(b"b", b"")
        missing = length - len(commands.write(SESSION, 1, 1, Write(Transaction((), (first, empty)))))
        return commands.write(SESSION, 1, 1, Write(Transaction((), (first, Put(b"b", bytes(missing))))))

    longest = of_length(COMMAND_BYTES_MAX)
    assert len(longest) == COMMAND_BYTES_MAX
    assert isinstance(commands.decode(stamped(longest)).argument, Write)
    with pytest.raises(CommandTooLarge):
        of_length(COMMAND_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "encode",
    [
        lambda key: commands.put(SESSION, 1, 1, key, b""),
        lambda key: commands.delete(SESSION, 1, 1, key),
        commands.check_key,
    ],
)
def test_the_encoders_keep_the_bounds(encode: Callable[[bytes], object]) -> None:
    """A client learns of a bad key before it sends anything."""
    encode(b"k" * KEY_BYTES_MAX)
    with pytest.raises(CommandTooLarge):
        encode(b"k" * (KEY_BYTES_MAX + 1))
    with pytest.raises(InvalidCommand):
        encode(b"")


def test_the_encoder_keeps_the_bound_of_values() -> None:
    """A client learns of a value that is too long before it sends anything."""
    with pytest.raises(CommandTooLarge):
        commands.put(SESSION, 1, 1, b"k", bytes(VALUE_BYTES_MAX + 1))


def test_long_names() -> None:
    """A user's name is never cut, for it decides on access; an address is, for it decides on nothing."""
    command = commands.close_session(SESSION)
    longest = "u" * 255
    assert commands.decode(Stamp(longest, "a" * 300).at(1) + command)[1:3] == (longest, "a" * 255)
    with pytest.raises(ValueError, match="255"):
        Stamp("u" * 254 + "é")


@given(st.binary(max_size=80) | st.binary(max_size=80).map(stamped))
@settings(deadline=None)
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    """Any bytes whatever are parsed or refused with InvalidCommand; nothing else is raised."""
    for check in (commands.validate_client_command, commands.parse_stamped, commands.decode):
        with contextlib.suppress(InvalidCommand):
            check(data)
