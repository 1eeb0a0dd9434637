import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raftd import event_loop
from raftd.client.dialling import Dialler
from raftd.wire.address import Address

Lookup = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def know(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Have every name be that of a host with an address for each port."""

    def look_up(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, event_loop.new_event_loop])
def test_a_name_when_the_executor_takes_no_more_work(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """So it is when the main thread has returned: names are looked up nevertheless."""
    know(monkeypatch, port_of(listener))

    async def scenario() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        with await Dialler().dial(Address("n1.example", 7400), 10) as connected:
            assert connected.getpeername() == listener.getsockname()
            assert connected.gettimeout() == 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


def test_an_address_needs_no_thread(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is dialled as it is."""
    monkeypatch.setattr(threading, "Thread", None)

    async def scenario() -> None:
        with await Dialler().dial(Address("127.0.0.1", port_of(listener)), 10) as connected:
            assert connected.getpeername() == listener.getsockname()

    asyncio.run(scenario())


def test_one_address_after_the_other(
    listener: socket.socket, refusing_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first where somebody listens is taken; when there is none, the first one's reason is told."""

    async def scenario() -> None:
        know(monkeypatch, refusing_port, port_of(listener))
        with await Dialler().dial(Address("n1.example", 7400), 10) as connected:
            assert connected.getpeername() == listener.getsockname()
        know(monkeypatch, refusing_port, 0)
        with pytest.raises(ConnectionRefusedError, match=f"{refusing_port}"):
            await Dialler().dial(Address("n1.example", 7400), 10)
        know(monkeypatch)
        with pytest.raises(OSError, match="no address"):
            await Dialler().dial(Address("n1.example", 7400), 10)

    asyncio.run(scenario())


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that answers no attempt to connect, like one behind a firewall: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, socket.socket() as waiting:
        waiting.connect(listening.getsockname())
        yield port_of(listening)


def test_an_address_that_says_nothing(
    listener: socket.socket, refusing_port: int, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its share of the time, and what it leaves is for the next; for the last one the caller sets the end."""

    async def scenario() -> None:
        know(monkeypatch, silent_port, silent_port, port_of(listener))
        async with asyncio.timeout(10):
            with await Dialler().dial(Address("n1.example", 7400), 0.06) as connected:
                assert connected.getpeername() == listener.getsockname()
        know(monkeypatch, silent_port, refusing_port)
        with pytest.raises(TimeoutError):
            await Dialler().dial(Address("n1.example", 7400), 0.02)
        know(monkeypatch, refusing_port, silent_port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Dialler().dial(Address("n1.example", 7400), 0.01)

    asyncio.run(scenario())


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up's error is the dial's, and the name is looked up anew the next time."""
    asked = []

    def look_up(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def scenario() -> None:
        dialler = Dialler()
        for _ in range(2):
            with pytest.raises(socket.gaierror, match="not known"):
                await dialler.dial(Address("n1.example", 7400), 10)
        assert asked == ["n1.example"] * 2

    asyncio.run(scenario())


class SlowLookup:
    """A name server that does not answer until it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self._port = port
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, *_: object, **__: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        assert self.may_answer.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self._port))]


def test_whoever_gives_up_leaves_the_look_up_to_others(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up once at a time, however many dial, and however often one does not wait for it."""
    slow = SlowLookup(monkeypatch, port_of(listener))

    async def scenario() -> None:
        dialler = Dialler()
        dials = [asyncio.create_task(dialler.dial(Address("n1.example", 7400), 10)) for _ in range(3)]
        await asyncio.sleep(0)
        dials[0].cancel()
        await asyncio.wait((dials[0],))
        dials.append(asyncio.create_task(dialler.dial(Address("n1.example", 7400), 10)))
        await asyncio.sleep(0)
        slow.may_answer.set()
        for connected in await asyncio.gather(*dials[1:]):
            connected.close()
        assert slow.asked == 1

    asyncio.run(scenario())


def test_a_loop_that_ends_first(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that is done when nobody is there any more is told to nobody, and holds up nothing."""
    slow = SlowLookup(monkeypatch, port_of(listener))

    async def scenario() -> list[threading.Thread]:
        before = set(threading.enumerate())
        dial = asyncio.create_task(Dialler().dial(Address("n1.example", 7400), 10))
        await asyncio.sleep(0)
        dial.cancel()
        return [thread for thread in threading.enumerate() if thread not in before]

    (thread,) = asyncio.run(scenario())
    assert thread.daemon
    slow.may_answer.set()
    thread.join(10)
    assert not thread.is_alive()
