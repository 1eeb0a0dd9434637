"""Small line plots as SVG, drawn by the node: they need no script, and look the same with and without one.

A picture is stretched to the width that the page has, so it holds no text; what it says in numbers stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raftd.http.markup import Markup, element

WIDTH: Final = 600
HEIGHT: Final = 96
_ROUND: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Series:
    """One line: a value for each interval, None where there is none; the last one is the newest."""

    name: str
    """Its class in the style sheet."""
    values: Sequence[float | None]


def ceiling(value: float) -> float:
    """The next number of the kind 1, 2 or 5 times a power of ten that is not below `value`: a scale that stays."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 <= value:
        power *= 10
    return next(step * power for step in _ROUND if step * power >= value * (1 - 1e-9))


def draw(series: Sequence[Series], slots: int, top: float, label: str) -> Markup:
    """Draw the lines above each other, from 0 to `top`, with room for `slots` values and the newest at the right.

    Args:
        series: The lines; a line's gaps are where it has no values.
        slots: How many values the width stands for.
        top: What the upper edge stands for.
        label: What the picture shows, for those who cannot see it.
    """
    grid = [element("line", class_="grid", x1=0, x2=WIDTH, y1=y, y2=y) for y in (0.5, HEIGHT / 2, HEIGHT - 0.5)]
    lines = [element("path", class_=f"line {each.name}", d=_path(each.values, slots, top)) for each in series]
    return element(
        "svg",
        *grid,
        *lines,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _path(values: Sequence[float | None], slots: int, top: float) -> str:
    """The path data of a line: a run of values is one stroke, a value alone between gaps a short dash."""
    step = WIDTH / max(1, slots - 1)
    first = slots - len(values)
    parts: list[str] = []
    is_down = False
    for slot, value in enumerate(values, first):
        if value is None:
            is_down = False
            continue
        x, y = slot * step, HEIGHT - 1 - min(value / top, 1.0) * (HEIGHT - 2)
        parts.append(f"{'L' if is_down else 'M'}{x:.1f} {y:.1f}" + ("" if is_down else "h.1"))
        is_down = True
    return "".join(parts)
