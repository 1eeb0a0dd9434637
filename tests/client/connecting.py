"""One connection to one node that behaves, and the simplest request on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from raftd.client.connection import Connection, connect
from raftd.wire.client import BODY_OFFSET, Consistency, QueryOpcode, RequestKind, ResponseKind, encode_read_body
from raftd.wire.watch import WatchFlag, WatchRequest, encode_watch_body
from tests.client.fake import FakeNode, Pki

GET = encode_read_body(Consistency.STALE, QueryOpcode.GET, b"a")


@asynccontextmanager
async def connected(pki: Pki, dead_after: float = 5.0) -> AsyncIterator[tuple[FakeNode, Connection]]:
    async with pki.cluster(1) as cluster:
        node = cluster.nodes[0]
        connection = await connect(node.address, pki.user.context(), dead_after=dead_after)
        yield node, connection
        await connection.close()


async def get(connection: Connection) -> bytes:
    kind, payload = await connection.request(RequestKind.READ, GET)
    assert kind is ResponseKind.ANSWER
    return payload[BODY_OFFSET:]


class Heard:
    """A stream that remembers what it was told."""

    def __init__(self) -> None:
        self.kinds: list[ResponseKind] = []
        self.reason = ""

    def received(self, kind: ResponseKind, payload: bytes) -> None:  # noqa: ARG002 - as a stream's
        self.kinds.append(kind)

    def lost(self, reason: str) -> None:
        self.reason = reason


WATCH_ALL = encode_watch_body(WatchRequest(WatchFlag(0), 0, b"", b""))
