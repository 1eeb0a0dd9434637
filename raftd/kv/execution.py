"""Carries out one write against a draft: what it does, what its answer says, or why it cannot be done.

Whoever called commits the draft, or drops it because of `Refused`; nothing here changes the machine. So a write is done
as a whole or not at all, whichever of its operations fails.
"""

import operator
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeAlias, assert_never

from raftd.kv.answers import Outcome, put_body
from raftd.kv.draft import Draft
from raftd.kv.items import encode_item, encode_keyed, encode_previous
from raftd.kv.leases import LeaseTable
from raftd.kv.limits import ANSWER_BYTES_MAX, DELETE_RANGE_KEYS_MAX
from raftd.kv.operations import (
    I64_MAX,
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
    Write,
)
from raftd.kv.pages import range_body
from raftd.kv.reads import page_of
from raftd.kv.results import delete_range_body, increment_body, transaction_body
from raftd.kv.store import NO_REVISION
from raftd.kv.types import NO_LEASE, LeaseId, Record, Revision

Result: TypeAlias = tuple[Outcome, bytes]
"""How an operation that can be done ends, OK or NOT_FOUND, and the body that says so."""

_OK: Final = Outcome.OK
_PART_MAX: Final = 512
"""Keys that are deleted at a time: few enough for all that they touch to stay in a processor's own cache."""
_NUMBER: Final = re.compile(rb"-?[0-9]{1,19}")
_RELATIONS: Final = {
    Relation.EQUAL: operator.eq,
    Relation.NOT_EQUAL: operator.ne,
    Relation.LESS: operator.lt,
    Relation.GREATER: operator.gt,
}


class Refused(Exception):  # noqa: N818 - it names what became of the write
    """A write cannot be done, so none of it is; `outcome` and, with COMPARE_FAILED and FENCED, `revision` say why."""

    def __init__(self, outcome: Outcome, revision: Revision = NO_REVISION) -> None:
        self.outcome = outcome
        self.revision = revision
        super().__init__(outcome.name)


class Execution:
    """One write.

    Args:
        draft: what it changes.
        leases: the leases that there are.
        user: who writes; None: whoever, so that every lease is the user's own.
    """

    __slots__ = ("_deletes_left", "_draft", "_leases", "_shown_bytes", "_user")

    def __init__(self, draft: Draft, leases: LeaseTable, user: bytes | None) -> None:
        self._draft = draft
        self._leases = leases
        self._user = user
        self._shown_bytes = 0
        self._deletes_left = DELETE_RANGE_KEYS_MAX

    def run(self, write: Write) -> Result:
        """Do the write on the draft.

        Raises:
            Refused: It cannot be done; the draft is to be dropped.
        """
        if write.fence is not None:
            self._check_fence(write.fence)
        result = self._do(write.operation)
        if len(result[1]) > ANSWER_BYTES_MAX:
            raise Refused(Outcome.RESULT_TOO_LARGE)
        return result

    def _check_fence(self, fence: Fence) -> None:
        record = self._draft.get(fence.key)
        create_revision = NO_REVISION if record is None else record[0]
        if create_revision != fence.revision:
            raise Refused(Outcome.FENCED, create_revision)

    def _do(self, operation: Operation) -> Result:  # noqa: PLR0911 - one for each operation
        match operation:
            case Get():
                return self._get(operation)
            case Range():
                return self._range(operation)
            case Put():
                return self._put(operation)
            case Delete():
                return self._delete(operation)
            case Increment():
                return self._increment(operation)
            case DeleteRange():
                return self._delete_range(operation)
            case Transaction():
                return self._transaction(operation)
            case _:
                assert_never(operation)

    def _get(self, get: Get) -> Result:
        record = self._draft.get(get.key)
        return (Outcome.NOT_FOUND, b"") if record is None else (_OK, self._shown(encode_item(record)))

    def _range(self, wanted: Range) -> Result:
        draft = self._draft
        low, high = wanted.low, wanted.high
        count = draft.count(low, high)
        items, more = list[bytes](), count > 0
        if not wanted.count_only:
            items, more = page_of(draft.keys(low, high), draft.get, wanted.limit, keys_only=wanted.keys_only)
        return _OK, self._shown(range_body(draft.shown_revision, count, items, more=more))

    def _put(self, put: Put) -> Result:
        record = self._draft.get(put.key)
        _check_expected(record, put.expected_revision, put.expected_value)
        self._check_lease(put.lease, put.key)
        written = self._draft.put(put.key, put.value, put.lease)
        previous = self._shown(encode_previous(record)) if put.previous else b""
        return _OK, put_body(written[2], written[0], previous)

    def _delete(self, delete: Delete) -> Result:
        record = self._draft.get(delete.key)
        _check_expected(record, delete.expected_revision, delete.expected_value)
        if record is None:
            return Outcome.NOT_FOUND, b""
        self._draft.delete(delete.key, record)
        return _OK, self._shown(encode_previous(record)) if delete.previous else b""

    def _increment(self, increment: Increment) -> Result:
        record = self._draft.get(increment.key)
        _check_expected(record, increment.expected_revision, None)
        before, lease_id = 0, NO_LEASE
        if record is not None:
            before, lease_id = _number(record[-1]), record[3]
        value = before + increment.delta
        if not -I64_MAX - 1 <= value <= I64_MAX:
            raise Refused(Outcome.OUT_OF_RANGE)
        written = self._draft.put(increment.key, b"%d" % value, lease_id)
        return _OK, increment_body(value, written[2], written[0])

    def _delete_range(self, wanted: DeleteRange) -> Result:
        draft = self._draft
        keys, more = first_keys(draft.keys(wanted.low, wanted.high), wanted.limit)
        self._deletes_left -= len(keys)
        if self._deletes_left < 0:
            raise Refused(Outcome.RESULT_TOO_LARGE)
        items: list[bytes] = []
        for start in range(0, len(keys), _PART_MAX):
            found = draft.delete_all(keys[start : start + _PART_MAX])
            if wanted.previous:
                # Before any is copied: a part may have half a gigabyte of values.
                self._count_shown(sum(len(key) + len(record[-1]) for key, record in found))
                items += [encode_keyed(key, record) for key, record in found]
        return _OK, delete_range_body(len(keys), items, more=more)

    def _transaction(self, transaction: Transaction) -> Result:
        succeeded = all(map(self._holds, transaction.compares))
        results = [self._do(each) for each in (transaction.then if succeeded else transaction.otherwise)]
        return _OK, transaction_body(results, succeeded=succeeded)

    def _shown(self, part: bytes) -> bytes:
        self._count_shown(len(part))
        return part

    def _count_shown(self, shown_bytes: int) -> None:
        """Stop as soon as the answer is sure to be too large, not only when all of it is there."""
        self._shown_bytes += shown_bytes
        if self._shown_bytes > ANSWER_BYTES_MAX:
            raise Refused(Outcome.RESULT_TOO_LARGE)

    def _holds(self, compare: Compare) -> bool:
        record = self._draft.get(compare.key)
        found: int | bytes
        match compare.target:
            case CompareTarget.VALUE:
                if record is None:
                    return False
                found = record[-1]
            case CompareTarget.VERSION:
                found = 0 if record is None else record[2]
            case CompareTarget.CREATE_REVISION:
                found = 0 if record is None else record[0]
            case CompareTarget.MODIFY_REVISION:
                found = 0 if record is None else record[1]
            case CompareTarget.LEASE:
                found = 0 if record is None else record[3]
            case _:
                assert_never(compare.target)
        return bool(_RELATIONS[compare.relation](found, compare.operand))

    def _check_lease(self, lease_id: LeaseId, key: bytes) -> None:
        if lease_id == NO_LEASE:
            return
        lease = self._leases.get(lease_id)
        if lease is None or (self._user is not None and lease.user != self._user):
            raise Refused(Outcome.LEASE_NOT_FOUND)
        if not self._draft.has_room(lease_id, key):
            raise Refused(Outcome.LEASE_LIMIT)


def first_keys(keys: Iterator[bytes], limit: int) -> tuple[list[bytes], bool]:
    """The first `limit` keys, and whether there are more."""
    first = list(islice(keys, limit + 1))
    more = len(first) > limit
    del first[limit:]
    return first, more


def _check_expected(record: Record | None, revision: Revision | None, value: bytes | None) -> None:
    modify_revision = NO_REVISION if record is None else record[1]
    if (revision is not None and modify_revision != revision) or (
        value is not None and (record is None or record[-1] != value)
    ):
        raise Refused(Outcome.COMPARE_FAILED, modify_revision)


def _number(value: bytes) -> int:
    number = int(value) if _NUMBER.fullmatch(value) else I64_MAX + 1
    if not -I64_MAX - 1 <= number <= I64_MAX:
        raise Refused(Outcome.NOT_A_NUMBER)
    return number
