import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn, cast

import pytest
from aiohttp import web

from raftd.http.complaints import Complaints
from raftd.http.connection import Connection, ConnectionLimits, ConnectionTable, address_of, answer


class FakeTransport:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("192.0.2.7", 80) if name == "peername" else None


def test_the_oldest_connection_makes_room() -> None:
    """One connection too many cuts off the one that has been open longest, and no other."""
    table = ConnectionTable(2, Complaints(lambda: 0.0))
    fakes = [FakeTransport() for _ in range(4)]
    for fake in fakes:
        table.add(cast("asyncio.Transport", fake))
    assert [fake.aborted for fake in fakes] == [True, True, False, False]
    assert len(table) == 2


def test_a_connection_that_ended_makes_room() -> None:
    """Connections that have ended by themselves do not count, and may end twice."""
    table = ConnectionTable(1, Complaints(lambda: 0.0))
    first, second = FakeTransport(), FakeTransport()
    table.add(cast("asyncio.Transport", first))
    table.remove(cast("asyncio.Transport", first))
    table.remove(cast("asyncio.Transport", first))
    table.add(cast("asyncio.Transport", second))
    assert not first.aborted


def test_an_answer_gives_no_version_away() -> None:
    """The Server header names raftd only, and answers are neither cached nor followed by a second one."""
    made = answer(200, b"ok\n")
    assert made.headers["Server"] == "raftd"
    assert made.headers["Cache-Control"] == "no-store"
    assert made.keep_alive is False


def test_who_is_there_is_told_as_host_and_port() -> None:
    """For people, who look for it in their address plans."""
    assert address_of(cast("asyncio.Transport", FakeTransport())) == "192.0.2.7:80"


async def no_answer(_: web.BaseRequest) -> NoReturn:
    raise AssertionError("nothing is asked")


def connect(requests: web.Server, spent: Callable[[float], None] = lambda _: None) -> tuple[Connection, FakeTransport]:
    """A connection that has just been accepted, on the running loop."""
    complaints, loop, transport = Complaints(lambda: 0.0), asyncio.get_running_loop(), FakeTransport()
    table, limits = ConnectionTable(1, complaints), ConnectionLimits()
    connection = Connection(requests, table, complaints, limits, spent=spent, loop=loop)
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection, transport


def test_what_a_parser_does_not_expect_ends_the_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that aiohttp lets out of it is of a stranger's bytes, and stays with his connection."""

    def fail(*_: object) -> NoReturn:
        raise ValueError("canary")

    async def scenario() -> None:
        connection, transport = connect(web.Server(no_answer))
        monkeypatch.setattr(web.RequestHandler, "data_received", fail)
        connection.data_received(b"GET / HTTP/1.1\r\n")
        assert transport.aborted
        connection.connection_lost(None)

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == ["it sends what is no request"]


def test_what_making_a_request_does_not_expect_ends_the_connection() -> None:
    """As the parser's; the task in which it is raised has nobody who would hear of it."""

    def fail(*_: Any) -> NoReturn:
        raise ValueError("canary")

    unhandled: list[object] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        connection, transport = connect(web.Server(no_answer, request_factory=fail))
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        task = connection._task_handler
        assert task is not None
        await asyncio.wait((task,))
        assert transport.aborted
        assert task.exception() is None
        connection.connection_lost(None)

    asyncio.run(scenario())
    assert unhandled == []


def test_parsing_counts_for_the_share_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request costs before any page is made is told, of each piece of it."""
    clock = iter((5.0, 5.25, 7.0, 7.5))
    spent: list[float] = []

    async def scenario() -> None:
        connection, _ = connect(web.Server(no_answer), spent.append)
        monkeypatch.setattr(time, "thread_time", lambda: next(clock))
        connection.data_received(b"GET / HTTP/1.1\r\n")
        connection.data_received(b"Host: ")
        connection.connection_lost(None)

    asyncio.run(scenario())
    assert spent == [0.25, 0.5]
