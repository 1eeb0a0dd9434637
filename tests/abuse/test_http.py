"""Clients of the HTTP port that ask for nothing sensible, too slowly, or far too often."""

import asyncio
import gc
import gzip
import logging
import random
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest
import uvloop

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
END = b" HTTP/1.1\r\nHost: x\r\n\r\n"
ASKED = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
UPGRADE = ASKED + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = ASKED + b"Transfer-Encoding: chunked\r\n"

# What some parser of some release has stumbled over, or might.
TARGETS = [
    b"",
    b"/" + b"%ff" * 2500,
    *b"http://[]@/ http://[/ http://xn--a/ http://[v1.]/ http://[fe80::1%]/ http://:@/ http://a:b/ http://a:99/".split(),
    *b"http://a\xe2\x84\x80b/ http://\xc2\xad/ javascript:1 xn--a:1 * *://[ ? # @ [ :80 //[ //xn--a/ /xn--a:1".split(),
    *b"/#a?b /\x00 /% /%ff%fe /%ed%a0%80 /\xff\xfe /../..//livez /livez?\xff=\xfe /follower?max_lag=\xd9\xa3".split(),
]
METHODS = [b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"SOURCE", b"get", b"\xff", b""]
HEADERS = [
    *b"Host:xn--a Host:[ Host:\xff Accept:\xff;q=nan Connection:\xff,close Expect:\xff Expect:100-continue".split(),
    *b"Content-Encoding:br Content-Encoding:gzip Transfer-Encoding:\xff Transfer-Encoding:chunked Upgrade:h2c".split(),
    *b"Content-Length:9 Content-Length:-1 Content-Length:1_0 Content-Length:99999999999999999999999".split(),
    *b'Cookie:\xff="\\999;a Connection:Upgrade\r\nUpgrade:websocket \xff:a :a a:\x00'.split(b" "),
]
STRANGE = [
    *(method + b" " + target + END for method in (b"GET", b"OPTIONS", b"CONNECT") for target in TARGETS),
    *(UPGRADE + b"GET " + target + END for target in TARGETS),
    *(ASKED + b"\r\nGET " + target + END for target in TARGETS),
    *(ASKED + header + b"\r\n\r\nnot a body" for header in HEADERS),
    *(CHUNKED + b"\r\n" + body + b"\r\n" for body in (b"zz", b"-1", b"f" * 20, b"0\r\n\xff: \xff\r\n")),
    CHUNKED + b"Content-Encoding: gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(20),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
]


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


def strange_request(chance: random.Random) -> bytes:
    """Something like a request, of parts that do not belong together, some of them damaged."""
    headers = chance.choices(HEADERS, k=chance.randrange(3))
    line = chance.choice(METHODS) + b" " + chance.choice(TARGETS) + chance.choice((b"", b"?", b"[", b"%ff"))
    version = chance.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b""))
    made = bytearray(b"\r\n".join((line + b" " + version, *headers, b"", b"")))
    for _ in range(chance.choice((0, 0, 1, 3))):
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made) + chance.choice((b"", b"not a body", ASKED + b"\r\n", b"GET http://[" + END))


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_no_request_gets_further_than_its_connection(
    caplog: pytest.LogCaptureFixture, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Nothing reaches the loop's exception handler, or a node would end, nor does a traceback the log."""
    chance = random.Random(7)
    requests = STRANGE + [strange_request(chance) for _ in range(300)]
    unhandled: list[str] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(str(context)))
        limits = ConnectionLimits(connections_max=100, deadline_seconds=0.5)
        server, patient = await serve(Pace(idle_ratio=0.0), limits), await serve(Pace(idle_ratio=0.0))
        for first in range(0, len(requests), 100):
            await asyncio.gather(*(asked(server, sent) for sent in requests[first : first + 100]))
        # What a task has raised is told of when nobody can ask for it any more.
        gc.collect()
        assert b" 200 OK\r\n" in await asked(patient, ASKED + b"\r\n")
        await server.stop()
        await patient.stop()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 60))
    assert unhandled == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


@pytest.mark.parametrize("target", [b"http://[]@/", b"http://[/", b"http://xn--a/", b"http://example/", b"*", b"x"])
def test_only_paths_are_served(caplog: pytest.LogCaptureFixture, target: bytes) -> None:
    """A request for anything but a path is answered as what it is, and told of."""

    async def scenario() -> None:
        server = await serve(Pace(idle_ratio=0.0))
        assert b"HTTP/1.1 400 Bad Request\r\n" in await asked(server, b"GET " + target + END)
        await server.stop()

    with caplog.at_level(logging.INFO):
        asyncio.run(asyncio.wait_for(scenario(), 30))
    assert told(caplog) == ["it sends what is no request"]


def test_a_body_is_not_inflated() -> None:
    """A body of 16 kB that stands for 15 MiB takes no more than its own bytes, and is refused."""
    body = gzip.compress(bytes(15 << 20))
    head = ASKED + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def scenario() -> None:
        server = await serve(Pace(idle_ratio=0.0))
        tracemalloc.start()
        try:
            assert b"HTTP/1.1 413 " in await asked(server, head + body)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
        await server.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))


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
