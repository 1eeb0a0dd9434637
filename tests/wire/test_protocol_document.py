"""docs/protocol.md says what the code does: shown by a client that knows nothing but the document.

The codec in the first half is written from the document alone, with `struct` and nothing of raftd. The tests hold it,
the document's own examples and its numbers against the code.
"""

import re
import struct
from pathlib import Path

import pytest

from raftd.consensus.types import EntryKind, NodeId
from raftd.kv import answers, commands
from raftd.kv import limits as kv_limits
from raftd.kv.answers import Outcome
from raftd.kv.changes import decode_changes
from raftd.kv.commands import Opcode, Revision, SessionId
from raftd.net.channel import ChannelLimits
from raftd.node.admission import AdmissionLimits
from raftd.node.backups import BackupLimits
from raftd.node.connection import UNREAD_BYTES_MAX
from raftd.node.unread import UNREAD_SHARE_BYTES, UNREAD_TOTAL_BYTES_MAX
from raftd.wire import client, handshake, limits
from raftd.wire.administration import ChangeKind
from raftd.wire.client import (
    Consistency,
    QueryOpcode,
    Refusal,
    RefusalCode,
    RequestKind,
    ResponseKind,
)
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import ConnectionRole, HandshakeRefusal, HandshakeRefusalCode, Hello, Welcome
from raftd.wire.peer import MessageType
from raftd.wire.watch import (
    CHANGES_OFFSET,
    LEASES_KEPT_ALIVE_MAX,
    WatchEndReason,
    WatchFlag,
    WatchRequest,
    decode_changes_head,
    decode_keep_alive,
    decode_keep_alive_answer,
    decode_unwatch,
    decode_watch,
    encode_watch_ended,
    encode_watching,
)

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


# A client's codec, as one writes it who has only the document.


def frame(payload: bytes) -> bytes:
    return struct.pack("<I", len(payload)) + payload


def unframe(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data)
    assert len(data) == 4 + length
    return data[4:]


def hello() -> bytes:
    return frame(b"RAFTD\x00\r\n" + struct.pack("<HHB16sQQ", 1, 1, 1, bytes(16), 0, 0))


def read_handshake(data: bytes) -> tuple[object, ...]:
    payload = unframe(data)
    assert payload[:8] == b"RAFTD\x00\r\n"
    if payload[8] == 0:
        return struct.unpack_from("<H16sQII", payload, 9)
    (length,) = struct.unpack_from("<H", payload, 9)
    return payload[8], payload[11 : 11 + length].decode("utf-8")


def request(kind: int, request_id: int, body: bytes) -> bytes:
    return frame(struct.pack("<BQ", kind, request_id) + body)


def command(opcode: int, session: int, sequence: int, first_unanswered: int, body: bytes = b"") -> bytes:
    return struct.pack("<BQQQ", opcode, session, sequence, first_unanswered) + body


def write_fields(key: bytes, value: bytes | None, expected_revision: int | None) -> bytes:
    fields = b"\x00" if expected_revision is None else b"\x01" + struct.pack("<Q", expected_revision)
    fields += struct.pack("<H", len(key)) + key
    return fields if value is None else fields + struct.pack("<I", len(value)) + value


def change(kind: int, node_id: int, old_node_id: int, address: str) -> bytes:
    encoded = address.encode("utf-8")
    return struct.pack("<BQQH", kind, node_id, old_node_id, len(encoded)) + encoded


def watch(flags: int, start_revision: int, low: bytes, high: bytes) -> bytes:
    return struct.pack("<BQH", flags, start_revision, len(low)) + low + struct.pack("<H", len(high)) + high


def read_change(data: bytes) -> tuple[object, ...]:
    """A change with a value and without a previous one, and nothing behind it."""
    flags, revision, key_length = struct.unpack_from("<BQH", data)
    assert flags == 4
    end = 11 + key_length
    key, data = data[11:end], data[end:]
    create_revision, version, lease, wall_clock_ms, user_length = struct.unpack_from("<QQQQB", data)
    user, data = data[33 : 33 + user_length], data[33 + user_length :]
    address, data = data[1 : 1 + data[0]], data[1 + data[0] :]
    (value_length,) = struct.unpack_from("<I", data)
    assert len(data) == 4 + value_length
    return revision, key, create_revision, version, lease, wall_clock_ms, user, address, data[4:]


def read_changes(data: bytes) -> tuple[object, ...]:
    """A CHANGES of one such change."""
    kind, request_id, body = read_response(data)
    assert kind == 6
    revision, flags, count = struct.unpack_from("<QBI", body)
    assert count == 1
    return request_id, revision, flags, *read_change(body[13:])


def read_response(data: bytes) -> tuple[int, int, bytes]:
    payload = unframe(data)
    kind, request_id = struct.unpack_from("<BQ", payload)
    return kind, request_id, payload[9:]


def read_answer(data: bytes) -> tuple[int, int, int, bytes]:
    kind, _, body = read_response(data)
    assert kind == 1
    outcome, term, revision = struct.unpack_from("<BQQ", body)
    return outcome, term, revision, body[17:]


def read_refusal(data: bytes) -> tuple[int, int, str, str]:
    kind, _, body = read_response(data)
    assert kind == 2
    code, leader_id, address_length = struct.unpack_from("<BQH", body)
    address_end = 11 + address_length
    (message_length,) = struct.unpack_from("<H", body, address_end)
    message = body[address_end + 2 :]
    assert len(message) == message_length
    return code, leader_id, body[11:address_end].decode("utf-8"), message.decode("utf-8")


# The document's examples.


def hex_bytes(lines: str) -> bytes:
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines.splitlines()))


EXAMPLES = {
    name: hex_bytes(lines)
    for name, lines in re.findall(r"^```hex (\S+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
}
"""By the vector that each is."""


def vector(name: str) -> bytes:
    """As `FILE/NAME`, in version 1; or as `v2/FILE/NAME`."""
    *version, file, wanted = name.split("/")
    folder = ROOT / "tests" / "wire" / "vectors" / (version[0] if version else "v1")
    text = (folder / f"{file}.hex").read_text(encoding="utf-8")
    for paragraph in text.split("\n\n"):
        title, _, lines = paragraph.partition("\n")
        if title == wanted:
            return hex_bytes(lines)
    raise AssertionError(f"no vector is named {name}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_vectors(name: str) -> None:
    """Each example in the document is, byte for byte, the vector that it is named after."""
    assert EXAMPLES[name] == vector(name)


def test_examples_of_everything() -> None:
    """No example is lost to a slip in the document's markup."""
    assert len(EXAMPLES) == DOCUMENT.count("```hex") >= 20


WRITTEN = {
    "handshake/hello-client": hello(),
    "client/read-get": request(2, 4, b"\x00\x01color"),
    "client/log": request(4, 11, struct.pack("<I", 10)),
    "client/ping": request(5, 0, b""),
    "client/diagnostics": request(28, 28, b""),
    "client/trace-own": request(30, 30, struct.pack("<Q", 0)),
    "client/write-put": request(1, 2, command(16, 12, 1, 1, write_fields(b"color", b"blue", None))),
    "client/write-put-if-absent": request(1, 3, command(16, 12, 2, 2, write_fields(b"color", b"blue", 0))),
    "client/write-delete": request(1, 5, command(17, 12, 3, 2, write_fields(b"color", None, None))),
    "client/write-open-session": request(1, 1, command(1, 0, 0, 0, struct.pack("<I", 60_000))),
    "client/write-keep-alive": request(1, 8, command(3, 12, 0, 5)),
    "client/membership-replace": request(6, 15, change(5, 4, 2, "client=n4:7400,peer=n4:7401,http=n4:7402")),
    "client/transfer-leadership": request(7, 17, struct.pack("<Q", 0)),
    "client/watch": request(8, 20, watch(1, 7, b"a/", b"a0")),
    "client/unwatch": request(9, 21, struct.pack("<Q", 20)),
    "client/lease-keep-alive": request(10, 22, struct.pack("<HQQ", 2, 12, 13)),
    "client/reload": request(20, 19, b""),
    "client/backup": request(24, 24, b"\x00"),
    "client/backup-piece": request(25, 25, struct.pack("<QQ", 5, 262_144)),
    "client/backup-report": request(26, 26, struct.pack("<BQ", 1, 1_700_000_000_000)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_clients_codec_writes(name: str) -> None:
    """Who follows the document's tables writes the document's examples."""
    assert WRITTEN[name] == EXAMPLES[name]


def test_what_the_clients_codec_reads() -> None:
    """Who follows the document's tables reads the document's examples, and every example is written or read."""
    cluster = bytes(range(0x10, 0x20))
    put = struct.pack("<QQ", 1, 1)
    got = struct.pack("<QQQQB5sI", 1, 1, 1, 0, 5, b"alice", 4) + b"blue"
    read = {
        "handshake/welcome-client": (read_handshake, (1, cluster, 2, 2_097_161, 1024)),
        "handshake/refused-wrong-node": (read_handshake, (3, "no")),
        "client/document": (read_response, (3, 10, b'{"role": "leader"}')),
        "client/pong": (read_response, (4, 0, b"")),
        "client/answer-put": (read_answer, (0, 2, 1, put)),
        "client/answer-get": (read_answer, (0, 2, 1, got)),
        "client/answer-compare-failed": (read_answer, (2, 2, 1, struct.pack("<Q", 1))),
        "client/answer-not-found": (read_answer, (1, 2, 2, b"")),
        "client/answer-open-session": (read_answer, (0, 2, 0, struct.pack("<QI", 12, 60_000))),
        "client/watching": (read_response, (5, 20, struct.pack("<Q", 6))),
        "client/changes": (
            read_changes,
            (20, 8, 0, 7, b"a/b", 7, 1, 0, 1_700_000_000_000, b"alice", b"", b"blue"),
        ),
        "client/watch-ended-compacted": (read_response, (7, 20, struct.pack("<BQ", 2, 9))),
        "client/answer-lease-keep-alive": (read_answer, (0, 2, 8, struct.pack("<HII", 2, 60_000, 0))),
        "client/piece": (read_response, (24, 25, b"data")),
        "client/refused-not-leader-known": (read_refusal, (1, 3, "192.0.2.3:7400", "node 3 leads")),
    }
    for name, (decode, expected) in read.items():
        assert decode(EXAMPLES[name]) == expected, name
    between_nodes = {name for name in EXAMPLES if name.startswith(("peer/", "v2/"))}
    in_another_test = {name for name in EXAMPLES if name.startswith("keys/")}
    assert set(EXAMPLES) == {*WRITTEN, *read, *between_nodes, *in_another_test}


# The same codec against raftd's.


def test_raftd_reads_what_the_clients_codec_writes() -> None:
    """Such a client is understood by raftd's own decoders."""
    assert handshake.decode_hello(unframe(hello())) == Hello(ConnectionRole.CLIENT)
    fields = write_fields(b"k", b"v", 7)
    payload = unframe(request(1, 9, command(16, 3, 2, 1, fields)))
    assert client.parse_request(payload) == (RequestKind.WRITE, 9)
    assert commands.put(SessionId(3), 2, 1, b"k", b"v", expected_revision=Revision(7)) == payload[client.BODY_OFFSET :]
    fields = write_fields(b"k", None, 7)
    assert commands.delete(SessionId(3), 2, 1, b"k", expected_revision=Revision(7)) == command(17, 3, 2, 1, fields)
    assert commands.open_session(5) == command(1, 0, 0, 0, struct.pack("<I", 5))
    assert commands.close_session(SessionId(3)) == command(2, 3, 0, 0)
    assert commands.keep_alive(SessionId(3), 4) == command(3, 3, 0, 4)
    read = unframe(request(2, 9, b"\x01\x01k"))
    assert client.decode_read(read) == (Consistency.STALE, QueryOpcode.GET, b"k")
    assert client.decode_log(unframe(request(4, 1, struct.pack("<I", 10)))) == 10
    wanted = WatchRequest(WatchFlag.PROGRESS, 5, b"k", b"")
    assert decode_watch(unframe(request(8, 1, watch(8, 5, b"k", b"")))) == wanted
    assert decode_unwatch(unframe(request(9, 1, struct.pack("<Q", 7)))) == 7
    assert decode_keep_alive(unframe(request(10, 1, struct.pack("<HQ", 1, 7)))) == (7,)


def test_the_clients_codec_reads_what_raftd_writes() -> None:
    """Such a client understands raftd's own encoders."""
    cluster = bytes(range(16))
    welcome = Welcome(1, cluster, NodeId(5), 100, 10)
    assert read_handshake(encode_frame(handshake.encode_reply(welcome))) == (1, cluster, 5, 100, 10)
    refused = HandshakeRefusal(HandshakeRefusalCode.STOPPING, "é")
    assert read_handshake(encode_frame(handshake.encode_reply(refused))) == (7, "é")
    refusal = Refusal(RefusalCode.NO_LEADER, "é", NodeId(9), "host:1")
    assert read_refusal(client.encode_refusal(1, refusal)) == (2, 9, "host:1", "é")
    assert read_response(encode_watching(3, 4)) == (5, 3, struct.pack("<Q", 4))
    assert read_response(encode_watch_ended(3, WatchEndReason.DENIED, 4)) == (7, 3, struct.pack("<BQ", 5, 4))
    assert read_answer(client.encode_answer(1, struct.pack("<BQQ", 2, 3, 4) + b"x")) == (2, 3, 4, b"x")


def test_the_examples_answers_are_the_state_machines() -> None:
    """The document's answers are what the state machine's own codec reads."""
    put = answers.decode(EXAMPLES["client/answer-put"][13:])
    assert (put.outcome, answers.decode_put(put.body)) == (Outcome.OK, (1, 1, None))
    got = answers.decode(EXAMPLES["client/answer-get"][13:])
    assert (got.outcome, answers.decode_get(got.body)) == (Outcome.OK, (1, 1, 1, 0, b"alice", b"blue"))
    opened = answers.decode(EXAMPLES["client/answer-open-session"][13:])
    assert (opened.outcome, answers.decode_open_session(opened.body)) == (Outcome.OK, (12, 60_000))
    failed = answers.decode(EXAMPLES["client/answer-compare-failed"][13:])
    assert (failed.outcome, answers.decode_compare_failed(failed.body)) == (Outcome.COMPARE_FAILED, 1)


# The document's tables and numbers.


@pytest.mark.parametrize(
    ("section", "names"),
    [
        pytest.param("Handshake", HandshakeRefusalCode, id="handshake codes"),
        pytest.param("Requests", RequestKind, id="requests"),
        pytest.param("Commands", [o for o in Opcode if o < Opcode.ADVANCE_CLOCK], id="commands"),
        pytest.param("Responses", ResponseKind, id="responses"),
        pytest.param("Answers", Outcome, id="outcomes"),
        pytest.param("Refusals", RefusalCode, id="refusals"),
        pytest.param("Administration", ChangeKind, id="changes"),
        pytest.param("Watches", [*WatchFlag, *WatchEndReason], id="watches"),
    ],
)
def test_numbers_and_names(section: str, names: list[Opcode]) -> None:
    """Each section's table has the numbers and names of the code, all and no others."""
    text = DOCUMENT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| +(\d+) \| ([A-Z_]+) +\|", text, re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(each.value, each.name) for each in names]


def test_message_types() -> None:
    """The table of messages between nodes has the code's types, all and no others."""
    text = DOCUMENT.partition("\n## Between nodes\n")[2]
    rows = re.findall(r"^\| +(\d+) \| ([A-Za-z]+) +\|", text.partition("Flags are")[0], re.MULTILINE)
    names = {int(number): re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() for number, name in rows}
    assert names == {each.value: each.name for each in MessageType}
    assert ", ".join(f"{kind.value} {kind.name}" for kind in EntryKind) in text


@pytest.mark.parametrize(
    ("section", "phrase", "number"),
    [
        ("Frames", "The limit is {} for the first frame", limits.HANDSHAKE_BYTES_MAX),
        ("Frames", "and {} for what you receive", limits.RESPONSE_BYTES_MAX),
        ("Handshake", "message_length | at most {}", limits.HANDSHAKE_MESSAGE_BYTES_MAX),
        ("Requests", "how many entries, at most {} given", limits.LOG_ENTRIES_MAX),
        ("Commands", "A command of more than {} bytes", kv_limits.COMMAND_BYTES_MAX),
        ("Refusals", "leader_address_length | at most {}", limits.REFUSAL_ADDRESS_BYTES_MAX),
        ("Refusals", "message_length | at most {}", limits.REFUSAL_MESSAGE_BYTES_MAX),
        ("Exactly once", "At most {} sequences", kv_limits.Limits().in_flight_max),
        ("Limits", "first frame in each direction | {} bytes", limits.HANDSHAKE_BYTES_MAX),
        ("Limits", "any later frame from a client | {} bytes", limits.CLIENT_FRAME_BYTES_MAX),
        ("Limits", "any later frame to a client | {} bytes", limits.RESPONSE_BYTES_MAX),
        ("Limits", "unread, before the node reads on from you | {} bytes", ChannelLimits(1).high_water_bytes),
        ("Limits", "before reads are refused as OVERLOADED | {} bytes", UNREAD_BYTES_MAX),
        ("Limits", "bytes, or {} while all connections", UNREAD_SHARE_BYTES),
        ("Limits", "while all connections leave {} |", UNREAD_TOTAL_BYTES_MAX),
        ("Limits", "of the settings, {} bytes by default", AdmissionLimits().pending_bytes_max),
        ("Watches", "low_length | at most {}", kv_limits.BOUND_BYTES_MAX),
        ("Requests", "count `u16`, 1 to {}; lease", LEASES_KEPT_ALIVE_MAX),
        ("Keeping leases alive", "one request may keep {} leases alive", LEASES_KEPT_ALIVE_MAX),
        ("Backups", "from `offset` on, {} at most", BackupLimits().piece_bytes),
        ("Backups", "There are {} on a node at a time", BackupLimits().backups_max),
        ("Backups", "of which {} MiB a second are read", BackupLimits().bytes_per_second_max >> 20),
        ("Backups", "when none was asked for in {} seconds", int(BackupLimits().idle_seconds_max)),
        ("Limits", "command | {} bytes", kv_limits.COMMAND_BYTES_MAX),
        ("Limits", "key | {} bytes", kv_limits.KEY_BYTES_MAX),
        ("Limits", "value | {} bytes", kv_limits.VALUE_BYTES_MAX),
        ("Between nodes", "at most {} bytes long", limits.PEER_FRAME_BYTES_MAX),
    ],
)
def test_limits(section: str, phrase: str, number: int) -> None:
    """The document's limits are the code's."""
    text = DOCUMENT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    assert phrase.format(f"{number:,}") in re.sub(r"[\s*]+", " ", text)


def test_times_to_live() -> None:
    """How long sessions live is what the document says."""
    assert "0 asks for the default, one hour." in re.sub(r"\s+", " ", DOCUMENT)
    assert "10 seconds to 24 hours" in re.sub(r"\s+", " ", DOCUMENT)
    session_limits = kv_limits.Limits()
    assert session_limits.ttl_ms_default == 3_600_000
    assert (session_limits.ttl_ms_min, session_limits.ttl_ms_max) == (10_000, 24 * 3_600_000)


def test_the_examples_changes_are_the_state_machines() -> None:
    """What the document's examples tell a watch, raftd's own codec reads."""
    payload = unframe(EXAMPLES["client/changes"])
    head = decode_changes_head(payload)
    changes, end = decode_changes(payload, CHANGES_OFFSET, head.change_count)
    assert (head, end) == ((8, False, 1), len(payload))
    assert (changes[0].key, changes[0].value, changes[0].user) == (b"a/b", b"blue", b"alice")
    assert decode_keep_alive_answer(EXAMPLES["client/answer-lease-keep-alive"][30:]) == (60_000, 0)


def test_only_one_outcome_is_unknown() -> None:
    """The document tells for every refusal but one that this sending did not write."""
    text = DOCUMENT.partition("\n## Refusals\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| +\d+ \| ([A-Z_]+) +\| ([^|]+?) +\|", text, re.MULTILINE)
    assert [name for name, happened in rows if not happened.startswith("no")] == ["OUTCOME_UNKNOWN"]
