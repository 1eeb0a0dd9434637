"""Makes results of what the cluster answers, with keys as the user of a namespace has them."""

from collections.abc import Sequence
from typing import assert_never

from raftd.client.namespace import Namespace
from raftd.client.results import (
    Change,
    DeleteRangeResult,
    DeleteResult,
    IncrementResult,
    KeyValue,
    OperationResult,
    Page,
    Previous,
    PutResult,
    TransactionResult,
)
from raftd.errors import InvariantViolation
from raftd.kv import items, results
from raftd.kv import operations as kv
from raftd.kv.answers import DeleteResult as DeleteAnswer
from raftd.kv.answers import PutResult as PutAnswer
from raftd.kv.changes import ShownChange
from raftd.kv.pages import RangePage


def show_item(key: bytes, item: items.KeyValue, revision: int) -> KeyValue:
    """One key, which is the user's form already."""
    create_revision, modify_revision, version, lease, user, value = item
    return KeyValue(
        key, value, create_revision, modify_revision, version, revision, lease, user.decode(errors="replace")
    )


def show_items(shown: Sequence[items.KeyedItem], revision: int, namespace: Namespace) -> list[KeyValue]:
    """The keys of a page. Spelled out: a listing of many keys spends its time here."""
    length = namespace.length
    return [
        KeyValue(
            key[length:],
            value,
            create_revision,
            modify_revision,
            version,
            revision,
            lease,
            user.decode(errors="replace"),
        )
        for key, (create_revision, modify_revision, version, lease, user, value) in shown
    ]


def show_put(key: bytes, put: PutAnswer, revision: int) -> PutResult:
    """What came of a put of this key, in the user's form."""
    version, create_revision, previous = put
    shown = None if previous is None else show_item(key, previous, revision)
    return PutResult(revision, version, create_revision, shown)


def show_delete(key: bytes, deletion: DeleteAnswer | None, revision: int) -> DeleteResult:
    """What came of a deletion of this key, in the user's form; None: it was absent."""
    if deletion is None:
        return DeleteResult(revision, deleted=False)
    previous = None if deletion.previous is None else show_item(key, deletion.previous, revision)
    return DeleteResult(revision, deleted=True, previous=previous)


def show_increment(increment: results.IncrementResult, revision: int) -> IncrementResult:
    """What came of an increment."""
    return IncrementResult(revision, increment.value, increment.version, increment.create_revision)


def show_delete_range(deletion: results.DeleteRangeResult, revision: int, namespace: Namespace) -> DeleteRangeResult:
    """What came of the deletion of a range."""
    return DeleteRangeResult(
        revision, deletion.deleted_count, deletion.more, show_items(deletion.previous, revision, namespace)
    )


def show_page(page: RangePage, namespace: Namespace, next_page: str | None = None) -> Page:
    """A page of a range."""
    at_revision, count, more, keyed_items = page
    return Page(show_items(keyed_items, at_revision, namespace), at_revision, count, next_page, more)


def show_transaction(
    transaction: kv.Transaction, done: results.TransactionResult, revision: int, namespace: Namespace
) -> TransactionResult:
    """What came of a transaction."""
    operations = transaction.then if done.succeeded else transaction.otherwise
    shown = [
        _show_result(operation, result, revision, namespace)
        for operation, result in zip(operations, done.results, strict=True)
    ]
    return TransactionResult(revision, done.succeeded, shown)


def _show_result(  # noqa: PLR0911 - one for each operation
    operation: kv.Operation, result: results.OperationResult | None, revision: int, namespace: Namespace
) -> OperationResult:
    key = namespace.strip(operation.key) if isinstance(operation, kv.Get | kv.Put | kv.Delete) else b""
    match result:
        case None:
            return show_delete(key, None, revision) if isinstance(operation, kv.Delete) else None
        case items.KeyValue():
            return show_item(key, result, revision)
        case RangePage():
            return show_page(result, namespace)
        case PutAnswer():
            return show_put(key, result, revision)
        case DeleteAnswer():
            return show_delete(key, result, revision)
        case results.IncrementResult():
            return show_increment(result, revision)
        case results.DeleteRangeResult():
            return show_delete_range(result, revision, namespace)
        case results.TransactionResult():
            if not isinstance(operation, kv.Transaction):
                raise InvariantViolation("a transaction's result was decoded for another operation")
            return show_transaction(operation, result, revision, namespace)
        case _:
            assert_never(result)


def show_change(change: ShownChange, namespace: Namespace) -> Change:
    """One change of one key."""
    previous = change.previous
    return Change(
        "delete" if change.is_delete else "put",
        namespace.strip(change.key),
        change.value,
        change.revision,
        change.create_revision,
        change.version,
        change.lease,
        change.by_lease,
        change.wall_clock_ms / 1000,
        change.user.decode(errors="replace"),
        change.address.decode(errors="replace"),
        None if previous is None else Previous(previous.value, previous.modify_revision),
    )
