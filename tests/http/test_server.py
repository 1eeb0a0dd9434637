import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import pytest
import uvloop

from raftd.consensus.types import LogIndex, NodeId, Role
from raftd.errors import ListenError
from raftd.http.connection import ConnectionLimits
from raftd.http.durations import RequestKind, RequestOutcome
from raftd.http.metrics import Metrics
from raftd.http.pulse import Pulse
from raftd.http.recent import RecentEvents
from raftd.http.server import HttpServer
from raftd.http.view import NodeCounters, NodeStatus


class FakeNode(Protocol):
    now: NodeStatus
    confirmed: LogIndex | None
    asked: list[float]

    def status(self) -> NodeStatus: ...
    def counters(self) -> NodeCounters: ...
    async def read_index(self, max_age_seconds: float) -> LogIndex | None: ...


def make_server(
    node: FakeNode,
    metrics: Metrics,
    host: str = "127.0.0.1",
    port: int = 0,
    connection_limits: ConnectionLimits | None = None,
) -> HttpServer:
    pulse = Pulse(
        node.status,
        writes=metrics.request_seconds[RequestKind.WRITE, RequestOutcome.OK],
        syncs=metrics.log_sync_seconds,
        now=time.monotonic,
    )
    return HttpServer(
        node, metrics, host, port, pulse=pulse, events=RecentEvents(), connection_limits=connection_limits
    )


Serve = Callable[[Callable[[HttpServer], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest, node: FakeNode) -> Callable[..., None]:
    """Run a scenario against a server on a free port, which is stopped afterwards; on either event loop."""

    def run(scenario: Callable[[HttpServer], Awaitable[None]], limits: ConnectionLimits | None = None) -> None:
        async def main() -> None:
            metrics = Metrics()
            metrics.attach(node)
            server = make_server(node, metrics, connection_limits=limits)
            await server.start()
            try:
                await asyncio.wait_for(scenario(server), 10)
            finally:
                await server.stop()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


async def exchange(server: HttpServer, sent: bytes) -> bytes:
    """Everything that comes back for `sent`, until the server closes."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(sent)
    received = b""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            received += data
    writer.close()
    return received


async def request(
    server: HttpServer, path: str, method: str = "GET", headers: str = ""
) -> tuple[int, dict[str, str], str]:
    received = await exchange(server, f"{method} {path} HTTP/1.1\r\nHost: raftd\r\n{headers}\r\n".encode())
    head, _, body = received.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def test_pages(serve: Serve) -> None:
    """Each page answers as the documentation says, without naming software versions."""

    async def scenario(server: HttpServer) -> None:
        for path, kind, start in (
            ("/", "text/html; charset=utf-8", "<!doctype html>\n"),
            ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "# HELP "),
            ("/status", "application/json", "{"),
            ("/sd", "application/json", "["),
            ("/leader", "text/plain; charset=utf-8", "ok\n"),
            ("/livez", "text/plain; charset=utf-8", "ok\n"),
            ("/readyz?x=1", "text/plain; charset=utf-8", "ok\n"),
        ):
            status, headers, body = await request(server, path)
            assert (status, headers["content-type"]) == (200, kind)
            assert body.startswith(start)
            assert headers["server"] == "raftd"
            assert headers["connection"] == "close"
            assert int(headers["content-length"]) == len(body.encode())

    serve(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nothing", 404, "no such page; / names those there are\n"),
        ("GET", "//livez", 404, "no such page; / names those there are\n"),
        ("POST", "/livez", 405, "only GET and HEAD\n"),
        ("DELETE", "/nothing", 405, "only GET and HEAD\n"),
    ],
)
def test_what_is_not_served(serve: Serve, method: str, path: str, status: int, text: str) -> None:
    """Unknown pages and methods get one plain line."""

    async def scenario(server: HttpServer) -> None:
        answered, headers, body = await request(server, path, method)
        assert (answered, body) == (status, text)
        assert headers.get("allow") == ("get, head" if status == 405 else None)

    serve(scenario)


def test_head_is_get_without_a_body(serve: Serve) -> None:
    """HEAD gives GET's status and headers, for load balancers that ask so."""

    async def scenario(server: HttpServer) -> None:
        for path in ("/", "/livez", "/readyz?verbose", "/leader", "/follower?max_lag=1", "/sd", "/nothing"):
            got, got_headers, got_body = await request(server, path)
            asked, headers, body = await request(server, path, "HEAD")
            assert body == ""
            assert (asked, headers["content-length"]) == (got, got_headers["content-length"])
            assert int(headers["content-length"]) == len(got_body)

    serve(scenario)


def test_losing_the_quorum_ends_readiness_and_not_life(
    serve: Serve, node: FakeNode, leader_with: Callable[..., NodeStatus]
) -> None:
    """A node without a leader must not be restarted, but must not be asked either."""
    node.now = leader_with(role=Role.CANDIDATE, leader_id=None)

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/livez"))[::2] == (200, "ok\n")
        assert (await request(server, "/readyz"))[::2] == (503, "leader: no leader is known\n")

    serve(scenario)


def test_drain_turns_readiness_first(serve: Serve, node: FakeNode, leader_with: Callable[..., NodeStatus]) -> None:
    """A node that stops says so while it still answers."""

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/readyz"))[0] == 200
        node.now = leader_with(draining=True)
        status, _, body = await request(server, "/readyz?verbose")
        assert status == 503
        assert "[-]drain failed: the node is stopping\n" in body
        assert body.endswith("readyz check failed\n")
        assert (await request(server, "/livez?verbose"))[::2] == (200, "[+]loop ok\n[+]disk ok\nlivez check passed\n")

    serve(scenario)


def test_openmetrics_is_given_to_who_asks_for_it(serve: Serve) -> None:
    """Prometheus says that it understands both formats, and gets the one with exemplars."""

    async def scenario(server: HttpServer) -> None:
        accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n"
        _, headers, body = await request(server, "/metrics", headers=accept)
        assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert body.endswith("\n# EOF\n")
        _, headers, body = await request(server, "/metrics", headers="Accept: */*\r\n")
        assert headers["content-type"].startswith("text/plain")
        assert "# EOF" not in body

    serve(scenario)


def test_what_scrapes_cost_is_told(serve: Serve) -> None:
    """By the next one; one that is answered with what was gathered for another costs nothing."""

    async def scenario(server: HttpServer) -> None:
        for _ in range(2):
            _, _, body = await request(server, "/metrics")
            assert "\nraftd_scrape_duration_seconds_count 0.0\n" in body
        _, _, body = await request(server, "/metrics", headers="Accept: application/openmetrics-text\r\n")
        assert "\nraftd_scrape_duration_seconds_count 1.0\n" in body

    serve(scenario)


def test_readiness_needs_a_confirmed_leader(serve: Serve, node: FakeNode) -> None:
    """A leader that is known but cannot reach a quorum serves nobody; a confirmation of the last second is enough."""
    node.confirmed = None

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/readyz"))[::2] == (503, "quorum: no quorum has confirmed it in time\n")
        assert node.asked == [1.0]
        assert (await request(server, "/livez"))[0] == 200
        assert node.asked == [1.0]

    serve(scenario)


def test_only_a_confirmed_leader_leads(serve: Serve, node: FakeNode, leader_with: Callable[..., NodeStatus]) -> None:
    """/leader is answered by a fresh confirmation; who does not lead, or stops, is not even asked for one."""

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/leader"))[::2] == (200, "ok\n")
        assert node.asked == [0.0]
        node.confirmed = None
        assert (await request(server, "/leader"))[::2] == (503, "quorum: no quorum has confirmed it in time\n")
        node.asked.clear()
        node.now = leader_with(draining=True)
        assert (await request(server, "/leader"))[::2] == (503, "drain: the node is stopping\n")
        node.now = leader_with(role=Role.FOLLOWER, leader_id=NodeId(2))
        assert (await request(server, "/leader"))[::2] == (503, "role: the node is a follower\n")
        assert node.asked == []

    serve(scenario)


def test_followers_by_their_lag(serve: Serve, node: FakeNode, leader_with: Callable[..., NodeStatus]) -> None:
    """/follower takes how many entries may be missing; a leader is none, and what is no number is told."""
    node.now = leader_with(role=Role.FOLLOWER, leader_id=NodeId(2))
    node.confirmed = LogIndex(node.now.last_applied + 5)

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/follower?max_lag=5"))[::2] == (200, "ok\n")
        assert (await request(server, "/follower?max_lag=4"))[::2] == (503, "apply: 5 committed entries wait\n")
        assert (await request(server, "/follower"))[0] == 200
        for lag in ("", "-1", "1.5", "%D9%A1", "9" * 30, "x"):
            status, _, body = await request(server, f"/follower?max_lag={lag}")
            assert (status, body) == (400, "max_lag is a number of entries\n")
        node.now = leader_with()
        assert (await request(server, "/follower"))[::2] == (503, "role: the node is a leader\n")

    serve(scenario)


def test_a_hung_disk_ends_life(serve: Serve, node: FakeNode, leader_with: Callable[..., NodeStatus]) -> None:
    """A disk that takes no more writes is this process's own trouble."""
    node.now = leader_with(storing_seconds=30.0)

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/livez"))[::2] == (503, "disk: a log write has been waiting for 30.0 s\n")

    serve(scenario)


def test_status_is_the_whole_status(serve: Serve) -> None:
    """/status is JSON with every field of the node and of its peers, enumerations by their words."""

    async def scenario(server: HttpServer) -> None:
        document = json.loads((await request(server, "/status"))[2])
        assert set(document) == set(NodeStatus.__slots__)
        assert document["role"] == "leader"
        assert document["commit_index"] == 40
        assert [(peer["node_id"], peer["state"]) for peer in document["peers"]] == [(2, "replicate"), (3, "probe")]

    serve(scenario)


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 9000 + b"\r\n\r\n",
    ],
)
def test_garbage_gets_one_line(serve: Serve, sent: bytes) -> None:
    """What is no request is answered in one line that repeats nothing of it, and the next request is served."""

    async def scenario(server: HttpServer) -> None:
        received = await exchange(server, sent)
        assert b" 400 Bad Request\r\n" in received
        assert b"Server: raftd\r\n" in received
        assert received.endswith(b"\r\n\r\nbad request\n")
        assert (await request(server, "/livez"))[0] == 200

    serve(scenario)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"h%d: %s\r\n" % (n, b"x" * 4000) for n in range(200)) + b"\r\n",
    ],
)
def test_a_request_has_a_size(serve: Serve, sent: bytes) -> None:
    """However the bytes are spread over lines, more of them than the bound end the connection."""

    async def scenario(server: HttpServer) -> None:
        received = await exchange(server, sent)
        # The client is still sending when the server closes, so the answer may be lost to a reset.
        assert received == b"" or b" 431 " in received or b" 400 " in received
        assert b"200 OK" not in received
        assert (await request(server, "/livez"))[0] == 200

    serve(scenario)


def test_many_modest_headers_are_too_large_together(serve: Serve) -> None:
    """The bound holds for the whole request, also where each line of it is within the parser's own."""

    async def scenario(server: HttpServer) -> None:
        headers = b"".join(b"h%d: %s\r\n" % (number, b"x" * 4000) for number in range(5))
        received = await exchange(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert f"Content-Length: {len(body)}".encode() in head

    serve(scenario)


def test_bodies_are_refused(serve: Serve) -> None:
    """No page takes a body, so none is read."""

    async def scenario(server: HttpServer) -> None:
        received = await exchange(server, b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
        assert received.startswith(b"HTTP/1.1 413 ")

    serve(scenario)


def test_one_request_a_connection(serve: Serve) -> None:
    """A second request on the same connection is not served: the deadline is the connection's."""

    async def scenario(server: HttpServer) -> None:
        received = await exchange(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        assert received.count(b"HTTP/1.1 ") == 1

    serve(scenario)


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nSlow: "])
def test_a_slow_client_is_cut_off(serve: Callable[..., None], sent: bytes) -> None:
    """A client that does not finish its request in time loses its connection."""

    async def scenario(server: HttpServer) -> None:
        started = asyncio.get_running_loop().time()
        assert await exchange(server, sent) == b""
        assert 0.05 < asyncio.get_running_loop().time() - started < 5

    serve(scenario, ConnectionLimits(deadline_seconds=0.1))


def test_silent_connections_do_not_hide_a_live_node(serve: Callable[..., None]) -> None:
    """With more silent connections than the bound, the oldest go, and an honest request is still answered."""

    async def scenario(server: HttpServer) -> None:
        silent = [await asyncio.open_connection(*server.address) for _ in range(12)]
        assert (await request(server, "/livez"))[0] == 200
        for reader, _ in silent[:5]:
            with suppress(ConnectionError):
                assert await reader.read() == b""
        for _, writer in silent:
            writer.close()

    serve(scenario, ConnectionLimits(connections_max=8, deadline_seconds=30))


def test_served_connections_do_not_count(serve: Callable[..., None]) -> None:
    """Connections that have ended push nobody out."""

    async def scenario(server: HttpServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        for _ in range(20):
            assert (await request(server, "/livez"))[0] == 200
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()

    serve(scenario, ConnectionLimits(connections_max=4))


def test_a_taken_port_is_told_in_one_line(serve: Serve, node: FakeNode) -> None:
    """A port in use is an error that names the address."""

    async def scenario(server: HttpServer) -> None:
        second = make_server(node, Metrics(), *server.address)
        with pytest.raises(ListenError, match=r"^cannot listen for HTTP on 127\.0\.0\.1:\d+: .*in use") as caught:
            await second.start()
        assert "\n" not in str(caught.value)
        await second.stop()

    serve(scenario)


def test_a_failing_page_is_one_line_and_a_log_record(
    serve: Serve, node: FakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug behind a page shows the client nothing and the operator everything."""

    def fail() -> NodeStatus:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(node, "status", fail)

    async def scenario(server: HttpServer) -> None:
        assert (await request(server, "/status"))[::2] == (500, "internal error\n")

    serve(scenario)
    assert "secret detail" in caplog.text


def test_stop_ends_open_connections(node: FakeNode) -> None:
    """Stopping does not wait for clients, and gives the port back."""

    async def main() -> None:
        server = make_server(node, Metrics())
        await server.start()
        address = server.address
        reader, writer = await asyncio.open_connection(*address)
        await server.stop()
        await server.stop()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        again = make_server(node, Metrics(), *address)
        await again.start()
        await again.stop()

    asyncio.run(asyncio.wait_for(main(), 10))
