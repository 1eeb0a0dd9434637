"""The builder of transactions: conditions, what to do if they hold, and what otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeAlias, TypeVar

from raftd.client.errors import InvalidRequest
from raftd.client.namespace import Namespace
from raftd.client.operations import Condition, SingleOperation, encode_condition, encode_operation
from raftd.client.results import Fence
from raftd.kv import operations as kv
from raftd.kv.limits import COMPARES_MAX, OPERATIONS_MAX

Result = TypeVar("Result")


class Transaction(Generic[Result]):
    """A transaction under construction; `commit` has it done, all of it or nothing, in one step.

    `Client` and `AsyncClient` make it. A transaction may itself be an operation of another one, one level deep. All
    operations together are at most 128, and so are all conditions.
    """

    def __init__(self, commit: "Callable[[Plan, Fence | None], Result]") -> None:
        self._commit = commit
        self._conditions: list[Condition] = []
        self._then: list[TransactionOperation] = []
        self._otherwise: list[TransactionOperation] = []

    def when(self, *conditions: Condition) -> Self:
        """Add conditions, which must all hold; of a transaction without any, `then` is done."""
        for condition in conditions:
            if not isinstance(condition, Condition):
                raise TypeError(f"a condition is made by comparing, as in version(key) == 1; {condition!r} is none")
        self._conditions += conditions
        return self

    def then(self, *operations: "TransactionOperation") -> Self:
        """Add what is done, in this order, if the conditions hold."""
        self._then += operations
        return self

    def otherwise(self, *operations: "TransactionOperation") -> Self:
        """Add what is done, in this order, if they do not."""
        self._otherwise += operations
        return self

    def commit(self, fence: Fence | None = None) -> Result:
        """Have it done, exactly once; gives a `TransactionResult`.

        Args:
            fence: do it only while this lock or leadership is held.

        Raises:
            Fenced: it is not; nothing was done.
            OutcomeUnknown: no answer came; it was done, once, or not.
            ClientError: nothing was done.
        """
        return self._commit(self.plan, fence)

    @property
    def plan(self) -> "Plan":
        """What it says so far."""
        return Plan(tuple(self._conditions), tuple(self._then), tuple(self._otherwise))


TransactionOperation: TypeAlias = SingleOperation | Transaction[Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction says."""

    conditions: tuple[Condition, ...]
    then: tuple[TransactionOperation, ...]
    otherwise: tuple[TransactionOperation, ...]

    def encode(self, namespace: Namespace) -> kv.Transaction:
        """The cluster's form.

        Raises:
            InvalidRequest: it is nested too deeply, or has too much in it.
            TooLarge, TypeError: something of it makes no sense.
        """
        encoded = self._encode(namespace, nested=False)
        compares, operations = _count(encoded)
        if compares > COMPARES_MAX:
            raise InvalidRequest(f"a transaction has at most {COMPARES_MAX} conditions, and this one has {compares}")
        if operations > OPERATIONS_MAX:
            raise InvalidRequest(
                f"a transaction has at most {OPERATIONS_MAX} operations, and this one has {operations}"
            )
        return encoded

    def _encode(self, namespace: Namespace, *, nested: bool) -> kv.Transaction:
        def encode(operation: TransactionOperation) -> kv.Operation:
            if not isinstance(operation, Transaction):
                return encode_operation(operation, namespace)
            if nested:
                raise InvalidRequest("a transaction inside of a transaction can hold no further one")
            return operation.plan._encode(namespace, nested=True)  # noqa: SLF001 - of its own class

        return kv.Transaction(
            tuple(encode_condition(condition, namespace) for condition in self.conditions),
            tuple(encode(operation) for operation in self.then),
            tuple(encode(operation) for operation in self.otherwise),
        )


def _count(transaction: kv.Transaction) -> tuple[int, int]:
    """How many compares and operations there are, nested ones included."""
    compares = len(transaction.compares)
    operations = len(transaction.then) + len(transaction.otherwise)
    for operation in (*transaction.then, *transaction.otherwise):
        if isinstance(operation, kv.Transaction):
            nested_compares, nested_operations = _count(operation)
            compares += nested_compares
            operations += nested_operations
    return compares, operations
