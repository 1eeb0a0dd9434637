"""A line of small bars: how something has been, in as many columns as there are bars."""

from collections.abc import Sequence
from typing import Final, TextIO

BARS: Final = "▁▂▃▄▅▆▇█"
ASCII_BARS: Final = "_.-=+*%#"


def bars_for(stream: TextIO | None) -> str:
    """The bars that a stream can take: not every terminal speaks UTF-8."""
    try:
        BARS.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_BARS
    return BARS


def squeezed(values: Sequence[float | None], width: int, spans: int) -> list[float | None]:
    """Make `width` values of the newest `spans`: each the mean of as many, as far as there are any.

    Args:
        values: One for each interval, the newest last.
        width: How many to make.
        spans: For how many intervals they stand together; a multiple of `width`.
    """
    padded = [*[None] * spans, *values][-spans:]
    size = spans // width
    groups = ([each for each in padded[start : start + size] if each is not None] for start in range(0, spans, size))
    return [sum(group) / len(group) if group else None for group in groups]


def sparkline(values: Sequence[float | None], width: int, bars: str = BARS) -> str:
    """Draw the newest `width` values, the newest at the right, the highest of them as the highest bar.

    A space is where there is no value, and the lowest bar where it is 0 or less.
    """
    shown = list(values)[-width:]
    top = max((value for value in shown if value is not None), default=0.0)
    steps = len(bars) - 1

    def bar(value: float | None) -> str:
        if value is None:
            return " "
        return bars[0] if value <= 0 or top <= 0 else bars[max(1, round(value / top * steps))]

    return "".join(map(bar, shown)).rjust(width)
