"""The tables that live tests print."""

from pathlib import Path

import pytest

from tests.monitoring.tables import tell


def test_a_table_is_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output under its name, and as a file of that name where a directory is given."""
    expected = "| alert | fired |\n| --- | --- |\n| A \\| B | 1.0 s |\n"
    tell("some-alerts", ("alert", "fired"), [("A | B", "1.0 s")], str(tmp_path / "build"))
    assert capsys.readouterr().out == f"some-alerts:\n\n{expected}\n"
    assert (tmp_path / "build" / "some-alerts.md").read_text() == expected
    tell("others", ("alert",), [])
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["some-alerts.md"]
