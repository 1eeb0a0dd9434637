"""The bytes of answers."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import Term
from raftd.errors import DecodeError
from raftd.kv import answers
from raftd.kv.answers import Answer, DeleteResult, GrantedLease, OpenedSession, Outcome, PutResult
from raftd.kv.items import KeyValue, encode_previous
from raftd.kv.types import LeaseId, Record, Revision, SessionId

TERM = Term(3)
REVISION = Revision(0x0405)
RECORD: Record = (Revision(1), Revision(2), 3, LeaseId(4), b"bob", b"value")
ITEM = "0100000000000000 0200000000000000 0300000000000000 0400000000000000 03 626f62 05000000 76616c7565"
HEAD = "0300000000000000 0504000000000000"


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (answers.encode(Outcome.NOT_FOUND, TERM, REVISION), f"01 {HEAD}"),
        (answers.encode(Outcome.INVALID, TERM, REVISION), f"07 {HEAD}"),
        (
            answers.encode_put(TERM, REVISION, 2, Revision(9)),
            f"00 {HEAD} 0200000000000000 0900000000000000",
        ),
        (answers.encode_compare_failed(TERM, REVISION, Revision(9)), f"02 {HEAD} 0900000000000000"),
        (
            answers.encode_open_session(TERM, REVISION, SessionId(7), 60_000),
            f"00 {HEAD} 0700000000000000 60ea0000",
        ),
        (
            answers.encode_get(TERM, REVISION, RECORD),
            f"00 {HEAD} {ITEM}",
        ),
        (answers.encode_fenced(TERM, REVISION, Revision(9)), f"09 {HEAD} 0900000000000000"),
        (answers.encode_compacted(TERM, REVISION, Revision(9)), f"0e {HEAD} 0900000000000000"),
        (answers.encode_lease_grant(TERM, REVISION, LeaseId(7), 60_000), f"00 {HEAD} 0700000000000000 60ea0000"),
        (answers.encode_lease_revoke(TERM, REVISION, 9), f"00 {HEAD} 09000000"),
        (
            answers.encode(Outcome.OK, TERM, REVISION, answers.put_body(2, Revision(9), encode_previous(None))),
            f"00 {HEAD} 0200000000000000 0900000000000000 00",
        ),
    ],
)
def test_layout(encoded: bytes, expected: str) -> None:
    """The bytes are those of the module's table: remembered answers and clients depend on each of them."""
    assert encoded.hex() == expected.replace(" ", "")


def test_outcomes_keep_their_numbers() -> None:
    """A number that clients know never gets another meaning."""
    assert [outcome.name for outcome in sorted(Outcome)] == [
        "OK",
        "NOT_FOUND",
        "COMPARE_FAILED",
        "SESSION_EXPIRED",
        "SEQUENCE_ANSWERED",
        "SESSION_LIMIT",
        "TOO_MANY_IN_FLIGHT",
        "INVALID",
        "LEASE_NOT_FOUND",
        "FENCED",
        "NOT_A_NUMBER",
        "OUT_OF_RANGE",
        "LEASE_LIMIT",
        "RESULT_TOO_LARGE",
        "COMPACTED",
        "FUTURE_REVISION",
    ]
    assert sorted(Outcome) == list(range(16))


def body_of(answer: bytes) -> bytes:
    decoded = answers.decode(answer)
    assert decoded[1:3] == (TERM, REVISION)
    return decoded.body


@pytest.mark.parametrize("outcome", Outcome)
def test_an_answer_without_a_body_is_read_as_it_was_written(outcome: Outcome) -> None:
    """Outcome, term and revision come back."""
    assert answers.decode(answers.encode(outcome, TERM, REVISION)) == Answer(outcome, TERM, REVISION, b"")


def test_bodies_are_read_as_they_were_written() -> None:
    """Each body comes back, field by field."""
    assert answers.decode_get(body_of(answers.encode_get(TERM, REVISION, RECORD))) == KeyValue(*RECORD)
    assert answers.decode_put(body_of(answers.encode_put(TERM, REVISION, 4, Revision(5)))) == PutResult(4, Revision(5))
    assert answers.decode_compare_failed(body_of(answers.encode_compare_failed(TERM, REVISION, Revision(6)))) == 6
    opened = answers.decode_open_session(body_of(answers.encode_open_session(TERM, REVISION, SessionId(7), 8)))
    assert opened == OpenedSession(SessionId(7), 8)
    assert answers.decode_fenced(body_of(answers.encode_fenced(TERM, REVISION, Revision(6)))) == 6
    assert answers.decode_compacted(body_of(answers.encode_compacted(TERM, REVISION, Revision(6)))) == 6
    granted = answers.decode_lease_grant(body_of(answers.encode_lease_grant(TERM, REVISION, LeaseId(7), 8)))
    assert granted == GrantedLease(LeaseId(7), 8)
    assert answers.decode_lease_revoke(body_of(answers.encode_lease_revoke(TERM, REVISION, 9))) == 9


@pytest.mark.parametrize("record", [None, RECORD])
def test_a_previous_item_is_read_where_it_was_asked_for(record: Record | None) -> None:
    """It comes back, and the same bytes are refused by whoever did not ask for it."""
    previous = encode_previous(record)
    shown = None if record is None else KeyValue(*record)
    body = answers.put_body(4, Revision(5), previous)
    assert answers.decode_put(body, previous=True) == PutResult(4, Revision(5), shown)
    with pytest.raises(DecodeError):
        answers.decode_put(body)
    with pytest.raises(DecodeError):
        answers.decode_delete(previous)
    if record is None:
        with pytest.raises(DecodeError, match="absent"):
            answers.decode_delete(previous, previous=True)
    else:
        assert answers.decode_delete(previous, previous=True) == DeleteResult(shown)
    assert answers.decode_delete(b"") == DeleteResult()


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (answers.decode_put, bytes(16)),
        (answers.decode_compare_failed, bytes(8)),
        (answers.decode_open_session, bytes(12)),
        (answers.decode_get, bytes(32) + b"\1u" + b"\2\0\0\0" + b"ab"),
        (lambda body: answers.decode_put(body, previous=True), bytes(17)),
        (lambda body: answers.decode_delete(body, previous=True), encode_previous(RECORD)),
        (answers.decode_fenced, bytes(8)),
        (answers.decode_compacted, bytes(8)),
        (answers.decode_lease_grant, bytes(12)),
        (answers.decode_lease_revoke, bytes(4)),
    ],
)
def test_a_body_of_another_length_is_refused(decode: Callable[[bytes], object], body: bytes) -> None:
    """A body is refused when it is cut anywhere, and when something comes after it."""
    decode(body)
    for wrong in [body[:length] for length in range(len(body))] + [body + b"\0"]:
        with pytest.raises(DecodeError):
            decode(wrong)


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    """Any bytes whatever are decoded or refused with DecodeError; nothing else is raised."""
    for decode in (answers.decode, answers.decode_put, answers.decode_get, answers.decode_open_session):
        with contextlib.suppress(DecodeError):
            decode(data)


def test_an_unknown_outcome_is_refused() -> None:
    """A client does not take an outcome that it does not know for one that it does."""
    with pytest.raises(DecodeError, match="unknown outcome 16"):
        answers.decode(bytes((16,)) + bytes(16))
