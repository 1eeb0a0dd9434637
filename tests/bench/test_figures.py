"""Figures and their marks."""

import pytest

from tests.bench.figures import Figure


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (Figure("a", 1.004, "GiB", at_most=1.0), {"measured": "1", "mark": "at most 1", "met": "NO"}),
        (Figure("a", 1.0, "GiB", at_most=1.0), {"measured": "1", "mark": "at most 1", "met": "yes"}),
        (Figure("a", 99_999, "keys/s", at_least=1e5), {"measured": "99,999", "mark": "at least 100,000", "met": "NO"}),
        (Figure("a", 1e5, "keys/s", at_least=1e5), {"measured": "100,000", "mark": "at least 100,000", "met": "yes"}),
        (Figure("a", 12.345, "ms"), {"measured": "12.3", "mark": None, "met": None}),
    ],
)
def test_says_whether_the_mark_is_met(figure: Figure, row: dict[str, object]) -> None:
    """A figure is held against its mark as it was measured, and not as it is shown."""
    shown = figure.row()
    assert {name: shown[name] for name in row} == row
