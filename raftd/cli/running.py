"""Commands that raftctl runs: on each change of a watch, and under a lock or a leadership.

**Signals.** Whoever ends raftctl means the command, too. Ctrl-C on a terminal reaches both anyway, as the kernel sends
it to the whole foreground group; then nothing is forwarded. Otherwise the command has a process group of its own, and
each signal that would end raftctl is sent there. What raftctl was started to ignore (SIGHUP by nohup, SIGINT in the
background of a script) would not, and goes on being ignored, by the command too, which inherits that.

**Exit codes** are those of shells: 126 and 127 for a command that cannot be run, 128 + N for one that signal N ended.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, NoReturn, Self

import click

from raftd.client import ClientError

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""What the kernel sends to the whole foreground group of a terminal."""
FORWARDED: Final = (*_FROM_TERMINAL, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
INTERRUPT: Final = signal.SIGINT
_LOOK_SECONDS: Final = 0.2
"""How soon a thread that waits for a loss notices that the command has ended."""
_WAIT_MS: Final = 1000
"""How long the end of a command may be unnoticed where no signal tells of it."""


class CannotRunError(click.ClickException):
    """A command cannot be run."""

    def __init__(self, command: bytes, reason: str, exit_code: int) -> None:
        super().__init__(f"cannot run {os.fsdecode(command)}: {reason}")
        self.exit_code = exit_code  # type: ignore[misc]  # click documents it as a class's, and reads an instance's


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run."""

    words: Sequence[bytes]
    variables: Mapping[str, bytes | None] = field(default_factory=dict)
    """Added to the environment; None: taken out of it."""
    stdin: bytes | None = None
    """None: raftctl's own."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command."""

    exit_code: int
    signal: int | None
    """That raftctl itself was to be ended by meanwhile."""
    is_stopped: bool
    """Whether it was stopped, since what it needs was lost."""


def check_runnable(words: Sequence[bytes]) -> None:
    """Find out early that a command cannot be run. Raises: CannotRunError."""
    if shutil.which(words[0]) is None:
        is_path = b"/" in words[0] and os.path.exists(words[0])  # noqa: PTH110 - bytes are no path
        if is_path:
            raise CannotRunError(words[0], "it is not an executable file", NOT_EXECUTABLE)
        raise CannotRunError(words[0], "there is no such command", NOT_FOUND)


def run(command: Command, wait_lost: Callable[[float], bool] | None = None, *, kill_after: float = 0.0) -> Ended:
    """Run a command to its end, in the main thread.

    Args:
        command: what to run.
        wait_lost: waits up to so many seconds and tells whether what the command needs is lost; then it is sent
            SIGTERM, and SIGKILL if that does not help.
        kill_after: seconds between the two.

    Raises:
        CannotRunError: it cannot be run.
    """
    with _forwarding() as forwarding, _Signals() as signals:
        process = _start(command, own_group=not forwarding.in_foreground)
        forwarding.begin(process)
        stopped, ended = threading.Event(), threading.Event()
        threads = []
        if wait_lost is not None:
            stop = lambda: _stop_when_lost(wait_lost, forwarding, ended, stopped, kill_after)  # noqa: E731 - bound here
            threads.append(threading.Thread(target=stop, daemon=True))
        if command.stdin is not None:
            threads.append(threading.Thread(target=_feed, args=(process, command.stdin), daemon=True))
        for thread in threads:
            thread.start()
        try:
            while (code := process.poll()) is None:
                signals.wait()
        finally:
            ended.set()
        if stopped.is_set():
            forwarding.kill_rest()
        return Ended(128 - code if code < 0 else code, forwarding.received, stopped.is_set())


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP leave the block as an exception, so that what is held is given back."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise click.exceptions.Exit(128 + number)

    with _handlers(_ENDING, leave):
        yield


class _Forwarding:
    """Sends on to a command what raftctl is sent."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.in_foreground = _is_in_foreground()
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def begin(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        for number in self._early:
            self.send(number)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if number not in {signal.SIGUSR1, signal.SIGUSR2}:
            self.received = number
        if self.in_foreground and number in _FROM_TERMINAL:
            return
        if self._process is None:
            self._early.append(number)
        else:
            self.send(number)

    def send(self, number: int) -> None:
        """Send a signal to the command, with all that it has started where that can be told apart from others."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.in_foreground:
                process.send_signal(number)
            else:
                os.killpg(process.pid, number)

    def kill_rest(self) -> None:
        """Kill what the command, which has ended, has left behind: nothing of it may go on."""
        if not self.in_foreground and self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _forwarding() -> Iterator[_Forwarding]:
    forwarding = _Forwarding()
    with _handlers(FORWARDED, forwarding.handle):
        yield forwarding


class _Signals:
    """Waits for the next signal that has a handler, or for the end of a child.

    Python runs a handler in the main thread, between two of its steps. A signal that comes after the last step before
    waitpid(2), or that the kernel gives to another thread, interrupts no waitpid: its handler would run when the child
    has ended, and a child that is to be told would never be. A byte in a pipe is there whoever was interrupted, and
    before whatever it was (`signal.set_wakeup_fd`).

    Who has started this process may have blocked SIGCHLD, which is inherited, so a wait also ends by itself.
    """

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # The default is to ignore it, and what is ignored wakes nobody.
        self._child_before = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCHLD, self._child_before)
        signal.set_wakeup_fd(self._before)
        os.close(self._writer)
        os.close(self._reader)

    def wait(self) -> None:
        self._poll.poll(_WAIT_MS)
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)


@contextlib.contextmanager
def _handlers(numbers: Sequence[signal.Signals], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    meant = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in meant}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(command: Command, *, own_group: bool) -> "subprocess.Popen[bytes]":
    environment = dict(os.environb)
    for name, value in command.variables.items():
        if value is None:
            environment.pop(name.encode(), None)
        else:
            environment[name.encode()] = value
    try:
        return subprocess.Popen(  # noqa: S603 - what the user said
            command.words,
            stdin=None if command.stdin is None else subprocess.PIPE,
            env=environment,
            process_group=0 if own_group else None,
        )
    except FileNotFoundError:
        raise CannotRunError(command.words[0], "there is no such command", NOT_FOUND) from None
    except OSError as error:
        raise CannotRunError(command.words[0], error.strerror or str(error), NOT_EXECUTABLE) from None


def _feed(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    # A command need not read what it is given.
    with contextlib.suppress(BrokenPipeError), process.stdin or contextlib.nullcontext() as stream:
        if stream is not None:
            stream.write(data)


def _stop_when_lost(
    wait_lost: Callable[[float], bool],
    forwarding: _Forwarding,
    ended: threading.Event,
    stopped: threading.Event,
    kill_after: float,
) -> None:
    try:
        while not wait_lost(_LOOK_SECONDS):
            if ended.is_set():
                return
    except ClientError:  # nobody can tell any more: then it may be lost
        pass
    if not ended.is_set():
        stopped.set()
        forwarding.send(signal.SIGTERM)
        if not ended.wait(kill_after):
            forwarding.send(signal.SIGKILL)


def _is_in_foreground() -> bool:
    """Whether this process is in the foreground of a terminal, whose keys then send signals to it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
