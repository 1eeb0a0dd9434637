"""One connection to one node: handshake, then many requests under way at once.

The protocol is `raftd.wire`'s. Requests are named by ids that count upwards; each awaits a future of its own, and
answers come in whatever order. Nothing here retries: a connection that ends, for whatever reason, fails what is under
way on it with `ConnectionLost`, and is not used again.

A stream is a request whose responses are many: a watch. It is told each of them, and when the connection ends.

A node whose process or machine hangs keeps its connections. So while answers are owed, silence of half of
`dead_after` is answered with a PING, and silence after that ends the connection. While only streams are open the first
silence may be longer: a client that waits for changes is then no load to speak of. A node to which much is still on its
way owes nothing yet: its silence begins when its host takes no more of that, or has all of it.
"""

import asyncio
import os
import ssl
from typing import Final, Protocol, TypeAlias, cast

from raftd.acknowledged import Socket, acknowledged_bytes
from raftd.client.config import parse_endpoint
from raftd.client.dialling import Dialler
from raftd.client.errors import TlsError
from raftd.client.time_limit import TimeLimit
from raftd.client.tls import PerhapsRejected, explain, reason_of
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.wire.client import (
    Refusal,
    RefusalCode,
    RequestKind,
    ResponseKind,
    encode_refusal,
    encode_request,
    parse_response,
)
from raftd.wire.frames import LENGTH_BYTES, FrameReader, encode_frame
from raftd.wire.handshake import (
    ANY_CLUSTER,
    ConnectionRole,
    HandshakeRefusal,
    Hello,
    Welcome,
    check_welcome,
    decode_reply,
    encode_hello,
)
from raftd.wire.identity import Identity, IdentityError, IdentityKind, identity_of_alternative_names
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX, CLIENT_HEADER_BYTES, HANDSHAKE_BYTES_MAX, RESPONSE_BYTES_MAX

Response: TypeAlias = tuple[ResponseKind, bytes]
"""A response's kind and its whole payload; the body starts at `raftd.wire.client.BODY_OFFSET`."""

_SERVER_CLOSED: Final = "the node closed the connection"
_BUFFER_BYTES: Final = 64 << 10
_ENDS_OF_STREAMS: Final = frozenset((ResponseKind.REFUSED, ResponseKind.WATCH_ENDED))
_STREAM_SILENCE: Final = 2.5
"""How many times `dead_after` a node may be silent that owes only what has not happened yet, before it is asked."""

_RECORD_BYTES: Final = 16 << 10
_RECORD_OVERHEAD_BYTES: Final = 22
"""What TLS 1.3 adds to each record: header, type and tag (RFC 8446 §5.2)."""
_TAKEN_BYTES_MIN: Final = 16 << 10
"""With less than this taken since the last look nothing large is on its way: it may be the requests that were sent just
before that look, of which a kernel tells later."""


class NotConnected(Exception):  # noqa: N818 - never leaves this package
    """No connection could be had, so nothing was sent; `certificates` is set when they were the reason."""

    def __init__(self, reason: str, certificates: TlsError | None = None) -> None:
        super().__init__(reason)
        self.certificates = certificates


class ConnectionLost(Exception):  # noqa: N818 - never leaves this package
    """The connection ended before the answer to what was sent on it."""


class Stream(Protocol):
    """What takes the responses to one request, as many as come. Its methods raise nothing and do not wait."""

    def received(self, kind: ResponseKind, payload: bytes) -> None:
        """Take the next response; after REFUSED and WATCH_ENDED there is no other."""
        ...

    def lost(self, reason: str) -> None:
        """Take the end of the connection: there is nothing more."""
        ...


class Connection(asyncio.BufferedProtocol):
    """Made by `connect`; the coroutine methods may be used by many tasks at once.

    Invariant: each request that was sent and not answered holds one of the slots that the node's Welcome grants, also
    when its caller no longer waits; a stream holds one until its first response.

    Buffered, since for an `asyncio.Protocol` uvloop allocates 256 KiB for whatever comes, which the C library may map
    and unmap each time.
    """

    def __init__(self, endpoint: str, *, cluster: str | None, cluster_id: bytes, dead_after: float) -> None:
        self.endpoint = endpoint
        self.identity: Identity | None = None
        """Who the node's certificate says that it is; set before `welcomed` is done."""
        self._loop = asyncio.get_running_loop()
        self.welcomed: asyncio.Future[Welcome] = self._loop.create_future()
        self._cluster = cluster
        self._hello = Hello(ConnectionRole.CLIENT, cluster_id)
        self._dead_after = dead_after
        self._transport: asyncio.Transport | None = None
        self._socket: Socket | None = None
        self._reader = FrameReader(HANDSHAKE_BYTES_MAX)
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._next_request_id = 1
        self._pending: dict[int, asyncio.Future[Response] | None] = {}  # None: its answer is of no interest
        self._streams: dict[int, Stream | None] = {}  # None: what still comes is of no interest
        self._opening_streams: set[int] = set()
        self._slots = asyncio.Semaphore(0)
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = self._loop.create_future()
        self._lost: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for_streams = False
        self._heard = False
        self._silent_looks = 0
        self._pinged = False
        self._written_bytes = 0
        self._on_its_way = 0
        self._frame_bytes_max = 0

    @property
    def usable(self) -> bool:
        """Whether the handshake is done and the connection has not ended."""
        return self._lost is None and self.welcomed.done()

    async def reserve(self) -> None:
        """Wait for a slot; the one `send` that must follow at once, without an await between, takes it.

        Raises:
            NotConnected: the connection has ended; nothing was sent.
        """
        await self._slots.acquire()
        try:
            # Again for each who waited: the first to write may have filled it up.
            while self._lost is None and not self._writable.is_set():
                await self._writable.wait()
        except BaseException:
            self._slots.release()
            raise
        if self._lost is not None:
            self._slots.release()
            raise NotConnected(self._lost)

    def send(self, kind: RequestKind, body: bytes) -> "asyncio.Future[Response]":
        """Send a request in a reserved slot.

        Returns:
            The response; it raises `ConnectionLost` when the connection ends first. Cancelling it is allowed. A request
            that is longer than the node takes is not sent: its response is the REFUSED that says so.
        """
        future: asyncio.Future[Response] = self._loop.create_future()
        if CLIENT_HEADER_BYTES + len(body) > self._frame_bytes_max:
            self._slots.release()
            # A refusal like any other: what it means for a write hangs on what became of earlier sendings.
            reason = f"a request of {len(body)} bytes, and the node takes frames of {self._frame_bytes_max}"
            future.set_result((ResponseKind.REFUSED, _too_large(reason)))
            return future
        self._pending[self._write(kind, body)] = future
        return future

    def open_stream(self, kind: RequestKind, body: bytes, stream: Stream) -> int:
        """Send a request in a reserved slot, and have its responses told to `stream`; returns the request's id."""
        request_id = self._write(kind, body)
        self._streams[request_id] = stream
        self._opening_streams.add(request_id)
        return request_id

    def mute_stream(self, request_id: int) -> bool:
        """Tell a stream nothing more; whether it was still open, so that the node must be told too."""
        if self._streams.get(request_id) is None:
            return False
        self._streams[request_id] = None
        return True

    def close_stream(self, request_id: int) -> None:
        """Note that the node has said that there will be no further response."""
        self._streams.pop(request_id, None)

    async def request(self, kind: RequestKind, body: bytes = b"") -> Response:
        """Reserve, send and wait. Raises: NotConnected, ConnectionLost."""
        await self.reserve()
        return await self.send(kind, body)

    async def close(self) -> None:
        """End the connection and wait until it has; what is under way on it is lost."""
        self._end("this client closed the connection")
        if self._transport is not None:
            self._transport.close()
            done, _ = await asyncio.wait((self._closed,), timeout=1.0)
            if not done:
                self._transport.abort()
                await self._closed

    def hand_over(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        """Give the established connection, on which nothing is under way, to another protocol, and be done with it.

        Raises:
            NotConnected: it has ended.
        """
        transport, self._transport = self._transport, None
        if transport is None or not self.usable:
            raise NotConnected(self._lost or "not connected yet")
        self._end("the connection was handed over")
        self._closed.set_result(None)
        transport.set_protocol(protocol)
        return transport

    def abort(self, reason: str) -> None:
        """End the connection at once, without a good-bye."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is established; check who is there, and say Hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        try:
            self.identity = _node_identity(transport.get_extra_info("ssl_object"), self._cluster)
        except IdentityError as error:
            self._fail_handshake(str(error), TlsError(f"{self.endpoint}: {error}"))
            return
        self._transport.write(encode_frame(encode_hello(self._hello)))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio gives it
        """Where the next bytes go; what does not fit comes with the next call."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes of the node's answers."""
        self._heard = True
        try:
            for payload in self._reader.feed(bytes(self._buffer[:nbytes])):
                if self.welcomed.done():
                    self._receive(payload)
                else:
                    self._receive_welcome(payload)
        except (RemoteProtocolError, DecodeError) as error:
            self.abort(f"the node broke the protocol: {error}")

    def eof_received(self) -> None:
        """The node sends nothing more: what is under way gets no answer, and what comes now must go elsewhere."""
        # Before the Welcome it is the end of the connection that says why.
        if self.welcomed.done():
            self._end(_SERVER_CLOSED)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        tls_error = explain(self.endpoint, exc) if exc is not None else None
        if tls_error is None and not self._heard and not self.welcomed.done():
            # Between TLS and the Welcome there is one thing that a node looks at: the certificate.
            tls_error = PerhapsRejected(
                f"{self.endpoint}: the node ended the connection when it saw this client's certificate; most likely it "
                "has expired, or the node does not know its authority"
            )
        self._end(str(tls_error or (_describe(exc) if exc is not None else _SERVER_CLOSED)), tls_error)
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The node does not read as fast as we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    # The inside.

    def _receive_welcome(self, payload: bytes) -> None:
        reply = decode_reply(payload)
        if isinstance(reply, HandshakeRefusal):
            self._fail_handshake(f"the node refused the connection: {reply.message or reply.code.name}")
            return
        check_welcome(self._hello, reply)
        if self._reader.pending_bytes:
            raise RemoteProtocolError("it spoke before it was asked")
        if reply.requests_in_flight_max < 1:
            raise RemoteProtocolError("a Welcome that allows no request")
        self._reader = FrameReader(RESPONSE_BYTES_MAX)
        self._frame_bytes_max = min(reply.frame_bytes_max, CLIENT_FRAME_BYTES_MAX)
        # One slot is kept for the PING, if there is more than one. It is sent without one too: a node does not count
        # it, and if one did, to be refused would be a sign of life as well.
        for _ in range(max(1, reply.requests_in_flight_max - 1)):
            self._slots.release()
        self.welcomed.set_result(reply)

    def _receive(self, payload: bytes) -> None:
        kind, request_id = parse_response(payload)
        try:
            future = self._pending.pop(request_id)
        except KeyError:
            self._receive_of_stream(kind, request_id, payload)
            return
        if future is None:
            self._pinged = False
            return
        self._slots.release()
        if not future.done():
            future.set_result((kind, payload))

    def _receive_of_stream(self, kind: ResponseKind, request_id: int, payload: bytes) -> None:
        if request_id not in self._streams:
            raise RemoteProtocolError(f"an answer to request {request_id}, which is not under way")
        stream = self._streams[request_id]
        if request_id in self._opening_streams:
            self._opening_streams.remove(request_id)
            self._slots.release()
        if kind in _ENDS_OF_STREAMS:
            del self._streams[request_id]
        if stream is not None:
            stream.received(kind, payload)

    def _write(self, kind: RequestKind, body: bytes) -> int:
        """Send a request; returns its id, under which the caller must keep what becomes of it."""
        if self._transport is None or self._lost is not None:
            raise NotConnected(self._lost or "not connected yet")
        request_id = self._next_request_id
        self._next_request_id = request_id + 1
        frame = encode_request(kind, request_id, body)
        self._transport.write(frame)
        self._written_bytes += len(frame) + _RECORD_OVERHEAD_BYTES * (len(frame) // _RECORD_BYTES + 1)
        if self._timer is None or self._timer_is_for_streams:
            self._silent_looks = 0
            self._look_again(for_streams=False)
        return request_id

    def _look_again(self, *, for_streams: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._heard = False
        self._on_its_way = self._still_on_its_way()
        self._timer_is_for_streams = for_streams
        seconds = self._dead_after * (_STREAM_SILENCE if for_streams else 0.5)
        self._timer = self._loop.call_later(seconds, self._look_after)

    def _look_after(self) -> None:
        self._timer = None
        if not (self._pending or self._streams) or self._lost is not None:
            return
        if self._heard or self._on_its_way - self._still_on_its_way() > _TAKEN_BYTES_MIN:
            silent_looks = 0
        else:
            silent_looks = self._silent_looks + 1
            if silent_looks > 1 and self._pinged:
                self.abort(f"the node was silent for {self._dead_after:g} s")
                return
            if not self._pinged:
                self._pinged = True
                self._pending[self._write(RequestKind.PING, b"")] = None
        self._silent_looks = silent_looks
        self._look_again(for_streams=not (self._pending or self._opening_streams))

    def _still_on_its_way(self) -> int:
        """Shrinks by what the node's host takes, and by what leaves the transport, where that is all that is known.

        So it is no number of bytes, but a later one may be compared with it.
        """
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        acknowledged = 0 if self._socket is None else acknowledged_bytes(self._socket)
        return self._written_bytes + unsent - acknowledged

    def _fail_handshake(self, reason: str, certificates: TlsError | None = None) -> None:
        self._end(reason, certificates)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str, certificates: TlsError | None = None) -> None:
        if self._lost is not None:
            return
        self._lost = reason
        if self._timer is not None:
            self._timer.cancel()
        if not self.welcomed.done():
            self.welcomed.set_exception(NotConnected(reason, certificates))
            self.welcomed.exception()  # whoever connects may have been cancelled, and then nobody looks
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if future is not None and not future.done():
                future.set_exception(ConnectionLost(reason))
                future.exception()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            if stream is not None:
                stream.lost(reason)
        # Wakes one who waits for a slot; it finds the connection ended, and gives the slot to the next.
        self._writable.set()
        self._slots.release()


async def connect(
    endpoint: str,
    context: ssl.SSLContext,
    *,
    cluster: str | None = None,
    cluster_id: bytes = ANY_CLUSTER,
    dead_after: float,
    dialler: Dialler | None = None,
) -> Connection:
    """Dial a node and do the handshakes, TLS and ours, within `dead_after` seconds.

    Args:
        endpoint: `host:port`.
        context: presents the client's certificate, and checks the node's.
        cluster: whose node it must be, by its certificate; None: any.
        cluster_id: which cluster it must be; `ANY_CLUSTER`: any.
        dead_after: seconds, also for `Connection`.
        dialler: of the client; None: one for this time.

    Raises:
        NotConnected: it did not come to that, with the reason in one line.
    """
    address = parse_endpoint(endpoint)
    loop = asyncio.get_running_loop()
    connection: Connection | None = None
    is_connected = False

    def make() -> Connection:
        nonlocal connection
        connection = Connection(endpoint, cluster=cluster, cluster_id=cluster_id, dead_after=dead_after)
        return connection

    try:
        with TimeLimit(dead_after):
            plain = await (dialler or Dialler()).dial(address, dead_after)
            _, connection = await loop.create_connection(make, sock=plain, ssl=context, server_hostname=address.host)
            await connection.welcomed
    except TimeoutError:
        raise NotConnected(f"no answer within {dead_after:g} s") from None
    except (OSError, ssl.CertificateError, UnicodeError) as error:  # the last, of a name that is none, or not UTF-8
        tls_error = explain(endpoint, error)
        raise NotConnected(str(tls_error or _describe(error)), tls_error) from None
    else:
        is_connected = connection.usable
    finally:
        # Not by `usable` alone: whoever is cancelled when the Welcome is there already does not get it.
        if connection is not None and not is_connected:
            connection.abort("connecting was given up")
    return connection


def _describe(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {(reason_of(error) or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio puts the address into its own words, and we do so too
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason.lower() or type(error).__name__


def _too_large(reason: str) -> bytes:
    """The payload of a refusal of a request that was never sent, and so has no id."""
    return encode_refusal(0, Refusal(RefusalCode.TOO_LARGE, reason))[LENGTH_BYTES:]


def _node_identity(ssl_object: ssl.SSLObject | None, cluster: str | None) -> Identity:
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    names = (certificate or {}).get("subjectAltName", ())
    identity = identity_of_alternative_names(names)  # type: ignore[arg-type]  # typeshed is vague
    if identity.kind is not IdentityKind.NODE:
        raise IdentityError(f"the certificate is that of {identity}, and a node's is expected")
    if cluster not in (None, identity.cluster):
        raise IdentityError(f"the certificate is that of {identity}, and a node of cluster {cluster!r} is expected")
    return identity
