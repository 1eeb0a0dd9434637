"""The HTTP listener: the status page, /metrics, /livez, /readyz, /status.

It shares the event loop with everything else of the node, so that an answer proves that the loop turns. It is for
machines on a trusted network and only reads; nothing of the store's contents is in it.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict

from aiohttp import web

from raftd.errors import ListenError
from raftd.http import page
from raftd.http.connection import Connection, ConnectionLimits, ConnectionTable, answer
from raftd.http.health import Check, HealthLimits, explain, liveness, readiness, summarize
from raftd.http.metrics import CONTENT_TYPE, Metrics
from raftd.http.pulse import Pulse
from raftd.http.recent import RecentEvents
from raftd.http.view import NodeStatus, NodeView


def status_document(status: NodeStatus) -> dict[str, object]:
    """`status` as JSON takes it: field names as they are, roles and states by their value."""
    document = asdict(status)
    document["role"] = status.role.value
    document["peers"] = [{**asdict(peer), "state": peer.state.value} for peer in status.peers]
    return document


class HttpServer:
    """Serves one node's metrics, health and status.

    Args:
        view: The node.
        metrics: What /metrics renders; the caller has attached `view` to it.
        pulse: What the page plots; the caller lets it beat.
        events: What the page tells of.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, see `address`.
        health_limits: From where on the node is called unwell.
        connection_limits: Bounds of the listener.
    """

    def __init__(
        self,
        view: NodeView,
        metrics: Metrics,
        host: str,
        port: int,
        *,
        pulse: Pulse,
        events: RecentEvents,
        health_limits: HealthLimits | None = None,
        connection_limits: ConnectionLimits | None = None,
    ) -> None:
        self._view = view
        self._metrics = metrics
        self._pulse = pulse
        self._events = events
        self._host = host
        self._port = port
        self._health_limits = health_limits or HealthLimits()
        self._connection_limits = connection_limits or ConnectionLimits()
        self._server: asyncio.Server | None = None
        self._requests: web.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on, once started."""
        if self._server is None:
            return self._host, self._port
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen, on the running loop.

        Raises:
            ListenError: The address is in use, is not this machine's, or may not be taken.
        """
        loop = asyncio.get_running_loop()
        requests = web.Server(self._handle)
        table = ConnectionTable(self._connection_limits.connections_max)
        try:
            self._server = await loop.create_server(
                lambda: Connection(requests, table, self._connection_limits, loop), self._host, self._port
            )
        except OSError as error:
            reason = error.strerror or error
            raise ListenError(f"cannot listen for HTTP on {self._host}:{self._port}: {reason}") from error
        self._requests = requests

    async def stop(self) -> None:
        """Close the listener and its connections; at once if there are none."""
        if self._server is None or self._requests is None:
            return
        server, self._server = self._server, None
        server.close()
        await self._requests.shutdown(timeout=0.1)
        await server.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return answer(405, b"only GET and HEAD\n", Allow="GET, HEAD")
        if request.body_exists:
            return answer(413, b"a request here has no body\n")
        return self._page(request)

    def _page(self, request: web.BaseRequest) -> web.Response:
        match request.path:
            case "/":
                status = self._view.status()
                checks = readiness(status, self._health_limits)
                body = page.render(status, checks, self._pulse, self._events.newest(), time.time())
                return answer(200, body, page.CONTENT_TYPE, **page.headers())
            case "/metrics":
                return answer(200, self._metrics.render(), CONTENT_TYPE)
            case "/status":
                document = json.dumps(status_document(self._view.status()), indent=2)
                return answer(200, f"{document}\n".encode(), "application/json")
            case "/livez":
                return self._health(request, "livez", liveness)
            case "/readyz":
                return self._health(request, "readyz", readiness)
            case _:
                return answer(404, b"no such page; / names those there are\n")

    def _health(
        self, request: web.BaseRequest, name: str, decide: Callable[[NodeStatus, HealthLimits], tuple[Check, ...]]
    ) -> web.Response:
        checks = decide(self._view.status(), self._health_limits)
        passed = all(check.failure is None for check in checks)
        text = explain(name, checks) if "verbose" in request.query else summarize(checks)
        return answer(200 if passed else 503, f"{text}\n".encode())
