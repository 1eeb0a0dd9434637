"""What clients and nodes say to each other, as bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import NodeId
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    Refusal,
    RefusalCode,
    RequestKind,
    ResponseKind,
    check_no_body,
    decode_document,
    decode_log,
    decode_read,
    decode_refusal,
    decode_trace,
    encode_answer,
    encode_document,
    encode_log_body,
    encode_pong,
    encode_read_body,
    encode_refusal,
    encode_request,
    encode_trace_body,
    parse_request,
    parse_response,
)
from raftd.wire.frames import FrameReader
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX, REFUSAL_MESSAGE_BYTES_MAX

request_ids = st.integers(0, (1 << 64) - 1)
bodies = st.binary(max_size=50)
refusals = st.builds(
    Refusal,
    st.sampled_from(RefusalCode),
    st.text(max_size=100),
    st.none() | st.integers(1, (1 << 64) - 1).map(NodeId),
    st.text(max_size=100),
)


def payload_of(frame: bytes) -> bytes:
    """The payload, checked to be one frame."""
    reader = FrameReader(CLIENT_FRAME_BYTES_MAX)
    (payload,) = reader.feed(frame)
    assert reader.pending_bytes == 0
    return payload


@settings(deadline=None)
@given(st.sampled_from(RequestKind), request_ids, bodies)
def test_request_round_trip(kind: RequestKind, request_id: int, body: bytes) -> None:
    """A request's kind, id and body come back; the body byte for byte."""
    payload = payload_of(encode_request(kind, request_id, body))
    assert parse_request(payload) == (kind, request_id)
    assert type(parse_request(payload)[0]) is RequestKind
    assert payload[BODY_OFFSET:] == body


@settings(deadline=None)
@given(st.sampled_from(Consistency), st.sampled_from(QueryOpcode), bodies)
def test_read_round_trip(consistency: Consistency, opcode: QueryOpcode, query: bytes) -> None:
    """A read's consistency, opcode and query come back."""
    payload = payload_of(encode_request(RequestKind.READ, 1, encode_read_body(consistency, opcode, query)))
    assert decode_read(payload) == (consistency, opcode, query)


@settings(deadline=None)
@given(st.integers(0, (1 << 32) - 1))
def test_log_round_trip(last: int) -> None:
    """How many entries are asked for comes back."""
    assert decode_log(payload_of(encode_request(RequestKind.LOG, 1, encode_log_body(last)))) == last


@settings(deadline=None)
@given(request_ids)
def test_trace_round_trip(index: int) -> None:
    """So does which entry is asked about."""
    assert decode_trace(payload_of(encode_request(RequestKind.TRACE, 1, encode_trace_body(index)))) == index


@settings(deadline=None)
@given(request_ids, bodies)
def test_answer_round_trip(request_id: int, answer: bytes) -> None:
    """The state machine's answer comes back byte for byte."""
    payload = payload_of(encode_answer(request_id, answer))
    assert parse_response(payload) == (ResponseKind.ANSWER, request_id)
    assert payload[BODY_OFFSET:] == answer


@settings(deadline=None)
@given(request_ids, st.text())
def test_document_round_trip(request_id: int, text: str) -> None:
    """A document's text comes back."""
    payload = payload_of(encode_document(request_id, text))
    assert parse_response(payload) == (ResponseKind.DOCUMENT, request_id)
    assert decode_document(payload) == text


@settings(deadline=None)
@given(request_ids, refusals)
def test_refusal_round_trip(request_id: int, refusal: Refusal) -> None:
    """A refusal comes back with all it says."""
    payload = payload_of(encode_refusal(request_id, refusal))
    assert parse_response(payload) == (ResponseKind.REFUSED, request_id)
    assert decode_refusal(payload) == refusal


@settings(deadline=None)
@given(request_ids)
def test_pong_round_trip(request_id: int) -> None:
    """A pong is for the ping with its id."""
    assert parse_response(payload_of(encode_pong(request_id))) == (ResponseKind.PONG, request_id)


def test_a_long_message_is_cut() -> None:
    """What is told to people may be long; it is cut so that a client accepts it."""
    payload = payload_of(encode_refusal(1, Refusal(RefusalCode.BAD_REQUEST, "é" * 5000)))
    assert decode_refusal(payload).message == "é" * (REFUSAL_MESSAGE_BYTES_MAX // 2)


@pytest.mark.parametrize("parse", [parse_request, parse_response])
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", "of 0 bytes came", id="empty"),
        pytest.param(b"\x01" + bytes(7), "of 8 bytes came", id="header cut"),
        pytest.param(bytes(9), "unknown kind 0 came", id="kind 0"),
        pytest.param(b"\x63" + bytes(8), "unknown kind 99 came", id="unknown kind"),
    ],
)
def test_wrong_headers_end_the_connection(parse: object, payload: bytes, reason: str) -> None:
    """A header that is no header says that the other side speaks something else."""
    assert callable(parse)
    with pytest.raises(RemoteProtocolError, match=reason):
        parse(payload)


HEADER = bytes(BODY_OFFSET)


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        pytest.param(decode_read, b"", id="read without body"),
        pytest.param(decode_read, b"\0", id="read without opcode"),
        pytest.param(decode_read, b"\x02\x01k", id="read with unknown consistency"),
        pytest.param(decode_read, b"\0\0k", id="read with opcode 0"),
        pytest.param(decode_read, b"\0\x06k", id="read with unknown opcode"),
        pytest.param(decode_log, b"\0\0\0", id="log cut"),
        pytest.param(decode_log, bytes(5), id="log too long"),
        pytest.param(decode_trace, bytes(7), id="trace cut"),
        pytest.param(decode_trace, bytes(9), id="trace too long"),
        pytest.param(check_no_body, b"\0", id="status with a body"),
    ],
)
def test_wrong_bodies_are_answered(decode: object, body: bytes) -> None:
    """A body that is wrong is the request's fault alone, not the connection's."""
    assert callable(decode)
    with pytest.raises(DecodeError):
        decode(HEADER + body)


def test_no_body_is_no_body() -> None:
    """A request without a body is right as it is."""
    check_no_body(HEADER)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01" + bytes(11), id="message length cut"),
        pytest.param(b"\x00" + bytes(12), id="code 0"),
        pytest.param(b"\x63" + bytes(12), id="unknown code"),
        pytest.param(b"\x01" + bytes(13), id="trailing byte"),
        pytest.param(b"\x01" + bytes(8) + b"\x01\0\xff\0\0", id="address not UTF-8"),
        pytest.param(b"\x01" + bytes(8) + b"\x01\x02" + bytes(513) + b"\0\0", id="address too long"),
        pytest.param(b"\x01" + bytes(10) + b"\x01\x04" + bytes(1025), id="message too long"),
    ],
)
def test_wrong_refusals(body: bytes) -> None:
    """A refusal that cannot be read ends the connection at the client."""
    with pytest.raises(RemoteProtocolError):
        decode_refusal(HEADER + body)


def test_a_document_is_text() -> None:
    """A document that is not UTF-8 ends the connection at the client."""
    with pytest.raises(RemoteProtocolError, match="at byte 1"):
        decode_document(HEADER + b"a\xff")


@settings(deadline=None)
@given(
    st.binary(max_size=40)
    | refusals.map(lambda refusal: encode_refusal(1, refusal)[4:])
    | bodies.map(lambda body: encode_request(RequestKind.READ, 1, body)[4:]),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=4),
)
def test_any_bytes(payload: bytes, changes: list[tuple[int, int]]) -> None:
    """Any bytes are decoded or refused; nothing else ever happens."""
    mutated = bytearray(payload)
    for offset, value in changes:
        if offset < len(mutated):
            mutated[offset] = value
    payload = bytes(mutated)
    for parse in (parse_request, parse_response):
        try:
            parse(payload)
        except RemoteProtocolError:
            continue
    if len(payload) < BODY_OFFSET:
        return
    for decode in (decode_read, decode_log, decode_trace, check_no_body, decode_document, decode_refusal):
        try:
            decode(payload)
        except (DecodeError, RemoteProtocolError):
            continue
