"""The asyncio client.

It obeys `raftd.client.retry`, which decides where a request goes next and how it ends, and `raftd.client.session`,
which keeps what exactly-once needs. What is here is only the waiting.
"""

import asyncio
import contextlib
import json
import logging
import math
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias, TypeVar

from raftd.client.config import DEFAULT_TIMEOUT_SECONDS, ClientConfig, parse_endpoint
from raftd.client.connection import ConnectionLost, NotConnected, Response
from raftd.client.errors import (
    ClientError,
    CompareFailed,
    Denied,
    InvalidRequest,
    NotPossible,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
)
from raftd.client.members import Members, find_members
from raftd.client.nodes import Nodes
from raftd.client.results import DeleteResult, KeyValue, PutResult
from raftd.client.retry import Attempts, Random, Route
from raftd.client.session import Session
from raftd.client.tls import ClientTls, keeping_the_last
from raftd.errors import DecodeError, InvariantViolation, RemoteProtocolError
from raftd.kv import answers, commands
from raftd.kv.answers import Answer, OpenedSession, Outcome
from raftd.kv.commands import Revision, SessionId
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX, Limits
from raftd.wire.administration import ChangeKind, encode_change, encode_transfer
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    RefusalCode,
    RequestKind,
    ResponseKind,
    decode_document,
    decode_refusal,
    encode_log_body,
    encode_read_body,
)

Tls: TypeAlias = ClientTls | Callable[[], ssl.SSLContext]
"""How to reach nodes: the files, or what makes a context that presents a certificate and demands one."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT_SESSION_TTL_SECONDS: Final = 60.0
DEFAULT_DEAD_AFTER_SECONDS: Final = 2.0
_GOOD_BYE_SECONDS: Final = 1.0
_log: Final = logging.getLogger("raftd.client")


class AsyncClient:
    """A client of a cluster, for one event loop.

    Keys and values are bytes; `str` is taken too, as its UTF-8. What comes back is bytes. Any number of tasks may use
    one client, and should: their requests travel side by side on one connection.

    Each call ends within `timeout` seconds, in a result or a `ClientError`. A write is exactly once: it is repeated
    until it is answered, applied at most once, and only when no answer came does it end in `OutcomeUnknown`.
    Cancelling a call gives it up: a write may then have happened or not.

    Args:
        endpoints: `host:port` of nodes, one or more; those that are missing are found by redirection.
        tls: this client's certificate, and how to know a node.
        timeout: seconds that one call may take.
        session_ttl: seconds after which the cluster forgets this client's unanswered writes if nothing is heard of it.
        dead_after: seconds of silence, while it owes an answer, after which a node is taken for dead.
        jitter: where the jitter of pauses comes from.

    Raises:
        ConfigurationError: no endpoint, or one that is not `host:port`.
        TlsError: a file cannot be used.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Tls,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        session_ttl: float = DEFAULT_SESSION_TTL_SECONDS,
        dead_after: float = DEFAULT_DEAD_AFTER_SECONDS,
        jitter: Random | None = None,
    ) -> None:
        if isinstance(endpoints, str) or not endpoints:
            raise InvalidRequest("endpoints is a list of host:port, and has at least one")
        if not (0 < timeout < math.inf and 0 < dead_after < math.inf and 0 < session_ttl * 1000 < 1 << 32):
            raise InvalidRequest("timeout, session_ttl and dead_after are seconds, and more than 0")
        make_context = keeping_the_last(tls.context) if isinstance(tls, ClientTls) else tls
        make_context()  # a file that cannot be used shows here, and not in the first call
        self._timeout = timeout
        self._session_ttl_ms = max(1, round(session_ttl * 1000))
        self._random: Random = jitter or random.SystemRandom()
        self._nodes = Nodes(make_context, dead_after=dead_after)
        self._to_leader = Route([str(parse_endpoint(endpoint)) for endpoint in endpoints])
        self._to_any = Route(self._to_leader.endpoints, leads=False)
        self._session: Session | None = None
        self._opening = asyncio.Lock()
        self._room = asyncio.Event()
        self._wrote = False
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        self._closed = False

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig) -> "AsyncClient":
        """Make a client from a configuration file. Raises: ConfigurationError, TlsError."""
        if not isinstance(config, ClientConfig):
            config = ClientConfig.load(config)
        return cls(config.endpoints, tls=config.tls, timeout=config.timeout)

    async def get(self, key: bytes | str, *, stale: bool = False) -> KeyValue | None:
        """Read a key; None when there is none.

        Args:
            key: 1 to 4096 bytes.
            stale: ask any node and take what it has, however old. Otherwise the answer sees every write that was
                answered, to whomever, before this call.

        Raises:
            ClientError: `Unavailable`, `Denied`, `TooLarge`, `InvalidRequest` or `TlsError`.
        """
        encoded = _key(key)

        def interpret(answer: Answer) -> KeyValue | None:
            if answer.outcome is Outcome.NOT_FOUND:
                return None
            _require_ok(answer)
            found = answers.decode_get(answer.body)
            return KeyValue(
                encoded, found.value, found.create_revision, found.modify_revision, found.version, answer.revision
            )

        consistency = Consistency.STALE if stale else Consistency.LINEARIZABLE
        body = encode_read_body(consistency, QueryOpcode.GET, encoded)
        attempts = Attempts(self._to_any if stale else self._to_leader, is_write=False, is_read=True)
        async with self._deadline(attempts):
            return await self._ask(RequestKind.READ, body, attempts, interpret)

    async def put(self, key: bytes | str, value: bytes | str, *, expected_revision: int | None = None) -> PutResult:
        """Write a key, exactly once.

        Args:
            key: 1 to 4096 bytes.
            value: 0 bytes to 1 MiB.
            expected_revision: write only if the key's modify revision is this; 0: only if there is no such key.

        Raises:
            CompareFailed: it is another; nothing was written.
            OutcomeUnknown: no answer came; it may have been written, once, or not.
            ClientError: `Unavailable`, `Denied`, `TooLarge`, `InvalidRequest` or `TlsError`: nothing was written.
        """
        encoded_key, encoded_value, expected = _key(key), _value(value), _revision(expected_revision)

        def encode(session: SessionId, sequence: int, first_unanswered: int) -> bytes:
            return commands.put(
                session, sequence, first_unanswered, encoded_key, encoded_value, expected_revision=expected
            )

        def interpret(answer: Answer) -> PutResult:
            _require_ok(answer)
            return PutResult(answer.revision, answers.decode_put(answer.body).version)

        return await self._write(encode, interpret)

    async def delete(self, key: bytes | str, *, expected_revision: int | None = None) -> DeleteResult:
        """Delete a key, exactly once; a key that is absent is no error.

        Args and Raises: as `put`.
        """
        encoded_key, expected = _key(key), _revision(expected_revision)

        def encode(session: SessionId, sequence: int, first_unanswered: int) -> bytes:
            return commands.delete(session, sequence, first_unanswered, encoded_key, expected_revision=expected)

        def interpret(answer: Answer) -> DeleteResult:
            if answer.outcome is not Outcome.NOT_FOUND:
                _require_ok(answer)
            return DeleteResult(answer.revision, deleted=answer.outcome is Outcome.OK)

        return await self._write(encode, interpret)

    async def status(self, endpoint: str) -> dict[str, Any]:
        """What one node says of itself. Raises: Unavailable, Denied or TlsError; there is one attempt only."""
        return await self._document(endpoint, RequestKind.STATUS, b"")

    async def log(self, endpoint: str, last: int = 10) -> dict[str, Any]:
        """The `last` entries of one node's log, newest first. Raises: as `status`."""
        if not 0 < last < 1 << 32:
            raise InvalidRequest("last is a number of entries, and more than 0")
        return await self._document(endpoint, RequestKind.LOG, encode_log_body(last))

    async def reload(self, endpoint: str) -> dict[str, Any]:
        """Make one node read its settings, certificates and keys anew; what has changed, and what waits for a restart.

        Raises:
            NotPossible: a file cannot be used, and the message says which; nothing has changed.
            ClientError: as `status`.
        """
        return await self._document(endpoint, RequestKind.RELOAD, b"")

    async def ping(self, endpoint: str) -> float:
        """Seconds that one node's connection took to answer; proves neither leader nor quorum. Raises: as `status`."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        kind, payload = await self._ask_node(endpoint, RequestKind.PING, b"")
        if kind is not ResponseKind.PONG:
            raise _document_refused(endpoint, kind, payload)
        return loop.time() - start

    async def members(self) -> Members:
        """Who belongs to the cluster, by the leader's word; of another node, if no leader can be had.

        Raises:
            ClientError: `Unavailable`, `Denied` (it takes an administrator) or `TlsError`.
        """
        return await find_members(self.status, self._to_leader.candidates())

    async def change_membership(
        self, change: ChangeKind, node_id: int, *, old_node_id: int = 0, address: str = ""
    ) -> int:
        """Begin to change who is a member; returns where that stands in the leader's log.

        It is decided once that index is committed, and an added node has to catch up before it votes: `members` shows
        how far it is. To ask again for what is so, or under way, changes nothing.

        Args:
            change: what is to become of the node.
            node_id: which one.
            old_node_id: with REPLACE, the voter whose place it takes.
            address: where it is, `client=HOST:PORT,peer=HOST:PORT,http=HOST:PORT`; not with PROMOTE and REMOVE.

        Raises:
            NotPossible: the cluster as it is does not allow it; nothing was changed.
            OutcomeUnknown: no answer came; it may have begun or not.
            ClientError: `Unavailable`, `Denied`, `InvalidRequest` or `TlsError`: nothing was changed.
        """
        if not (0 < node_id < 1 << 63 and 0 <= old_node_id < 1 << 63):
            raise InvalidRequest("a node's id is a number from 1 to 2^63-1")
        body = encode_change(change, node_id, old_node_id=old_node_id, address=address)
        document = await self._administer(RequestKind.MEMBERSHIP_CHANGE, body)
        return int(document["index"])

    async def transfer_leadership(self, target: int | None = None) -> int:
        """Tell the leader to hand over; returns to whom it tries to.

        Args:
            target: a voter; None: whoever is best prepared.

        Raises: as `change_membership`.
        """
        if target is not None and not 0 < target < 1 << 63:
            raise InvalidRequest("a node's id is a number from 1 to 2^63-1")
        body = encode_transfer(target)
        document = await self._administer(RequestKind.TRANSFER_LEADERSHIP, body)
        return int(document["target"])

    async def find_leader(self) -> str:
        """Where the leader listens, proven by a command of this client that it has just had committed.

        Raises:
            ClientError: `Unavailable`, `TlsError`.
        """
        attempts = Attempts(self._to_leader, is_write=False)
        async with self._deadline(attempts):
            while True:
                session = await self._open_session()
                with contextlib.suppress(_SessionUnknown):
                    return await self._send_keep_alive(session, attempts)
                self._forget(session)

    async def close(self) -> None:
        """Close session and connections. Calls that still wait end in an error; closing twice is allowed."""
        if self._closing:
            return
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._session is not None:
            attempts = Attempts(self._to_leader, is_write=False)
            body = commands.close_session(SessionId(self._session.id))
            # Best effort: a session that is not closed expires by itself.
            with contextlib.suppress(ClientError, TimeoutError, _SessionUnknown):
                async with asyncio.timeout(_GOOD_BYE_SECONDS):
                    await self._ask(RequestKind.WRITE, body, attempts, lambda answer: answer)
        self._closed = True
        await self._nodes.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Writes and their session.

    async def _write(self, encode: Callable[[SessionId, int, int], bytes], interpret: Callable[[Answer], T]) -> T:
        attempts = Attempts(self._to_leader, is_write=True)
        async with self._deadline(attempts):
            while True:
                session = await self._open_session()
                while session.full:
                    self._room.clear()
                    await self._room.wait()
                sequence = session.begin()
                try:
                    body = encode(SessionId(session.id), sequence, session.first_unanswered)
                    return await self._ask(RequestKind.WRITE, body, attempts, interpret)
                except _SessionUnknown:
                    self._forget(session)
                finally:
                    # Whatever happened, these bytes are never sent again: a late copy is fenced from now on.
                    session.end(sequence)
                    self._room.set()
                    self._wrote = True

    async def _open_session(self) -> Session:
        async with self._opening:
            if self._session is not None:
                return self._session
            if self._closing:
                raise Unavailable("the client is closed")
            # Repeating this may leave a session behind that nobody uses; it expires. So it counts as no write.
            attempts = Attempts(self._to_leader, is_write=False)
            body = commands.open_session(self._session_ttl_ms)
            opened = await self._ask(RequestKind.WRITE, body, attempts, _opened)
            session = self._session = Session(opened.session, Limits().in_flight_max)
            if self._keeper is not None:
                self._keeper.cancel()
            self._keeper = asyncio.create_task(self._keep_alive(session, opened.ttl_ms / 3000))
            return session

    async def _keep_alive(self, session: Session, every_seconds: float) -> None:
        """Tell the cluster that this client is there, when no write did."""
        while self._session is session:
            self._wrote = False
            await asyncio.sleep(every_seconds)
            if self._wrote:
                continue
            attempts = Attempts(self._to_leader, is_write=False)
            try:
                async with asyncio.timeout(every_seconds):
                    await self._send_keep_alive(session, attempts)
            except _SessionUnknown:
                # Only the cluster decides that a session is over, never a clock of ours.
                self._forget(session)
            except (ClientError, TimeoutError) as error:
                _log.debug("session %d could not be kept alive: %s", session.id, error)

    async def _send_keep_alive(self, session: Session, attempts: Attempts) -> str:
        """Touch the session; returns who leads."""
        body = commands.keep_alive(SessionId(session.id), session.first_unanswered)
        await self._ask(RequestKind.WRITE, body, attempts, _require_ok)
        leader = self._to_leader.leader
        if leader is None:
            raise InvariantViolation("an answer came, and from no leader")
        return leader

    def _forget(self, session: Session) -> None:
        """The cluster does not know this session any more: the next write opens another."""
        if self._session is session:
            self._session = None

    # One request.

    @contextlib.asynccontextmanager
    async def _deadline(self, attempts: Attempts) -> AsyncIterator[None]:
        if self._closing:
            raise ClientError("the client is closed")
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            raise attempts.given_up(f"not done within {self._timeout:g} s") from None

    async def _ask(self, kind: RequestKind, body: bytes, attempts: Attempts, interpret: Callable[[Answer], T]) -> T:
        """Have the state machine answer.

        Raises:
            ClientError: as `raftd.client.retry` has it, or `interpret`.
            _SessionUnknown: the cluster does not know the session, and the write certainly did not happen.
        """

        def digest(endpoint: str, payload: bytes, *, before: bool) -> tuple[T] | None:
            return self._digest(endpoint, payload, attempts, before, interpret)

        return await self._repeat(kind, body, attempts, ResponseKind.ANSWER, digest)

    async def _administer(self, kind: RequestKind, body: bytes) -> dict[str, Any]:
        """Have the leader do it, and say in a document what it did."""
        attempts = Attempts(self._to_leader, is_write=True)

        def digest(endpoint: str, payload: bytes, *, before: bool) -> tuple[dict[str, Any]]:  # noqa: ARG001 - of another answer more is asked
            attempts.answered(endpoint)
            return (_document(payload),)

        async with self._deadline(attempts):
            return await self._repeat(kind, body, attempts, ResponseKind.DOCUMENT, digest)

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
        while True:
            if self._closed:
                raise attempts.given_up("the client was closed")
            endpoint = attempts.next()
            if endpoint is None:
                await asyncio.sleep(attempts.pause_seconds(self._random))
                continue
            try:
                connection = await self._nodes.connection(endpoint)
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

    def _digest(
        self, endpoint: str, payload: bytes, attempts: Attempts, before: bool, interpret: Callable[[Answer], T]
    ) -> tuple[T] | None:
        """The result in a tuple of one; None: it must be tried again."""
        answer = answers.decode(payload[BODY_OFFSET:])
        match answer.outcome:
            case Outcome.SESSION_EXPIRED:
                error = attempts.session_expired(before=before)
                raise error or _SessionUnknown
            case Outcome.TOO_MANY_IN_FLIGHT | Outcome.SESSION_LIMIT:
                attempts.postponed(endpoint, answer.outcome.name.lower().replace("_", " "), before=before)
                return None
            case _:
                attempts.answered(endpoint)
                return (interpret(answer),)

    async def _ask_node(self, endpoint: str, kind: RequestKind, body: bytes) -> Response:
        endpoint = str(parse_endpoint(endpoint))
        if self._closing:
            raise ClientError("the client is closed")
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._nodes.connection(endpoint)
                return await connection.request(kind, body)
        except TimeoutError:
            raise Unavailable(f"{endpoint}: no answer within {self._timeout:g} s") from None
        except NotConnected as error:
            raise error.certificates or Unavailable(f"{endpoint}: {error}") from None
        except ConnectionLost as error:
            raise Unavailable(f"{endpoint}: {error}") from None

    async def _document(self, endpoint: str, kind: RequestKind, body: bytes) -> dict[str, Any]:
        response_kind, payload = await self._ask_node(endpoint, kind, body)
        if response_kind is not ResponseKind.DOCUMENT:
            raise _document_refused(endpoint, response_kind, payload)
        try:
            return _document(payload)
        except RemoteProtocolError as error:
            raise Unavailable(f"{endpoint}: the answer cannot be read: {error}") from None


class _Digest(Protocol[T_co]):
    """Makes a result of an answer's payload."""

    def __call__(self, endpoint: str, payload: bytes, *, before: bool) -> tuple[T_co] | None: ...


class _SessionUnknown(Exception):  # noqa: N818 - never leaves this module
    """The cluster does not know the session, and what was sent in it certainly did not happen."""


def _key(key: bytes | str) -> bytes:
    encoded = _bytes(key, "a key")
    if not encoded:
        raise InvalidRequest("a key has at least one byte")
    if len(encoded) > KEY_BYTES_MAX:
        raise TooLarge(f"a key has at most {KEY_BYTES_MAX} bytes, and this one has {len(encoded)}")
    return encoded


def _value(value: bytes | str) -> bytes:
    encoded = _bytes(value, "a value")
    if len(encoded) > VALUE_BYTES_MAX:
        raise TooLarge(f"a value has at most {VALUE_BYTES_MAX} bytes, and this one has {len(encoded)}")
    return encoded


def _bytes(value: bytes | str, what: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{what} is bytes or str, not {type(value).__name__}")


def _revision(revision: int | None) -> Revision | None:
    if revision is None:
        return None
    if not 0 <= revision < 1 << 64:
        raise InvalidRequest(f"{revision} is not a revision")
    return Revision(revision)


def _opened(answer: Answer) -> OpenedSession:
    _require_ok(answer)
    return answers.decode_open_session(answer.body)


def _require_ok(answer: Answer) -> None:
    """Raise what an answer other than OK means."""
    match answer.outcome:
        case Outcome.OK:
            return
        case Outcome.COMPARE_FAILED:
            raise CompareFailed(answers.decode_compare_failed(answer.body))
        case Outcome.INVALID:
            raise InvalidRequest("the cluster does not take this for a valid command")
        case Outcome.SEQUENCE_ANSWERED:
            # Cannot happen to a sequence that this client still waits for; if it does, nothing is known.
            raise OutcomeUnknown("the cluster says that it has answered this write before")
        case _:
            raise RemoteProtocolError(f"{answer.outcome.name} is no answer to this request")


def _document(payload: bytes) -> dict[str, Any]:
    """Read a DOCUMENT. Raises: RemoteProtocolError: it is no JSON object."""
    try:
        document = json.loads(decode_document(payload))
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from None
    if not isinstance(document, dict):
        raise RemoteProtocolError("it is not a JSON object")
    return document


def _document_refused(endpoint: str, kind: ResponseKind, payload: bytes) -> ClientError:
    if kind is not ResponseKind.REFUSED:
        return Unavailable(f"{endpoint}: {kind.name} came, which is no answer to this request")
    try:
        refusal = decode_refusal(payload)
    except (RemoteProtocolError, DecodeError) as error:
        return Unavailable(f"{endpoint}: {error}")
    reason = f"{endpoint}: {refusal.message or refusal.code.name.lower().replace('_', ' ')}"
    kinds = {RefusalCode.DENIED: Denied, RefusalCode.NOT_POSSIBLE: NotPossible}
    return kinds.get(refusal.code, Unavailable)(reason)
