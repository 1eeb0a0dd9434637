import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from raftd.cli import running
from raftd.cli.running import CannotRunError, Command, check_runnable, ended_by_signals, run
from raftd.client import ClientError
from tests.cli.conftest import PATIENCE_SECONDS, wait_until


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], tuple[bytes, ...]]:
    """Makes a command of a shell script, which can write into the file `out`."""

    def make(text: str) -> tuple[bytes, ...]:
        return (b"sh", b"-c", f"cd '{tmp_path}'\n{text}".encode())

    return make


Script = Callable[[str], tuple[bytes, ...]]


def set_when_there(event: threading.Event, path: Path) -> None:
    def wait() -> None:
        wait_until(path.exists, f"{path} is there")
        event.set()

    threading.Thread(target=wait).start()


@pytest.mark.parametrize(("text", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
def test_the_exit_code_is_passed_on(script: Script, text: str, code: int) -> None:
    """As shells have it: 128 + N for a command that signal N ended."""
    ended = run(Command(script(text)))
    assert (ended.exit_code, ended.signal, ended.is_stopped) == (code, None, False)


def test_what_a_command_finds(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment with what is added, and without what is taken out; standard input, of any size."""
    monkeypatch.setenv("LEFT", "left")
    monkeypatch.setenv("STALE", "stale")
    data = bytes(range(256)) * 4096
    words = script('printf %s "$LEFT $ADDED ${STALE-gone}" > out; cat > data')
    assert run(Command(words, {"ADDED": b"\xff", "STALE": None}, stdin=data)).exit_code == 0
    assert (tmp_path / "out").read_bytes() == b"left \xff gone"
    assert (tmp_path / "data").read_bytes() == data


def test_standard_input_need_not_be_read(script: Script) -> None:
    """A command that ignores a megabyte ends as it likes."""
    assert run(Command(script("exit 3"), stdin=bytes(1 << 20))).exit_code == 3


def test_commands_that_cannot_be_run(tmp_path: Path) -> None:
    """126 or 127, and one line; found out before anything is done where that can be."""
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for words, code in (((b"no-such-command",), 127), ((os.fsencode(plain),), 126), ((b"./none",), 127)):
        for attempt in (lambda words=words: check_runnable(words), lambda words=words: run(Command(words))):
            with pytest.raises(CannotRunError) as raised:
                attempt()
            assert raised.value.exit_code == code
            assert raised.value.format_message().startswith("cannot run ")
    check_runnable((b"true",))


def test_a_format_that_no_kernel_runs(tmp_path: Path) -> None:
    """What looks like a command and is none is told when it is tried."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    with pytest.raises(CannotRunError, match="format"):
        run(Command((os.fsencode(broken),)))


@pytest.fixture
def nohup() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("nohup")
def test_what_is_ignored_goes_on_being_ignored(script: Script) -> None:
    """Under nohup a hangup ends neither a command nor what waits for one."""
    with ended_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        ended = run(Command(script("kill -HUP $PPID; kill -HUP $$; exit 3")))
    assert (ended.exit_code, ended.signal) == (3, None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_command_is_stopped_when_what_it_needs_is_lost(script: Script, tmp_path: Path) -> None:
    """SIGTERM, to all that it has started; a command that ends by itself is not waited for."""
    lost = threading.Event()
    words = script("trap 'echo asked > out; exit 9' TERM; sleep 100 & touch ready; wait")
    set_when_there(lost, tmp_path / "ready")
    ended = run(Command(words), lost.wait, kill_after=PATIENCE_SECONDS)
    assert (ended.exit_code, ended.is_stopped) == (9, True)
    assert (tmp_path / "out").read_text() == "asked\n"
    assert not run(Command(script("exit 0")), threading.Event().wait, kill_after=0.0).is_stopped


def test_what_a_stopped_command_leaves_behind_is_killed(script: Script, tmp_path: Path) -> None:
    """A child that ignores SIGTERM does not go on without the lock either."""
    lost = threading.Event()
    words = script("(trap '' TERM; touch ready; exec sleep 100) & echo $! > child; wait")
    set_when_there(lost, tmp_path / "ready")
    assert run(Command(words), lost.wait, kill_after=PATIENCE_SECONDS).is_stopped
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: is_gone(child), "the child is gone")


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has looked after it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_one_who_cannot_tell_counts_as_a_loss(script: Script) -> None:
    """What is needed may be lost then, so the command is stopped, and nothing is said of a thread."""

    def wait_lost(_seconds: float) -> bool:
        raise ClientError("the client is closed")

    assert run(Command(script("exec sleep 100")), wait_lost, kill_after=PATIENCE_SECONDS).is_stopped


def test_a_command_that_does_not_end_is_killed(script: Script, tmp_path: Path) -> None:
    """After SIGTERM and the time that it has."""
    lost = threading.Event()
    words = script("trap '' TERM; touch ready; while :; do sleep 0.05; done")
    set_when_there(lost, tmp_path / "ready")
    ended = run(Command(words), lost.wait, kill_after=0.05)
    assert (ended.exit_code, ended.is_stopped) == (137, True)


PROGRAM = """
import signal, sys
from raftd.cli.running import Command, run
for number in (signal.SIGINT, signal.SIGHUP):  # whatever the tests were started by ignores
    signal.signal(number, signal.SIG_DFL)
ended = run(Command(("sh", "-c", sys.argv[1])))
print(ended.exit_code, ended.signal)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_forwarded(number: signal.Signals) -> None:
    """Without a terminal the command gets what raftctl gets, and decides itself how to end."""
    name = number.name.removeprefix("SIG")
    text = f"trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.02; done"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, text], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    shown = None if number is signal.SIGUSR1 else number.value
    assert output == f"got\n5 {shown}\n"


def test_a_signal_that_another_thread_is_given_is_forwarded(script: Script, tmp_path: Path) -> None:
    """The main thread, which waits for the command, is not interrupted by it; that is the same as one just before."""
    words = script("trap 'echo got > out; exit 5' USR1; touch ready; while :; do sleep 0.02; done")

    def give() -> None:
        wait_until((tmp_path / "ready").exists, "it runs")
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        waiting.wait()

    waiting = threading.Event()
    thread = threading.Thread(target=give)
    thread.start()
    try:
        assert run(Command(words)).exit_code == 5
    finally:
        waiting.set()
        thread.join()
    assert (tmp_path / "out").read_text() == "got\n"


def test_ctrl_c_on_a_terminal_comes_once() -> None:
    """The kernel sends it to both; forwarded, it would come twice. What was there before is there again."""
    program = """
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    text = "trap 'echo got' INT; echo ready; i=0; while [ $i -lt 30 ]; do sleep 0.02; i=$((i+1)); done; exit 4"
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], text])
shown = b""
sent = False
while True:
    try:
        piece = os.read(terminal, 1000)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    if b"ready" in shown and not sent:
        sent = True
        os.write(terminal, b"\\x03")
os.waitpid(pid, 0)
print(shown.count(b"got"), shown.split()[-2:])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, PROGRAM], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "1 [b'4', b'2']\n"


def test_the_end_is_noticed_where_no_signal_tells_of_it() -> None:
    """As where whoever has started raftctl has blocked SIGCHLD."""
    code = (
        "import signal\nfrom raftd.cli.running import Command, run\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])\n"
        "print(run(Command((b'true',))).exit_code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert ended.stdout == "0\n"


def test_handlers_are_put_back(script: Script) -> None:
    """Ctrl-C after a command is what it was before."""
    numbers = (*running.FORWARDED, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    run(Command(script("true")))
    with ended_by_signals():
        pass
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_leaves_a_block_as_an_exception() -> None:
    """So that what is held there is given back; the exit code is the signal's."""
    with pytest.raises(click.exceptions.Exit) as raised, ended_by_signals():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_code == 143


def test_one_that_waits_for_standard_input_is_fed_and_ends(script: Script, tmp_path: Path) -> None:
    """It sees the end of what it is given."""
    assert run(Command(script("wc -c > out"), stdin=b"abc")).exit_code == 0
    assert (tmp_path / "out").read_text().strip() == "3"
