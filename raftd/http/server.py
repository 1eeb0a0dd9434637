"""What is served over HTTP: the status page, /metrics, /status, health checks and service discovery.

It shares the event loop with everything else of the node, so that an answer proves that the loop turns. It is for
machines on a trusted network and only reads; nothing of the store's contents is in it.
"""

import asyncio
import json
import math
import time
from dataclasses import asdict
from typing import Final

from aiohttp import web

from raftd.consensus.types import NO_INDEX
from raftd.http import page
from raftd.http.complaints import Complaints, Misuse
from raftd.http.connection import Connection, ConnectionLimits, ConnectionTable, address_of, answer
from raftd.http.discovery import discovery_document
from raftd.http.health import (
    Check,
    HealthLimits,
    explain,
    following,
    leadership,
    liveness,
    readiness,
    summarize,
)
from raftd.http.listener import Listener, Pace
from raftd.http.metrics import CONTENT_TYPE, OPEN_CONTENT_TYPE, Metrics, wants_open_metrics
from raftd.http.pulse import Pulse
from raftd.http.recent import RecentEvents
from raftd.http.view import NodeStatus, NodeView

_HEALTH: Final = frozenset({"/livez", "/readyz", "/leader", "/follower"})
_DIGITS_MAX: Final = 18
_SCRAPE_SECONDS: Final = 0.1
"""Metrics this old are still served: nobody scrapes so often but a flood."""


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
        connection_limits: Bounds of each connection.
        pace: How much of the event loop HTTP may have.
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
        pace: Pace | None = None,
    ) -> None:
        self._view = view
        self._metrics = metrics
        self._pulse = pulse
        self._events = events
        self._host = host
        self._port = port
        self._health_limits = health_limits or HealthLimits()
        self._connection_limits = connection_limits or ConnectionLimits()
        self._pace = pace
        self._complaints = Complaints(time.monotonic)
        self._scraped: dict[bool, tuple[float, bytes]] = {}
        """By whether it is OpenMetrics: when, and what it was."""
        self._listener: Listener | None = None
        self._requests: web.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on, once started."""
        return (self._host, self._port) if self._listener is None else self._listener.address

    async def start(self) -> None:
        """Listen, on the running loop.

        Raises:
            ListenError: The address is in use, is not this machine's, or may not be taken.
        """
        loop = asyncio.get_running_loop()
        requests = web.Server(self._handle)
        limits, complaints = self._connection_limits, self._complaints
        table = ConnectionTable(limits.connections_max, complaints)
        listener = Listener(
            self._host,
            self._port,
            lambda: Connection(requests, table, complaints, limits, spent=self._spent, loop=loop),
            self._pace,
        )
        listener.start()
        self._requests, self._listener = requests, listener

    async def stop(self) -> None:
        """Close the listener and its connections; at once if there are none."""
        if self._listener is None or self._requests is None:
            return
        listener, self._listener = self._listener, None
        await listener.stop()
        await self._requests.shutdown(timeout=0.1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            self._complain(request, Misuse.METHOD)
            return answer(405, b"only GET and HEAD\n", Allow="GET, HEAD")
        if request.body_exists:
            self._complain(request, Misuse.BODY)
            return answer(413, b"a request here has no body\n")
        if request.path in _HEALTH:
            return await self._health(request)
        began = time.thread_time()
        try:
            return self._page(request)
        finally:
            self._spent(time.thread_time() - began)

    def _spent(self, seconds: float) -> None:
        if self._listener is not None:
            self._listener.spent(seconds)

    def _page(self, request: web.BaseRequest) -> web.Response:
        match request.path:
            case "/":
                status = self._view.status()
                checks = readiness(status, self._health_limits)
                body = page.render(status, checks, self._pulse, self._events.newest(), time.time())
                return answer(200, body, page.CONTENT_TYPE, **page.headers())
            case "/metrics":
                is_open = wants_open_metrics(request.headers.get("Accept", ""))
                return answer(200, self._scrape(is_open=is_open), OPEN_CONTENT_TYPE if is_open else CONTENT_TYPE)
            case "/status":
                return _json(status_document(self._view.status()))
            case "/sd":
                return _json(discovery_document(self._view.status()))
            case _:
                self._complain(request, Misuse.UNKNOWN_PAGE)
                return answer(404, b"no such page; / names those there are\n")

    def _scrape(self, *, is_open: bool) -> bytes:
        """The metrics as they are now, or were just now: of many scrapers at a time, one has them gathered."""
        now = time.monotonic()
        at, text = self._scraped.get(is_open, (-math.inf, b""))
        if now - at >= _SCRAPE_SECONDS:
            # Of the processor: for how long the machine ran something else meanwhile is not what a scrape costs.
            began = time.thread_time()
            text = self._metrics.render_open() if is_open else self._metrics.render()
            self._metrics.scrape_seconds.observe(time.thread_time() - began)
            self._scraped[is_open] = now, text
        return text

    def _complain(self, request: web.BaseRequest, misuse: Misuse) -> None:
        if request.transport is not None:
            self._complaints.tell(address_of(request.transport), misuse)

    async def _health(self, request: web.BaseRequest) -> web.Response:
        limits, checks = self._health_limits, tuple[Check, ...]()
        match request.path:
            case "/livez":
                checks = liveness(self._view.status(), limits)
            case "/readyz":
                # Refused without asking anybody: a node that drains, or knows no leader, waits for nothing.
                checks = readiness(self._view.status(), limits)
                if _passed(checks):
                    index = await self._view.read_index(limits.confirmation_seconds_max)
                    checks = readiness(self._view.status(), limits, index)
            case "/leader":
                checks = leadership(self._view.status(), limits, NO_INDEX)
                if _passed(checks):
                    index = await self._view.read_index(0.0)
                    checks = leadership(self._view.status(), limits, index)
            case _:
                lag_max = _lag_max(request, limits)
                if lag_max is None:
                    return answer(400, b"max_lag is a number of entries\n")
                checks = following(self._view.status(), limits, NO_INDEX, lag_max)
                if _passed(checks):
                    index = await self._view.read_index(limits.confirmation_seconds_max)
                    checks = following(self._view.status(), limits, index, lag_max)
        name = request.path.removeprefix("/")
        text = explain(name, checks) if "verbose" in request.query else summarize(checks)
        return answer(200 if _passed(checks) else 503, f"{text}\n".encode())


def _passed(checks: tuple[Check, ...]) -> bool:
    return all(check.failure is None for check in checks)


def _lag_max(request: web.BaseRequest, limits: HealthLimits) -> int | None:
    """How many entries a follower may lack; None if what was asked is no number."""
    asked = request.query.get("max_lag")
    if asked is None:
        return limits.apply_lag_entries_max
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= _DIGITS_MAX else None


def _json(document: object) -> web.Response:
    return answer(200, f"{json.dumps(document, indent=2)}\n".encode(), "application/json")
