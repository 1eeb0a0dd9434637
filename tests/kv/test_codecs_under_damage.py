"""What decoders make of bytes that nobody encoded: an error, or exactly what these bytes say (pitfall 34).

For every decoder: each strict prefix is refused; and whatever else is accepted is encoded again to the very same bytes,
so there is one spelling of everything and nothing is passed over. Memory is bounded by what came.
"""

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import DecodeError
from raftd.kv import answers, commands, control_codec, pages, results
from raftd.kv.answers import Outcome
from raftd.kv.changes import Change, ShownChange, decode_change, encode_change
from raftd.kv.commands import Opcode, Parsed
from raftd.kv.items import KeyedItem, KeyValue, encode_item, encode_keyed, encode_previous
from raftd.kv.operations import Delete, DeleteRange, Get, Increment, Operation, Put, Range, Transaction, Write
from raftd.kv.queries import Query, QueryOpcode, encode_query, parse_query
from raftd.kv.results import OperationResult
from raftd.kv.types import InvalidCommand, LeaseId, Record, Revision, SessionId
from tests.kv.samples import WRITES, changes, mutated, mutations, queries, writes

SESSION = SessionId(0x0102)
RECORD: Record = (Revision(1), Revision(2), 3, LeaseId(4), b"bob", b"value")
ITEM = KeyValue(*RECORD)
Decoded = TypeVar("Decoded")


def check(
    decode: Callable[[bytes], Decoded], encode: Callable[[Decoded], bytes], data: bytes, error: type[DecodeError]
) -> None:
    """Refused with this kind of error, or understood in full."""
    try:
        decoded = decode(data)
    except error:
        return
    assert encode(decoded) == data


# Commands.


def encode_parsed(data: bytes, parsed: Parsed) -> bytes:  # noqa: PLR0911 - one for each kind
    """The command again, by the encoder for its kind; the value of a plain PUT is where the parser says."""
    opcode, session, sequence, first_unanswered, argument, key, value_start = parsed
    if isinstance(argument, Write):
        return commands.write(session, sequence, first_unanswered, argument)
    if opcode is Opcode.EXPIRE_LEASES:
        assert isinstance(argument, tuple)
        return commands.expire_leases(argument)  # type: ignore[arg-type]  # a Write is a tuple too, and ruled out above
    assert argument is None or isinstance(argument, int)
    expected_revision = None if argument is None else Revision(argument)
    number = argument or 0
    match opcode:
        case Opcode.PUT:
            write = Put(key, data[value_start:], expected_revision=expected_revision)
            fast = commands.put(
                session, sequence, first_unanswered, key, data[value_start:], expected_revision=expected_revision
            )
            assert commands.write(session, sequence, first_unanswered, Write(write)) == fast
            return fast
        case Opcode.DELETE:
            fast = commands.delete(session, sequence, first_unanswered, key, expected_revision=expected_revision)
            assert commands.write(session, sequence, first_unanswered, Write(Delete(key, expected_revision))) == fast
            return fast
        case Opcode.OPEN_SESSION:
            return commands.open_session(number)
        case Opcode.CLOSE_SESSION:
            return commands.close_session(session)
        case Opcode.KEEP_ALIVE:
            return commands.keep_alive(session, first_unanswered)
        case Opcode.LEASE_GRANT:
            return commands.lease_grant(session, sequence, first_unanswered, number)
        case Opcode.LEASE_REVOKE:
            return commands.lease_revoke(session, sequence, first_unanswered, LeaseId(number))
        case Opcode.ADVANCE_CLOCK:
            return commands.advance_clock(number)
        case _:
            raise AssertionError(f"{opcode.name} is none of these")


def check_command(data: bytes) -> None:
    check(lambda data: commands.parse(data, 0), lambda parsed: encode_parsed(data, parsed), data, InvalidCommand)


COMMANDS = [
    commands.put(SESSION, 9, 7, b"key", b"value"),
    commands.put(SESSION, 9, 7, b"key", b"value", expected_revision=Revision(5)),
    commands.delete(SESSION, 9, 7, b"key"),
    commands.delete(SESSION, 9, 7, b"key", expected_revision=Revision(0)),
    *(commands.write(SESSION, 9, 7, write) for write in WRITES),
    commands.open_session(60_000),
    commands.close_session(SESSION),
    commands.keep_alive(SESSION, 7),
    commands.lease_grant(SESSION, 9, 7, 60_000),
    commands.lease_revoke(SESSION, 9, 7, LeaseId(5)),
    commands.advance_clock(1000),
    commands.expire_leases([LeaseId(5), LeaseId(7)]),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_spelled_in_one_way(command: bytes) -> None:
    """What was encoded is encoded again to the same bytes; no strict prefix is a command, and none goes on."""
    assert encode_parsed(command, commands.parse(command, 0)) == command
    for wrong in [command[:length] for length in range(len(command))] + [command + b"\0"]:
        with pytest.raises(InvalidCommand):
            commands.parse(wrong, 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_byte_counts(command: bytes) -> None:
    """Each byte, changed in several ways, makes another command or none."""
    for offset in range(len(command)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(command)
            damaged[offset] ^= change
            check_command(bytes(damaged))


@given(writes)
@settings(deadline=None)
def test_any_write_is_spelled_in_one_way(write: Write) -> None:
    """As above, for whatever a client can encode."""
    command = commands.write(SESSION, 9, 7, write)
    assert encode_parsed(command, commands.parse(command, 0)) == command
    for length in range(len(command)):
        with pytest.raises(InvalidCommand):
            commands.parse(command[:length], 0)


@given(st.sampled_from(COMMANDS) | writes.map(lambda write: commands.write(SESSION, 9, 7, write)), mutations, st.data())
@settings(deadline=None, max_examples=400)
def test_damaged_commands(command: bytes, places: list[tuple[int, int]], data: st.DataObject) -> None:
    """What is nearly a command is refused with InvalidCommand, or is another one."""
    check_command(mutated(command, places, data.draw(st.binary(max_size=3))))


@given(st.sampled_from([1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 128, 129]), st.binary(max_size=80))
@settings(deadline=None, max_examples=400)
def test_garbage_behind_a_good_head(opcode: int, body: bytes) -> None:
    """Any bytes whatever are refused with InvalidCommand, or are a command."""
    numbers = b"".join(number.to_bytes(8, "little") for number in (1, 1, 1))
    check_command(bytes((opcode,)) + numbers + body)


# Queries.


@given(queries, mutations, st.binary(max_size=2))
@settings(deadline=None, max_examples=200)
def test_damaged_queries(query: Query, places: list[tuple[int, int]], tail: bytes) -> None:
    """A query's strict prefixes are none, and what is nearly one is refused or another one."""
    opcode, data = encode_query(query)
    # The key of a GET goes to the end, so that its beginning is a key too.
    for length in range(len(data) if opcode is not QueryOpcode.GET else 1):
        with pytest.raises(InvalidCommand):
            parse_query(opcode, data[:length])
    check(
        lambda data: parse_query(opcode, data),
        lambda query: encode_query(query)[1],
        mutated(data, places, tail),
        InvalidCommand,
    )


# Changes.


def change_of(shown: ShownChange) -> Change:
    """A change that is shown so: what is not shown is made up."""
    before: Record | None = None
    after: Record | None = None
    if shown.previous is not None:
        before = (Revision(0), shown.previous.modify_revision, 0, LeaseId(0), b"", shown.previous.value)
    if shown.is_delete:
        value = before[-1] if before else b""
        modify_revision = before[1] if before else Revision(0)
        before = (shown.create_revision, modify_revision, shown.version, shown.lease, b"", value)
    else:
        after = (shown.create_revision, shown.revision, shown.version, shown.lease, shown.user, shown.value or b"")
    return Change(
        shown.revision, shown.key, before, after, shown.by_lease, shown.wall_clock_ms, shown.user, shown.address
    )


def encode_shown(shown: ShownChange) -> bytes:
    return encode_change(change_of(shown), values=shown.value is not None, previous=shown.previous is not None)


def decode_whole_change(data: bytes) -> ShownChange:
    shown, end = decode_change(data)
    if end != len(data):
        raise DecodeError("something follows")
    return shown


@given(changes(), st.booleans(), st.booleans(), mutations, st.binary(max_size=2))
@settings(deadline=None, max_examples=200)
def test_damaged_changes(
    change: Change,
    values: bool,
    previous: bool,
    places: list[tuple[int, int]],
    tail: bytes,
) -> None:
    """What is nearly a change is refused, or another one."""
    data = encode_change(change, values=values, previous=previous)
    assert encode_shown(decode_whole_change(data)) == data
    check(decode_whole_change, encode_shown, mutated(data, places, tail), DecodeError)


# Answers.


def keyed(items: list[KeyedItem] | tuple[KeyedItem, ...], *, keys_only: bool = False) -> list[bytes]:
    return [encode_keyed(key, item, keys_only=keys_only) for key, item in items]


def encode_result(  # noqa: PLR0911 - one for each kind
    result: OperationResult | None, operation: Operation
) -> tuple[Outcome, bytes]:
    """One operation's result again."""
    match operation, result:
        case ((Get() | Delete()), None):
            return Outcome.NOT_FOUND, b""
        case Get(), KeyValue():
            return Outcome.OK, encode_item(result)
        case Range(), pages.RangePage(at_revision, key_count, more, items):
            shown = keyed(tuple(items), keys_only=operation.keys_only)
            return Outcome.OK, pages.range_body(at_revision, key_count, shown, more=more)
        case Put(), answers.PutResult(version, create_revision, previous):
            tail = encode_previous(previous) if operation.previous else b""
            return Outcome.OK, answers.put_body(version, create_revision, tail)
        case Delete(), answers.DeleteResult(previous):
            return Outcome.OK, encode_previous(previous) if operation.previous else b""
        case Increment(), results.IncrementResult():
            return Outcome.OK, results.increment_body(*result)
        case DeleteRange(), results.DeleteRangeResult(deleted_count, more, items):
            return Outcome.OK, results.delete_range_body(deleted_count, keyed(tuple(items)), more=more)
        case Transaction(), results.TransactionResult(succeeded, several):
            done = operation.then if succeeded else operation.otherwise
            encoded = [encode_result(each, one) for each, one in zip(several, done, strict=True)]
            return Outcome.OK, results.transaction_body(encoded, succeeded=succeeded)
        case _:
            raise AssertionError(f"{result} is no result of {operation}")


EVERYTHING = Transaction(
    (),
    (
        Get(b"k"),
        Range(b"", b""),
        Range(b"", b"", keys_only=True),
        Put(b"k", b""),
        Put(b"k", b"", previous=True),
        Delete(b"k"),
        Delete(b"k", previous=True),
        Increment(b"k", 1),
        DeleteRange(b"", b""),
        DeleteRange(b"", b"", previous=True),
        Transaction((), (Get(b"k"),), (Delete(b"k"),)),
    ),
    (Get(b"k"),),
)
RESULTS = results.TransactionResult(
    succeeded=True,
    results=(
        ITEM,
        pages.RangePage(Revision(9), 2, True, ((b"k", ITEM),)),
        pages.RangePage(Revision(9), None, False, ((b"k", ITEM._replace(value=b"")),)),
        answers.PutResult(4, Revision(5)),
        answers.PutResult(4, Revision(5), ITEM),
        answers.DeleteResult(),
        answers.DeleteResult(ITEM),
        results.IncrementResult(-1, 4, Revision(5)),
        results.DeleteRangeResult(3, more=True),
        results.DeleteRangeResult(1, False, ((b"k", ITEM),)),
        results.TransactionResult(succeeded=False, results=(None,)),
    ),
)


def encode_page(page: pages.RangePage, *, keys_only: bool = False) -> bytes:
    items = keyed(tuple(page.items), keys_only=keys_only)
    return pages.range_body(page.at_revision, page.key_count, items, more=page.more)


def encode_history(page: pages.HistoryPage) -> bytes:
    return pages.history_body(page.compacted_revision, [encode_shown(one) for one in page.changes], more=page.more)


SHOWN = decode_whole_change(
    encode_change(
        Change(Revision(9), b"k", RECORD, RECORD, False, 7, b"bob", b"::1"),
        values=True,
        previous=True,
    )
)
BODIES: list[tuple[Callable[[bytes], object], Callable[[object], bytes], object]] = [
    (
        lambda body: results.decode_transaction(body, EVERYTHING),
        lambda result: encode_result(result, EVERYTHING)[1],  # type: ignore[arg-type]  # each with its own kind
        RESULTS,
    ),
    (pages.decode_range, encode_page, RESULTS.results[1]),  # type: ignore[list-item]  # as above
    (
        pages.decode_history,
        encode_history,  # type: ignore[list-item]  # as above
        pages.HistoryPage(Revision(3), False, (SHOWN, SHOWN)),
    ),
    (
        pages.decode_lease,
        pages.lease_body,  # type: ignore[list-item]  # as above
        pages.LeaseInfo(60_000, 45_000, b"bob", (b"a", b"b")),
    ),
    (
        pages.decode_leases,
        lambda page: pages.leases_body(page.leases, more=page.more),  # type: ignore[attr-defined]  # as above
        pages.LeasesPage(True, (pages.ListedLease(LeaseId(5), 60_000, 2, b"bob"),)),
    ),
]


@pytest.mark.parametrize(("decode", "encode", "value"), BODIES)
def test_every_byte_of_an_answer_counts(
    decode: Callable[[bytes], object], encode: Callable[[object], bytes], value: object
) -> None:
    """It comes back; each byte, changed in several ways, makes another answer or none; no strict prefix is one."""
    body = encode(value)
    assert decode(body) == value
    for length in range(len(body)):
        with pytest.raises(DecodeError):
            decode(body[:length])
    for offset in range(len(body)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(body)
            damaged[offset] ^= change
            check(decode, encode, bytes(damaged), DecodeError)


# Memory.

HEAD = b"".join(number.to_bytes(8, "little") for number in (1, 1, 1))
GREEDY = [
    bytes((opcode,)) + HEAD + bytes((flags,)) + filler * 64
    for opcode in (16, 17, 18, 19, 20, 129)
    for flags in (0, 1, 4, 8, 16, 29, 31)
    for filler in (b"\xff", b"\xff\x0f", b"\x01\x00", b"\x80")
]


def peak_bytes(attempt: Callable[[], object]) -> int:
    """What is allocated at most while this runs."""
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            attempt()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x0f", b"\x01\x00", b"\x80"])
def test_lengths_take_no_memory(filler: bytes) -> None:
    """However long they say that something is, what is taken for a command of a hundred bytes stays small."""
    for command in GREEDY:
        if command.endswith(filler * 64):

            def attempt(command: bytes = command) -> None:
                check_command(command)
                raise DecodeError("it was a command")

            assert peak_bytes(attempt) < 64 << 10


@pytest.mark.parametrize(
    "decode",
    [
        pages.decode_range,
        pages.decode_history,
        pages.decode_lease,
        pages.decode_leases,
        lambda body: results.decode_delete_range(body, previous=True),
        lambda body: results.decode_transaction(body, EVERYTHING),
        answers.decode_get,
    ],
)
@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x0f", b"\x01\x00", b"\x00"])
def test_counts_take_no_memory(decode: Callable[[bytes], object], filler: bytes) -> None:
    """However many items an answer announces, what is taken is bounded by what came."""
    for start in (b"", bytes(8), bytes(17), b"\x00"):
        body = start + b"\xff\xff\xff\x7f" + filler * 2000

        def attempt(body: bytes = body) -> None:
            decode(body)
            raise DecodeError("it was an answer")

        assert peak_bytes(attempt) < 40 * len(body) + (64 << 10)


def test_the_largest_transaction_takes_what_it_holds() -> None:
    """A command of 2 MiB is parsed into little more than its own bytes once more."""
    value = bytes((2 << 20) // 130)
    write = Write(Transaction((), tuple(Put(b"%d" % number, value) for number in range(128))))
    command = commands.write(SESSION, 1, 1, write)

    def attempt() -> None:
        assert commands.parse(command, 0)[4] == write
        raise DecodeError("it is one, and this ends it")

    assert peak_bytes(attempt) < len(command) + (128 << 10)


def test_a_command_is_bounded_as_a_whole() -> None:
    """Fields that are allowed one by one do not make a command that no frame could carry."""
    write = Write(Put(b"k", bytes(1 << 20), expected_value=bytes(1 << 20)))
    with pytest.raises(commands.CommandTooLarge, match="at most 2097152 bytes"):
        commands.write(SESSION, 1, 1, write)
    head = bytes((16,)) + HEAD + b"\x08"
    value = (1 << 20).to_bytes(4, "little") + bytes(1 << 20)
    with pytest.raises(commands.CommandTooLarge, match="at most 2097152 bytes"):
        commands.parse(head + value + b"\x01\x00k" + value, 0)


def test_control_commands_are_those_of_the_front_door() -> None:
    """Who damages commands here damages all of them."""
    assert {command[0] for command in COMMANDS} == {*Opcode}
    assert control_codec.parse_control(COMMANDS[-1], 0) == commands.parse(COMMANDS[-1], 0)
