"""The LOG document alone: what `raftctl log` shows, and that it fits a frame."""

import json
from typing import Any, cast

import pytest

from raftd.consensus import Raft
from raftd.consensus.types import Entry, EntryKind, LogIndex, Term
from raftd.kv import commands
from raftd.kv.commands import Opcode, SessionId, Stamp
from raftd.kv.limits import ADDRESS_BYTES_MAX, KEY_BYTES_MAX, USER_BYTES_MAX
from raftd.kv.operations import Delete, DeleteRange, Get, Increment, Put, Range, Transaction, Write, WriteOperation
from raftd.kv.types import LeaseId
from raftd.node.view import KEY_CHARACTERS_SHOWN, LogDocument
from raftd.wire.client import encode_document
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX, LOG_ENTRIES_MAX

LARGEST = (1 << 64) - 1


class OfEntries:
    """As much of a `Raft` as the document looks at: entries of which the last two are not applied."""

    node_id = 1
    base_index = 0

    def __init__(self, *entries: Entry) -> None:
        self.all = entries
        self.last_index = len(entries)
        self.commit_index = self.last_index - 1
        self.last_applied = self.last_index - 2

    def entries(self, low: int, high: int) -> tuple[Entry, ...]:
        return self.all[low - 1 : high - 1]


def put(index: int, key: bytes, *, user: str = "alice", address: str = "10.0.0.1:1") -> Entry:
    command = commands.put(SessionId(LARGEST), LARGEST - 1, LARGEST - 1, key, b"secret")
    return (LogIndex(index), Term(LARGEST), EntryKind.COMMAND, Stamp(user, address).at(LARGEST) + command)


def newest(entries: list[Entry], last: int = 10) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text(entries, last))
    return document


def text(entries: list[Entry], last: int) -> str:
    return "".join(LogDocument(cast("Raft", OfEntries(*entries))).newest(last))


def test_newest_first_with_what_became_of_each() -> None:
    """As many as were asked for, or as there are; values are not told."""
    document = newest([put(index, b"k%d" % index) for index in range(1, 6)], last=3)
    told = [(each["index"], each["key"], each["committed"], each["applied"]) for each in document["entries"]]
    assert told == [(5, "k5", False, False), (4, "k4", True, False), (3, "k3", True, True)]
    assert "secret" not in json.dumps(document)
    assert len(newest([put(1, b"a")])["entries"]) == 1
    assert newest([])["entries"] == []


def test_entries_that_are_no_commands_say_so() -> None:
    """A new leader's own entry has no command; one that cannot be decoded gives its reason instead."""
    noop = (LogIndex(1), Term(1), EntryKind.NOOP, b"")
    broken = (LogIndex(2), Term(1), EntryKind.COMMAND, b"\x01")
    second, first = newest([noop, broken])["entries"]
    assert (first["kind"], "command" in first) == ("noop", False)
    assert "invalid" in second


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (b"short", {"key": "short"}),
        ("é".encode() * KEY_CHARACTERS_SHOWN, {"key": "é" * KEY_CHARACTERS_SHOWN}),
        (b"k" * (KEY_CHARACTERS_SHOWN + 1), {"key": "k" * (KEY_CHARACTERS_SHOWN - 1) + "…"}),
        (b"\xff\x00", {"key_hex": "ff00"}),
        (b"\xff" * KEY_BYTES_MAX, {"key_hex": "ff" * KEY_CHARACTERS_SHOWN}),
    ],
)
def test_long_keys_are_cut(key: bytes, shown: dict[str, str]) -> None:
    """Text where it is text, else hexadecimal; the whole length is told."""
    (entry,) = newest([put(1, key)])["entries"]
    assert {name: entry[name] for name in ("key", "key_hex") if name in entry} == shown
    assert entry["key_bytes"] == len(key)


@pytest.mark.parametrize("key", ["\U0001f5dd" * (KEY_BYTES_MAX // 4), "\x01" * KEY_BYTES_MAX])
def test_the_longest_answer_fits_a_frame(key: str) -> None:
    """However long keys, users and addresses are, and whatever JSON makes of the keys' characters."""
    user, address = "u" * USER_BYTES_MAX, "a" * ADDRESS_BYTES_MAX  # both are ASCII by their grammars
    entries = [put(index, key.encode(), user=user, address=address) for index in range(1, LOG_ENTRIES_MAX + 2)]
    document = text(entries, LOG_ENTRIES_MAX + 1)
    assert len(json.loads(document)["entries"]) == LOG_ENTRIES_MAX
    frame = encode_document(LARGEST, document)
    assert len(frame) <= LENGTH_BYTES + CLIENT_FRAME_BYTES_MAX


def entry_of(command: bytes, *, user: str = "alice") -> Entry:
    return (LogIndex(1), Term(1), EntryKind.COMMAND, Stamp(user, "10.0.0.1:1").at(1) + command)


def write(operation: WriteOperation) -> Entry:
    return entry_of(commands.write(SessionId(1), 1, 1, Write(operation)))


NESTED = Transaction((), (Get(b"a"), Put(b"c", b"secret")), ())


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (write(DeleteRange(b"a/", b"a0", 10)), {"keys": "a/*"}),
        (write(DeleteRange(b"a", b"c", 10)), {"keys": "a..c"}),
        (write(DeleteRange(b"", b"", 10)), {"keys": "*"}),
        (write(Increment(b"n", 1)), {"key": "n"}),
        (write(Put(b"k", b"secret", previous=True)), {"key": "k"}),
        (
            write(Transaction((), (Put(b"a", b"secret"), Range(b"b/", b"b0"), NESTED), (Delete(b"\xff"), Get(b"a")))),
            {"keys": "a, b/*, c, \\xff"},
        ),
        (write(Transaction((), (Get(b"k" * 4096),) * 3, ())), {"keys": "k" * (KEY_CHARACTERS_SHOWN - 1) + "…"}),
        (write(Transaction((), (), ())), {"keys": ""}),
        (entry_of(commands.lease_grant(SessionId(1), 1, 1, 0)), {"leases": "lease 1"}),
        (entry_of(commands.lease_revoke(SessionId(1), 1, 1, LeaseId(7))), {"leases": "lease 7"}),
        (entry_of(commands.expire_leases([LeaseId(7), LeaseId(9)]), user=""), {"leases": "lease 7, 9"}),
        (
            entry_of(commands.expire_leases([LeaseId(number) for number in range(1, 4000)]), user=""),
            {"leases": f"lease {', '.join(map(str, range(1, 100)))}"[: KEY_CHARACTERS_SHOWN - 1] + "…"},
        ),
        (entry_of(commands.keep_alive(SessionId(1), 0)), {}),
    ],
)
def test_what_is_not_about_one_key(entry: Entry, shown: dict[str, str]) -> None:
    """Ranges, the keys of a transaction, each once, and leases, in a few words; values are not told here either."""
    (found,) = newest([entry])["entries"]
    assert {name: found[name] for name in ("key", "keys", "leases") if name in found} == shown
    assert "secret" not in json.dumps(found)


class Watched(bytes):
    """A key that tells how much of it was turned into text."""

    decoded_bytes = 0

    def __getitem__(self, which: Any) -> Any:
        return Watched(super().__getitem__(which))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        Watched.decoded_bytes += len(self)
        return super().decode(encoding, errors)


@pytest.mark.parametrize("nested", [False, True])
def test_no_more_of_keys_is_decoded_than_is_shown(nested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a transaction of long keys that are no text would take a tenth of a second of a node's only thread."""
    operations = tuple(Get(Watched(b"%03d" % number + b"\xff" * (KEY_BYTES_MAX - 3))) for number in range(64))
    transaction = Transaction((), (Transaction((), operations),) if nested else operations)
    ranges = Write(DeleteRange(operations[0].key, operations[1].key, 1))
    for content, bound in ((Write(transaction), 512), (ranges, 1024)):
        Watched.decoded_bytes = 0
        opcode = Opcode.DELETE_RANGE if content is ranges else Opcode.TRANSACTION
        command = commands.decode(write(Increment(b"n", 1))[3])._replace(key=b"", opcode=opcode, argument=content)
        monkeypatch.setattr("raftd.node.view.decode", lambda _, command=command: command)
        (entry,) = newest([write(Increment(b"n", 1))])["entries"]
        assert entry["keys"] == ("000" + "\\xff" * KEY_CHARACTERS_SHOWN)[: KEY_CHARACTERS_SHOWN - 1] + "…"
        assert 0 < Watched.decoded_bytes <= bound


def test_entries_are_looked_at_one_by_one() -> None:
    """Whoever asks for the next piece takes the time of one entry, and sees the log as it was at the first."""
    log = OfEntries(put(1, b"a"), put(2, b"b"), put(3, b"c"))
    pieces = LogDocument(cast("Raft", log)).newest(10)
    first = next(pieces)
    log.commit_index, log.last_applied, log.all = 9, 9, ()
    rest = list(pieces)
    document = json.loads(first + "".join(rest))
    assert len(rest) == 3
    assert (document["commit_index"], document["last_applied"]) == (2, 1)
    assert [(each["key"], each["committed"], each["applied"]) for each in document["entries"]] == [
        ("c", False, False),
        ("b", True, False),
        ("a", True, True),
    ]
