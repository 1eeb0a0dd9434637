from pathlib import Path

import pytest
from yaml import Mark

from raftd.errors import SettingsError
from raftd.settings.report import Place, Report


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
    assert len(excerpt) <= 4 + 120
    assert excerpt[caret.index("^")] == line[column]
    assert len(caret) <= len(excerpt)


def test_a_line_is_cut_only_where_it_must_be() -> None:
    """Up to 120 characters are shown whole, and of a longer one as many."""
    for length, first, last in ((120, 0, 120), (121, 40, 121), (300, 40, 160)):
        line = "".join(chr(0x4E00 + number) for number in range(length))
        report = Report(Path("f"), line)
        report.problem(Place(0, 100, 3), "x")
        _, excerpt, caret = shown(report)[0].split("\n")
        assert excerpt == "    " + line[first:last]
        assert caret == "    " + " " * (100 - first) + "^^^"


def test_a_caret_ends_with_its_line() -> None:
    """However wide the place is said to be; one character is always marked, even behind the end."""
    report = Report(Path("f"), "a: b  \n")
    report.problem(Place(0, 3, 9), "x")
    report.problem(Place(0, 6, 9), "x")
    assert shown(report) == ("f:1:4: x\n    a: b\n       ^^^", "f:1:7: x\n    a: b\n          ^")


def test_a_place_is_as_wide_as_its_part_of_the_line() -> None:
    """What goes on below, or takes no characters at all, is marked where it begins."""

    def mark(line: int, column: int) -> Mark:
        return Mark("f", 0, line, column, None, 0)

    assert Place.between(mark(1, 2), mark(1, 6)) == Place(1, 2, 4)
    assert Place.between(mark(1, 2), mark(2, 6)) == Place(1, 2)
    assert Place.between(mark(1, 2), mark(1, 2)) == Place(1, 2)
    assert Place(1, 2).width == 1


def test_warnings_come_in_the_files_order() -> None:
    """As problems do."""
    report = Report(Path("f"), "")
    for line in (2, 0, 1):
        report.warning(Place(line, 0), "x")
    assert report.warnings == ("f:1:1: warning: x", "f:2:1: warning: x", "f:3:1: warning: x")


def test_an_empty_line_is_not_shown() -> None:
    """Nor one of spaces: there is nothing to see in it."""
    report = Report(Path("f"), "   \na\n")
    report.problem(Place(0, 0), "x")
    assert shown(report) == ("f:1:1: x",)


def test_control_characters_reach_no_terminal() -> None:
    """A tab would shift the caret; an escape sequence would do worse."""
    report = Report(Path("f"), "\ta\x1b[31m: b\n")
    report.problem(Place(0, 1), "x")
    assert shown(report)[0].split("\n")[1] == "     a [31m: b"


def test_a_place_beyond_the_text_has_no_excerpt() -> None:
    """Where a file ends too early, there is no line to show."""
    report = Report(Path("f"), "a:\n")
    report.problem(Place(2, 0), "x")
    report.problem(Place(7, 0), "x")
    assert shown(report) == ("f:3:1: x", "f:8:1: x")


@pytest.mark.parametrize(("count", "more"), [(50, ()), (51, ("f: and 1 more",)), (100, ("f: and 50 more",))])
def test_the_number_of_problems_shown_is_bounded(count: int, more: tuple[str, ...]) -> None:
    """The rest is counted."""
    report = Report(Path("f"), "")
    for line in range(count):
        report.problem(Place(line, 0), "x")
    assert shown(report) == (*(f"f:{number}:1: x" for number in range(1, 51)), *more)
