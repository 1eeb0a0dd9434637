"""Watches: changes as they happen, from whatever node, without a gap and without a duplicate.

A watch has no task of its own: what nodes send is kept until the consumer asks for it, and it is the consumer's asking
that takes a watch up again after an interruption (`raftd.client.watch_position` says where).

Many watches share one connection with the client's requests, so a consumer that is slow must not stop the socket:
leases would end behind it. Nor need it lose its watch: when so much is unread that a bound is reached, the node is told
to stop, and once the consumer has read all of it, the watch goes on behind it. Memory is bounded, and the only thing
that a consumer can be too slow for is the cluster's history: then it is told `Compacted`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from raftd.client.asking import Asker
from raftd.client.connection import Connection, ConnectionLost, NotConnected, Response
from raftd.client.errors import Compacted, Denied, FutureRevision, InvalidRequest, LimitReached
from raftd.client.namespace import Namespace, to_revision
from raftd.client.paging import behind
from raftd.client.results import Change, Progress
from raftd.client.retry import PAUSE_SECONDS_MAX, Attempts
from raftd.client.showing import show_change
from raftd.client.watch_position import Batch, WatchPosition
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv.changes import decode_changes
from raftd.wire.client import RequestKind, ResponseKind, decode_refusal
from raftd.wire.watch import (
    CHANGES_OFFSET,
    WatchEnd,
    WatchEndReason,
    WatchFlag,
    WatchRequest,
    decode_changes_head,
    decode_watch_ended,
    decode_watching,
    encode_unwatch_body,
    encode_watch_body,
)

UNREAD_BYTES_MAX: Final = 4 << 20
"""When more than this is unread, the node is told to stop sending."""

_RESUME_PAUSE_SECONDS_MAX: Final = 5.0
"""Between two rounds of looking for a node to go on at, which have no deadline: a cluster without a quorum may have ten
thousand watches, and must not be kept from its elections by them."""


class Watches:
    """The watches of one client."""

    def __init__(self, asker: Asker, namespace: Namespace) -> None:
        self.asker = asker
        self._namespace = namespace
        self._good_byes: set[asyncio.Task[None]] = set()

    def watch(
        self,
        key: bytes | str | None,
        low: bytes | str,
        high: bytes | str,
        prefix: bytes | str | None,
        revision: int | None,
        *,
        previous: bool,
        puts: bool,
        deletes: bool,
        progress: bool,
        keys_only: bool,
    ) -> "Watch":
        """As `AsyncClient.watch`."""
        if key is not None:
            if low or high or prefix is not None:
                raise InvalidRequest("a key is watched, or a range, but not both")
            low_bytes = self._namespace.key(key)
            high_bytes = behind(low_bytes)
        else:
            low_bytes, high_bytes = self._namespace.bounds(low, high, prefix)
        if not puts and not deletes:
            raise InvalidRequest("a watch of neither puts nor deletes would see nothing")
        if revision is not None and to_revision(revision) == 0:
            raise InvalidRequest("the first revision that a watch can begin at is 1")
        # Progress marks always: without them a watch that saw no change for long would go on at a revision that the
        # cluster may not hold any more.
        flags = WatchFlag.PROGRESS
        for wanted, flag in (
            (previous, WatchFlag.PREVIOUS),
            (not puts, WatchFlag.NO_PUTS),
            (not deletes, WatchFlag.NO_DELETES),
            (keys_only, WatchFlag.KEYS_ONLY),
        ):
            flags |= flag if wanted else WatchFlag(0)

        def encode(start_revision: int) -> bytes:
            return encode_watch_body(WatchRequest(flags, start_revision, low_bytes, high_bytes))

        position = WatchPosition(revision, wants_progress=progress)
        return Watch(Subscription(self, position, encode, self._decode))

    def _decode(self, payload: bytes) -> Batch:
        head = decode_changes_head(payload)
        changes, end = decode_changes(payload, CHANGES_OFFSET, head.change_count)
        if end != len(payload):
            raise RemoteProtocolError(f"{len(payload) - end} bytes follow the changes of a watch")
        shown = [show_change(change, self._namespace) for change in changes]
        return Batch(head.revision, head.is_partial, shown)

    def end(self, connection: Connection, request_id: int) -> None:
        """Have a node stop sending; what it still sends is dropped."""
        if connection.mute_stream(request_id):
            task = asyncio.get_running_loop().create_task(self._say_good_bye(connection, request_id))
            self._good_byes.add(task)
            task.add_done_callback(self._good_byes.discard)

    async def close(self) -> None:
        """Wait for nothing any more."""
        for task in self._good_byes:
            task.cancel()
        await asyncio.gather(*self._good_byes, return_exceptions=True)

    async def _say_good_bye(self, connection: Connection, request_id: int) -> None:
        # A connection that ends has ended its watches too.
        with contextlib.suppress(NotConnected, ConnectionLost):
            await connection.request(RequestKind.UNWATCH, encode_unwatch_body(request_id))
            connection.close_stream(request_id)


class Subscription:
    """One watch, for one consumer: it takes what is `ready`, with `position.next`.

    Args:
        watches: of the client.
        position: where it begins.
        encode: makes the body of a WATCH that begins at a revision, 0: from now.
        decode: makes a batch of the payload of a CHANGES.
    """

    def __init__(
        self,
        watches: Watches,
        position: WatchPosition,
        encode: Callable[[int], bytes],
        decode: Callable[[bytes], Batch],
    ) -> None:
        self.position = position
        self._watches = watches
        self._encode = encode
        self._decode = decode
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._arrived = asyncio.Event()
        self._connection: Connection | None = None
        self._request_id = 0
        self._first: asyncio.Future[Response] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._was_started = False
        self._end: WatchEnd | None = None
        self.closed = False
        """Whether nothing more is to be had."""

    async def start(self) -> None:
        """Have a node send, if none does.

        Raises:
            ClientError: the watch cannot begin, or cannot go on; the first start ends with the client's timeout.
        """
        starting = self._starting
        if starting is None or starting.done():
            if self._connection is not None or self.closed:
                return
            starting = self._starting = asyncio.create_task(self._start())
            starting.add_done_callback(_look_at)
        # Whoever waits may give up, with a time limit of its own, and find it further the next time.
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # `close` has cancelled it, and not whoever waits; a loop that ends cancels both.
            if not (self.closed and starting.cancelled()):
                raise

    async def ready(self) -> None:
        """Wait until `position.next` may give something, or the watch is closed.

        Raises:
            Compacted: the cluster does not hold what comes next any more.
            ClientError: it cannot go on.
        """
        while self.position.waiting and not self.closed:
            if self._starting is not None and not self._starting.done():
                # Only this task hears a node's first answer, and before it has, nothing that follows may be accepted.
                await self.start()
            elif self._unread:
                await self._accept(self._unread.popleft())
            elif self._connection is not None:
                self._arrived.clear()
                await self._arrived.wait()
            else:
                if self._end is not None:
                    end, self._end = self._end, None
                    _check_end(end)
                await self.start()

    async def close(self) -> None:
        """Be done with it; closing twice is allowed."""
        self.closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        self._leave()
        self._forget_unread()
        self._arrived.set()

    # What the connection calls.

    def received(self, kind: ResponseKind, payload: bytes) -> None:
        """Take a response of the node."""
        first, self._first = self._first, None
        if first is not None:
            if not first.done():
                first.set_result((kind, payload))
            return
        if kind is ResponseKind.CHANGES or kind is ResponseKind.WATCH_ENDED:
            self._unread.append(payload)
            self._unread_bytes += len(payload)
            if kind is ResponseKind.WATCH_ENDED:
                self._connection = None
            elif self._unread_bytes > UNREAD_BYTES_MAX:
                self._leave()
        else:
            self._break_off(f"{kind.name} came in the middle of a watch")
        self._arrived.set()

    def lost(self, reason: str) -> None:
        """The connection has ended: go on elsewhere, when the consumer has read what there is."""
        self._connection = None
        first, self._first = self._first, None
        if first is not None and not first.done():
            first.set_exception(ConnectionLost(reason))
            first.exception()  # whoever starts may have been cancelled, and then nobody looks
        self._arrived.set()

    # The inside.

    async def _accept(self, payload: bytes) -> None:
        self._unread_bytes -= len(payload)
        try:
            if payload[0] == ResponseKind.WATCH_ENDED:
                self._end = decode_watch_ended(payload)
            else:
                self.position.accept(self._decode(payload))
        except (RemoteProtocolError, DecodeError) as error:
            self._break_off(f"the node broke the protocol: {error}")
            await asyncio.sleep(PAUSE_SECONDS_MAX)  # the next node may say the same

    def _break_off(self, reason: str) -> None:
        """Have nothing to do with this connection any more, and forget what came on it."""
        connection, self._connection = self._connection, None
        self._forget_unread()
        if connection is not None:
            connection.abort(reason)

    def _forget_unread(self) -> None:
        self._unread.clear()
        self._unread_bytes = 0

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._watches.end(connection, self._request_id)

    async def _start(self) -> None:
        asker = self._watches.asker
        if self._was_started:
            attempts = Attempts(
                asker.to_leader, is_write=False, is_read=True, pause_seconds_max=_RESUME_PAUSE_SECONDS_MAX
            )
            await self._find(attempts)
            return
        attempts = Attempts(asker.to_leader, is_write=False, is_read=True)
        async with asker.deadline(attempts):
            await self._find(attempts)
        self._was_started = True

    async def _find(self, attempts: Attempts) -> None:
        """Find a node that sends, however long that takes."""
        asker = self._watches.asker
        while True:
            endpoint = await asker.next_endpoint(attempts)
            try:
                connection = await asker.nodes.connection(endpoint, asker.patience)
                await connection.reserve()
            except NotConnected as error:
                attempts.unreachable(endpoint, str(error), error.certificates)
                continue
            try:
                if await self._begin(connection, endpoint, attempts):
                    return
            except ConnectionLost as error:
                attempts.lost(endpoint, str(error))
            except (RemoteProtocolError, DecodeError) as error:
                connection.abort(f"the node broke the protocol: {error}")
                attempts.lost(endpoint, str(error))

    async def _begin(self, connection: Connection, endpoint: str, attempts: Attempts) -> bool:
        """Ask one node; whether it sends."""
        first = self._first = asyncio.get_running_loop().create_future()
        body = self._encode(self.position.start_revision or 0)
        self._request_id = connection.open_stream(RequestKind.WATCH, body, self)
        self._connection = connection
        before = attempts.sent()
        watching = False
        try:
            kind, payload = await first
            match kind:
                case ResponseKind.WATCHING:
                    self.position.started(decode_watching(payload))
                    attempts.answered(endpoint)
                    watching = True
                case ResponseKind.REFUSED:
                    attempts.refused(endpoint, decode_refusal(payload), before=before)
                case ResponseKind.WATCH_ENDED:
                    _check_end(decode_watch_ended(payload))
                    attempts.lost(endpoint, "the node is stopping")
                case _:
                    raise RemoteProtocolError(f"{kind.name} came, and an answer to a watch was expected")
        finally:
            self._first = None
            if not watching:
                self._leave()
                self._forget_unread()
        return watching


class Watch:
    """Changes of keys as they happen; an asynchronous iterator, and a context manager that ends it.

    Made by `AsyncClient.watch`. It begins when it is entered, or else with the first item that is asked for. It goes on
    by itself, at another node, when a connection or a node is lost, without a gap and without a duplicate.

    Giving up to wait for an item, by a time limit or cancellation, loses none. One task at a time may wait.
    """

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    @property
    def revision(self) -> int | None:
        """Everything up to this revision was delivered; None: it has not begun."""
        return self.subscription.position.revision

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change | Progress:
        position = self.subscription.position
        while (item := position.next()) is None:
            if self.subscription.closed:
                raise StopAsyncIteration
            await self.subscription.ready()
        return item

    async def close(self) -> None:
        """End it; closing twice is allowed."""
        await self.subscription.close()

    async def __aenter__(self) -> Self:
        try:
            await self.subscription.start()
        except BaseException:
            await self.subscription.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _look_at(task: "asyncio.Task[None]") -> None:
    """Look at what became of a task for which perhaps nobody waits any more."""
    if not task.cancelled():
        task.exception()


def _check_end(end: WatchEnd) -> None:
    """Raise what it means that a node has ended a watch, unless another one can go on with it."""
    match end.reason:
        case WatchEndReason.COMPACTED:
            raise Compacted(end.revision)
        case WatchEndReason.FUTURE_REVISION:
            raise FutureRevision(f"the newest revision is {end.revision}")
        case WatchEndReason.TOO_MANY:
            raise LimitReached("this connection, user or node has as many watches as it may have")
        case WatchEndReason.DENIED:
            raise Denied("this user may not watch these keys any more")
        case WatchEndReason.CANCELLED | WatchEndReason.NODE_STOPPING:
            return
