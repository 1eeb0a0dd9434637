"""What clients see: of answers, decoded, and of the model's changes."""

from typing import Any

from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.changes import PreviousValue, ShownChange
from raftd.kv.operations import Delete, DeleteRange, Increment, Put, Transaction, WriteOperation
from raftd.kv.results import decode_delete_range, decode_increment, decode_transaction
from raftd.kv.types import Revision
from tests.kv.model import ModelChange


def shown_result(operation: WriteOperation, answer: answers.Answer) -> Any:  # noqa: PLR0911 - one for each
    """What a client decodes of the answer to a write: a result, or the revision that says why there is none."""
    match answer.outcome:
        case Outcome.COMPARE_FAILED:
            return answers.decode_compare_failed(answer.body)
        case Outcome.FENCED:
            return answers.decode_fenced(answer.body)
        case Outcome.OK:
            pass
        case _:
            assert not answer.body
            return None
    match operation:
        case Put():
            return answers.decode_put(answer.body, previous=operation.previous)
        case Delete():
            return answers.decode_delete(answer.body, previous=operation.previous)
        case Increment():
            return decode_increment(answer.body)
        case DeleteRange():
            return decode_delete_range(answer.body, previous=operation.previous)
        case Transaction():
            return decode_transaction(answer.body, operation)


def shown_change(change: ModelChange, *, values: bool, previous: bool) -> ShownChange:
    """What a client is told of a change: with what was written, and with what was there before, if it wants them."""
    before, after, origin = change.before, change.after, change.origin
    row = after or before
    assert row is not None
    return ShownChange(
        Revision(change.revision),
        change.key,
        after is None,
        origin.by_lease,
        row.create_revision,
        row.version,
        row.lease,
        origin.wall_clock_ms,
        origin.user,
        origin.address,
        after.value if after and values else None,
        PreviousValue(before.modify_revision, before.value) if before and previous else None,
    )
