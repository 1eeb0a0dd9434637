"""What is asked and answered about keys and leases, byte for byte: `vectors/v1/keys.hex`, written by hand.

As with the others (`test_vectors.py`), a failure here is no reason to touch a vector.
"""

from collections.abc import Callable

import pytest

from raftd.consensus.types import Term
from raftd.kv import answers, commands, pages, results
from raftd.kv.answers import Outcome
from raftd.kv.changes import Change, encode_change
from raftd.kv.commands import Opcode, SessionId
from raftd.kv.items import encode_keyed, encode_previous
from raftd.kv.operations import (
    I64_MAX,
    U32_MAX,
    U64_MAX,
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    OperationCode,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
    WriteOperation,
)
from raftd.kv.pages import LeaseInfo, ListedLease
from raftd.kv.queries import (
    HistoryQuery,
    LeaseQuery,
    LeasesQuery,
    Query,
    QueryOpcode,
    RangeQuery,
    encode_query,
    parse_query,
)
from raftd.kv.types import NO_LEASE, LeaseId, Record, Revision
from raftd.wire import client
from raftd.wire.client import BODY_OFFSET, Consistency, RequestKind, ResponseKind
from tests.wire.test_vectors import read_vectors

VECTORS = read_vectors("keys")
SESSION = SessionId(12)
LEASE = LeaseId(14)
FENCE = Fence(b"lock", Revision(3))
RECORD: Record = (Revision(1), Revision(1), 1, LEASE, b"alice", b"blue")

WRITES: dict[str, tuple[int, WriteOperation, Fence | None]] = {
    "write-put-with-everything": (20, Put(b"color", b"green", LEASE, Revision(1), b"blue", previous=True), FENCE),
    "write-put-fenced": (21, Put(b"color", b"blue", LEASE), FENCE),
    "write-delete-with-everything": (22, Delete(b"color", Revision(1), b"blue", previous=True), FENCE),
    "write-delete-if-empty": (23, Delete(b"color", expected_value=b""), None),
    "write-increment": (24, Increment(b"count", -1), None),
    "write-increment-with-everything": (25, Increment(b"count", I64_MAX, Revision(0)), FENCE),
    "write-delete-range": (26, DeleteRange(b"a", b"b", 100, previous=True), None),
    "write-delete-range-of-all": (27, DeleteRange(b"", b"", 10_000), FENCE),
    "write-transaction": (
        28,
        Transaction(
            (Compare(CompareTarget.VERSION, Relation.EQUAL, b"color", 0),),
            (Put(b"color", b"blue"), Increment(b"count", 1)),
            (Get(b"color"),),
        ),
        None,
    ),
    "write-transaction-with-everything": (
        29,
        Transaction(
            (
                Compare(CompareTarget.VERSION, Relation.EQUAL, b"color", 1),
                Compare(CompareTarget.CREATE_REVISION, Relation.NOT_EQUAL, b"color", 2),
                Compare(CompareTarget.MODIFY_REVISION, Relation.LESS, b"color", U64_MAX),
                Compare(CompareTarget.LEASE, Relation.GREATER, b"color", 5),
                Compare(CompareTarget.VALUE, Relation.NOT_EQUAL, b"color", b"blue"),
            ),
            (
                Get(b"color"),
                Range(b"a", b"b", 5, keys_only=True),
                Put(b"color", b"", LEASE, previous=True),
                Delete(b"color", previous=True),
                Increment(b"count", -I64_MAX - 1),
                DeleteRange(b"a", b"", 1, previous=True),
            ),
            (Transaction((), (Range(b"", b"", count_only=True),)),),
        ),
        FENCE,
    ),
    "write-transaction-empty": (30, Transaction((), ()), None),
}
LEASE_WRITES = {
    "write-lease-grant": (31, commands.lease_grant(SESSION, 5, 5, 60_000)),
    "write-lease-revoke": (32, commands.lease_revoke(SESSION, 5, 5, LEASE)),
}
READS: dict[str, tuple[int, Consistency, Query]] = {
    "read-range": (33, Consistency.LINEARIZABLE, RangeQuery(Range(b"a", b"b"))),
    "read-range-at-revision": (
        34,
        Consistency.LINEARIZABLE,
        RangeQuery(Range(b"a", b"", 2, keys_only=True), Revision(9)),
    ),
    "read-range-count": (35, Consistency.STALE, RangeQuery(Range(b"", b"", count_only=True))),
    "read-history": (36, Consistency.LINEARIZABLE, HistoryQuery(b"color", 10, values=True)),
    "read-history-before": (37, Consistency.LINEARIZABLE, HistoryQuery(b"color", 0, Revision(9))),
    "read-lease": (38, Consistency.LINEARIZABLE, LeaseQuery(LEASE)),
    "read-leases": (39, Consistency.LINEARIZABLE, LeasesQuery()),
    "read-leases-after": (40, Consistency.LINEARIZABLE, LeasesQuery(LeaseId(U64_MAX), U32_MAX)),
}


def ok(body: bytes) -> bytes:
    return answers.encode(Outcome.OK, Term(2), Revision(9), body)


def without_body(outcome: Outcome) -> bytes:
    return answers.encode(outcome, Term(2), Revision(9))


def change(revision: int, before: Record | None, after: Record | None) -> Change:
    return Change(Revision(revision), b"color", before, after, after is None, 1_700_000_000_000, b"alice", b"::1")


FIRST: Record = (Revision(4), Revision(4), 1, NO_LEASE, b"alice", b"blue")
SECOND: Record = (Revision(4), Revision(7), 2, LEASE, b"alice", b"green")
CHANGES = [change(9, SECOND, None), change(7, FIRST, SECOND), change(4, None, FIRST)]

ANSWERS: dict[str, tuple[int, bytes]] = {
    "answer-put-previous": (20, ok(answers.put_body(2, Revision(1), encode_previous(RECORD)))),
    "answer-put-previous-absent": (21, ok(answers.put_body(1, Revision(9), encode_previous(None)))),
    "answer-delete-previous": (22, ok(encode_previous(RECORD))),
    "answer-increment": (24, ok(results.increment_body(-1, 3, Revision(4)))),
    "answer-delete-range": (26, ok(results.delete_range_body(1, [encode_keyed(b"aim", RECORD)], more=False))),
    "answer-delete-range-more": (27, ok(results.delete_range_body(10_000, more=True))),
    "answer-transaction": (
        28,
        ok(
            results.transaction_body(
                [
                    (Outcome.OK, answers.put_body(1, Revision(9))),
                    (Outcome.OK, results.increment_body(1, 1, Revision(9))),
                ],
                succeeded=True,
            )
        ),
    ),
    "answer-transaction-else": (28, ok(results.transaction_body([(Outcome.NOT_FOUND, b"")], succeeded=False))),
    "answer-lease-grant": (31, answers.encode_lease_grant(Term(2), Revision(9), LEASE, 60_000)),
    "answer-lease-revoke": (32, answers.encode_lease_revoke(Term(2), Revision(9), 2)),
    "answer-range": (33, ok(pages.range_body(Revision(9), 2, [encode_keyed(b"aim", RECORD)], more=True))),
    "answer-range-keys": (
        34,
        ok(pages.range_body(Revision(9), None, [encode_keyed(b"aim", RECORD, keys_only=True)], more=False)),
    ),
    "answer-range-count": (35, ok(pages.range_body(Revision(9), 2, [], more=False))),
    "answer-history": (
        36,
        ok(
            pages.history_body(
                Revision(3), [encode_change(each, values=True, previous=True) for each in CHANGES], more=False
            )
        ),
    ),
    "answer-history-without-values": (
        37,
        ok(pages.history_body(Revision(0), [encode_change(CHANGES[1], values=False, previous=False)], more=True)),
    ),
    "answer-lease": (38, ok(pages.lease_body(LeaseInfo(60_000, 45_000, b"alice", (b"aim", b"color"))))),
    "answer-leases": (39, ok(pages.leases_body([ListedLease(LEASE, 60_000, 2, b"alice")], more=False))),
    "answer-sequence-answered": (41, without_body(Outcome.SEQUENCE_ANSWERED)),
    "answer-session-limit": (42, without_body(Outcome.SESSION_LIMIT)),
    "answer-too-many-in-flight": (43, without_body(Outcome.TOO_MANY_IN_FLIGHT)),
    "answer-invalid": (44, without_body(Outcome.INVALID)),
    "answer-lease-not-found": (45, without_body(Outcome.LEASE_NOT_FOUND)),
    "answer-fenced": (46, answers.encode_fenced(Term(2), Revision(9), Revision(0))),
    "answer-not-a-number": (47, without_body(Outcome.NOT_A_NUMBER)),
    "answer-out-of-range": (48, without_body(Outcome.OUT_OF_RANGE)),
    "answer-lease-limit": (49, without_body(Outcome.LEASE_LIMIT)),
    "answer-result-too-large": (50, without_body(Outcome.RESULT_TOO_LARGE)),
    "answer-compacted": (51, answers.encode_compacted(Term(2), Revision(9), Revision(8))),
    "answer-future-revision": (52, without_body(Outcome.FUTURE_REVISION)),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes(name: str) -> None:
    """A write is these bytes, and these bytes are that write."""
    vector = VECTORS[name]
    request_id, operation, fence = WRITES[name]
    write = Write(operation, fence)
    assert client.encode_request(RequestKind.WRITE, request_id, commands.write(SESSION, 5, 5, write)) == vector
    parsed = commands.parse(vector, 4 + BODY_OFFSET)
    assert parsed[1:] == (SESSION, 5, 5, write, b"", len(vector))


@pytest.mark.parametrize("name", LEASE_WRITES)
def test_lease_writes(name: str) -> None:
    """A command about a lease is these bytes."""
    request_id, command = LEASE_WRITES[name]
    assert client.encode_request(RequestKind.WRITE, request_id, command) == VECTORS[name]


@pytest.mark.parametrize("name", READS)
def test_reads(name: str) -> None:
    """A read is these bytes, and these bytes are that read."""
    vector = VECTORS[name]
    request_id, consistency, query = READS[name]
    body = client.encode_read_body(consistency, *encode_query(query))
    assert client.encode_request(RequestKind.READ, request_id, body) == vector
    decoded_consistency, opcode, data = client.decode_read(vector[4:])
    assert (decoded_consistency, parse_query(opcode, data)) == (consistency, query)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    """An answer is these bytes."""
    request_id, answer = ANSWERS[name]
    assert client.encode_answer(request_id, answer) == VECTORS[name]
    assert client.parse_response(VECTORS[name][4:]) == (ResponseKind.ANSWER, request_id)


def test_each_vector_is_checked() -> None:
    """No vector lies about unread, and none has the bytes of another."""
    assert set(VECTORS) == {*WRITES, *LEASE_WRITES, *READS, *ANSWERS}
    assert len(set(VECTORS.values())) == len(VECTORS)


@pytest.mark.parametrize(
    ("names", "number", "everything"),
    [
        pytest.param([*WRITES, *LEASE_WRITES], lambda vector: vector[13], {*OperationCode} - {1, 2}, id="writes"),
        pytest.param(LEASE_WRITES, lambda vector: vector[13], {Opcode.LEASE_GRANT, Opcode.LEASE_REVOKE}, id="leases"),
        pytest.param(READS, lambda vector: vector[14], {*QueryOpcode} - {QueryOpcode.GET}, id="queries"),
        pytest.param(ANSWERS, lambda vector: vector[13], {*Outcome} - {1, 2, 3}, id="outcomes"),
    ],
)
def test_everything_has_a_vector(names: list[str], number: Callable[[bytes], int], everything: set[int]) -> None:
    """Each opcode and outcome has a vector: those that are missing here are in client.hex."""
    assert {number(VECTORS[name]) for name in names} >= everything
