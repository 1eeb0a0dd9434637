"""The LOG document alone: what `raftctl log` shows, and that it fits a frame."""

import json
from typing import Any, cast

import pytest

from raftd.consensus import Raft
from raftd.consensus.types import Entry, EntryKind, LogIndex, Term
from raftd.kv import commands
from raftd.kv.commands import SessionId, Stamp
from raftd.kv.limits import ADDRESS_BYTES_MAX, KEY_BYTES_MAX, USER_BYTES_MAX
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
    return LogDocument(cast("Raft", OfEntries(*entries))).newest(last)


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
    document = newest(entries, LOG_ENTRIES_MAX + 1)
    assert len(document["entries"]) == LOG_ENTRIES_MAX
    frame = encode_document(LARGEST, json.dumps(document, separators=(",", ":")))
    assert len(frame) <= LENGTH_BYTES + CLIENT_FRAME_BYTES_MAX
