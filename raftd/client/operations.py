"""What a transaction asks and does, as its caller says it; `raftd.client.transactions` puts it together.

version("a") == 1            a condition: also create_revision, modify_revision, value and lease
Put("a", b"1")               an operation: also Get, Delete, Increment, Range and DeleteRange
"""

from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from raftd.client.errors import InvalidRequest
from raftd.client.namespace import Namespace, to_value
from raftd.kv import operations as kv
from raftd.kv.limits import DELETE_RANGE_KEYS_MAX
from raftd.kv.operations import CompareTarget, Relation
from raftd.kv.types import LeaseId

_U64_END: Final = 1 << 64
_I64_END: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold; made by comparing what `version`, `value` and so on give."""

    target: CompareTarget
    relation: Relation
    key: bytes | str
    operand: int | bytes

    def __bool__(self) -> NoReturn:
        # `when(version("a") == 1 and version("b") == 2)` would silently ask for the second alone.
        raise TypeError("a condition is decided by the cluster: give several to when(), instead of joining them by and")


class _Comparable:
    """Something of a key that can be compared with an operand, by ==, !=, < and >."""

    __slots__ = ("_key", "_target")

    def __init__(self, target: CompareTarget, key: bytes | str) -> None:
        self._target = target
        self._key = key

    def __eq__(self, operand: object) -> Condition:  # type: ignore[override]  # that is the point: a condition is built
        return self._condition(Relation.EQUAL, operand)

    def __ne__(self, operand: object) -> Condition:  # type: ignore[override]  # as above
        return self._condition(Relation.NOT_EQUAL, operand)

    def __lt__(self, operand: object) -> Condition:
        return self._condition(Relation.LESS, operand)

    def __gt__(self, operand: object) -> Condition:
        return self._condition(Relation.GREATER, operand)

    __hash__ = None  # type: ignore[assignment]  # it cannot be equal to anything

    def _condition(self, relation: Relation, operand: object) -> Condition:
        if self._target is CompareTarget.VALUE:
            if not isinstance(operand, bytes | str):
                raise TypeError(f"a value is compared with bytes or str, not {type(operand).__name__}")
            return Condition(self._target, relation, self._key, to_value(operand))
        if not isinstance(operand, int) or isinstance(operand, bool):
            raise TypeError(f"a {self._target.name.lower()} is compared with a number, not {type(operand).__name__}")
        if not 0 <= operand < _U64_END:
            raise InvalidRequest(f"{operand} is no {self._target.name.lower()}")
        return Condition(self._target, relation, self._key, operand)


def version(key: bytes | str) -> _Comparable:
    """How often the key was put since it was created; 0: it is absent."""
    return _Comparable(CompareTarget.VERSION, key)


def create_revision(key: bytes | str) -> _Comparable:
    """The store's revision when the key was created; 0: it is absent."""
    return _Comparable(CompareTarget.CREATE_REVISION, key)


def modify_revision(key: bytes | str) -> _Comparable:
    """The store's revision when the key was last written; 0: it is absent."""
    return _Comparable(CompareTarget.MODIFY_REVISION, key)


def value(key: bytes | str) -> _Comparable:
    """The key's value; of an absent key no comparison holds, not even with !=."""
    return _Comparable(CompareTarget.VALUE, key)


def lease(key: bytes | str) -> _Comparable:
    """The id of the lease that the key ends with; 0: it has none, or is absent."""
    return _Comparable(CompareTarget.LEASE, key)


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key; the result is a `KeyValue`, or None."""

    key: bytes | str


@dataclass(frozen=True, slots=True)
class Range:
    """Read the first `limit` keys of [low, high) or of a prefix; the result is a `Page` without `next_page`."""

    low: bytes | str = b""
    high: bytes | str = b""
    prefix: bytes | str | None = None
    limit: int | None = None
    """None: as many as fit into an answer."""
    keys_only: bool = False
    count_only: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key; the result is a `PutResult`."""

    key: bytes | str
    value: bytes | str
    lease: int | None = None
    """A lease's id: the key ends with it."""
    previous: bool = False
    """Whether the result tells what was there."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key, which may be absent; the result is a `DeleteResult`."""

    key: bytes | str
    previous: bool = False
    """Whether the result tells what was there."""


@dataclass(frozen=True, slots=True)
class Increment:
    """Add to a number; the result is an `IncrementResult`."""

    key: bytes | str
    delta: int = 1


@dataclass(frozen=True, slots=True)
class DeleteRange:
    """Delete the first `limit` keys of [low, high) or of a prefix; the result is a `DeleteRangeResult`."""

    low: bytes | str = b""
    high: bytes | str = b""
    prefix: bytes | str | None = None
    limit: int | None = None
    """None: 10,000, which is also the most."""
    previous: bool = False
    """Whether the result tells what was there."""


SingleOperation: TypeAlias = Get | Range | Put | Delete | Increment | DeleteRange


def encode_condition(condition: Condition, namespace: Namespace) -> kv.Compare:
    """The cluster's form. Raises: InvalidRequest, TooLarge, TypeError: a key that is none."""
    return kv.Compare(condition.target, condition.relation, namespace.key(condition.key), condition.operand)


def encode_operation(operation: SingleOperation, namespace: Namespace) -> kv.Operation:
    """The cluster's form. Raises: InvalidRequest, TooLarge, TypeError: something of it makes no sense."""
    match operation:
        case Get():
            return kv.Get(namespace.key(operation.key))
        case Range():
            low, high = namespace.bounds(operation.low, operation.high, operation.prefix)
            return kv.Range(low, high, to_limit(operation.limit), operation.keys_only, operation.count_only)
        case Put():
            lease_id = to_lease(operation.lease)
            return kv.Put(
                namespace.key(operation.key), to_value(operation.value), lease_id, previous=operation.previous
            )
        case Delete():
            return kv.Delete(namespace.key(operation.key), previous=operation.previous)
        case Increment():
            return kv.Increment(namespace.key(operation.key), to_delta(operation.delta))
        case DeleteRange():
            low, high = namespace.bounds(operation.low, operation.high, operation.prefix)
            return kv.DeleteRange(low, high, to_delete_limit(operation.limit), operation.previous)
        case _:
            raise TypeError(f"{type(operation).__name__} is no operation of a transaction")


def to_limit(limit: int | None) -> int:
    """How many items a page may have; 0: as many as fit. Raises: InvalidRequest."""
    if limit is None:
        return 0
    if not 0 < limit < 1 << 32:
        raise InvalidRequest("a limit is a number of keys, and more than 0")
    return limit


def to_delete_limit(limit: int | None) -> int:
    """How many keys may be deleted in one step. Raises: InvalidRequest."""
    if limit is None:
        return DELETE_RANGE_KEYS_MAX
    if not 0 < limit <= DELETE_RANGE_KEYS_MAX:
        raise InvalidRequest(f"1 to {DELETE_RANGE_KEYS_MAX:,} keys can be deleted in one step, not {limit}")
    return limit


def to_delta(delta: int) -> int:
    """What may be added. Raises: InvalidRequest."""
    if not -_I64_END <= delta < _I64_END:
        raise InvalidRequest("what is added is a number of 64 bits, with its sign")
    return delta


def to_lease(lease_id: int | None) -> LeaseId:
    """A lease's id; 0: none. Raises: InvalidRequest."""
    if lease_id is None:
        return LeaseId(0)
    if not 0 < lease_id < _U64_END:
        raise InvalidRequest(f"{lease_id} is no lease: their ids are numbers from 1 on")
    return LeaseId(lease_id)
