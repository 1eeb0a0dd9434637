"""One request, asked until it is answered: of the leader, of any node, or of one that is named.

`raftd.client.retry` decides where a request goes next and how it ends; what is here is only the waiting.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from raftd.client.config import parse_endpoint
from raftd.client.connection import ConnectionLost, NotConnected, Response
from raftd.client.deadline import Deadline
from raftd.client.errors import ClientError, Denied, NotPossible, OutcomeUnknown, Unavailable
from raftd.client.nodes import Nodes
from raftd.client.retry import Attempts, Random, Route
from raftd.client.time_limit import TimeLimit
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv import answers
from raftd.kv.answers import Answer, Outcome
from raftd.wire.client import (
    BODY_OFFSET,
    RefusalCode,
    RequestKind,
    ResponseKind,
    decode_document,
    decode_refusal,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_NODES_TRIED_MIN: Final = 3
"""For so many nodes the time of a call reaches, also where those that are tried first are switched off."""
_END_SECONDS: Final = 1.0
"""How long `close` waits for the requests under way to end, which takes a few turns of the loop."""


class SessionUnknown(Exception):  # noqa: N818 - never leaves this package
    """The cluster does not know the session, and what was sent in it certainly did not happen."""


class Asker:
    """The requests of one client: they share its connections, and what it knows about the way to the leader."""

    def __init__(
        self,
        endpoints: Sequence[str],
        make_context: Callable[[], ssl.SSLContext],
        *,
        timeout: float,
        dead_after: float,
        random: Random,
    ) -> None:
        self.timeout = timeout
        """Seconds that one request may take, with all its repetitions."""
        self.patience = timeout / _NODES_TRIED_MIN
        """How many seconds a request that others may answer too waits for a connection. The dialling goes on meanwhile:
        a way that is only slow is there when the next round, or the next call, comes back to it."""
        self.nodes = Nodes(make_context, dead_after=dead_after)
        self.to_leader = Route([str(parse_endpoint(endpoint)) for endpoint in endpoints])
        self.to_any = Route(self.to_leader.endpoints, leads=False)
        self.closing = False
        """Whether no new call is taken."""
        self._random = random
        self._closed = asyncio.Event()
        self._under_way = 0
        self._all_ended = asyncio.Event()

    def deadline(self, attempts: Attempts) -> Deadline:
        """What a call is done inside of. Raises: ClientError: the client is closed."""
        if self.closing:
            raise ClientError("the client is closed")
        return Deadline(self.timeout, attempts)

    async def close(self) -> None:
        """End all connections; whatever still waits has ended in an error by then.

        Whoever runs the loop may cancel what is left, and of a cancelled write nobody learns that it may be applied.
        """
        self.closing = True
        self._closed.set()
        await self.nodes.close()
        if self._under_way:
            with contextlib.suppress(TimeoutError), TimeLimit(_END_SECONDS):
                await self._all_ended.wait()

    async def answer(self, kind: RequestKind, body: bytes, attempts: Attempts, interpret: Callable[[Answer], T]) -> T:
        """Have the state machine answer.

        Raises:
            ClientError: as `raftd.client.retry` has it, or `interpret`.
            SessionUnknown: the cluster does not know the session, and the write certainly did not happen.
        """

        def digest(endpoint: str, payload: bytes, *, before: bool) -> tuple[T] | None:
            answer = answers.decode(payload[BODY_OFFSET:])
            match answer.outcome:
                case Outcome.SESSION_EXPIRED:
                    raise attempts.session_expired(before=before) or SessionUnknown
                case Outcome.TOO_MANY_IN_FLIGHT | Outcome.SESSION_LIMIT:
                    attempts.postponed(endpoint, answer.outcome.name.lower().replace("_", " "), before=before)
                    return None
                case _:
                    attempts.answered(endpoint)
                    return (interpret(answer),)

        return await self._repeat(kind, body, attempts, ResponseKind.ANSWER, digest)

    async def document_of_leader(self, kind: RequestKind, body: bytes) -> dict[str, Any]:
        """Have the leader do something, and say in a document what it did. Raises: ClientError."""
        attempts = Attempts(self.to_leader, is_write=True)

        def digest(endpoint: str, payload: bytes, *, before: bool) -> tuple[dict[str, Any]]:  # noqa: ARG001 - of another answer more is asked
            attempts.answered(endpoint)
            return (_document(payload),)

        async with self.deadline(attempts):
            return await self._repeat(kind, body, attempts, ResponseKind.DOCUMENT, digest)

    async def document_of(
        self, endpoint: str, kind: RequestKind, body: bytes, *, seconds: float | None = None, is_write: bool = False
    ) -> dict[str, Any]:
        """Have one node answer, in a document; as `response_of`.

        Raises:
            Unavailable: as `response_of`, and so are Denied, TlsError and OutcomeUnknown; or the answer cannot be read.
            NotPossible: the node cannot do it.
        """
        response_kind, payload = await self.response_of(endpoint, kind, body, seconds=seconds, is_write=is_write)
        if response_kind is not ResponseKind.DOCUMENT:
            raise refused_by(endpoint, response_kind, payload)
        try:
            return _document(payload)
        except RemoteProtocolError as error:
            unread = OutcomeUnknown if is_write else Unavailable
            raise unread(f"{endpoint}: the answer cannot be read: {error}") from None

    async def response_of(
        self, endpoint: str, kind: RequestKind, body: bytes, *, seconds: float | None = None, is_write: bool = False
    ) -> Response:
        """Have one node answer; there is one attempt only.

        Args:
            endpoint: of the node.
            kind: of the request, with its `body`.
            body: see `kind`.
            seconds: how long that may take; None: the client's `timeout`.
            is_write: whether it changes something, so that without an answer it may be done.

        Raises:
            Unavailable: no answer came; of a write, it was not even sent.
            OutcomeUnknown: a write was sent, and no answer came.
            Denied, TlsError: as they say.
        """
        seconds = self.timeout if seconds is None else seconds
        endpoint = str(parse_endpoint(endpoint))
        if self.closing:
            raise ClientError("the client is closed")
        unanswered: type[ClientError] = Unavailable
        try:
            with TimeLimit(seconds):
                connection = await self.nodes.connection(endpoint)
                await connection.reserve()
                response = connection.send(kind, body)
                if is_write:
                    unanswered = OutcomeUnknown
                return await response
        except TimeoutError:
            raise unanswered(f"{endpoint}: no answer within {seconds:g} s") from None
        except NotConnected as error:
            raise error.certificates or Unavailable(f"{endpoint}: {error}") from None
        except ConnectionLost as error:
            raise unanswered(f"{endpoint}: {error}") from None

    async def next_endpoint(self, attempts: Attempts) -> str:
        """Where to go now, after a pause where a round has found nobody.

        Raises:
            ClientError: the client was closed, or no certificate serves.
        """
        while True:
            if self._closed.is_set():
                raise attempts.given_up("the client was closed")
            endpoint = attempts.next()
            if endpoint is not None:
                return endpoint
            with contextlib.suppress(TimeoutError), TimeLimit(attempts.pause_seconds(self._random)):
                await self._closed.wait()

    async def _repeat(
        self, kind: RequestKind, body: bytes, attempts: Attempts, expected: ResponseKind, digest: "_Digest[T]"
    ) -> T:
        """Send the same bytes to whatever node leads, until one answers.

        Args:
            kind: of the request, with its `body`.
            body: see `kind`.
            attempts: where to go, and what came of it.
            expected: what answers the request.
            digest: makes of that the result in a tuple of one; None: it must be tried again.

        Raises:
            ClientError: as `raftd.client.retry` has it, or `digest`.
        """
        self._under_way += 1
        try:
            while True:
                endpoint = await self.next_endpoint(attempts)
                try:
                    connection = await self.nodes.connection(endpoint, self.patience)
                    await connection.reserve()
                except NotConnected as error:
                    attempts.unreachable(endpoint, str(error), error.certificates)
                    continue
                response = connection.send(kind, body)
                before = attempts.sent()
                try:
                    response_kind, payload = await response
                    if response_kind is ResponseKind.REFUSED:
                        attempts.refused(endpoint, decode_refusal(payload), before=before)
                        continue
                    if response_kind is not expected:
                        raise RemoteProtocolError(f"{response_kind.name} came, and {expected.name} was expected")  # noqa: TRY301 - as if the decoder had said it
                    result = digest(endpoint, payload, before=before)
                except ConnectionLost as error:
                    attempts.lost(endpoint, str(error))
                except (RemoteProtocolError, DecodeError) as error:
                    connection.abort(f"the node broke the protocol: {error}")
                    attempts.lost(endpoint, str(error))
                else:
                    if result is not None:
                        return result[0]
        finally:
            self._under_way -= 1
            if not self._under_way and self._closed.is_set():
                self._all_ended.set()


class _Digest(Protocol[T_co]):
    """Makes a result of an answer's payload."""

    def __call__(self, endpoint: str, payload: bytes, *, before: bool) -> tuple[T_co] | None: ...


def refused_by(endpoint: str, kind: ResponseKind, payload: bytes) -> ClientError:
    """What it means that a named node gave a response that does not answer the request."""
    if kind is not ResponseKind.REFUSED:
        return Unavailable(f"{endpoint}: {kind.name} came, which is no answer to this request")
    try:
        refusal = decode_refusal(payload)
    except (RemoteProtocolError, DecodeError) as error:
        return Unavailable(f"{endpoint}: {error}")
    reason = f"{endpoint}: {refusal.message or refusal.code.name.lower().replace('_', ' ')}"
    kinds: dict[RefusalCode, type[ClientError]] = {RefusalCode.DENIED: Denied, RefusalCode.NOT_POSSIBLE: NotPossible}
    return kinds.get(refusal.code, Unavailable)(reason)


def _document(payload: bytes) -> dict[str, Any]:
    """Read a DOCUMENT. Raises: RemoteProtocolError: it is no JSON object."""
    try:
        document = json.loads(decode_document(payload))
    except (ValueError, RecursionError) as error:  # the latter of one that is nested too deeply
        raise RemoteProtocolError(str(error)) from None
    if not isinstance(document, dict):
        raise RemoteProtocolError("it is not a JSON object")
    return document
