"""What came of a transaction's operations, for people and for scripts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from raftd.cli.listing import record_of
from raftd.cli.txn_format import Draft, SingleOperation
from raftd.client import (
    Delete,
    DeleteRange,
    DeleteRangeResult,
    DeleteResult,
    Get,
    Increment,
    IncrementResult,
    KeyValue,
    Page,
    Put,
    PutResult,
    Range,
    TransactionResult,
)

COLUMNS: Final = ("step", "operation", "outcome", "key", "revision", "version", "value")

Step: TypeAlias = dict[str, Any]


def steps_of(draft: Draft, result: TransactionResult) -> list[Step]:
    """What came of each operation that was done, in their order."""
    done = draft.then if result.succeeded else draft.otherwise
    return [_step(operation, each) for operation, each in zip(done, result.results, strict=True)]


def rows_of(steps: Sequence[Step], above: str = "") -> Iterator[dict[str, object]]:
    """The same as rows of a table of `COLUMNS`, a step's number being like 2 or 2.1."""
    for number, step in enumerate(steps, 1):
        name = f"{above}{number}"
        row = {"step": name, **step, "revision": step.get("modify_revision", step.get("revision"))}
        yield {**row, "outcome": _outcome(step)}
        if "previous" in step:
            yield {"step": name, "operation": "previous", **_inner(step["previous"])}
        for item in step.get("items", ()):
            yield {"step": name, **_inner(item)}
        yield from rows_of(step.get("results", ()), f"{name}.")


def _inner(item: Mapping[str, Any] | None) -> dict[str, object]:
    return {"outcome": "absent"} if item is None else {**item, "revision": item["modify_revision"]}


def _outcome(step: Step) -> str:
    match step["operation"]:
        case "transaction":
            return "then" if step["succeeded"] else "else"
        case "get":
            return "found" if step["found"] else "absent"
        case "delete":
            return "deleted" if step["deleted"] else "absent"
        case "range":
            return f"{len(step['items'])} of {step['count']} keys"
        case "delete-range":
            return f"{step['deleted']} deleted{', others left' if step['more'] else ''}"
        case _:
            return "written"


def _step(operation: SingleOperation | Draft, result: object) -> Step:
    step: Step
    match operation, result:
        case Draft(), TransactionResult():
            step = {"operation": "transaction", "succeeded": result.succeeded, "results": steps_of(operation, result)}
        case Get(), KeyValue():
            step = {"operation": "get", "found": True, **record_of(result)}
        case Get(), None:
            step = {"operation": "get", "found": False, "key": operation.key}
        case Put(), PutResult():
            step = {"operation": "put", "key": operation.key, "revision": result.revision, "version": result.version}
            step |= _previous(operation, result.previous)
        case Delete(), DeleteResult():
            step = {"operation": "delete", "key": operation.key, "deleted": result.deleted}
            step |= _previous(operation, result.previous)
        case Increment(), IncrementResult():
            step = {"operation": "increment", "key": operation.key, "value": result.value}
            step |= {"revision": result.revision, "version": result.version}
        case Range(), Page():
            items = [_item(item, keys_only=operation.keys_only) for item in result.items]
            step = {"operation": "range", "count": result.count, "more": result.more, "items": items}
        case DeleteRange(), DeleteRangeResult():
            step = {"operation": "delete-range", "deleted": result.deleted, "more": result.more}
        case _:
            raise TypeError(f"{type(operation).__name__} has no result like {type(result).__name__}")
    return step


def _previous(operation: Put | Delete, previous: KeyValue | None) -> Step:
    if not operation.previous:
        return {}
    return {"previous": None if previous is None else record_of(previous)}


def _item(item: KeyValue, *, keys_only: bool) -> Step:
    record = record_of(item)
    if keys_only:
        del record["value"]
    return record
