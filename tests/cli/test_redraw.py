import itertools
import os
import signal

import pytest

from raftd.cli.redraw import EVERY_SECONDS, over, own_screen, repeat
from raftd.errors import ExitCode


def test_it_is_shown_once_a_second_until_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is how it is meant to end: exit code 0."""
    rounds, pauses = itertools.count(1), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)
    assert repeat(lambda: f"{next(rounds)}\n") is ExitCode.OK
    assert capsys.readouterr().out == "1\n2\n3\n"
    assert all(0 < seconds <= EVERY_SECONDS for seconds in pauses)


def test_drawing_over_clears_only_what_is_left() -> None:
    """Each line ends by clearing its rest, and the last one what is below."""
    assert over("a\nb\n") == "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    """However it ends, with its cursor, and the signal's exit code."""
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, own_screen():
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number
    assert capsys.readouterr().out == "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l"
    assert signal.getsignal(number) is before
