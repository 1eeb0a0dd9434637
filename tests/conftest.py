"""What holds for every test."""

import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.hosts import flights

_LINGER_SECONDS: Final = 60
"""For what a test has begun to end, after its own limit."""
_FIXTURE_SECONDS: Final = 900
"""For fixtures where the limit is the function's alone: hosts are built and booted there."""
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C mean something to the processes that tests start, however the tests themselves were started.

    A shell without job control starts what it puts into the background with SIGINT ignored, and that is inherited by
    every process below (POSIX, Shell Command Language, 2.11): tests of Ctrl-C would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert sys.__stderr__ is not None
    config.stash[_stderr] = os.dup(sys.__stderr__.fileno())


def pytest_collection_finish() -> None:
    """Let no collection of garbage look through thousands of tests again: half a second for each that is asked for."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process, with what each thread is at, if a test does not end when its time is over.

    pytest-timeout raises in the test once. Whatever catches that, waits for a thread or a task in its `finally`, or
    repeats the test's body with other data, would go on for ever, and nobody would know what hung.
    """
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker is not None else float(item.config.getini("timeout"))
    seconds += _FIXTURE_SECONDS if marker is not None and marker.kwargs.get("func_only") else _LINGER_SECONDS
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Say which tests of hosts go together. Here, for the same reason as what follows."""
    from tests.hosts.scheduling import HostScheduling  # noqa: PLC0415 - where pytest-xdist is not, nobody asks for it

    return HostScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Show what canaries have told. Here, since a controller of pytest-xdist loads no conftest further below."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.getreports(outcome)]
    if lines := flights.lines(each for each in reports if isinstance(each, pytest.TestReport)):
        terminalreporter.section("what canaries have told")
        for line in lines:
            terminalreporter.line(line)
