"""Watches and the keeping alive of leases, as bytes."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv.changes import Change, encode_change
from raftd.kv.limits import (
    ADDRESS_BYTES_MAX,
    BOUND_BYTES_MAX,
    KEY_BYTES_MAX,
    USER_BYTES_MAX,
    VALUE_BYTES_MAX,
)
from raftd.kv.types import LeaseId, Revision
from raftd.wire import watch
from raftd.wire.client import BODY_OFFSET, RequestKind, ResponseKind, encode_request, parse_response
from raftd.wire.frames import FrameReader
from raftd.wire.limits import RESPONSE_BYTES_MAX
from raftd.wire.watch import LEASES_KEPT_ALIVE_MAX, WatchEndReason, WatchFlag, WatchRequest

U64_MAX = (1 << 64) - 1
numbers = st.integers(0, U64_MAX)
flags = st.integers(0, 31).map(WatchFlag).filter(lambda drawn: WatchFlag.NO_PUTS | WatchFlag.NO_DELETES not in drawn)


def payload_of(frame: bytes) -> bytes:
    """The payload, checked to be one frame."""
    reader = FrameReader(RESPONSE_BYTES_MAX)
    (payload,) = reader.feed(frame)
    assert reader.pending_bytes == 0
    return payload


def request(kind: RequestKind, body: bytes) -> bytes:
    return payload_of(encode_request(kind, 1, body))


@settings(deadline=None)
@given(st.builds(WatchRequest, flags, numbers, st.binary(max_size=9), st.binary(max_size=9)))
def test_watch_round_trip(wanted: WatchRequest) -> None:
    """What is to be watched comes back."""
    assert watch.decode_watch(request(RequestKind.WATCH, watch.encode_watch_body(wanted))) == wanted


def test_the_longest_bounds() -> None:
    """A bound may be one byte longer than a key, and no more."""
    for length, fits in ((BOUND_BYTES_MAX, True), (BOUND_BYTES_MAX + 1, False)):
        body = watch.encode_watch_body(WatchRequest(WatchFlag(0), 0, b"", bytes(length)))
        if fits:
            assert watch.decode_watch(request(RequestKind.WATCH, body)).high == bytes(length)
        else:
            with pytest.raises(DecodeError):
                watch.decode_watch(request(RequestKind.WATCH, body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0" * 12,
        b"\0" * 14,
        struct.pack("<BQHH", 32, 0, 0, 0),
        struct.pack("<BQHH", 2 | 4, 0, 0, 0),
        struct.pack("<BQHH", 0, 0, 0, 1),
    ],
    ids=["empty", "cut", "too long", "unknown flag", "nothing to tell", "length without bytes"],
)
def test_bad_watches(body: bytes) -> None:
    """What does not follow the format is refused."""
    with pytest.raises(DecodeError):
        watch.decode_watch(request(RequestKind.WATCH, body))


@settings(deadline=None)
@given(numbers)
def test_unwatch_round_trip(request_id: int) -> None:
    """Which watch is to be ended comes back."""
    assert watch.decode_unwatch(request(RequestKind.UNWATCH, watch.encode_unwatch_body(request_id))) == request_id


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=20))
def test_keep_alive_round_trip(leases: list[int]) -> None:
    """The leases come back, in their order; so does what is left of each."""
    body = watch.encode_keep_alive_body(leases)
    assert watch.decode_keep_alive(request(RequestKind.LEASE_KEEP_ALIVE, body)) == tuple(leases)
    remaining = [lease & 0xFFFFFFFF for lease in leases]
    assert watch.decode_keep_alive_answer(watch.keep_alive_answer_body(remaining)) == tuple(remaining)


@pytest.mark.parametrize("body", [b"", b"\1", b"\0\0", b"\1\0" + bytes(7), b"\1\0" + bytes(9), b"\xff\xff"])
def test_bad_bodies(body: bytes) -> None:
    """Cut, too long, or of nothing: refused before anything of an announced length is made."""
    with pytest.raises(DecodeError):
        watch.decode_keep_alive(request(RequestKind.LEASE_KEEP_ALIVE, body))
    with pytest.raises(DecodeError):
        watch.decode_unwatch(request(RequestKind.UNWATCH, body))


def test_most_leases_kept_alive() -> None:
    """One request may name so many, and not one more."""
    for count, fits in ((LEASES_KEPT_ALIVE_MAX, True), (LEASES_KEPT_ALIVE_MAX + 1, False)):
        payload = request(RequestKind.LEASE_KEEP_ALIVE, watch.encode_keep_alive_body([1] * count))
        if fits:
            assert len(watch.decode_keep_alive(payload)) == count
        else:
            with pytest.raises(DecodeError):
                watch.decode_keep_alive(payload)


@settings(deadline=None)
@given(numbers, numbers, st.booleans(), st.binary(max_size=50))
def test_changes_round_trip(request_id: int, revision: int, is_partial: bool, changes: bytes) -> None:
    """The head of a CHANGES comes back, and its changes byte for byte."""
    body = watch.changes_body(revision, [changes] * 3, is_partial=is_partial)
    payload = payload_of(watch.changes_head(request_id, len(body)) + body)
    assert parse_response(payload) == (ResponseKind.CHANGES, request_id)
    assert watch.decode_changes_head(payload) == (revision, is_partial, 3)
    assert payload[watch.CHANGES_OFFSET :] == changes * 3


@settings(deadline=None)
@given(numbers, numbers, st.sampled_from(WatchEndReason))
def test_begin_and_end_round_trip(request_id: int, revision: int, reason: WatchEndReason) -> None:
    """A watch's beginning and its end come back."""
    payload = payload_of(watch.encode_watching(request_id, revision))
    assert (parse_response(payload), watch.decode_watching(payload)) == (
        (ResponseKind.WATCHING, request_id),
        revision,
    )
    payload = payload_of(watch.encode_watch_ended(request_id, reason, revision))
    assert (parse_response(payload), watch.decode_watch_ended(payload)) == (
        (ResponseKind.WATCH_ENDED, request_id),
        (reason, revision),
    )


@pytest.mark.parametrize(
    "decode", [watch.decode_watching, watch.decode_changes_head, watch.decode_watch_ended], ids=lambda d: d.__name__
)
@pytest.mark.parametrize("body", [b"", b"\1" * 7, b"\xff" * 13, b"\1" * 10])
def test_bad_responses(decode: object, body: bytes) -> None:
    """A node that sends such a thing speaks something else."""
    assert callable(decode)
    with pytest.raises(RemoteProtocolError):
        decode(bytes(BODY_OFFSET) + body)


@pytest.mark.parametrize("reason", [0, 7, 255])
def test_unknown_reasons(reason: int) -> None:
    """A watch that ended for what nobody knows is not taken for one that ended well."""
    with pytest.raises(RemoteProtocolError, match=f"unknown reason {reason}"):
        watch.decode_watch_ended(bytes(BODY_OFFSET) + struct.pack("<BQ", reason, 1))


@pytest.mark.parametrize("body", [b"", b"\1\0", b"\1\0" + bytes(5)])
def test_bad_answers_to_keep_alives(body: bytes) -> None:
    """Likewise."""
    with pytest.raises(RemoteProtocolError):
        watch.decode_keep_alive_answer(body)


def test_the_longest_change_fits() -> None:
    """Two longest values, key and names: one frame."""
    record = (Revision(1), Revision(1), 1, LeaseId(1), bytes(USER_BYTES_MAX), bytes(VALUE_BYTES_MAX))
    key, user, address = bytes(KEY_BYTES_MAX), bytes(USER_BYTES_MAX), bytes(ADDRESS_BYTES_MAX)
    change = Change(Revision(2), key, record, record, False, 0, user, address)
    body = watch.changes_body(2, [encode_change(change, values=True, previous=True)], is_partial=False)
    payload_of(watch.changes_head(1, len(body)) + body)
