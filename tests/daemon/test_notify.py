import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftd.daemon.notify import Notifier


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    """A supervisor's socket, as systemd makes it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def notifier(supervisor: socket.socket) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": supervisor.getsockname()})
    yield made
    made.close()


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (lambda n: n.ready("leader of term 5"), "READY=1\nSTATUS=leader of term 5"),
        (
            lambda n: n.stopping("handing over", 2.5),
            "STOPPING=1\nSTATUS=handing over\nEXTEND_TIMEOUT_USEC=2500000",
        ),
        (lambda n: n.status("follower"), "STATUS=follower"),
        (lambda n: n.feed_watchdog(), "WATCHDOG=1"),
        (lambda n: n.status("häppy\nREADY=1"), "STATUS=häppy READY=1"),
    ],
)
def test_words(supervisor: socket.socket, notifier: Notifier, say: Callable[[Notifier], None], expected: str) -> None:
    """Each call is one datagram in sd_notify(3)'s words, and no text can smuggle in a further assignment."""
    say(notifier)
    assert supervisor.recv(4096).decode() == expected


def test_a_reload_carries_the_time(supervisor: socket.socket, notifier: Notifier) -> None:
    """RELOADING comes with the monotonic clock in microseconds, or systemd refuses it."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    first, second = supervisor.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_abstract_sockets() -> None:
    """A name that begins with @ is an abstract socket's."""
    name = f"raftd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})
        notifier.feed_watchdog()
        assert listening.recv(100) == b"WATCHDOG=1"
        notifier.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_supervisor_nothing_happens(environment: dict[str, str]) -> None:
    """On a terminal, or with a socket of a kind that is not known here, all calls do nothing."""
    notifier = Notifier(environment)
    notifier.ready("x")
    notifier.close()
    notifier.close()
    notifier.status("x")


def test_a_supervisor_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    """A socket that nobody listens on raises nothing."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready("x")
    notifier.close()


def test_a_supervisor_that_does_not_read_does_not_block(supervisor: socket.socket, notifier: Notifier) -> None:
    """A full socket loses datagrams and costs no time, whatever the queue's length."""
    started = time.monotonic()
    for _ in range(5000):
        notifier.feed_watchdog()
    assert time.monotonic() - started < 5
    assert supervisor.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], seconds: float | None) -> None:
    """The watchdog is fed at half its time, and only by the process that it watches."""
    assert Notifier(environment).watchdog_interval_seconds == seconds
