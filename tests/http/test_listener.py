import asyncio
import socket

import pytest
import uvloop

from raftd.errors import ListenError
from raftd.http.listener import Listener, Pace


class Greeter(asyncio.Protocol):
    """Says when it was accepted, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        transport.write(b"hello")
        transport.close()


async def greeted(listener: Listener) -> float:
    """When a connection was answered, by the loop's clock."""
    reader, writer = await asyncio.open_connection(*listener.address)
    assert await reader.read() == b"hello"
    writer.close()
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_the_loop_is_left_alone_for_a_multiple_of_what_was_spent(make_loop: type) -> None:
    """After a connection that took long the next one waits accordingly, however many come."""

    async def main() -> None:
        listener = Listener("127.0.0.1", 0, Greeter, Pace(idle_ratio=4.0, connection_seconds=0.01))
        listener.start()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(greeted(listener) for _ in range(6)))
        assert loop.time() - began >= 5 * 4 * 0.01
        listener.spent(0.05)
        await greeted(listener)  # It is accepted at once, or was due already; what was spent counts after it.
        began = loop.time()
        await greeted(listener)
        assert loop.time() - began >= 4 * 0.05
        await listener.stop()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(main(), 10))


def test_those_who_wait_are_served_in_the_end() -> None:
    """A crowd is slowed down and not turned away, as long as it fits the kernel's backlog."""

    async def main() -> None:
        listener = Listener("127.0.0.1", 0, Greeter, Pace(idle_ratio=1.0, connection_seconds=0.001))
        listener.start()
        await asyncio.gather(*(greeted(listener) for _ in range(100)))
        await listener.stop()

    asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize(("host", "reason"), [("203.0.113.1", "assign"), ("no.such.host.invalid", "")])
def test_an_address_that_cannot_be_listened_on_is_told(host: str, reason: str) -> None:
    """In one line that names it."""

    async def main() -> None:
        with pytest.raises(ListenError, match=rf"^cannot listen for HTTP on {host}:7402: .*{reason}"):
            Listener(host, 7402, Greeter).start()

    asyncio.run(main())


def test_a_stopped_listener_gives_its_port_back() -> None:
    """And stopping one that never started, or twice, is no error."""

    async def main() -> None:
        listener = Listener("127.0.0.1", 0, Greeter)
        await listener.stop()
        listener.start()
        address = listener.address
        await listener.stop()
        await listener.stop()
        with socket.socket() as probe:
            assert probe.connect_ex(address) != 0

    asyncio.run(main())
