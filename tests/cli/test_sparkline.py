import io

import pytest

from raftd.cli.sparkline import ASCII_BARS, BARS, bars_for, sparkline, squeezed


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], "    "),
        ([1, 2, 4, 8], "▂▃▅█"),
        ([8], "   █"),
        ([9, 9, 0, 8, None, 8], "▁█ █"),
        ([0, 0, 0, 0], "▁▁▁▁"),
        ([1e9, 1e-9, -1], " █▂▁"),
    ],
)
def test_the_highest_is_the_highest_bar(values: list[float | None], drawn: str) -> None:
    """The newest at the right, a gap as a gap, and what is more than nothing never as nothing."""
    assert sparkline(values, 4) == drawn


@pytest.mark.parametrize(("encoding", "bars"), [("utf-8", BARS), ("ascii", ASCII_BARS), ("latin-1", ASCII_BARS)])
def test_a_terminal_gets_what_it_can_show(encoding: str, bars: str) -> None:
    """Where blocks cannot be written, there are letters for them."""
    assert bars_for(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) == bars
    assert bars_for(None) == ASCII_BARS
    assert len(BARS) == len(ASCII_BARS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 3, 5, 7], [None, 2, 6]),
        ([0, 1, 3, None, None, None, 9], [2, None, 9]),
        ([100, 1, 1, 2, 2, 3, 3], [1, 2, 3]),
        ([], [None, None, None]),
    ],
)
def test_many_values_become_few(values: list[float | None], expected: list[float | None]) -> None:
    """Means of as many each, the newest at the right; older ones are left out, and a gap stays one."""
    assert squeezed(values, 3, 6) == expected
