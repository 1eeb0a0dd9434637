from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.cli import progress
from raftd.cli.progress import Progress, bar


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (0, 10, f"[{'.' * 30}]   0 %  0 of 10"),
        (5, 10, f"[{'#' * 15}{'.' * 15}]  50 %  5 of 10"),
        (10, 10, f"[{'#' * 30}] 100 %  10 of 10"),
        (12, 10, f"[{'#' * 30}] 100 %  12 of 10"),
        (0, 0, f"[{'#' * 30}] 100 %  0 of 0"),
        (7, None, "7"),
    ],
)
def test_how_far_it_is(done: int, total: int | None, shown: str) -> None:
    """As a bar where it is known how much there is."""
    assert bar(done, total) == shown


def test_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a file or a pipe it would be rubbish."""
    with Progress("export", 10) as shown:
        shown.advance(10)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is drawn over itself, not more often than an eye sees, and in the end a line of its own."""
    monkeypatch.setattr(progress, "is_terminal", lambda _: True)
    with Progress("export", 1000) as shown:
        for _ in range(1000):
            shown.advance(1)
    drawn = capsys.readouterr().err
    assert drawn.count("\r") < 100
    assert drawn.endswith("100 %  1000 of 1000\x1b[K\n")


def test_an_export_shows_it(on_terminal: Callable[..., bytes], tmp_path: Path) -> None:
    """On standard error, if that is a terminal."""
    assert b"100 %" in on_terminal("stderr", "export", "--file", str(tmp_path / "all.jsonl"))
