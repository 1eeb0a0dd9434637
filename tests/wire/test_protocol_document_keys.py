"""docs/protocol.md says what the code does with keys and leases: shown by a client that knows nothing but the document.

As in `test_protocol_document.py`, the codec in the first half is written from the document alone.
"""

import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv import answers, commands, limits, pages, results
from raftd.kv.answers import Outcome
from raftd.kv.changes import Change, encode_change
from raftd.kv.commands import SessionId
from raftd.kv.items import encode_keyed, encode_previous
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Operation,
    OperationCode,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
)
from raftd.kv.pages import LeaseInfo, LeasesPage, ListedLease
from raftd.kv.queries import HistoryQuery, LeaseQuery, LeasesQuery, Query, QueryOpcode, RangeQuery, encode_query
from raftd.kv.ranges import prefix_end
from raftd.kv.types import LeaseId, Record, Revision
from raftd.wire import client
from raftd.wire.client import Consistency, RequestKind
from tests.kv.samples import changes, keys, queries, records, writes
from tests.wire.test_protocol_document import DOCUMENT, EXAMPLES, command, read_answer, request

# A client's codec, as one writes it who has only the document.


def short(data: bytes) -> bytes:
    return struct.pack("<H", len(data)) + data


def long(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def head(
    expected_revision: int | None = None,
    lease: int = 0,
    fence: tuple[bytes, int] | None = None,
    expected_value: bytes | None = None,
    previous: bool = False,
) -> bytes:
    flags, fields = 0, b""
    if expected_revision is not None:
        flags, fields = flags + 1, fields + struct.pack("<Q", expected_revision)
    if lease:
        flags, fields = flags + 2, fields + struct.pack("<Q", lease)
    if fence is not None:
        flags, fields = flags + 4, fields + struct.pack("<Q", fence[1]) + short(fence[0])
    if expected_value is not None:
        flags, fields = flags + 8, fields + long(expected_value)
    return bytes((flags + 16 * previous,)) + fields


def range_fields(low: bytes, high: bytes) -> bytes:
    return short(low) + short(high)


def transaction(compares: list[bytes], then: list[bytes], otherwise: list[bytes]) -> bytes:
    lists = (bytes((len(each),)) + b"".join(each) for each in (compares, then, otherwise))
    return b"".join(lists)


def compare(target: int, relation: int, key: bytes, operand: int | bytes) -> bytes:
    encoded = long(operand) if isinstance(operand, bytes) else struct.pack("<Q", operand)
    return bytes((target, relation)) + short(key) + encoded


def successor(prefix: bytes) -> bytes:
    while prefix and prefix[-1] == 0xFF:
        prefix = prefix[:-1]
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else b""


class Reading:
    """Takes fields from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        fields = struct.unpack_from(layout, self.data)
        self.data = self.data[struct.calcsize(layout) :]
        return fields

    def number(self, layout: str) -> int:
        (number,) = self.take(layout)
        assert isinstance(number, int)
        return number

    def text(self, layout: str) -> bytes:
        length = self.number(layout)
        text, self.data = self.data[:length], self.data[length:]
        assert len(text) == length
        return text

    def item(self, *, keys_only: bool = False) -> tuple[Any, ...]:
        numbers = self.take("QQQQ")
        user = self.text("B")
        return (*numbers, user) if keys_only else (*numbers, user, self.text("I"))

    def keyed(self, *, keys_only: bool = False) -> tuple[Any, ...]:
        return self.text("H"), self.item(keys_only=keys_only)

    def previous(self) -> tuple[Any, ...] | None:
        return self.item() if self.number("B") else None

    def change(self) -> dict[str, Any]:
        flags, revision = self.take("BQ")
        shown: dict[str, Any] = {"deleted": bool(flags & 1), "by_lease": bool(flags & 2), "revision": revision}
        shown["key"] = self.text("H")
        shown["create_revision"], shown["version"], shown["lease"], shown["wall_clock_ms"] = self.take("QQQQ")
        shown["user"], shown["address"] = self.text("B"), self.text("B")
        if flags & 4:
            shown["value"] = self.text("I")
        if flags & 8:
            shown["previous"] = self.number("Q"), self.text("I")
        return shown

    def range(self, *, keys_only: bool = False) -> tuple[Any, ...]:
        at_revision, key_count, more, item_count = self.take("QQBI")
        return at_revision, key_count, more, [self.keyed(keys_only=keys_only) for _ in range(item_count)]

    def end(self) -> None:
        assert self.data == b""


# The document's examples.


def write(request_id: int, opcode: int, body: bytes) -> bytes:
    return request(1, request_id, command(opcode, 12, 5, 5, body))


def read(request_id: int, opcode: int, query: bytes) -> bytes:
    return request(2, request_id, b"\x00" + bytes((opcode,)) + query)


WRITTEN = {
    "keys/write-put-fenced": write(21, 16, head(lease=14, fence=(b"lock", 3)) + short(b"color") + long(b"blue")),
    "keys/write-increment": write(24, 18, head() + short(b"count") + struct.pack("<q", -1)),
    "keys/write-delete-range": write(26, 19, head(previous=True) + struct.pack("<I", 100) + range_fields(b"a", b"b")),
    "keys/write-transaction": write(
        28,
        20,
        head()
        + transaction(
            [compare(1, 0, b"color", 0)],
            [
                b"\x10" + head() + short(b"color") + long(b"blue"),
                b"\x12" + head() + short(b"count") + struct.pack("<q", 1),
            ],
            [b"\x01" + short(b"color")],
        ),
    ),
    "keys/write-lease-grant": write(31, 21, struct.pack("<I", 60_000)),
    "keys/write-lease-revoke": write(32, 22, struct.pack("<Q", 14)),
    "keys/read-range": read(33, 2, struct.pack("<BI", 0, 0) + range_fields(b"a", b"b")),
    "keys/read-range-at-revision": read(34, 2, struct.pack("<BIQ", 1 + 4, 2, 9) + range_fields(b"a", b"")),
    "keys/read-history": read(36, 3, struct.pack("<BIQ", 1, 10, 0) + short(b"color")),
    "keys/read-lease": read(38, 4, struct.pack("<Q", 14)),
    "keys/read-leases": read(39, 5, struct.pack("<QI", 0, 0)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_clients_codec_writes(name: str) -> None:
    """Who follows the document's tables writes the document's examples."""
    assert WRITTEN[name] == EXAMPLES[name]


ITEM = (1, 1, 1, 14, b"alice", b"blue")


def test_what_the_clients_codec_reads() -> None:
    """Who follows the document's tables reads the document's examples, and every example is written or read."""
    done = set()

    def body(name: str, outcome: int = 0) -> Reading:
        done.add(f"keys/{name}")
        got = read_answer(EXAMPLES[f"keys/{name}"])
        assert got[:3] == (outcome, 2, 9)
        return Reading(got[3])

    reading = body("answer-put-previous")
    assert (reading.take("QQ"), reading.previous()) == ((2, 1), ITEM)
    reading = body("answer-delete-range")
    assert (reading.take("IB"), reading.keyed()) == ((1, 0), (b"aim", ITEM))
    reading = body("answer-transaction")
    assert reading.take("BB") == (1, 2)
    assert (reading.take("BI"), reading.take("QQ")) == ((0, 16), (1, 9))
    assert (reading.take("BI"), reading.take("qQQ")) == ((0, 24), (1, 1, 9))
    reading.end()
    reading = body("answer-transaction-else")
    assert (reading.take("BB"), reading.take("BI")) == ((0, 1), (1, 0))
    reading = body("answer-range")
    assert reading.range() == (9, 2, 1, [(b"aim", ITEM)])
    reading = body("answer-range-keys")
    assert reading.range(keys_only=True) == (9, (1 << 64) - 1, 0, [(b"aim", ITEM[:-1])])
    reading.end()
    assert body("answer-lease-grant").take("QI") == (14, 60_000)
    reading = body("answer-lease")
    assert (reading.take("II"), reading.text("B"), reading.number("I")) == ((60_000, 45_000), b"alice", 2)
    assert (reading.text("H"), reading.text("H")) == (b"aim", b"color")
    reading = body("answer-leases")
    assert (reading.take("BI"), reading.take("QII"), reading.text("B")) == ((0, 1), (14, 60_000, 2), b"alice")
    assert body("answer-fenced", 9).number("Q") == 0
    assert body("answer-compacted", 14).number("Q") == 8
    reading = body("answer-history")
    assert reading.take("QBI") == (3, 0, 3)
    newest, middle, oldest = (reading.change() for _ in range(3))
    reading.end()
    assert (newest["deleted"], newest["by_lease"], newest["revision"], newest["previous"]) == (
        True,
        True,
        9,
        (7, b"green"),
    )
    assert (middle["value"], middle["lease"], middle["version"]) == (b"green", 14, 2)
    assert (oldest["value"], oldest["user"], oldest["address"], "previous" in oldest) == (
        b"blue",
        b"alice",
        b"::1",
        False,
    )
    assert {name for name in EXAMPLES if name.startswith("keys/")} == {*WRITTEN, *done}


# The same codec against raftd's.


def single(operation: Operation, fence: tuple[bytes, int] | None = None) -> bytes:  # noqa: PLR0911 - one for each
    """The opcode and the fields of any operation."""
    match operation:
        case Get(key):
            return b"\x01" + short(key)
        case Range(low, high, limit, keys_only, count_only):
            return b"\x02" + struct.pack("<BI", keys_only + 2 * count_only, limit) + range_fields(low, high)
        case Put(key, value, lease, expected_revision, expected_value, previous):
            return b"\x10" + head(expected_revision, lease, fence, expected_value, previous) + short(key) + long(value)
        case Delete(key, expected_revision, expected_value, previous):
            return b"\x11" + head(expected_revision, 0, fence, expected_value, previous) + short(key)
        case Increment(key, delta, expected_revision):
            return b"\x12" + head(expected_revision, fence=fence) + short(key) + struct.pack("<q", delta)
        case DeleteRange(low, high, limit, previous):
            fields = struct.pack("<I", limit) + range_fields(low, high)
            return b"\x13" + head(fence=fence, previous=previous) + fields
        case Transaction(compares, then, otherwise):
            return b"\x14" + transaction(
                [compare(*each) for each in compares], [*map(single, then)], [*map(single, otherwise)]
            )


@given(writes)
@settings(deadline=None)
def test_raftd_reads_what_the_clients_codec_writes(wanted: Write) -> None:
    """Whatever such a client writes is, byte for byte, what raftd's own client does, and its decoder understands it."""
    operation, fence = wanted
    fields = single(operation, fence)
    body = fields[1:]
    if isinstance(operation, Transaction):
        body = head(fence=fence) + body
    payload = request(1, 7, command(fields[0], 3, 2, 1, body))[4:]
    encoded = commands.write(SessionId(3), 2, 1, wanted)
    assert client.encode_request(RequestKind.WRITE, 7, encoded)[4:] == payload
    commands.validate_client_command(payload, client.BODY_OFFSET)


@given(queries)
@settings(deadline=None)
def test_raftd_reads_the_clients_queries(query: Query) -> None:
    """As above, for reads."""
    match query:
        case Get(key):
            written = b"\x01" + key
        case RangeQuery(wanted, revision):
            at_revision = b"" if revision is None else struct.pack("<Q", revision)
            flags = wanted.keys_only + 2 * wanted.count_only + 4 * (revision is not None)
            limit = struct.pack("<I", wanted.limit)
            written = bytes((2, flags)) + limit + at_revision + range_fields(wanted.low, wanted.high)
        case HistoryQuery(key, history_limit, before_revision, values):
            written = b"\x03" + struct.pack("<BIQ", values, history_limit, before_revision) + short(key)
        case LeaseQuery(lease):
            written = b"\x04" + struct.pack("<Q", lease)
        case LeasesQuery(after, leases_limit):
            written = b"\x05" + struct.pack("<QI", after, leases_limit)
    assert client.encode_read_body(Consistency.STALE, *encode_query(query)) == b"\x01" + written


@given(changes(), st.lists(st.tuples(keys, records), max_size=3))
@settings(deadline=None)
def test_the_clients_codec_reads_what_raftd_writes(change: Change, items: list[tuple[bytes, Record]]) -> None:
    """Such a client understands raftd's pages, results and changes."""
    reading = Reading(pages.history_body(Revision(3), [encode_change(change, values=True, previous=True)], more=True))
    assert reading.take("QBI") == (3, 1, 1)
    shown = reading.change()
    reading.end()
    record = change.record or change.previous
    assert record is not None
    assert (shown["revision"], shown["key"], shown["deleted"]) == (*change[:2], change.record is None)
    assert (shown["create_revision"], shown["version"], shown["lease"]) == (record[0], record[2], record[3])
    assert shown.get("value") == (change.record[-1] if change.record else None)
    assert shown.get("previous") == ((change.previous[1], change.previous[-1]) if change.previous else None)
    reading = Reading(pages.range_body(Revision(9), 5, [encode_keyed(*pair) for pair in items], more=False))
    assert reading.range() == (9, 5, 0, items)
    reading.end()
    for record in (None, *(item for _, item in items)):
        reading = Reading(answers.put_body(2, Revision(1), encode_previous(record)))
        assert (reading.take("QQ"), reading.previous()) == ((2, 1), record)
        reading.end()


def test_raftd_s_own_client_reads_the_examples() -> None:
    """The document's answers are what the state machine's own codec reads."""

    def body(name: str) -> bytes:
        return answers.decode(EXAMPLES[f"keys/{name}"][13:]).body

    asked = Transaction(
        (Compare(CompareTarget.VERSION, Relation.EQUAL, b"color", 0),),
        (Put(b"color", b"blue"), Increment(b"count", 1)),
        (Get(b"color"),),
    )
    done = results.decode_transaction(body("answer-transaction"), asked)
    assert done.results == (answers.PutResult(1, Revision(9)), results.IncrementResult(1, 1, Revision(9)))
    assert results.decode_transaction(body("answer-transaction-else"), asked).results == (None,)
    assert pages.decode_range(body("answer-range")).items[0][0] == b"aim"
    assert pages.decode_range(body("answer-range-keys"), keys_only=True).key_count is None
    assert [change.revision for change in pages.decode_history(body("answer-history")).changes] == [9, 7, 4]
    assert pages.decode_lease(body("answer-lease")) == LeaseInfo(60_000, 45_000, b"alice", (b"aim", b"color"))
    assert pages.decode_leases(body("answer-leases")) == LeasesPage(
        more=False, leases=(ListedLease(LeaseId(14), 60_000, 2, b"alice"),)
    )
    assert answers.decode_lease_grant(body("answer-lease-grant")) == (LeaseId(14), 60_000)
    assert answers.decode_fenced(body("answer-fenced")) == 0
    assert answers.decode_compacted(body("answer-compacted")) == 8
    assert answers.decode_put(body("answer-put-previous"), previous=True).previous == ITEM
    assert results.decode_delete_range(body("answer-delete-range"), previous=True).previous == ((b"aim", ITEM),)


@given(st.lists(st.sampled_from([0, 1, 0x61, 0xFF]), max_size=4).map(bytes))
def test_prefixes_are_ranges(prefix: bytes) -> None:
    """The document's successor of a prefix is the code's."""
    assert successor(prefix) == prefix_end(prefix)


# The document's tables and numbers.


def section(name: str) -> str:
    return DOCUMENT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


FLAGS = {1: "EXPECTED_REVISION", 2: "LEASE", 4: "FENCE", 8: "EXPECTED_VALUE", 16: "PREVIOUS"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Writes", list(FLAGS.items())),
        ("Transactions", [(each.value, each.name) for each in (*CompareTarget, *Relation, *OperationCode)]),
        ("Queries", [(each.value, each.name) for each in QueryOpcode]),
    ],
)
def test_numbers_and_names(name: str, expected: list[tuple[int, str]]) -> None:
    """Each section's tables have the numbers and names of the code, all and no others."""
    rows = re.findall(r"^\| +(\d+) \| ([A-Z_]+) +\|", section(name), re.MULTILINE)
    assert [(int(number), each) for number, each in rows] == expected


@pytest.mark.parametrize("flag", FLAGS)
def test_who_may_have_a_flag(flag: int) -> None:
    """The table of flags names the opcodes that may have each, and the others are refused."""
    who = re.search(rf"^\| +{flag} \| {FLAGS[flag]} +\| ([A-Z_, a-z]+?) +\|", section("Writes"), re.MULTILINE)
    assert who is not None
    fields = {
        1: struct.pack("<Q", 1),
        2: struct.pack("<Q", 1),
        4: struct.pack("<Q", 1) + short(b"k"),
        8: long(b"v"),
        16: b"",
    }[flag]
    rest = {
        "PUT": short(b"k") + long(b""),
        "DELETE": short(b"k"),
        "INCREMENT": short(b"k") + bytes(8),
        "DELETE_RANGE": struct.pack("<I", 1) + bytes(4),
        "TRANSACTION": bytes(3),
    }
    allowed = set(rest) if who[1] == "all five" else set(who[1].split(", "))
    for name, body in rest.items():
        encoded = command(OperationCode[name], 1, 1, 1, bytes((flag,)) + fields + body)
        if name in allowed:
            commands.parse(encoded, 0)
        else:
            with pytest.raises(commands.InvalidCommand, match=f"{name} may not have flags"):
                commands.parse(encoded, 0)


BOUNDS = limits.Limits()


@pytest.mark.parametrize(
    ("name", "phrase", "number"),
    [
        ("Writes", "key_length `u16` (1 to {})", limits.KEY_BYTES_MAX),
        ("Writes", "value_length `u32` (0 to {})", limits.VALUE_BYTES_MAX),
        ("Writes", "high_length `u16` (0 to {})", limits.BOUND_BYTES_MAX),
        ("Writes", "limit `u32` (1 to {})", limits.DELETE_RANGE_KEYS_MAX),
        ("Transactions", "at most {} compares", limits.COMPARES_MAX),
        ("Transactions", "at most {} operations", limits.OPERATIONS_MAX),
        ("Leases", "A lease has at most {} keys", BOUNDS.keys_per_lease_max),
        ("Leases", "a user at most {} leases", BOUNDS.leases_per_user_max),
        ("Leases", "there are at most {}:", BOUNDS.leases_max),
        ("Queries", "at {}, or as soon", limits.PAGE_ITEMS_MAX),
        ("Limits", "bound of a range | {} bytes", limits.BOUND_BYTES_MAX),
        ("Limits", "operations of a transaction | {} |", limits.OPERATIONS_MAX),
        ("Limits", "compares of a transaction | {} |", limits.COMPARES_MAX),
        ("Limits", "keys deleted by ranges, in one command | {} |", limits.DELETE_RANGE_KEYS_MAX),
        ("Limits", "items of one page | {} |", limits.PAGE_ITEMS_MAX),
        ("Limits", "bytes of one page | {}, and one item", limits.PAGE_BYTES_MAX),
        ("Limits", "body of the answer to a write, or to LEASE | {} bytes", limits.ANSWER_BYTES_MAX),
        ("Limits", "remembered answers of all users, before they wait | {} bytes", BOUNDS.answer_bytes_max),
        ("Limits", "remembered answers of one user, before he waits | {} bytes", BOUNDS.answer_bytes_per_user_max),
        ("Limits", "bytes, {} of each answer among them", limits.ANSWER_OVERHEAD_BYTES),
        ("Exactly once", "Each answer counts with {} bytes more", limits.ANSWER_OVERHEAD_BYTES),
        ("Exactly once", "a body of more than {} bytes", limits.SHORT_ANSWER_BYTES_MAX),
        ("Exactly once", "while {} MiB of answers", BOUNDS.answer_bytes_per_user_max >> 20),
        ("Exactly once", "or {} MiB for those of all users", BOUNDS.answer_bytes_max >> 20),
        ("Limits", "leases of all users | {} |", BOUNDS.leases_max),
        ("Limits", "leases of one user | {} |", BOUNDS.leases_per_user_max),
        ("Limits", "keys of one lease | {} |", BOUNDS.keys_per_lease_max),
    ],
)
def test_limits(name: str, phrase: str, number: int) -> None:
    """The document's limits are the code's."""
    assert phrase.format(f"{number:,}") in re.sub(r"\s+", " ", section(name))


def test_what_needs_a_grant_to_write_anything() -> None:
    """The document names each command that concerns no key, and no other; and so does the code."""
    session = SessionId(1)
    examples = {
        "OPEN_SESSION": commands.open_session(),
        "CLOSE_SESSION": commands.close_session(session),
        "KEEP_ALIVE": commands.keep_alive(session, 1),
        "LEASE_GRANT": commands.lease_grant(session, 1, 1),
        "LEASE_REVOKE": commands.lease_revoke(session, 1, 1, LeaseId(1)),
    }
    sentence = section("Commands").partition("a grant to write anything, ")[2].partition(".")[0]
    named = set(re.findall(r"[A-Z]+_[A-Z_]+", sentence))
    assert named == {*examples, "LEASE_KEEP_ALIVE"}
    assert "a transaction that is empty" in re.sub(r"\s+", " ", sentence)
    empty = commands.write(session, 1, 1, Write(Transaction((), ())))
    assert {commands.validate_client_command(each) for each in (*examples.values(), empty)} == {()}


def test_times_and_sizes_in_words() -> None:
    """What the document says in other units is what the code has."""
    assert "1 second to 7 days" in section("Leases")
    assert "0: a minute" in section("Leases")
    assert (BOUNDS.lease_ttl_ms_min, BOUNDS.lease_ttl_ms_max) == (1000, 7 * 24 * 3_600_000)
    assert BOUNDS.lease_ttl_ms_default == 60_000
    assert "it has 512 KiB" in section("Queries")
    assert limits.PAGE_BYTES_MAX == 512 << 10
    assert "more than 1.5 MiB" in section("Answers")
    assert limits.ANSWER_BYTES_MAX == 1.5 * (1 << 20)


def test_outcomes_of_operations() -> None:
    """The two outcomes that an operation of a transaction may have are named with their numbers."""
    text = re.sub(r"\s+", " ", section("Answers"))
    assert f"{Outcome.OK.value} OK, with the body" in text
    assert f"or {Outcome.NOT_FOUND.value} NOT_FOUND without a body" in text


def test_a_fence_is_a_key_and_a_revision() -> None:
    """The document's order of the two is not the tuple's."""
    assert Fence(b"lock", Revision(3)) == (b"lock", 3)
