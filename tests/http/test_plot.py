import re

import pytest

from raftd.http.plot import HEIGHT, WIDTH, Series, ceiling, draw


@pytest.mark.parametrize(
    ("value", "top"),
    [
        (0, 1),
        (1, 1),
        (1.1, 2),
        (2, 2),
        (3, 5),
        (7, 10),
        (10, 10),
        (11, 20),
        (450, 500),
        (0.0004, 0.0005),
        (0.003, 0.005),
    ],
)
def test_scales_are_round(value: float, top: float) -> None:
    """The upper edge is 1, 2 or 5 times a power of ten, and never below the value."""
    assert ceiling(value) == pytest.approx(top)
    assert ceiling(value) >= value * (1 - 1e-9)


def path_of(*values: float | None, slots: int = 4, top: float = 10.0) -> str:
    drawn = draw([Series("one", values)], slots, top, "a plot")
    found = re.search(r'class="line one" d="([^"]*)"', drawn)
    assert found is not None
    return found[1]


def test_the_newest_value_is_at_the_right() -> None:
    """Fewer values than there is room for leave the left empty; 0 is below, the top above, and more is cut there."""
    assert path_of(0.0, 10.0, 20.0) == f"M200.0 {HEIGHT - 1:.1f}h.1L400.0 1.0L{WIDTH:.1f} 1.0"


def test_a_gap_is_a_gap() -> None:
    """Where nothing was measured no line is drawn, and a value between gaps is still seen."""
    assert path_of(None, 5.0, None, 5.0) == f"M200.0 {HEIGHT / 2:.1f}h.1M{WIDTH:.1f} {HEIGHT / 2:.1f}h.1"
    assert path_of() == ""


def test_it_says_what_it_shows() -> None:
    """For those who cannot see it."""
    assert 'role="img" aria-label="a &lt;plot&gt;"' in draw([], 10, 1.0, "a <plot>")
