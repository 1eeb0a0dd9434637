"""What nodes say to each other, as bytes."""

import dataclasses
import tracemalloc
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId, ReadId, Term
from raftd.errors import InvariantViolation, RemoteProtocolError
from raftd.wire.entries import encode_entries
from raftd.wire.frames import FrameReader
from raftd.wire.handshake import PEER_VERSION_MAX, PEER_VERSION_MIN
from raftd.wire.limits import PEER_FRAME_BYTES_MAX
from raftd.wire.peer import SNAPSHOT_CHUNK_BYTES_MAX, MessageType, decode_message, encode_message, wall_clock_ms

U64_MAX = (1 << 64) - 1
SENDER = NodeId(2)

u64 = st.integers(0, 9) | st.integers(0, U64_MAX)
terms = u64.map(Term)
indexes = u64.map(LogIndex)
read_ids = u64.map(ReadId)
sender = st.just(SENDER)


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    """What a correct leader may send: consecutive entries, terms not decreasing and not above its own."""
    prev_log_index = draw(st.integers(0, U64_MAX - 9))
    prev_log_term = draw(st.integers(1, 9)) if prev_log_index else 0
    entry_terms = sorted(draw(st.lists(st.integers(max(prev_log_term, 1), 12), max_size=5)))
    entries: tuple[Entry, ...] = tuple(
        (
            LogIndex(prev_log_index + 1 + n),
            Term(term),
            draw(st.sampled_from(EntryKind)),
            draw(st.binary(max_size=20)),
        )
        for n, term in enumerate(entry_terms)
    )
    term = draw(st.integers(12, U64_MAX))
    return AppendEntries(Term(term), SENDER, LogIndex(prev_log_index), Term(prev_log_term), draw(indexes), entries)


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(RequestPreVote, terms, sender, indexes, terms, st.booleans(), st.booleans()),
    st.builds(RequestPreVoteReply, terms, st.booleans()),
    st.builds(RequestVote, terms, sender, indexes, terms, st.booleans(), st.booleans(), st.booleans()),
    st.builds(RequestVoteReply, terms, st.booleans()),
    append_entries(),
    st.builds(AppendEntriesReply, terms, st.booleans(), indexes, indexes, terms),
    st.builds(Heartbeat, terms, sender, indexes, u64),
    st.builds(HeartbeatReply, terms, u64),
    st.builds(ReadIndex, terms, read_ids),
    st.builds(ReadIndexReply, terms, read_ids, indexes | st.none()),
    st.builds(TimeoutNow, terms, sender),
    st.builds(
        InstallSnapshot, terms, sender, indexes, terms, u64.map(lambda n: n >> 1), st.binary(max_size=40), st.booleans()
    ),
    st.builds(InstallSnapshotReply, terms, indexes, u64, st.booleans()),
)


versions = st.integers(PEER_VERSION_MIN, PEER_VERSION_MAX)


def payload_of(message: Message, version: int = PEER_VERSION_MAX, wall_clock_ms: int = 0) -> bytes:
    return b"".join(encode_message(message, version=version, wall_clock_ms=wall_clock_ms))[4:]


@settings(deadline=None)
@given(messages, versions, u64)
def test_round_trip(message: Message, version: int, now_ms: int) -> None:
    """A message's parts are one frame, and decode to the message and the bytes of its entries, in every version."""
    frame = b"".join(encode_message(message, version=version, wall_clock_ms=now_ms))
    (payload,) = FrameReader(PEER_FRAME_BYTES_MAX).feed(frame)
    decoded, entries = decode_message(payload, SENDER, version)
    if version == 1 and isinstance(message, RequestPreVote | RequestVote):
        assert decoded == dataclasses.replace(message, unanimous=False)
    else:
        assert decoded == message
    if isinstance(message, Heartbeat | HeartbeatReply):
        assert wall_clock_ms(payload, version) == (None if version == 1 else now_ms)
    assert entries == (encode_entries(message.entries) if isinstance(message, AppendEntries) else None)


@settings(deadline=None)
@given(messages)
def test_decoded_types(message: Message) -> None:
    """Booleans come back as booleans, not as numbers that are equal to them."""
    decoded, _ = decode_message(payload_of(message), SENDER)
    for field in ("vote_granted", "success", "leadership_transfer", "done", "installed"):
        assert type(getattr(decoded, field, True)) is bool


@settings(deadline=None)
@given(append_entries())
def test_encoded_entries_are_sent_as_they_are(message: AppendEntries) -> None:
    """Entries that were encoded already make the same frame, and are not copied for it."""
    entries = encode_entries(message.entries)
    parts = encode_message(message, entries)
    assert b"".join(parts) == b"".join(encode_message(message))
    assert all(parts)
    if entries:
        assert parts[1] is entries


def test_a_number_for_each_message() -> None:
    """Each message has a type; a new one without a number would not get here."""
    assert len(MessageType) == len(get_args(Message))
    assert [message_type.value for message_type in MessageType] == list(range(1, len(MessageType) + 1))


@settings(deadline=None)
@given(messages, st.data())
def test_every_cut_and_every_excess(message: Message, data: st.DataObject) -> None:
    """A payload that is a byte short or long is refused, but where entries or a snapshot's data go to its end."""
    version = data.draw(versions)
    payload = payload_of(message, version)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    for wrong in (cut, payload + b"\0"):
        try:
            decoded, _ = decode_message(wrong, SENDER, version)
        except RemoteProtocolError:
            continue
        if isinstance(message, InstallSnapshot):
            assert isinstance(decoded, InstallSnapshot)
            assert decoded.data == (message.data + b"\0")[: len(decoded.data)]
            continue
        assert isinstance(message, AppendEntries)
        assert isinstance(decoded, AppendEntries)
        assert decoded.entries == message.entries[: len(decoded.entries)]
        assert wrong is cut


@settings(deadline=None, max_examples=300)
@given(
    st.tuples(messages, versions).map(lambda pair: payload_of(*pair)) | st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    versions,
)
def test_any_bytes(payload: bytes, changes: list[tuple[int, int]], version: int) -> None:
    """Any bytes are refused as the peer's fault, or are a message that encodes back to them: there is one spelling."""
    mutated = bytearray(payload)
    for offset, value in changes:
        if offset < len(mutated):
            mutated[offset] = value
    try:
        message, _ = decode_message(bytes(mutated), SENDER, version)
    except RemoteProtocolError:
        return
    now_ms = wall_clock_ms(bytes(mutated), version) if isinstance(message, Heartbeat | HeartbeatReply) else None
    assert payload_of(message, version, now_ms or 0) == mutated


def test_what_is_new_in_a_version_is_not_in_the_one_before() -> None:
    """Version 1 has neither the clocks nor the flag, and is as long as it always was."""
    now_ms = 1_700_000_000_123
    heartbeat = Heartbeat(Term(8), SENDER, LogIndex(303), 77)
    old, new = (payload_of(heartbeat, version, now_ms) for version in (1, 2))
    assert new == old + now_ms.to_bytes(8, "little")
    assert wall_clock_ms(b"".join(encode_message(heartbeat))[4:], 2) == 0
    assert (wall_clock_ms(old, 1), wall_clock_ms(new, 2)) == (None, now_ms)
    ask = RequestVote(Term(8), SENDER, LogIndex(300), Term(7), leadership_transfer=False, unanimous=True)
    old, new = (payload_of(ask, version) for version in (1, 2))
    assert new == old + b"\x01"


@pytest.mark.parametrize(
    "message",
    [
        RequestPreVote(Term(2), SENDER, LogIndex(1), Term(1)),
        RequestVote(Term(2), SENDER, LogIndex(1), Term(1), leadership_transfer=False),
        AppendEntries(Term(2), SENDER, LogIndex(1), Term(1), LogIndex(1), ()),
        Heartbeat(Term(2), SENDER, LogIndex(1), 1),
        TimeoutNow(Term(2), SENDER),
        InstallSnapshot(Term(2), SENDER, LogIndex(1), Term(1), 0, b"data", done=True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_nobody_speaks_in_anothers_name(message: Message) -> None:
    """A candidate or leader that is not the sender is refused."""
    with pytest.raises(RemoteProtocolError, match="node 3 sent a message as node 2"):
        decode_message(payload_of(message), NodeId(3))


def append(
    *, term: int = 5, prev_log_index: int = 10, prev_log_term: int = 4, entries: list[Entry] | None = None
) -> bytes:
    return payload_of(
        AppendEntries(
            Term(term), SENDER, LogIndex(prev_log_index), Term(prev_log_term), LogIndex(0), tuple(entries or [])
        )
    )


def chunk(offset: int, data: bytes) -> bytes:
    return payload_of(InstallSnapshot(Term(5), SENDER, LogIndex(9), Term(4), offset, data, done=False))


def entry(term: int) -> Entry:
    return LogIndex(0), Term(term), EntryKind.NOOP, b""  # The index is not encoded.


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", "unknown type came: ''", id="empty"),
        pytest.param(b"\0" + bytes(8), "unknown type came: '00'", id="type 0"),
        pytest.param(b"\x0e" + bytes(8), "unknown type came: '0e'", id="first unknown type"),
        pytest.param(append(entries=[entry(3)]), "has term 3, and at least 4", id="term below the previous entry's"),
        pytest.param(append(entries=[entry(6)]), "leader of term 5 sent an entry of term 6", id="entry of the future"),
        pytest.param(
            append(entries=[entry(5), entry(6)]), "leader of term 5 sent an entry of term 6", id="last of the future"
        ),
        pytest.param(append(prev_log_term=6), "leader of term 5 sent an entry of term 6", id="previous of the future"),
        pytest.param(append(prev_log_index=0), "entry 0 is said to have term 4", id="term before the log"),
        pytest.param(append(prev_log_term=0), "entry 10 is said to have term 0", id="entry without a term"),
        pytest.param(
            append(prev_log_index=U64_MAX, entries=[entry(4)]), f"index {U64_MAX + 1} came", id="index overflow"
        ),
        pytest.param(append()[:40], "an AppendEntries of 40 bytes came", id="append header cut"),
        pytest.param(append() + b"\x04" + bytes(7) + b"\x01\xff\xff\xff\xff", "cannot be read", id="huge length"),
        pytest.param(b"\x02" + bytes(8) + b"\x02", "a flag is 2", id="flag 2"),
        pytest.param(chunk(U64_MAX, b"x"), f"a snapshot of {U64_MAX + 1} bytes", id="offset overflow"),
        pytest.param(chunk(0, b"")[:41], "an InstallSnapshot of 41 bytes came", id="snapshot header cut"),
    ],
)
def test_refusals(payload: bytes, reason: str) -> None:
    """What contradicts itself is refused, with the reason."""
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_message(payload, SENDER)


def test_a_leader_s_own_term_is_no_future() -> None:
    """Its newest entry is of its term, and so may be the one before."""
    for payload in (append(entries=[entry(5)]), append(prev_log_term=5), append(prev_log_term=5, entries=[entry(5)])):
        assert decode_message(payload, SENDER)[0].term == 5
    decode_message(append(prev_log_index=U64_MAX - 1, entries=[entry(4)]), SENDER)
    decode_message(chunk(U64_MAX - 1, b"x"), SENDER)


def test_an_unconfirmed_read_index_is_none() -> None:
    """A refused read has no index: one that is there anyway is refused."""
    refused = payload_of(ReadIndexReply(Term(1), ReadId(1), None))
    with pytest.raises(RemoteProtocolError, match="a read index of 7 came, and was not confirmed"):
        decode_message(refused[:-8] + (7).to_bytes(8, "little"), SENDER)
    confirmed, _ = decode_message(payload_of(ReadIndexReply(Term(1), ReadId(1), LogIndex(0))), SENDER)
    assert confirmed == ReadIndexReply(Term(1), ReadId(1), LogIndex(0))


def test_no_peer_is_sent_what_it_would_refuse() -> None:
    """A frame as long as peers accept is made; a longer one is a bug of the sender's, found before it is sent."""
    message = AppendEntries(Term(1), SENDER, LogIndex(0), Term(0), LogIndex(0), ())
    header = len(encode_message(message)[0]) - 4
    encode_message(message, bytes(PEER_FRAME_BYTES_MAX - header))
    with pytest.raises(InvariantViolation, match="peers accept 4194304"):
        encode_message(message, bytes(PEER_FRAME_BYTES_MAX - header + 1))


def test_a_chunk_of_a_snapshot_is_sent_as_it_is() -> None:
    """The longest chunk that peers accept is sent without a copy; a longer one is a bug of the sender's."""
    data = bytes(SNAPSHOT_CHUNK_BYTES_MAX)
    largest = InstallSnapshot(Term(1), SENDER, LogIndex(9), Term(1), 0, data, done=False)
    parts = encode_message(largest)
    assert parts[1] is data
    assert sum(map(len, parts)) == 4 + PEER_FRAME_BYTES_MAX
    with pytest.raises(InvariantViolation, match="InstallSnapshot of 4194305 bytes"):
        encode_message(InstallSnapshot(Term(1), SENDER, LogIndex(9), Term(1), 0, data + b"x", done=False))


def test_decoding_takes_memory_in_proportion() -> None:
    """A frame full of the smallest entries costs a bounded multiple of its bytes; lengths that lie cost nothing."""
    payload = append(entries=[entry(4)] * 20_000)
    liar = append() + (4).to_bytes(8, "little") + b"\x01" + b"\xf0\xff\xff\xff"
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decode_message(liar, SENDER)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
        decode_message(payload, SENDER)
        assert tracemalloc.get_traced_memory()[1] < 16 * len(payload)
    finally:
        tracemalloc.stop()
