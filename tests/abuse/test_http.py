"""Clients of the HTTP port that ask for nothing sensible, too slowly, or far too often."""

import asyncio
import logging
import time
from contextlib import suppress

import pytest

from raftd import events
from raftd.http.connection import ConnectionLimits
from raftd.http.durations import RequestKind, RequestOutcome
from raftd.http.listener import Pace
from raftd.http.metrics import Metrics
from raftd.http.pulse import Pulse
from raftd.http.recent import RecentEvents
from raftd.http.server import HttpServer
from tests.http.conftest import FakeNode

FLOOD = 400


async def asked(server: HttpServer, sent: bytes) -> bytes:
    """All that comes back, until the server hangs up; nothing, if it does not even listen."""
    received = b""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(sent)
        while data := await reader.read(65536):
            received += data
        writer.close()
    return received


async def serve(pace: Pace | None = None, limits: ConnectionLimits | None = None) -> HttpServer:
    node, metrics = FakeNode(), Metrics()
    metrics.attach(node)
    writes = metrics.request_seconds[RequestKind.WRITE, RequestOutcome.OK]
    pulse = Pulse(node.status, writes=writes, syncs=metrics.log_sync_seconds, now=time.monotonic)
    server = HttpServer(
        node, metrics, "127.0.0.1", 0, pulse=pulse, events=RecentEvents(), connection_limits=limits, pace=pace
    )
    await server.start()
    return server


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The reasons of all refusals that were logged."""
    records = [record for record in caplog.records if getattr(record, "event", None) is events.HTTP_REFUSED]
    return [record.getMessage().partition(": ")[2] for record in records]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET /canary HTTP/1.1\r\nHost: x\r\n\r\n", "it asks for a page that there is not"),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", "it uses another method than GET and HEAD"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "it sends a body"),
        (b"canary\r\n\r\n", "it sends what is no request"),
        (b"GET / HTTP/1.1\r\n" + b"canary: b\r\n" * 9000, "its request is too large"),
    ],
    ids=["page", "method", "body", "no request", "too large"],
)
def test_what_nobody_should_send_is_logged_once(caplog: pytest.LogCaptureFixture, sent: bytes, reason: str) -> None:
    """However often it comes, with nothing of what was sent; and an honest request is served after it."""

    async def scenario() -> None:
        server = await serve(Pace(idle_ratio=0.0))
        for _ in range(50):
            await asked(server, sent)
        assert b" 200 OK\r\n" in await asked(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.stop()

    with caplog.at_level(logging.INFO):
        asyncio.run(asyncio.wait_for(scenario(), 30))
    assert told(caplog) == [reason]
    assert "canary" not in caplog.text


def test_slow_clients_and_crowds_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A crowd of clients that never finish costs two lines, and the node answers in between."""

    async def scenario() -> None:
        server = await serve(Pace(idle_ratio=0.0), ConnectionLimits(connections_max=8, deadline_seconds=0.2))
        slow = [asyncio.ensure_future(asked(server, b"GET /livez HTTP/1.1\r\nSlow: ")) for _ in range(100)]
        assert b" 200 OK\r\n" in await asked(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert set(await asyncio.gather(*slow)) == {b""}
        await server.stop()

    with caplog.at_level(logging.INFO):
        asyncio.run(asyncio.wait_for(scenario(), 30))
    assert sorted(text.partition(" (")[0] for text in told(caplog)) == [
        "it was not done in time",
        "there were too many connections, and it was the oldest",
    ]


def test_a_flood_of_scrapes_leaves_the_loop_to_others() -> None:
    """Scrapes come one after another with pauses between them, so that all together get a share and no more.

    The pauses are nine times what each took; what they sum up to is how long the loop was free for others.
    """

    async def scenario() -> None:
        server = await serve()
        loop = asyncio.get_running_loop()
        served = 0
        stopping = False

        async def scrape() -> None:
            nonlocal served
            while not stopping:
                served += b"raftd_keys" in await asked(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

        scrapers = [asyncio.ensure_future(scrape()) for _ in range(20)]
        began = loop.time()
        await asyncio.sleep(2.0)  # For so long the flood goes on; nothing is waited for.
        stopping = True
        seconds = loop.time() - began
        await server.stop()
        await asyncio.gather(*scrapers)
        # Each takes a millisecond at least, so nine of pause: with a hundred a second there would be no room for more.
        assert 1 <= served < 110 * seconds

    asyncio.run(asyncio.wait_for(scenario(), 60))
