"""Writes and their session: each happens exactly once (`raftd.client.session` says how)."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from raftd.client.asking import Asker, SessionUnknown
from raftd.client.errors import ClientError, Unavailable
from raftd.client.explaining import Explain, explanation
from raftd.client.outcomes import require_ok
from raftd.client.retry import Attempts
from raftd.client.session import Session
from raftd.client.time_limit import TimeLimit
from raftd.errors import InvariantViolation
from raftd.kv import answers, commands
from raftd.kv.answers import Answer, OpenedSession
from raftd.kv.commands import SessionId
from raftd.kv.limits import Limits
from raftd.wire.client import RequestKind

T = TypeVar("T")

_GOOD_BYE_SECONDS: Final = 1.0
_log: Final = logging.getLogger("raftd.client")


class Writer:
    """The writes of one client, in a session that is opened with the first of them and kept alive.

    Args:
        asker: has requests answered.
        session_ttl_ms: after which the cluster forgets the session if it hears nothing of it.
    """

    def __init__(self, asker: Asker, session_ttl_ms: int) -> None:
        self._asker = asker
        self._session_ttl_ms = session_ttl_ms
        self._session: Session | None = None
        self._opening = asyncio.Lock()
        self._room = asyncio.Event()
        self._wrote = False
        self._keeper: asyncio.Task[None] | None = None

    async def write(
        self,
        encode: Callable[[SessionId, int, int], bytes],
        interpret: Callable[[Answer], T],
        kind: RequestKind = RequestKind.WRITE,
    ) -> T:
        """Have one write done, within the client's timeout.

        Args:
            encode: makes the command of session, sequence and first unanswered sequence; what it raises ends the call.
            interpret: makes the result of the answer, or raises what it means.
            kind: WRITE or TRACED_WRITE.

        Raises:
            ClientError: as `raftd.client.retry` has it, or `interpret`.
        """
        asker = self._asker
        attempts = Attempts(asker.to_leader, is_write=True)

        def hear(answer: Answer) -> T:
            self._wrote = True
            return interpret(answer)

        async with asker.deadline(attempts):
            while True:
                session = await self._open_session()
                while session.full:
                    self._room.clear()
                    await self._room.wait()
                sequence = session.begin()
                try:
                    body = encode(SessionId(session.id), sequence, session.first_unanswered)
                    return await asker.answer(kind, body, attempts, hear)
                except SessionUnknown:
                    self._forget(session)
                finally:
                    # Whatever happened, these bytes are never sent again: a late copy is fenced from now on.
                    session.end(sequence)
                    self._room.set()

    async def write_explained(
        self, encode: Callable[[SessionId, int, int], bytes], interpret: Callable[[Answer], T], explain: Explain
    ) -> T:
        """The same, and tell `explain` where the time went before it returns, if there is anything to tell."""
        loop = asyncio.get_running_loop()
        times: list[float] = []

        def encode_then(session: SessionId, sequence: int, first_unanswered: int) -> bytes:
            times[:] = [loop.time()]
            return encode(session, sequence, first_unanswered)

        def interpret_now(answer: Answer) -> T:
            times.append(loop.time())
            return interpret(answer)

        result = await self.write(encode_then, interpret_now, RequestKind.TRACED_WRITE)
        explain(await explanation(self._asker, times[-1] - times[0]))
        return result

    async def find_leader(self) -> str:
        """As `AsyncClient.find_leader`."""
        attempts = Attempts(self._asker.to_leader, is_write=False)
        async with self._asker.deadline(attempts):
            while True:
                session = await self._open_session()
                with contextlib.suppress(SessionUnknown):
                    return await self._send_keep_alive(session, attempts)
                self._forget(session)

    async def close(self) -> None:
        """Say good-bye to the cluster, if it can be reached at once; the asker takes no new calls any more."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._session is not None:
            attempts = Attempts(self._asker.to_leader, is_write=False)
            body = commands.close_session(SessionId(self._session.id))
            # Best effort: a session that is not closed expires by itself.
            with contextlib.suppress(ClientError, TimeoutError, SessionUnknown), TimeLimit(_GOOD_BYE_SECONDS):
                await self._asker.answer(RequestKind.WRITE, body, attempts, lambda answer: answer)

    async def _open_session(self) -> Session:
        if self._session is not None:
            return self._session
        async with self._opening:
            if self._session is not None:
                return self._session
            if self._asker.closing:
                raise Unavailable("the client is closed")
            # Repeating this may leave a session behind that nobody uses; it expires. So it counts as no write.
            attempts = Attempts(self._asker.to_leader, is_write=False)
            body = commands.open_session(self._session_ttl_ms)
            opened = await self._asker.answer(RequestKind.WRITE, body, attempts, _opened)
            if self._asker.closing:  # `close` may be past the keepers, and nobody would end this session's
                raise Unavailable("the client is closed")
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
            attempts = Attempts(self._asker.to_leader, is_write=False)
            try:
                with TimeLimit(every_seconds):
                    await self._send_keep_alive(session, attempts)
            except SessionUnknown:
                # Only the cluster decides that a session is over, never a clock of ours.
                self._forget(session)
            except (ClientError, TimeoutError) as error:
                _log.debug("session %d could not be kept alive: %s", session.id, error)

    async def _send_keep_alive(self, session: Session, attempts: Attempts) -> str:
        """Touch the session; returns who leads."""
        body = commands.keep_alive(SessionId(session.id), session.first_unanswered)
        await self._asker.answer(RequestKind.WRITE, body, attempts, require_ok)
        leader = self._asker.to_leader.leader
        if leader is None:
            raise InvariantViolation("an answer came, and from no leader")
        return leader

    def _forget(self, session: Session) -> None:
        """The cluster does not know this session any more: the next write opens another."""
        if self._session is session:
            self._session = None


def _opened(answer: Answer) -> OpenedSession:
    require_ok(answer)
    return answers.decode_open_session(answer.body)
