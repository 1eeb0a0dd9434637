import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from raftd.consensus.types import NodeId
from raftd.net.acceptor import AcceptorLimits
from raftd.net.channel import Channel
from raftd.net.peer_link import LinkLimits, PeerAddress, PeerLink
from raftd.net.peer_listener import PeerListener
from raftd.net.tls import client_context, server_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import PEER_VERSION_MAX, PEER_VERSION_MIN, Listener, Welcome, encode_reply
from tests.net.loopback import CLUSTER_ID, PEER_LISTENER, Certificates, Remote, Run, until

LIMITS = LinkLimits(pause_seconds_min=0.001, pause_seconds_max=0.008)
LISTENER = replace(PEER_LISTENER, node_id=NodeId(2))
WELCOME = encode_frame(encode_reply(Welcome(1, CLUSTER_ID, NodeId(2), 1 << 20, 0)))


@dataclass
class Spread:
    """A jitter that gives what it is told, and writes down what it was asked."""

    share: float = 1.0
    asked: list[tuple[float, float]] = field(default_factory=list)

    def uniform(self, low: float, high: float, /) -> float:
        self.asked.append((low, high))
        return self.share


@dataclass
class Log:
    """What a link told, in order, and what a peer received."""

    told: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    jitter: Spread = field(default_factory=Spread)

    versions: set[int] = field(default_factory=set)

    def peer_payloads(self, _: NodeId, payloads: list[bytes], version: int) -> None:
        self.received += payloads
        self.versions.add(version)


@contextlib.asynccontextmanager
async def linked(
    certificates: Certificates, port: int, limits: LinkLimits = LIMITS
) -> AsyncIterator[tuple[PeerLink, Log]]:
    """A started link of node 1 to node 2, whose calls of `on_up` and `on_down` must be paired in the end."""
    log = Log()
    link = PeerLink(
        cluster="demo",
        cluster_id=CLUSTER_ID,
        node_id=NodeId(1),
        peer=PeerAddress(NodeId(2), "127.0.0.1", port),
        context=client_context(certificates.node(1)),
        jitter=log.jitter,
        on_up=lambda peer: log.told.append(f"up {peer}"),
        on_down=lambda peer: log.told.append(f"down {peer}"),
        limits=limits,
    )
    link.start()
    try:
        yield link, log
    finally:
        await link.stop()
        assert not link.is_up
        assert log.told == ["up 2", "down 2"] * (len(log.told) // 2)


@contextlib.asynccontextmanager
async def peer_of(
    certificates: Certificates, log: Log, port: int = 0, listening: Listener = LISTENER
) -> AsyncIterator[PeerListener]:
    listener = PeerListener(
        files=certificates.node(2),
        cluster="demo",
        listener=listening,
        handler=log,
        is_peer=lambda _: True,
        limits=AcceptorLimits(),
    )
    listener.start("127.0.0.1", port)
    try:
        yield listener
    finally:
        await listener.stop()


@contextlib.asynccontextmanager
async def scripted(certificates: Certificates, script: Callable[[Remote], Any], node_id: int = 2) -> AsyncIterator[int]:
    """A peer that does what the test says with each connection."""
    remotes: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        remotes.add(task)
        remote = Remote(reader, writer)
        with contextlib.suppress(OSError, EOFError):
            await script(remote)
        await remote.close()

    context = server_context(certificates.node(node_id))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    if remotes:
        await asyncio.wait(remotes)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def told_by_log(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "raftd.net.peer_link"]


def test_frames_arrive_in_order(run: Run, certificates: Certificates) -> None:
    """A link that stands says so, counts what it sends, and hangs up when it is stopped."""

    async def scenario() -> None:
        log = Log()
        async with peer_of(certificates, log) as listener, linked(certificates, listener.port) as (link, told):
            await until(lambda: link.is_up)
            frames = [encode_frame(b"%d" % number) for number in range(100)]
            assert all(link.send(frame) for frame in frames)
            await until(lambda: len(log.received) == 100)
            assert log.received == [b"%d" % number for number in range(100)]
            assert link.sent_bytes_total == sum(map(len, frames))
            await link.stop()
            assert told.told == ["up 2", "down 2"]
            await until(lambda: not listener._channels)

    run(scenario())


@pytest.mark.parametrize("version", [PEER_VERSION_MIN, PEER_VERSION_MAX])
def test_both_sides_know_the_version_that_was_agreed(run: Run, certificates: Certificates, version: int) -> None:
    """A node of the release before is spoken to in its own words."""

    async def scenario() -> None:
        log = Log()
        listening = replace(LISTENER, version_max=version)
        async with (
            peer_of(certificates, log, listening=listening) as listener,
            linked(certificates, listener.port) as (link, _),
        ):
            await until(lambda: link.is_up)
            assert link.version == version
            link.send(encode_frame(b"something"))
            await until(lambda: log.received)
            assert log.versions == {version}

    run(scenario())


def test_what_cannot_be_sent_is_dropped_and_counted(run: Run, certificates: Certificates) -> None:
    """Without a connection nothing waits: who sends is told."""

    async def scenario() -> None:
        async with linked(certificates, closed_port()) as (link, _):
            assert not link.send(b"frame")
            assert (link.dropped_total, link.sent_bytes_total, link.queued_bytes) == (1, 0, 0)
            await until(lambda: link.connect_failures_total > 1)
            assert link.disconnects_total == 0

    run(scenario())


def test_a_peer_that_does_not_read_fills_the_queue_and_no_more(run: Run, certificates: Certificates) -> None:
    """Beyond the queue's bound, frames are dropped; nothing waits for ever, and stopping does not hang."""

    async def welcome_and_sleep(remote: Remote) -> None:
        await remote.payload()
        remote.writer.write(WELCOME)
        remote.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio.StreamWriter says less
        await done.wait()

    done = asyncio.Event()

    async def scenario() -> None:
        limits = replace(LIMITS, queued_bytes_max=1 << 18)
        async with (
            scripted(certificates, welcome_and_sleep) as port,
            linked(certificates, port, limits) as (link, _),
        ):
            await until(lambda: link.is_up)
            await until(lambda: not link.send(b"z" * 50_000))
            assert link.is_up
            assert (1 << 18) < link.queued_bytes <= (1 << 18) + 60_000
            assert link.dropped_total == 1
            done.set()

    run(scenario())


def test_a_link_comes_back_when_its_peer_does(run: Run, certificates: Certificates) -> None:
    """And `send` is honest from the moment on at which the connection is gone."""

    async def scenario() -> None:
        log = Log()
        async with peer_of(certificates, log) as listener:
            port = listener.port
            async with linked(certificates, port) as (link, told):
                await until(lambda: link.is_up)
                await listener.stop()
                await until(lambda: told.told == ["up 2", "down 2"])
                assert not link.send(b"frame")
                async with peer_of(certificates, log, port):
                    await until(lambda: link.is_up)
                    assert told.told == ["up 2", "down 2", "up 2"]
                    assert (link.disconnects_total, link.sent_bytes_total) == (1, 0)

    run(scenario())


def test_nothing_is_sent_on_a_channel_that_has_just_ended(run: Run, certificates: Certificates) -> None:
    """Between the end of the connection and word of it, a frame counts as dropped and not as sent."""

    async def scenario() -> None:
        log = Log()
        async with peer_of(certificates, log) as listener, linked(certificates, listener.port) as (link, _):
            await until(lambda: link.is_up)
            assert link._channel is not None
            link._channel.abort("cut")
            assert not link.is_up
            assert not link.send(b"frame")

    run(scenario())


def noting(pauses: list[float]) -> Callable[[Coroutine[Any, Any, object], float], Coroutine[Any, Any, None]]:
    """A stand-in for the wait for a hint that lasts no time, and notes how long it was to last."""

    async def note(hint: Coroutine[Any, Any, object], seconds: float) -> None:
        hint.close()
        pauses.append(seconds)
        await asyncio.sleep(0)
        raise TimeoutError

    return note


def test_pauses_grow_up_to_a_bound_and_are_spread(
    run: Run, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure doubles the pause; the spread is asked for anew each time, so that nodes do not dial in step."""
    pauses: list[float] = []

    async def scenario() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("raftd.net.peer_link.asyncio.wait_for", noting(pauses))
            async with linked(certificates, closed_port()) as (_, log):
                log.jitter.share = 0.75
                await until(lambda: len(log.jitter.asked) >= 6)
                assert set(log.jitter.asked) == {(0.5, 1.0)}
        doubled = [0.001, 0.002, 0.004, 0.008, 0.008]
        # The first may have been asked for before the share was set.
        assert pauses[1:5] == [pause * 0.75 for pause in doubled[1:5]]

    run(scenario())


def test_a_link_that_stood_for_long_pauses_briefly_again(
    run: Run, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed before it came up says nothing of why it was lost."""
    pauses: list[float] = []

    async def scenario() -> None:
        port, time = closed_port(), asyncio.get_running_loop().time
        with monkeypatch.context() as patched:
            patched.setattr("raftd.net.peer_link.asyncio.wait_for", noting(pauses))
            async with linked(certificates, port) as (link, _):
                await until(lambda: len(pauses) >= 6)
                async with peer_of(certificates, Log(), port):
                    await until(lambda: link.is_up)
                    failures, up_at = len(pauses), time()
                    await until(lambda: time() - up_at >= LIMITS.pause_seconds_max)
                await until(lambda: len(pauses) > failures)
        assert pauses[failures - 1] == LIMITS.pause_seconds_max
        assert pauses[failures] == LIMITS.pause_seconds_min

    run(scenario())


def test_a_link_that_never_stands_for_long_is_not_dialled_in_a_frenzy(run: Run, certificates: Certificates) -> None:
    """A peer that welcomes and hangs up is a failure too: the pauses grow as for one that is not there."""

    async def welcome_and_leave(remote: Remote) -> None:
        await remote.payload()
        remote.writer.write(WELCOME)

    async def scenario() -> None:
        limits = replace(LIMITS, pause_seconds_min=0.02, pause_seconds_max=30.0)
        async with scripted(certificates, welcome_and_leave) as port, linked(certificates, port, limits) as (_, log):
            began = asyncio.get_running_loop().time()
            await until(lambda: len(log.told) >= 8)
            # 0.02 + 0.04 + 0.08 between the four times that it stood.
            assert asyncio.get_running_loop().time() - began >= 0.14

    run(scenario())


def test_another_node_behind_the_address_is_refused_and_told_once(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate of the right authority is not enough; and a mistake that lasts is no flood of lines."""

    async def scenario() -> None:
        greeted: list[bytes] = []

        async def listen(remote: Remote) -> None:
            greeted.append(await remote.payload())

        async with scripted(certificates, listen, node_id=3) as port, linked(certificates, port) as (_, log):
            await until(lambda: len(log.jitter.asked) >= 5)
            assert greeted == []

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (message,) = told_by_log(caplog)
    assert message.startswith("cannot reach node 2 at 127.0.0.1:")
    assert message.endswith(": its certificate is of raftd://demo/node/3")


def test_a_connection_that_was_given_up_as_it_came_up_means_nothing(
    run: Run, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its TLS is up in the very pass in which its time is over: whoever dialled is not given it, and nobody else is."""
    seconds = 0.3

    async def scenario() -> None:
        log = Log()
        async with peer_of(certificates, log) as listener:
            opened, greeted, first = listener.channel_opened, list[object](), list[Channel]()

            def stop_once(*greeting: object) -> None:
                # Both nodes are in this process, which stands still before the peer's part of the handshake is sent.
                if not greeted:
                    threading.Event().wait(seconds)
                greeted.append(greeting)

            def hear_nothing_of_the_first(channel: Channel) -> None:
                opened(channel)
                if len(greeted) == 1:
                    channel.transport.pause_reading()
                    first.append(channel)

            listener._acceptor._context.sni_callback = stop_once
            monkeypatch.setattr(listener, "channel_opened", hear_nothing_of_the_first)
            async with linked(certificates, listener.port, replace(LIMITS, connect_seconds=seconds)) as (link, own):
                await until(lambda: link.is_up)
                # With asyncio's own loop it still stands here, and ends only now.
                for channel in first:
                    channel.abort("its host is back")
                for number in range(20):
                    assert link.send(encode_frame(b"%d" % number))
                    await until(lambda: len(log.received) == number + 1)  # noqa: B023 - it is done within the round
                assert own.told == ["up 2"]
                assert link.connect_failures_total == 1

    run(scenario())


def test_a_peer_that_refuses_says_why(run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    """Its own words are told, once, and there is no link."""

    async def scenario() -> None:
        other = replace(LISTENER, cluster_id=bytes(16))
        async with (
            peer_of(certificates, Log(), listening=other) as listener,
            linked(certificates, listener.port) as (link, log),
        ):
            await until(lambda: len(log.jitter.asked) >= 5)
            assert not link.is_up

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (message,) = told_by_log(caplog)
    assert ": it has refused the connection: " in message


def test_a_peer_of_another_authority_is_refused_and_told_once(
    run: Run, certificates: Certificates, other_certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """In words, not with the library's line number."""

    async def never(_: Remote) -> None:
        raise AssertionError("a connection came up")

    async def scenario() -> None:
        async with scripted(other_certificates, never) as port, linked(certificates, port) as (_, log):
            await until(lambda: len(log.jitter.asked) >= 3)

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (message,) = told_by_log(caplog)
    assert "its certificate is not accepted: " in message
    assert "_ssl.c" not in message


@pytest.mark.parametrize("accepts_tls", [False, True])
def test_a_peer_that_stays_silent_has_a_deadline(
    run: Run, certificates: Certificates, caplog: pytest.LogCaptureFixture, accepts_tls: bool
) -> None:
    """Whether it says nothing in TCP or nothing in TLS: the link tries again, and says so once."""

    async def scenario() -> None:
        released = asyncio.Event()

        async def stay(_: Remote) -> None:
            await released.wait()

        async def stay_without_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            writer.close()

        limits = replace(LIMITS, connect_seconds=0.1)
        server = await asyncio.start_server(stay_without_tls, "127.0.0.1", 0)
        async with scripted(certificates, stay) as tls_port:
            port = tls_port if accepts_tls else server.sockets[0].getsockname()[1]
            async with linked(certificates, port, limits) as (link, log):
                await until(lambda: len(log.jitter.asked) >= 2)
                assert not link.is_up
            released.set()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    (message,) = told_by_log(caplog)
    assert message.endswith(": no answer in time")


@pytest.mark.parametrize("together", [False, True])
def test_a_peer_that_talks_on_a_connection_that_only_sends_ends_it(
    run: Run, certificates: Certificates, together: bool
) -> None:
    """Be it behind the Welcome in one piece or later: a link has one direction."""

    async def talk(remote: Remote) -> None:
        await remote.payload()
        remote.writer.write(WELCOME + encode_frame(b"talk") if together else WELCOME)
        if not together:
            await asyncio.sleep(0.02)
            remote.writer.write(encode_frame(b"talk"))
        await remote.is_ended()

    async def scenario() -> None:
        async with scripted(certificates, talk) as port, linked(certificates, port) as (_, log):
            await until(lambda: len(log.jitter.asked) >= 2)
            assert log.told[:2] == ([] if together else ["up 2", "down 2"])

    run(scenario())


def test_a_peer_that_is_heard_of_is_dialled_at_once(run: Run, certificates: Certificates) -> None:
    """Whatever is left of the pause is not waited for."""

    async def scenario() -> None:
        port = closed_port()
        patient = replace(LIMITS, pause_seconds_min=60.0, pause_seconds_max=60.0)
        async with linked(certificates, port, patient) as (link, log):
            await until(lambda: log.jitter.asked)
            async with peer_of(certificates, Log(), port):
                assert not link.is_up
                link.hint()
                await until(lambda: link.is_up)

    run(scenario())


def test_word_of_a_peer_ends_one_pause(run: Run, certificates: Certificates) -> None:
    """If it cannot be reached all the same, the next pause is waited for: a node that is not let in is no frenzy."""

    async def scenario() -> None:
        patient = replace(LIMITS, pause_seconds_min=60.0, pause_seconds_max=60.0)
        async with linked(certificates, closed_port(), patient) as (link, log):
            await until(lambda: log.jitter.asked)
            link.hint()
            await until(lambda: len(log.jitter.asked) >= 2)
            assert not link._hint.is_set()

    run(scenario())


def test_stopping_while_dialling_leaves_nothing(run: Run, certificates: Certificates) -> None:
    """At whatever point: the loop's own check finds neither task nor socket."""

    async def scenario() -> None:
        async with peer_of(certificates, Log()) as listener:
            for passes in range(30):
                async with linked(certificates, listener.port):
                    for _ in range(passes):
                        await asyncio.sleep(0)
            await until(lambda: not listener._channels)

    run(scenario())


def test_the_kernel_watches_for_a_peer_that_vanishes(run: Run, certificates: Certificates) -> None:
    """A cut cable sends no end: a link gives up sooner than the kernel's quarter of an hour, both ends do."""

    async def scenario() -> None:
        async with peer_of(certificates, Log()) as listener, linked(certificates, listener.port) as (link, _):
            await until(lambda: link.is_up)
            assert link._channel is not None
            (accepted,) = listener._channels
            for channel, milliseconds in ((link._channel, 10_000), (accepted, 30_000)):
                connection = channel.transport.get_extra_info("socket")
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds

    run(scenario())


def test_a_link_dials_anew_at_once_when_told_to(run: Run, certificates: Certificates) -> None:
    """Without the pause that follows a loss, once; what was written before arrives, and nothing is dialled twice."""

    async def scenario() -> None:
        log = Log()
        slow = replace(LIMITS, pause_seconds_min=30.0, pause_seconds_max=30.0)
        async with peer_of(certificates, log) as listener, linked(certificates, listener.port, slow) as (link, own):
            await until(lambda: link.is_up)
            assert link.remote_certificate
            link.send(encode_frame(b"before"))
            link.redial("its authority is trusted no more")
            assert link.remote_certificate == b""
            await until(lambda: own.told == ["up 2", "down 2", "up 2"])
            link.send(encode_frame(b"after"))
            await until(lambda: log.received == [b"before", b"after"])
            assert own.jitter.asked == []

    run(scenario())


def test_a_link_goes_by_the_newest_authorities(
    run: Run, certificates: Certificates, other_certificates: Certificates
) -> None:
    """The connection that stands is left alone; the next one is made with what was given last."""

    async def scenario() -> None:
        log = Log()
        async with peer_of(certificates, log) as listener, linked(certificates, listener.port) as (link, own):
            await until(lambda: link.is_up)
            link.use(context=client_context(other_certificates.node(1)))
            listener.use(context=server_context(other_certificates.node(2)))
            assert link.is_up
            (shown,) = listener.certificates().values()
            link.redial("")
            await until(lambda: own.told == ["up 2", "down 2", "up 2"])
            await until(lambda: list(listener.certificates().values()) not in ([], [shown]))

    run(scenario())
