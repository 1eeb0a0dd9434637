"""Entries as bytes: the same on disk and on the wire."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import Entry, EntryKind, LogIndex, Term
from raftd.errors import DecodeError
from raftd.wire.entries import ENTRY_HEADER_BYTES, decode_entries, encode_entries

TERM_MAX = (1 << 64) - 1


@st.composite
def batches(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Consecutive entries whose terms never decrease."""
    terms = sorted(draw(st.lists(st.integers(1, 5) | st.integers(1, TERM_MAX), max_size=8)))
    first = draw(st.integers(1, 1 << 63))
    return tuple(
        (LogIndex(first + n), Term(term), draw(st.sampled_from(EntryKind)), draw(st.binary(max_size=40)))
        for n, term in enumerate(terms)
    )


def raw(term: int, kind: int, length: int, data: bytes = b"") -> bytes:
    return struct.pack("<QBI", term, kind, length) + data


def index_of(entries: tuple[Entry, ...]) -> LogIndex:
    return entries[0][0] if entries else LogIndex(1)


@settings(deadline=None)
@given(batches())
def test_round_trip(entries: tuple[Entry, ...]) -> None:
    """What was encoded decodes to itself, from bytes and from a view of them."""
    blob = encode_entries(entries)
    assert len(blob) == sum(ENTRY_HEADER_BYTES + len(data) for *_, data in entries)
    assert tuple(decode_entries(blob, index_of(entries))) == entries
    assert tuple(decode_entries(memoryview(b"x" + blob)[1:], index_of(entries))) == entries


@settings(deadline=None)
@given(batches())
def test_decoded_types(entries: tuple[Entry, ...]) -> None:
    """Kinds come back as `EntryKind`, data as bytes of its own."""
    for _, _, kind, data in decode_entries(encode_entries(entries), index_of(entries)):
        assert type(kind) is EntryKind
        assert type(data) is bytes


def test_layout() -> None:
    """The bytes are as the table says: term, kind, length, data, little-endian."""
    entries: list[Entry] = [
        (LogIndex(7), Term(2), EntryKind.NOOP, b""),
        (LogIndex(8), Term(0x0102), EntryKind.COMMAND, b"ab"),
    ]
    assert encode_entries(entries) == bytes.fromhex("0200000000000000 00 00000000 0201000000000000 01 02000000 6162")


def test_kinds_are_numbered_without_gaps() -> None:
    """Decoding looks kinds up by number: a number left out would shift those behind it."""
    assert [kind.value for kind in EntryKind] == list(range(len(EntryKind)))


@settings(deadline=None)
@given(batches(), st.data())
def test_every_cut_is_refused_or_a_prefix(entries: tuple[Entry, ...], data: st.DataObject) -> None:
    """A batch cut anywhere but between two entries is refused."""
    blob = encode_entries(entries)
    cut = data.draw(st.integers(0, len(blob)))
    ends = [len(encode_entries(entries[:n])) for n in range(len(entries) + 1)]
    if cut in ends:
        assert tuple(decode_entries(blob[:cut], index_of(entries))) == entries[: ends.index(cut)]
    else:
        with pytest.raises(DecodeError):
            decode_entries(blob[:cut], index_of(entries))


@settings(deadline=None)
@given(st.binary(max_size=200) | batches().map(encode_entries), st.data())
def test_no_bytes_do_anything_but_decode_or_be_refused(blob: bytes, data: st.DataObject) -> None:
    """Any bytes either are refused with `DecodeError`, or encode back to themselves: there is one spelling."""
    mutated = bytearray(blob)
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, max(len(blob) - 1, 0)), st.integers(0, 255)), max_size=4)
    ):
        if mutated:
            mutated[position] = value
    try:
        entries = decode_entries(bytes(mutated), LogIndex(1))
    except DecodeError:
        return
    assert encode_entries(entries) == mutated


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        pytest.param(raw(1, 0, 1), "entry 5 ends 1 bytes behind", id="length one too long"),
        pytest.param(raw(1, 0, 0xFFFFFFFF), "ends 4294967295 bytes behind", id="length as long as can be"),
        pytest.param(raw(1, 3, 0), "unknown kind 3", id="first unknown kind"),
        pytest.param(raw(1, 255, 0), "unknown kind 255", id="last unknown kind"),
        pytest.param(raw(0, 0, 0), "has term 0, and at least 1", id="term zero"),
        pytest.param(raw(3, 0, 0) + raw(2, 0, 0), "entry 6 has term 2, and at least 3", id="decreasing term"),
        pytest.param(raw(1, 0, 0)[:-1], "entry 5 has 12 of 13 header bytes", id="header cut"),
        pytest.param(raw(1, 0, 0) + b"x", "entry 6 has 1 of 13 header bytes", id="trailing byte"),
    ],
)
def test_refusals_name_the_entry(blob: bytes, reason: str) -> None:
    """What is refused is refused with the entry's index and the reason."""
    with pytest.raises(DecodeError, match=reason):
        decode_entries(blob, LogIndex(5))


def test_term_before_the_batch_counts() -> None:
    """The first entry's term may equal the previous entry's, not be lower."""
    assert len(decode_entries(raw(4, 0, 0), LogIndex(2), previous_term=Term(4))) == 1
    with pytest.raises(DecodeError, match="at least 5"):
        decode_entries(raw(4, 0, 0), LogIndex(2), previous_term=Term(5))


def test_empty_batch() -> None:
    """No entries are no bytes."""
    assert encode_entries([]) == b""
    assert decode_entries(b"", LogIndex(1)) == []


def test_header_bytes() -> None:
    """The header's size is part of the format."""
    assert ENTRY_HEADER_BYTES == 13
