"""What one write does and says, operation by operation, and that one that cannot be done leaves nothing behind."""

from typing import Any

import pytest

from raftd.kv import answers, commands
from raftd.kv.answers import Answer, Outcome
from raftd.kv.commands import Revision, Write
from raftd.kv.limits import Limits
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Operation,
    Put,
    Range,
    Relation,
    Transaction,
    WriteOperation,
)
from raftd.kv.pages import RangePage
from raftd.kv.results import (
    DeleteRangeResult,
    IncrementResult,
    TransactionResult,
    decode_delete_range,
    decode_increment,
    decode_transaction,
)
from raftd.kv.types import NO_LEASE, LeaseId
from tests.kv.test_machine import ONE, Driver

I64_MAX = (1 << 63) - 1


class Writer:
    """A driver with one session that does one write after another."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.driver = Driver(limits)
        assert self.driver.open() == ONE
        self.sequence = 0

    def write(self, operation: WriteOperation, fence: Fence | None = None) -> Answer:
        self.sequence += 1
        return self.driver.ask(commands.write(ONE, self.sequence, self.sequence, Write(operation, fence)))

    def refused(self, outcome: Outcome, operation: WriteOperation, fence: Fence | None = None) -> Answer:
        """See that this write is refused, and changes nothing at all."""
        before, held = list(self.driver.machine._store), self.driver.machine.history.held()
        answer = self.write(operation, fence)
        assert answer.outcome is outcome
        assert (list(self.driver.machine._store), self.driver.machine.history.held()) == (before, held)
        return answer

    def lease(self) -> LeaseId:
        self.sequence += 1
        answer = self.driver.ask(commands.lease_grant(ONE, self.sequence, self.sequence))
        return answers.decode_lease_grant(answer.body).lease

    def transact(self, *then: Operation) -> TransactionResult:
        transaction = Transaction((), then)
        answer = self.write(transaction)
        assert answer.outcome is Outcome.OK
        return decode_transaction(answer.body, transaction)

    def increment(self, delta: int) -> IncrementResult:
        return decode_increment(self.write(Increment(b"n", delta)).body)

    def value(self, key: bytes) -> bytes | None:
        return self.driver.machine.get(key)


@pytest.fixture
def writer() -> Writer:
    return Writer()


def test_what_was_there_is_told_if_asked(writer: Writer) -> None:
    """By a put, a delete and a delete-range; a put of a new key tells that there was nothing."""
    put = Put(b"k", b"one", previous=True)
    assert answers.decode_put(writer.write(put).body, previous=True) == (1, 1, None)
    assert answers.decode_put(writer.write(put).body, previous=True) == (2, 1, (1, 1, 1, 0, b"alice", b"one"))
    answer = writer.write(Delete(b"k", previous=True))
    assert answers.decode_delete(answer.body, previous=True).previous == (1, 2, 2, 0, b"alice", b"one")
    writer.write(put)
    answer = writer.write(DeleteRange(b"", b"", previous=True))
    assert decode_delete_range(answer.body, previous=True) == (1, False, ((b"k", (4, 4, 1, 0, b"alice", b"one")),))


def test_an_expected_value(writer: Writer) -> None:
    """A write that expects a value happens if and only if the key is there with it; absent is not empty."""
    for absent in (Put(b"k", b"x", expected_value=b""), Delete(b"k", expected_value=b"")):
        assert answers.decode_compare_failed(writer.refused(Outcome.COMPARE_FAILED, absent).body) == 0
    writer.write(Put(b"k", b"one"))
    for other in (Put(b"k", b"x", expected_value=b"two"), Delete(b"k", expected_value=b"")):
        assert answers.decode_compare_failed(writer.refused(Outcome.COMPARE_FAILED, other).body) == 1
    both = Put(b"k", b"x", expected_value=b"one", expected_revision=Revision(2))
    writer.refused(Outcome.COMPARE_FAILED, both)
    assert writer.write(both._replace(expected_revision=Revision(1))).outcome is Outcome.OK
    assert writer.write(Delete(b"k", expected_value=b"x")).outcome is Outcome.OK


def test_a_fence_is_looked_at_first(writer: Writer) -> None:
    """A write under a fence that is another one's, or gone, does nothing, whatever else it expects."""
    writer.write(Put(b"lock", b""))
    writer.write(Put(b"lock", b"again"))
    stale = Put(b"k", b"", expected_revision=Revision(9))
    assert answers.decode_fenced(writer.refused(Outcome.FENCED, stale, Fence(b"lock", Revision(2))).body) == 1
    assert answers.decode_fenced(writer.refused(Outcome.FENCED, stale, Fence(b"none", Revision(2))).body) == 0
    for write in (
        Put(b"k", b""),
        Delete(b"k"),
        Increment(b"n", 1),
        DeleteRange(b"n", b"o"),
        Transaction((), (Put(b"k", b""),)),
    ):
        writer.refused(Outcome.FENCED, write, Fence(b"lock", Revision(0)))
        assert writer.write(write, Fence(b"lock", Revision(1))).outcome is Outcome.OK
    assert writer.write(Put(b"k", b""), Fence(b"none", Revision(0))).outcome is Outcome.OK


def test_increments(writer: Writer) -> None:
    """From nothing, up and down to the very bounds, and not beyond; the key keeps its lease."""
    lease = writer.lease()
    assert writer.increment(5) == (5, 1, 1)
    writer.write(Put(b"n", b"5", lease))
    assert writer.increment(-7) == (-2, 3, 1)
    record = writer.driver.machine._store.get(b"n")
    assert record is not None
    assert (record[3], record[5]) == (lease, b"-2")
    writer.write(Put(b"n", b"%d" % I64_MAX))
    writer.refused(Outcome.OUT_OF_RANGE, Increment(b"n", 1))
    assert writer.increment(-I64_MAX).value == 0
    assert writer.increment(-I64_MAX - 1).value == -I64_MAX - 1
    writer.refused(Outcome.OUT_OF_RANGE, Increment(b"n", -1))
    writer.refused(Outcome.COMPARE_FAILED, Increment(b"n", 1, expected_revision=Revision(1)))


@pytest.mark.parametrize(
    "value", [b"", b"one", b"1.0", b" 1", b"1\n", b"+1", b"1_0", b"-", b"0x1", b"9223372036854775808", b"\xd9\xa1"]
)
def test_what_is_no_number_is_not_incremented(writer: Writer, value: bytes) -> None:
    """Nothing but decimal ASCII digits of a 64-bit number, with a minus sign or none."""
    writer.write(Put(b"n", value))
    writer.refused(Outcome.NOT_A_NUMBER, Increment(b"n", 1))


def test_what_is_too_large_to_be_shown_is_not_copied(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that asks for the previous values of keys is refused by their sizes."""
    for number in range(10):
        writer.write(Put(b"key-%d" % number, bytes(1 << 20)))
    monkeypatch.setattr("raftd.kv.execution.encode_keyed", None)
    writer.refused(Outcome.RESULT_TOO_LARGE, DeleteRange(b"key-", b"key.", previous=True))


def test_a_delete_range_deletes_the_first_keys(writer: Writer) -> None:
    """As many as its limit says, in one revision; and says whether there are more."""
    for key in (b"a", b"b", b"c", b"d"):
        writer.write(Put(key, b""))
    answer = writer.write(DeleteRange(b"b", b"", limit=2))
    assert (answer.revision, decode_delete_range(answer.body)) == (5, DeleteRangeResult(2, True))
    answer = writer.write(DeleteRange(b"", b"", limit=2))
    assert (answer.revision, decode_delete_range(answer.body)) == (6, DeleteRangeResult(2, False))
    answer = writer.write(DeleteRange(b"", b""))
    assert (answer.revision, decode_delete_range(answer.body)) == (6, DeleteRangeResult(0, False))
    answer = writer.write(DeleteRange(b"b", b"a"))
    assert (answer.outcome, answer.revision) == (Outcome.OK, 6)


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 9])
def test_a_delete_range_alone_does_what_it_does_in_a_transaction(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done without a draft and some keys at a time, and leaves the same keys, leases and held changes."""
    monkeypatch.setattr("raftd.kv.machine._PART_MAX", 2)
    alone, within = Writer(), Writer()
    for writer in (alone, within):
        lease = writer.lease()
        for number in range(7):
            writer.write(Put(b"%d" % number, b"v" * number, lease=lease if number % 2 else NO_LEASE))
    wanted = DeleteRange(b"1", b"6", limit)
    result = decode_delete_range(alone.write(wanted).body)
    assert within.transact(wanted).results == (result,)
    assert result == DeleteRangeResult(min(limit, 5), limit < 5)
    machines = alone.driver.machine, within.driver.machine
    stores, held, leases = zip(
        *((list(each._store), each.history.held(), each.leases.key_total) for each in machines), strict=True
    )
    assert stores[0] == stores[1]
    assert held[0] == held[1]
    assert leases[0] == leases[1]


def test_operations_see_those_before_them(writer: Writer) -> None:
    """Reads and ranges of a transaction show what it has done so far; one revision and one net change per key."""
    writer.write(Put(b"a", b"1"))
    writer.write(Put(b"b", b"1"))
    result = writer.transact(
        Put(b"c", b"1"),
        Delete(b"a"),
        Get(b"a"),
        Range(b"", b"", count_only=True),
        Increment(b"c", 1),
        Range(b"", b"", keys_only=True),
        Delete(b"a"),
        Put(b"a", b"new"),
        Put(b"gone", b""),
        DeleteRange(b"g", b"h"),
    )
    shown = result.results
    assert (shown[2], shown[6]) == (None, None)
    assert (getattr(shown[3], "items", None), getattr(shown[3], "more", None)) == ((), True)
    assert [getattr(shown[at], "key_count", None) for at in (3, 5)] == [2, 2]
    assert [key for key, _ in getattr(shown[5], "items", ())] == [b"b", b"c"]
    machine = writer.driver.machine
    assert machine.revision == 3
    assert [(each[1], each[3] and each[3][:3]) for each in machine.history.held()[2:]] == [
        (b"c", (3, 3, 2)),
        (b"a", (3, 3, 1)),
    ]


def test_a_count_of_nothing_leaves_nothing_out(writer: Writer) -> None:
    """There are no items behind those that are shown, where there are none at all."""
    (counted,) = writer.transact(Range(b"x", b"y", count_only=True)).results
    assert (getattr(counted, "key_count", None), getattr(counted, "more", None)) == (0, False)


def test_without_a_net_change_there_is_no_revision(writer: Writer) -> None:
    """Reads only, deletes of absent keys, and what is created and deleted at once."""
    writer.transact(Get(b"k"), Range(b"", b""), Delete(b"k"), DeleteRange(b"", b""), Put(b"k", b""), Delete(b"k"))
    assert (writer.driver.machine.revision, len(writer.driver.machine.history)) == (0, 0)


def test_a_range_tells_of_which_revision_it_is(writer: Writer) -> None:
    """The one that is there until the transaction has changed something: whoever watches from it on misses nothing."""
    writer.write(Put(b"k", b"1"))
    everything = Range(b"", b"")

    def revisions(*then: Operation) -> list[int]:
        return [result.at_revision for result in writer.transact(*then).results if isinstance(result, RangePage)]

    assert revisions(everything) == [1]
    assert revisions(Put(b"new", b""), Delete(b"new"), everything) == [1]
    assert revisions(everything, Put(b"k", b"2"), everything) == [1, 2]
    assert writer.driver.machine.revision == 2


def test_a_nested_transaction_decides_by_itself(writer: Writer) -> None:
    """Its compares see what came before it, and its second list does not undo the outer first."""
    there = Compare(CompareTarget.VERSION, Relation.GREATER, b"k", 0)
    inner = Transaction((there,), (Put(b"k", b"then"),), (Put(b"k", b"else"),))
    result = writer.transact(inner, inner)
    assert [getattr(each, "succeeded", None) for each in result.results] == [False, True]
    assert (writer.value(b"k"), writer.driver.machine.revision) == (b"then", 1)


@pytest.mark.parametrize(
    ("bad", "outcome"),
    [
        (Put(b"z", b"", LeaseId(99)), Outcome.LEASE_NOT_FOUND),
        (Put(b"z", b"", LeaseId(2)), Outcome.LEASE_LIMIT),
        (Increment(b"text", 1), Outcome.NOT_A_NUMBER),
        (Increment(b"most", 1), Outcome.OUT_OF_RANGE),
        (Transaction((), (Get(b"big"), Get(b"big"))), Outcome.RESULT_TOO_LARGE),
        (DeleteRange(b"", b"", previous=True), Outcome.RESULT_TOO_LARGE),
    ],
)
def test_one_impossible_operation_undoes_all(bad: Operation, outcome: Outcome) -> None:
    """Before it, behind it and nested beside it: nothing is done, and the answer says what was wrong."""
    writer = Writer(Limits(keys_per_lease_max=1))
    assert writer.lease() == LeaseId(2)
    writer.write(Put(b"leased", b"", LeaseId(2)))
    writer.write(Put(b"text", b"text"))
    writer.write(Put(b"most", b"%d" % I64_MAX))
    writer.write(Put(b"big", bytes(1 << 20)))
    writer.write(Put(b"big2", bytes(1 << 20)))
    good = (Put(b"a", b"1"), Delete(b"text"), Put(b"leased", b"2", LeaseId(2)), DeleteRange(b"m", b"n"))
    lists: list[tuple[Operation, ...]] = [(bad,), (Put(b"a", b"1"), bad, Delete(b"leased"))]
    if not isinstance(bad, Transaction):
        lists += [(*good[:1], Transaction((), (Put(b"b", b""), bad)), *good[1:])]
    for operations in lists:
        writer.refused(outcome, Transaction((), operations))
        assert writer.driver.machine.leases.key_total == 1


def test_a_transaction_deletes_a_bounded_number_of_keys(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its delete-ranges together no more than one of them may."""
    for number in range(7):
        writer.write(Put(b"%d" % number, b""))
    monkeypatch.setattr("raftd.kv.execution.DELETE_RANGE_KEYS_MAX", 5)
    writer.refused(Outcome.RESULT_TOO_LARGE, Transaction((), (DeleteRange(b"", b"", 3), DeleteRange(b"", b"", 3))))
    writer.transact(DeleteRange(b"", b"", 3), DeleteRange(b"", b"", 2))
    assert writer.driver.machine.key_count == 2


@pytest.mark.parametrize("relation", list(Relation))
def test_compares(writer: Writer, relation: Relation) -> None:
    """Each of the five, of a key that is there and of one that is not, with smaller, equal and greater operands."""
    lease = writer.lease()
    for _ in range(3):
        writer.write(Put(b"k", b"m", lease))

    def expected(found: Any, operand: Any) -> bool:
        order = (found > operand) - (found < operand)
        wanted = {Relation.EQUAL: {0}, Relation.NOT_EQUAL: {-1, 1}, Relation.LESS: {-1}, Relation.GREATER: {1}}
        return order in wanted[relation]

    numbers = {
        CompareTarget.VERSION: 3,
        CompareTarget.CREATE_REVISION: 1,
        CompareTarget.MODIFY_REVISION: 3,
        CompareTarget.LEASE: lease,
    }

    def holds(target: CompareTarget, key: bytes, operand: int | bytes) -> bool:
        transaction = Transaction((Compare(target, relation, key, operand),), (), ())
        return decode_transaction(writer.write(transaction).body, transaction).succeeded

    for target, found in numbers.items():
        for operand in (0, found - 1, found, found + 1):
            assert holds(target, b"k", operand) == expected(found, operand)
            assert holds(target, b"absent", operand) == expected(0, operand)
    for text in (b"", b"l", b"m", b"m\x00", b"n"):
        assert holds(CompareTarget.VALUE, b"k", text) == expected(b"m", text)
        assert not holds(CompareTarget.VALUE, b"absent", text)
