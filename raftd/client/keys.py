"""Writes of keys: what is asked for becomes a command, and its answer a result."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from raftd.client import showing
from raftd.client.errors import InvalidRequest, TooLarge
from raftd.client.explaining import Explain
from raftd.client.namespace import Namespace, to_bytes, to_revision, to_value
from raftd.client.operations import to_delete_limit, to_delta, to_lease
from raftd.client.outcomes import require_ok
from raftd.client.results import (
    DeleteRangeResult,
    DeleteResult,
    Fence,
    IncrementResult,
    PutResult,
    TransactionResult,
)
from raftd.client.transactions import Plan
from raftd.client.writing import Writer
from raftd.kv import answers, commands, results
from raftd.kv import operations as kv
from raftd.kv.answers import Answer, Outcome
from raftd.kv.types import CommandTooLarge, InvalidCommand, Revision, SessionId

T = TypeVar("T")


class Keys:
    """The writes of `AsyncClient`; it describes them."""

    def __init__(self, writer: Writer, namespace: Namespace) -> None:
        self._writer = writer
        self._namespace = namespace

    async def put(
        self,
        key: bytes | str,
        value: bytes | str,
        *,
        expected_revision: int | None,
        expected_value: bytes | str | None,
        lease: int | None,
        fence: Fence | None,
        previous: bool,
        explain: Explain | None = None,
    ) -> PutResult:
        """As `AsyncClient.put`."""
        encoded_key, encoded_value, expected = self._namespace.key(key), to_value(value), _expected(expected_revision)

        def interpret(answer: Answer) -> PutResult:
            require_ok(answer)
            put = answers.decode_put(answer.body, previous=previous)
            return showing.show_put(self._namespace.strip(encoded_key), put, answer.revision)

        # What nearly all puts are takes a short way.
        if expected_value is None and lease is None and fence is None and not previous:

            def encode(session: SessionId, sequence: int, first_unanswered: int) -> bytes:
                return commands.put(
                    session, sequence, first_unanswered, encoded_key, encoded_value, expected_revision=expected
                )

            return await self._written(encode, interpret, explain)
        operation = kv.Put(
            encoded_key, encoded_value, to_lease(lease), expected, _expected_value(expected_value), previous
        )
        return await self._write(operation, fence, interpret, explain)

    async def delete(
        self,
        key: bytes | str,
        expected_revision: int | None,
        expected_value: bytes | str | None,
        fence: Fence | None,
        *,
        previous: bool,
    ) -> DeleteResult:
        """As `AsyncClient.delete`."""
        encoded_key, expected = self._namespace.key(key), _expected(expected_revision)
        operation = kv.Delete(encoded_key, expected, _expected_value(expected_value), previous)

        def interpret(answer: Answer) -> DeleteResult:
            deletion = None
            if answer.outcome is not Outcome.NOT_FOUND:
                require_ok(answer)
                deletion = answers.decode_delete(answer.body, previous=previous)
            return showing.show_delete(self._namespace.strip(encoded_key), deletion, answer.revision)

        return await self._write(operation, fence, interpret)

    async def increment(
        self, key: bytes | str, delta: int, expected_revision: int | None, fence: Fence | None
    ) -> IncrementResult:
        """As `AsyncClient.increment`."""
        operation = kv.Increment(self._namespace.key(key), to_delta(delta), _expected(expected_revision))

        def interpret(answer: Answer) -> IncrementResult:
            require_ok(answer)
            return showing.show_increment(results.decode_increment(answer.body), answer.revision)

        return await self._write(operation, fence, interpret)

    async def delete_range(
        self,
        low: bytes | str,
        high: bytes | str,
        prefix: bytes | str | None,
        limit: int | None,
        fence: Fence | None,
        *,
        previous: bool,
    ) -> DeleteRangeResult:
        """As `AsyncClient.delete_range`."""
        bounds = self._namespace.bounds(low, high, prefix)
        operation = kv.DeleteRange(*bounds, to_delete_limit(limit), previous)

        def interpret(answer: Answer) -> DeleteRangeResult:
            require_ok(answer)
            deletion = results.decode_delete_range(answer.body, previous=previous)
            return showing.show_delete_range(deletion, answer.revision, self._namespace)

        return await self._write(operation, fence, interpret)

    async def transact(self, plan: Plan, fence: Fence | None) -> TransactionResult:
        """As `Transaction.commit`."""
        transaction = plan.encode(self._namespace)

        def interpret(answer: Answer) -> TransactionResult:
            require_ok(answer)
            done = results.decode_transaction(answer.body, transaction)
            return showing.show_transaction(transaction, done, answer.revision, self._namespace)

        return await self._write(transaction, fence, interpret)

    def _written(
        self,
        encode: Callable[[SessionId, int, int], bytes],
        interpret: Callable[[Answer], T],
        explain: Explain | None,
    ) -> Awaitable[T]:
        # No coroutine of its own: nearly all writes explain nothing, and each of them would pay for it.
        if explain is None:
            return self._writer.write(encode, interpret)
        return self._writer.write_explained(encode, interpret, explain)

    async def _write(
        self,
        operation: kv.WriteOperation,
        fence: Fence | None,
        interpret: Callable[[Answer], T],
        explain: Explain | None = None,
    ) -> T:
        encoded_fence = None
        if fence is not None:
            encoded_fence = kv.Fence(self._namespace.key(fence.key), Revision(to_revision(fence.revision)))
        wanted = kv.Write(operation, encoded_fence)

        def encode(session: SessionId, sequence: int, first_unanswered: int) -> bytes:
            try:
                return commands.write(session, sequence, first_unanswered, wanted)
            except CommandTooLarge as error:
                raise TooLarge(str(error)) from None
            except InvalidCommand as error:
                raise InvalidRequest(str(error)) from None

        return await self._written(encode, interpret, explain)


def _expected(revision: int | None) -> Revision | None:
    return None if revision is None else Revision(to_revision(revision))


def _expected_value(value: bytes | str | None) -> bytes | None:
    return None if value is None else to_bytes(value, "an expected value")
