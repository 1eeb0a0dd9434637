from pathlib import Path

import pytest

from raftd.errors import SettingsError
from raftd.settings.report import LINE_CHARACTERS_MAX, PROBLEMS_SHOWN_MAX, Place, Report


def shown(report: Report) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        report.raise_problems()
    return caught.value.problems


def test_a_problem_shows_its_line_and_a_caret() -> None:
    """The caret stands below what is at fault, as wide as it is."""
    report = Report(Path("f"), "a\nbb: cc\n")
    report.problem(Place(1, 4, 2), "is wrong")
    assert shown(report) == ("f:2:5: is wrong\n    bb: cc\n        ^^",)


def test_problems_come_in_the_files_order_and_once() -> None:
    """Whatever the order in which they were found."""
    report = Report(Path("f"), "a\nb\n")
    for place in (Place(1, 0), Place(0, 0), Place(1, 0)):
        report.problem(place, "x")
    assert [problem.split("\n")[0] for problem in shown(report)] == ["f:1:1: x", "f:2:1: x"]


def test_nothing_wrong_raises_nothing() -> None:
    """Warnings alone do not either."""
    report = Report(Path("f"), "a\n")
    report.warning(Place(0, 0), "hm")
    report.raise_problems()
    assert report.warnings == ("f:1:1: warning: hm\n    a\n    ^",)


@pytest.mark.parametrize("column", [0, 60, 300, 599])
def test_a_long_line_is_cut_around_the_caret(column: int) -> None:
    """What is at fault is in the excerpt, above the caret."""
    line = "".join(chr(0x4E00 + number) for number in range(600))
    report = Report(Path("f"), line)
    report.problem(Place(0, column, 600), "x")
    _, excerpt, caret = shown(report)[0].split("\n")
    assert len(excerpt) <= LINE_CHARACTERS_MAX + 4
    assert excerpt[caret.index("^")] == line[column]
    assert len(caret) <= len(excerpt)


def test_control_characters_reach_no_terminal() -> None:
    """A tab would shift the caret; an escape sequence would do worse."""
    report = Report(Path("f"), "\ta\x1b[31m: b\n")
    report.problem(Place(0, 1), "x")
    assert shown(report)[0].split("\n")[1] == "     a [31m: b"


def test_a_place_beyond_the_text_has_no_excerpt() -> None:
    """Where a file ends too early, there is no line to show."""
    report = Report(Path("f"), "a:\n")
    report.problem(Place(7, 0), "x")
    assert shown(report) == ("f:8:1: x",)


def test_the_number_of_problems_shown_is_bounded() -> None:
    """The rest is counted."""
    report = Report(Path("f"), "a\n" * 100)
    for line in range(100):
        report.problem(Place(line, 0), "x")
    problems = shown(report)
    assert len(problems) == PROBLEMS_SHOWN_MAX + 1
    assert problems[-1] == f"f: and {100 - PROBLEMS_SHOWN_MAX} more"
