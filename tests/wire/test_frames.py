"""Cutting a stream into frames."""

import time
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftd.errors import RemoteProtocolError
from raftd.wire.frames import LENGTH_BYTES, FrameReader, encode_frame

PAYLOADS = st.lists(st.binary(min_size=1, max_size=30), max_size=6)


def test_layout() -> None:
    """A frame is its payload's length in four bytes, little-endian, and the payload."""
    assert encode_frame(b"abc") == b"\x03\0\0\0abc"
    assert LENGTH_BYTES == 4


def test_every_split_in_three() -> None:
    """However a stream is cut into three pieces, the payloads are the same, each as soon as it is complete."""
    payloads = [b"a", b"bcdefg", b"hi", b"jklmnopqrst"]
    stream = b"".join(map(encode_frame, payloads))
    ends = [sum(LENGTH_BYTES + len(p) for p in payloads[: n + 1]) for n in range(len(payloads))]
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            reader = FrameReader(11)
            got: list[bytes] = []
            for piece, until in (
                (stream[:first], first),
                (stream[first:second], second),
                (stream[second:], len(stream)),
            ):
                got += reader.feed(piece)
                assert len(got) == sum(end <= until for end in ends)
            assert got == payloads


@settings(deadline=None)
@given(PAYLOADS, st.lists(st.integers(1, 12), min_size=1), st.integers(1, 3))
@example([b"abc"], [3, 4, 1, 30], 1)
def test_so_many_at_once(payloads: list[bytes], sizes: list[int], frames_max: int) -> None:
    """The rest comes when nothing is fed, or more is; in order, and with word of whether there is any."""
    stream = b"".join(map(encode_frame, payloads))
    reader = FrameReader(30, frames_max=frames_max)
    got: list[bytes] = []
    fed = turn = 0
    while fed < len(stream) or reader.has_more:
        piece = stream[fed : fed + sizes[turn % len(sizes)]] if turn % 3 else b""
        cut = reader.feed(piece)
        assert len(cut) == frames_max or not reader.has_more
        assert len(cut) <= frames_max
        got += cut
        fed += len(piece)
        turn += 1
    assert got == payloads
    assert reader.pending_bytes == 0


@settings(deadline=None)
@given(PAYLOADS, st.lists(st.integers(1, 12), min_size=1))
@example(payloads=[b"abc"], sizes=[1])
def test_pieces_of_any_size(payloads: list[bytes], sizes: list[int]) -> None:
    """Pieces of any sizes give the payloads; between frames nothing is held."""
    stream = b"".join(map(encode_frame, payloads))
    reader = FrameReader(30)
    got: list[bytes] = []
    fed = 0
    turn = 0
    while fed < len(stream):
        piece = stream[fed : fed + sizes[turn % len(sizes)]]
        got += reader.feed(piece)
        fed += len(piece)
        turn += 1
        assert reader.pending_bytes == fed - sum(LENGTH_BYTES + len(payload) for payload in got)
    assert got == payloads
    assert reader.pending_bytes == 0
    assert all(type(payload) is bytes for payload in got)


@pytest.mark.parametrize("length", [0, 17, 0xFFFFFFFF])
@pytest.mark.parametrize("cut", range(5))
def test_lengths_out_of_bounds(length: int, cut: int) -> None:
    """A length of 0 or above the limit is refused as soon as its four bytes are there, wherever they are cut."""
    header = length.to_bytes(4, "little")
    reader = FrameReader(16)
    if cut < 4:
        assert reader.feed(header[:cut]) == []
    with pytest.raises(RemoteProtocolError, match=rf"^a frame of {length} bytes came, and may have 1 to 16$"):
        reader.feed(header[cut:] if cut < 4 else header)


def test_the_longest_frame() -> None:
    """A frame as long as the limit is taken."""
    assert FrameReader(16).feed(encode_frame(bytes(16))) == [bytes(16)]


def test_nothing_comes_after_a_refusal() -> None:
    """A stream that lost its frames gives none any more, in whatever state the refusal found it."""
    for before in (b"", b"\x05\0\0", encode_frame(b"abc")[:-1]):
        reader = FrameReader(16)
        reader.feed(before)
        with pytest.raises(RemoteProtocolError):
            reader.feed(b"\xff" * 40)
        for payload in (b"abc", b"a"):
            with pytest.raises(RemoteProtocolError):
                reader.feed(encode_frame(payload))
        assert reader.pending_bytes == 0


def test_a_long_length_takes_no_memory() -> None:
    """A length just announced costs nothing until its bytes come; one above the limit not even then."""
    tracemalloc.start()
    try:
        waiting = FrameReader(1 << 30)
        waiting.feed((1 << 30).to_bytes(4, "little") + b"x")
        refusing = FrameReader(1 << 20)
        with pytest.raises(RemoteProtocolError):
            refusing.feed((1 << 30).to_bytes(4, "little") + b"x")
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


def test_small_pieces_are_not_copied_over_and_over() -> None:
    """The work for one frame in small pieces grows with its length, not with the square of it.

    It takes some 20 ms; copying what is there with each piece would copy 128 GiB.
    """
    size, piece = 16 << 20, bytes(1 << 10)
    reader = FrameReader(size)
    begin = time.process_time()
    reader.feed(size.to_bytes(4, "little"))
    for _ in range(size // len(piece) - 1):
        assert reader.feed(piece) == []
    assert len(reader.feed(piece)[0]) == size
    assert time.process_time() - begin < 2


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=10))
def test_any_bytes(pieces: list[bytes]) -> None:
    """Any bytes are frames, the beginning of one, or refused; never anything else, never more held than the limit."""
    reader = FrameReader(8)
    try:
        for piece in pieces:
            for payload in reader.feed(piece):
                assert 1 <= len(payload) <= 8
            assert reader.pending_bytes < LENGTH_BYTES + 8
    except RemoteProtocolError:
        pass
