import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from raftd.errors import ListenError
from raftd.net.acceptor import Acceptor, AcceptorLimits, _host_of
from raftd.net.channel import Channel, ChannelLimits
from raftd.net.tls import client_context, server_context
from tests.net.loopback import Certificates, Owner, Remote, Run, dial, until

LIMITS = AcceptorLimits()


class Counted(Owner):
    """An owner that counts for its acceptor, as the listeners do."""

    acceptor: Acceptor

    def channel_opened(self, channel: Channel) -> None:
        super().channel_opened(channel)
        self.acceptor.opened()
        channel.establish(self.frames.extend)
        self.acceptor.established()

    def channel_closed(self, channel: Channel) -> None:
        super().channel_closed(channel)
        self.acceptor.released(channel)


@contextlib.asynccontextmanager
async def accepting(certificates: Certificates, limits: AcceptorLimits = LIMITS) -> AsyncIterator[Counted]:
    owner = Counted()
    owner.acceptor = Acceptor(
        purpose="clients",
        context=server_context(certificates.node(1, "client")),
        make_channel=lambda: Channel(owner, ChannelLimits(frame_bytes_max=1024)),
        limits=limits,
    )
    owner.acceptor.start("127.0.0.1", 0)
    try:
        yield owner
    finally:
        await owner.acceptor.stop()
        for channel in owner.opened:
            channel.abort("the test is over")
        await owner.acceptor.emptied()


async def silent(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A TCP connection from this host that never says anything."""
    connection = socket.socket()
    connection.setblocking(False)
    try:
        connection.bind((host, 0))
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


def test_whoever_waits_for_the_end_may_give_up(run: Run, certificates: Certificates) -> None:
    """A node that is told twice to stop does not wait for its clients; their connections still end as always."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            owner.acceptor.opened()
            waiting = asyncio.ensure_future(owner.acceptor.emptied())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait((waiting,))
            owner.acceptor.released(Channel(owner, ChannelLimits(frame_bytes_max=1024)))
            assert owner.acceptor.connections == 0

    run(scenario())


def test_an_address_in_use_is_one_line(run: Run, certificates: Certificates) -> None:
    """Whoever starts a second node by mistake is told, with the address and the likely reason."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            port = owner.acceptor.port
            with pytest.raises(ListenError) as caught:
                owner.acceptor.start("127.0.0.1", port)
            assert (
                str(caught.value)
                == f"cannot listen on 127.0.0.1:{port}: Address already in use (is another raftd running?)"
            )

    run(scenario())


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_somebody_else_is_one_line(run: Run, certificates: Certificates, host: str) -> None:
    """An address that is not this machine's (RFC 5737), or is no address at all (RFC 2606)."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            with pytest.raises(ListenError, match=rf"{host}:7400: \S+") as caught:
                owner.acceptor.start(host, 7400)
            assert "\n" not in str(caught.value)

    run(scenario())


def test_one_connection_too_many_is_closed(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """The bound holds, what is refused is counted and told, and a place that becomes free is given away again."""

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, connections_max=2)) as owner:
            acceptor = owner.acceptor
            remotes = [await dial(acceptor.port, certificates.user()) for _ in range(2)]
            await until(lambda: acceptor.connections == 2)
            with pytest.raises(ConnectionError):
                await dial(acceptor.port, certificates.user())
            assert (acceptor.refused_total, acceptor.accepted_total) == (1, 2)
            await remotes.pop().close()
            await until(lambda: acceptor.connections == 1)
            remotes.append(await dial(acceptor.port, certificates.user()))
            await until(lambda: acceptor.connections == 2)
            for remote in remotes:
                await remote.close()

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (told,) = [record.getMessage() for record in caplog.records if record.name.startswith("raftd")]
    assert told.startswith("refused a connection from 127.0.0.1:")
    assert told.endswith(": 2 clients are connected already")


def test_connections_that_come_up_at_once_share_the_bound(run: Run, certificates: Certificates) -> None:
    """However many handshakes were under way when the last place was taken, no more than allowed stay."""

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, connections_max=2)) as owner:
            remotes = await asyncio.gather(
                *(dial(owner.acceptor.port, certificates.user()) for _ in range(8)), return_exceptions=True
            )
            await until(lambda: owner.acceptor.handshakes == 0 and owner.acceptor.connections == 2)
            assert owner.acceptor.accepted_total == 2
            assert owner.acceptor.refused_total == 6
            for remote in remotes:
                if isinstance(remote, Remote):
                    await remote.close()

    run(scenario())


def test_two_thousand_silent_sockets_do_not_keep_an_honest_client_out(run: Run, certificates: Certificates) -> None:
    """Pitfall 35: the handshakes under way, and with them the memory, are bounded; the oldest makes room."""

    async def scenario() -> None:
        limits = replace(LIMITS, handshakes_max=16, handshake_seconds=60.0)
        async with accepting(certificates, limits) as owner:
            acceptor = owner.acceptor
            most = 0
            crowd: list[socket.socket] = []
            remote = None
            # Descriptors are scarcer than sockets: each silent one goes once it was pushed out, the last ones stay.
            for number in range(2000):
                crowd.append(await silent(acceptor.port))
                most = max(most, acceptor.handshakes)
                if len(crowd) > 100:
                    crowd.pop(0).close()
                if number == 1500:
                    async with asyncio.timeout(5):
                        remote = await dial(acceptor.port, certificates.user())
            assert most <= 16
            await until(lambda: acceptor.refused_total == 2000 - 16)
            assert remote is not None
            assert acceptor.connections == 1
            await remote.close()
            await until(lambda: acceptor.connections == 0)
            for connection in crowd:
                connection.close()

    run(scenario())


def test_one_host_ends_no_handshake_of_another(run: Run, certificates: Certificates) -> None:
    """However many connections a host opens meanwhile, one that is slow from elsewhere comes up in the end."""

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, handshakes_max=4, handshake_seconds=60.0)) as owner:
            port = owner.acceptor.port
            slow = await silent(port, "127.0.0.2")
            await until(lambda: owner.acceptor.handshakes == 1)
            crowd = [await silent(port) for _ in range(50)]
            await until(lambda: owner.acceptor.refused_total == 47)
            assert owner.acceptor.handshakes == 4
            context = client_context(certificates.user())
            remote = Remote(*await asyncio.open_connection(sock=slow, ssl=context, server_hostname=""))
            await until(lambda: owner.acceptor.connections == 1)
            await remote.close()
            for connection in crowd:
                connection.close()
            await until(lambda: owner.acceptor.handshakes == 0)

    run(scenario())


def test_the_host_with_most_handshakes_makes_room(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own oldest makes room for its next one; where no host has more than another, the oldest of all does.

    Both are told of, and those that a stop ends are not.
    """

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, handshakes_max=2, handshake_seconds=60.0)) as owner:
            loop, port = asyncio.get_running_loop(), owner.acceptor.port
            first = await silent(port, "127.0.0.1")
            await until(lambda: owner.acceptor.handshakes == 1)
            second = await silent(port, "127.0.0.2")
            await until(lambda: owner.acceptor.handshakes == 2)
            third = await silent(port, "127.0.0.2")
            assert await loop.sock_recv(second, 1) == b""
            fourth = await silent(port, "127.0.0.3")
            assert await loop.sock_recv(first, 1) == b""
            assert owner.acceptor.refused_total == 2
            await owner.acceptor.stop()
            for connection in (first, second, third, fourth):
                connection.close()
            assert owner.acceptor.handshakes == 0

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    told = [record.getMessage() for record in caplog.records if record.name.startswith("raftd")]
    hosts = ["127.0.0.2", "127.0.0.1"]
    for line, host in zip(told, hosts, strict=True):
        assert line.startswith(f"refused a connection from {host}:")
        assert line.endswith("its handshake was ended for another's")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_host_is_an_address_or_a_network_of_ipv6(one: str, other: str, is_same: bool) -> None:
    """A host that may have any address of a /64 counts as one with all of them."""
    assert (_host_of(one) == _host_of(other)) is is_same


def test_a_crowd_of_honest_clients_does_not_push_itself_out(run: Run, certificates: Certificates) -> None:
    """After a restart all clients come at once; few places for handshakes are enough for all of them."""

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, handshakes_max=16)) as owner:
            context = client_context(certificates.user())
            remotes = await asyncio.gather(*(dial(owner.acceptor.port, context) for _ in range(60)))
            await until(lambda: owner.acceptor.connections == 60)
            assert owner.acceptor.refused_total == 0
            for remote in remotes:
                await remote.close()

    run(scenario())


def test_a_handshake_has_a_deadline(run: Run, certificates: Certificates) -> None:
    """Who connects and says nothing is hung up on, and both the count and the log say so."""

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, handshake_seconds=0.05)) as owner:
            connection = await silent(owner.acceptor.port)
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
            connection.close()
            await until(lambda: owner.acceptor.refused_total == 1)
            assert owner.acceptor.handshakes == 0
            assert owner.opened == []

    run(scenario())


def test_garbage_is_refused_with_one_line(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not TLS ends its own connection and nothing else."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            connection = await silent(owner.acceptor.port)
            await asyncio.get_running_loop().sock_sendall(connection, b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: owner.acceptor.refused_total == 1)
            connection.close()
            remote = await dial(owner.acceptor.port, certificates.user())
            await until(lambda: owner.acceptor.connections == 1)
            await remote.close()

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (record,) = (record for record in caplog.records if record.name.startswith("raftd"))
    assert record.getMessage().startswith("refused a connection from 127.0.0.1:")


def test_running_out_of_descriptors_is_survived_and_told_once(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepting goes on as soon as there are descriptors again, and the log is not flooded meanwhile."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            connection = socket.socket()
            connection.setblocking(False)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            try:
                await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", owner.acceptor.port))
                await until(lambda: caplog.records)
                await asyncio.sleep(0.3)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            connection.close()
            remote = await dial(owner.acceptor.port, certificates.user())
            await until(lambda: owner.acceptor.connections == 1)
            await remote.close()

    run(scenario())
    told = [record.getMessage() for record in caplog.records if "cannot accept" in record.getMessage()]
    assert told == ["cannot accept clients: Too many open files"]


def test_stopping_ends_handshakes_and_leaves_nothing(run: Run, certificates: Certificates) -> None:
    """The port is free again, those who were in the middle of a handshake see the end, and no task is left."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            port = owner.acceptor.port
            connection = await silent(port)
            await until(lambda: owner.acceptor.handshakes == 1)
            await owner.acceptor.stop()
            assert owner.acceptor.handshakes == 0
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
            connection.close()
            with pytest.raises(ConnectionError):
                await silent(port)

    run(scenario())


def test_a_handshake_cancelled_before_its_first_step_is_closed(run: Run, certificates: Certificates) -> None:
    """A task that never ran has run no clean-up either: the connection must not depend on it."""

    async def scenario() -> None:
        async with accepting(certificates, replace(LIMITS, handshakes_max=1)) as owner:
            near, far = socket.socketpair()
            other_near, other_far = socket.socketpair()
            owner.acceptor._begin(near, "192.0.2.1", 1)
            owner.acceptor._begin(other_near, "192.0.2.2", 1)
            assert owner.acceptor.handshakes == 1
            await until(lambda: near.fileno() == -1)
            assert owner.acceptor.refused_total == 1
            far.close()
            other_far.close()
            await until(lambda: owner.acceptor.refused_total == 2)

    run(scenario())


def test_a_handshake_that_is_ended_as_it_succeeds_leaves_no_connection(run: Run, certificates: Certificates) -> None:
    """Its transport closes the socket: a number that is given out twice would be two connections' at a time."""

    async def scenario() -> None:
        async with accepting(certificates) as owner:
            opened = owner.channel_opened

            def end_it(channel: Channel) -> None:
                opened(channel)
                for task in owner.acceptor._handshakes:
                    task.cancel()

            owner.channel_opened = end_it  # type: ignore[method-assign]  # for this one test
            remote = await dial(owner.acceptor.port, certificates.user())
            assert await remote.is_ended()
            await until(lambda: owner.closed)
            assert owner.closed == owner.opened
            assert (owner.acceptor.connections, owner.acceptor.handshakes) == (0, 0)
            assert owner.closed[0].reason == "its handshake was ended for another's"
            assert owner.acceptor.accepted_total + owner.acceptor.refused_total == 1
            await remote.close()

    run(scenario())
