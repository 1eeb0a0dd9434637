import asyncio
from typing import cast

from raftd.http.complaints import Complaints
from raftd.http.connection import ConnectionTable, address_of, answer


class FakeTransport:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

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
