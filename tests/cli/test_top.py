import os
import pty
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from raftd.cli import top
from raftd.cli.sparkline import ASCII_BARS
from raftd.cli.status import Overview
from raftd.client import Unavailable
from raftd.errors import ExitCode
from tests.cli.test_status import document, overview

Raftctl = Callable[..., bytes]
Spawn = Callable[..., "subprocess.Popen[bytes]"]


def busy(node: int, **changes: Any) -> dict[str, Any]:
    pulse = {
        "changes_per_second": [*[0] * 3, *[50] * 3, *[100.4] * 3],
        "write_seconds": [*[None] * 5, 0.004, *[None] * 4],
        "sync_seconds": [*[0.001] * 5, *[0.002] * 5, *[0.00123] * 5],
    }
    return document(node, **{"cluster": "demo", "connections": 8, "pending_proposals": 2, "pulse": pulse, **changes})


@pytest.fixture
def three() -> Overview:
    return overview(busy(1), Unavailable("n2:7400: connection refused"), busy(3))


def test_each_node_has_its_line(three: Overview) -> None:
    """Load and latencies as numbers and as bars; a node that is silent keeps its place."""
    first, empty, header, *rows = top.screen(three, ASCII_BARS).splitlines()
    assert first == "demo: node 3 leads term 5; 2 of 3 nodes answer"
    assert empty == ""
    assert header.split() == " ".join(top.COLUMNS).replace("_", " ").upper().split()
    assert rows[2].split() == ["3", "leader", "5", "100", "0", "100", "_=#", "4", "ms", "#", "1.23", "ms", "+#+", "8",
                               "2", "7", "ok"]  # fmt: skip
    assert rows[1].split()[0] == "2"
    assert rows[1].rstrip().endswith("connection refused")


def test_a_node_of_an_older_version_tells_less() -> None:
    """One that knows of no pulse is shown without."""
    shown = top.screen(overview(busy(1), busy(2, pulse={}), busy(3)), ASCII_BARS)
    assert " - " in shown.splitlines()[4]


def test_nobody_leads_and_nobody_answers() -> None:
    """The first line says so."""
    seen = overview(busy(1, leader_id=None), busy(2, leader_id=None), busy(3, role="follower", leader_id=None))
    assert top.screen(seen, ASCII_BARS).startswith("demo: no leader; 3 of 3 nodes answer\n")
    silent = overview(*[Unavailable("a")] * 3)
    assert top.screen(silent, ASCII_BARS).startswith("0 of 3 nodes answer\n")


@pytest.mark.parametrize("width", [200, 100, 60, 20])
def test_no_line_is_wider_than_the_terminal(three: Overview, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns go before lines wrap, and what is left is cut; node, role and health go last."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "40")
    lines = top._fitted(three, ASCII_BARS).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 6
    assert lines[2].startswith("NODE  ROLE")
    assert ("SYNCS" in lines[2]) == (width == 200)


def test_a_low_terminal_shows_the_first_lines(three: Overview, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to scroll."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "4")
    assert len(top._fitted(three, ASCII_BARS).splitlines()) == 3


def test_a_pipe_gets_one_snapshot(raftctl: Raftctl) -> None:
    """Plain, and it ends."""
    shown = raftctl("top").decode()
    assert shown.startswith("test: node 1 leads term ")
    assert "\x1b" not in shown
    raftctl("--endpoints", "127.0.0.1:1", "top", code=ExitCode.UNAVAILABLE)


def test_ctrl_c_leaves_a_clean_terminal(spawn: Spawn) -> None:
    """On a terminal it draws in place, on a screen of its own that it leaves again."""
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor has no path
        process = spawn("top", stdout=slave)
        os.close(slave)
        shown = b""
        while shown.count(b"\x1b[H") < 2:
            shown += terminal.read(1 << 16)
        process.send_signal(signal.SIGINT)
        try:
            while piece := terminal.read(1 << 16):
                shown += piece
        except OSError:  # Linux says so when nobody has the other side open any more
            pass
    assert process.wait(20) == 0
    assert shown.startswith(b"\x1b[?1049h\x1b[?25l\x1b[H")
    assert shown.endswith(b"\x1b[J\x1b[?25h\x1b[?1049l")
    assert b"Traceback" not in shown
    assert process.stderr is not None
    assert process.stderr.read() == b""
