"""Calls as the bytes that HTTP/2 has for them; the answers are written down by hand."""

import pytest

from raftd.errors import RemoteProtocolError
from tests.bench.grpc_calls import UnaryCalls

SETTINGS = bytes.fromhex("000006 04 00 00000000 0005 00004000".replace(" ", ""))
SETTINGS_ACK = bytes.fromhex("000000 04 01 00000000".replace(" ", ""))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def answer(stream: int) -> bytes:
    """HEADERS, a DATA with an empty message, and trailers that end the stream."""
    return frame(1, 4, stream, b"\x88") + frame(0, 0, stream, bytes(5)) + frame(1, 5, stream, b"\x40")


@pytest.fixture
def calls() -> UnaryCalls:
    return UnaryCalls("127.0.0.1:2379", "/a.B/C")


def test_begins_with_the_preface_and_settings(calls: UnaryCalls) -> None:
    """What opens a connection is the preface and a SETTINGS that lets the server keep no table (RFC 9113, 3.4)."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    opening = calls.opening()
    assert opening.startswith(preface)
    settings = opening[len(preface) :]
    assert settings.startswith(bytes.fromhex("00000c0400000000000001000000000002" + "00000000"))


def test_names_its_fields_once(calls: UnaryCalls) -> None:
    """The first call spells its fields out, and later ones refer to them by six bytes, on odd streams."""
    first_stream, first = calls.call(b"message")
    second_stream, second = calls.call(b"message")
    assert (first_stream, second_stream) == (1, 3)
    assert b"/a.B/C" in first
    message = b"\0" + (7).to_bytes(4, "big") + b"message"
    assert second == frame(1, 4, 3, bytes.fromhex("8387c1c0bfbe")) + frame(0, 1, 3, message)


def test_tells_which_calls_are_answered(calls: UnaryCalls) -> None:
    """Answers are found wherever the pieces in which they come are cut."""
    streams = [calls.call(b"")[0] for _ in range(3)]
    data = b"".join(map(answer, streams))
    answered: list[int] = []
    for at in range(len(data)):
        ended, reply = calls.receive(data[at : at + 1])
        answered += ended
        assert not reply
    assert answered == streams


def test_knows_a_call_that_failed(calls: UnaryCalls) -> None:
    """A status without a message is an error, so no failure can be counted as an answer."""
    stream, _ = calls.call(b"")
    with pytest.raises(RemoteProtocolError, match="a call failed"):
        calls.receive(frame(1, 5, stream, b"\x88"))


@pytest.mark.parametrize("kind", [3, 7])
def test_knows_the_end_of_a_connection(calls: UnaryCalls, kind: int) -> None:
    """RST_STREAM and GOAWAY end the measurement."""
    with pytest.raises(RemoteProtocolError, match="has ended"):
        calls.receive(frame(kind, 0, 0, bytes(8)))


def test_replies_to_settings_and_pings(calls: UnaryCalls) -> None:
    """SETTINGS and PING are acknowledged, and acknowledgements are not."""
    ping, pong = frame(6, 0, 0, b"12345678"), frame(6, 1, 0, b"12345678")
    assert calls.receive(SETTINGS + ping) == ([], SETTINGS_ACK + pong)
    assert calls.receive(SETTINGS_ACK + pong) == ([], b"")


def test_sends_no_more_than_it_is_granted(calls: UnaryCalls) -> None:
    """A connection has room for 65,535 bytes, and for what WINDOW_UPDATE adds (RFC 9113, 6.9)."""
    calls.call(bytes(60_000))
    calls.receive(frame(8, 0, 0, (60_000).to_bytes(4, "big")))
    calls.call(bytes(60_000))
    with pytest.raises(RemoteProtocolError, match="slower"):
        calls.call(bytes(60_000))
