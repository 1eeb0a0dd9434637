"""What the state machine is to do, as simply as it can be said: plain dicts that are copied whole, and lists that grow.

Nothing of `raftd.kv` that does the work is used here. Results are what clients get when they decode an answer.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from raftd.kv.answers import DeleteResult, Outcome, PutResult
from raftd.kv.items import KeyValue
from raftd.kv.limits import Limits
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Get,
    Increment,
    Operation,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
)
from raftd.kv.pages import RangePage
from raftd.kv.results import DeleteRangeResult, IncrementResult, TransactionResult
from raftd.kv.types import LeaseId, Revision

State = dict[bytes, KeyValue]


class Origin(NamedTuple):
    """Who changed something, from where, and when."""

    by_lease: bool
    wall_clock_ms: int
    user: bytes
    address: bytes


class ModelChange(NamedTuple):
    """One change of one key; fields in the order of `raftd.kv.history.Held`."""

    revision: int
    key: bytes
    before: KeyValue | None
    after: KeyValue | None
    origin: Origin
    clock_ms: int

    @property
    def size(self) -> int:
        return len(self.key) + (len(self.before.value) if self.before else 0)


class CannotBeDoneError(Exception):
    """With the outcome, and the revision that goes with some."""


@dataclass
class Model:
    """All there is besides sessions."""

    limits: Limits
    states: list[State] = field(default_factory=lambda: [{}])
    """One for each revision."""
    changes: list[ModelChange] = field(default_factory=list)
    """That are held."""
    compacted_revision: int = 0
    leases: dict[LeaseId, tuple[bytes, int]] = field(default_factory=dict)
    """Each one's user and time to live."""
    clock_ms: int = 0

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    @property
    def now(self) -> State:
        return self.states[-1]

    def keys_of(self, lease: LeaseId, state: State | None = None) -> list[bytes]:
        return sorted(key for key, row in (self.now if state is None else state).items() if row.lease == lease)

    # What changes something.

    def write(self, write: Write, origin: Origin) -> tuple[Outcome, Any]:
        """Do a write, and say its outcome and result; the revision that goes with COMPARE_FAILED and FENCED is one."""
        attempt = _Attempt(self, dict(self.now), origin.user)
        try:
            if write.fence is not None:
                row = attempt.state.get(write.fence.key)
                attempt.check(Outcome.FENCED, row.create_revision if row else 0, write.fence.revision)
            result = attempt.do(write.operation)
        except CannotBeDoneError as error:
            return error.args[0], error.args[1] if len(error.args) > 1 else None
        self._commit(attempt.state, attempt.touched, origin)
        return (Outcome.NOT_FOUND, None) if result is None else (Outcome.OK, result)

    def grant(self, lease: LeaseId, user: bytes, ttl_ms: int) -> int | None:
        """The time to live as granted; None if there are too many."""
        mine = [owner for owner, _ in self.leases.values() if owner == user]
        if len(self.leases) == self.limits.leases_max or len(mine) == self.limits.leases_per_user_max:
            return None
        low, high = self.limits.lease_ttl_ms_min, self.limits.lease_ttl_ms_max
        granted_ms = sorted((low, ttl_ms or self.limits.lease_ttl_ms_default, high))[1]
        self.leases[lease] = (user, granted_ms)
        return granted_ms

    def end_leases(self, leases: set[LeaseId], origin: Origin) -> int:
        """Delete the keys of these leases, and the leases."""
        keys = sorted(key for key, row in self.now.items() if row.lease in leases)
        self._commit({key: row for key, row in self.now.items() if key not in keys}, keys, origin)
        for lease in leases:
            self.leases.pop(lease, None)
        return len(keys)

    def advance_clock(self, elapsed_ms: int) -> None:
        self.clock_ms += min(elapsed_ms, self.limits.advance_ms_max)
        while self.changes and self.changes[0].clock_ms + self.limits.history_ms_max <= self.clock_ms:
            self._let_go()

    def _commit(self, state: State, touched: list[bytes], origin: Origin) -> None:
        before = self.now
        keys = [key for at, key in enumerate(touched) if key not in touched[:at] and before.get(key) != state.get(key)]
        if not keys:
            return
        self.states.append(state)
        for key in keys:
            change = ModelChange(self.revision, key, before.get(key), state.get(key), origin, self.clock_ms)
            self.changes.append(change)
        while self.changes[0].revision != self.revision and (
            len(self.changes) > self.limits.history_changes_max
            or sum(change.size for change in self.changes) > self.limits.history_bytes_max
        ):
            self._let_go()

    def _let_go(self) -> None:
        """Of the oldest revision that is held."""
        self.compacted_revision = self.changes[0].revision
        self.changes = [change for change in self.changes if change.revision > self.compacted_revision]

    # What only looks.

    def range(self, wanted: Range, revision: int) -> tuple[Outcome, Any]:
        if revision > self.revision:
            return Outcome.FUTURE_REVISION, None
        if revision < self.compacted_revision:
            return Outcome.COMPACTED, self.compacted_revision
        return Outcome.OK, page(self.states[revision], wanted, revision)

    def history(self, key: bytes, limit: int, before_revision: int) -> tuple[list[ModelChange], bool]:
        found = [
            change
            for change in reversed(self.changes)
            if change.key == key and (not before_revision or change.revision < before_revision)
        ]
        return (found[:limit], len(found) > limit) if limit else (found, False)


@dataclass
class _Attempt:
    """One write on a copy."""

    model: Model
    state: State
    user: bytes
    touched: list[bytes] = field(default_factory=list)

    def check(self, outcome: Outcome, found: int, expected: int | None) -> None:
        if expected is not None and found != expected:
            raise CannotBeDoneError(outcome, found)

    def do(self, operation: Operation) -> Any:  # noqa: PLR0911 - one for each operation
        """The result of one operation; None: not found."""
        match operation:
            case Get():
                return self.state.get(operation.key)
            case Range():
                is_changed = self.state != self.model.states[-1]
                return page(self.state, operation, Revision(self.model.revision + is_changed))
            case Put():
                return self._put(operation)
            case Delete():
                row = self._expect(operation.key, operation.expected_revision, operation.expected_value)
                if row is None:
                    return None
                self._remove(operation.key)
                return DeleteResult(row if operation.previous else None)
            case Increment():
                return self._increment(operation)
            case DeleteRange():
                keys = _keys_in(self.state, operation.low, operation.high)
                gone = [(key, self.state[key]) for key in keys[: operation.limit]]
                for key, _ in gone:
                    self._remove(key)
                return DeleteRangeResult(len(gone), len(keys) > len(gone), tuple(gone if operation.previous else ()))
            case Transaction():
                holds = all(self._holds(compare) for compare in operation.compares)
                results = tuple([self.do(each) for each in (operation.then if holds else operation.otherwise)])
                return TransactionResult(holds, results)

    def _put(self, put: Put) -> PutResult:
        row = self._expect(put.key, put.expected_revision, put.expected_value)
        if put.lease:
            if self.model.leases.get(put.lease, (None,))[0] != self.user:
                raise CannotBeDoneError(Outcome.LEASE_NOT_FOUND)
            others = [key for key in self.model.keys_of(put.lease, self.state) if key != put.key]
            if len(others) >= self.model.limits.keys_per_lease_max:
                raise CannotBeDoneError(Outcome.LEASE_LIMIT)
        written = self._set(put.key, put.value, put.lease)
        return PutResult(written.version, written.create_revision, row if put.previous else None)

    def _increment(self, increment: Increment) -> IncrementResult:
        row = self._expect(increment.key, increment.expected_revision, None)
        text = row.value.decode("latin1") if row else "0"
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and -(1 << 63) <= int(text) < 1 << 63):
            raise CannotBeDoneError(Outcome.NOT_A_NUMBER)
        value = int(text) + increment.delta
        if not -(1 << 63) <= value < 1 << 63:
            raise CannotBeDoneError(Outcome.OUT_OF_RANGE)
        written = self._set(increment.key, str(value).encode(), row.lease if row else LeaseId(0))
        return IncrementResult(value, written.version, written.create_revision)

    def _expect(self, key: bytes, revision: int | None, value: bytes | None) -> KeyValue | None:
        row = self.state.get(key)
        found = row.modify_revision if row else 0
        self.check(Outcome.COMPARE_FAILED, found, revision)
        if value is not None and (row is None or row.value != value):
            raise CannotBeDoneError(Outcome.COMPARE_FAILED, found)
        return row

    def _set(self, key: bytes, value: bytes, lease: LeaseId) -> KeyValue:
        revision = Revision(self.model.revision + 1)
        row = self.state.get(key) or KeyValue(revision, revision, 0, LeaseId(0), b"", b"")
        self.touched.append(key)
        self.state[key] = row._replace(
            modify_revision=revision, version=row.version + 1, lease=lease, user=self.user, value=value
        )
        return self.state[key]

    def _remove(self, key: bytes) -> None:
        self.touched.append(key)
        del self.state[key]

    def _holds(self, compare: Compare) -> bool:
        row = self.state.get(compare.key)
        found: Any
        if compare.target is CompareTarget.VALUE:
            if row is None:
                return False
            found = row.value
        else:
            found = getattr(row, compare.target.name.lower()) if row else 0
        answer: bool = {
            Relation.EQUAL: found == compare.operand,
            Relation.NOT_EQUAL: found != compare.operand,
            Relation.LESS: found < compare.operand,
            Relation.GREATER: found > compare.operand,
        }[compare.relation]
        return answer


def _keys_in(state: State, low: bytes, high: bytes) -> list[bytes]:
    return sorted(key for key in state if low <= key and (high == b"" or key < high))


def page(state: State, wanted: Range, revision: int) -> RangePage:
    """What a range shows of a state."""
    keys = _keys_in(state, wanted.low, wanted.high)
    shown = [] if wanted.count_only else keys[: wanted.limit or None]
    items = [(key, state[key]._replace(value=b"") if wanted.keys_only else state[key]) for key in shown]
    return RangePage(Revision(revision), len(keys), len(keys) > len(shown), tuple(items))


@dataclass(eq=False)
class ModelSession:
    """What a client and an honest, slow server would know of one session."""

    session_id: int
    user: bytes
    ttl_ms: int
    last_active_ms: int
    first_unanswered: int = 1
    alive: bool = True
    given: dict[int, bytes] = field(default_factory=dict)
    """All answers ever given, forgotten ones too."""
    next_sequence: int = 1
    client_first_unanswered: int = 1


RIGHT: Final = Revision(1000)
"""Stands for the revision that a key really has."""

RIGHT_VALUE: Final = b"the right one"
"""Stands for the value that it has."""


def aimed(operation: Any, model: Model, user: bytes) -> Any:
    """The operation with real leases, revisions and values in the place of small numbers and of `RIGHT`.

    Leases of the user's own are hit three times out of four.
    """
    if isinstance(operation, Transaction):
        return operation._replace(
            compares=tuple(_aimed_compare(compare, model) for compare in operation.compares),
            then=tuple(aimed(each, model, user) for each in operation.then),
            otherwise=tuple(aimed(each, model, user) for each in operation.otherwise),
        )
    row = model.now.get(getattr(operation, "key", b""))
    if getattr(operation, "expected_revision", None) == RIGHT:
        operation = operation._replace(expected_revision=row.modify_revision if row else Revision(0))
    if getattr(operation, "expected_value", None) == RIGHT_VALUE:
        operation = operation._replace(expected_value=row.value if row else None)
    if isinstance(operation, Put) and operation.lease:
        own = [lease for lease, (owner, _) in model.leases.items() if owner == user] or [LeaseId(77)]
        others = [lease for lease in model.leases if lease not in own] or [LeaseId(78)]
        number = int(operation.lease)
        operation = operation._replace(lease=others[0] if number % 4 == 0 else own[number % len(own)])
    return operation


def _aimed_compare(compare: Compare, model: Model) -> Compare:
    """Small numbers hit versions; the other numbers are as the key has them, or one less or more."""
    row = model.now.get(compare.key)
    if row is None or compare.target in {CompareTarget.VALUE, CompareTarget.VERSION}:
        return compare
    assert isinstance(compare.operand, int)
    return compare._replace(operand=max(getattr(row, compare.target.name.lower()) + compare.operand % 3 - 1, 0))
