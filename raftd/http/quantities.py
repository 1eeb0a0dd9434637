"""Numbers as people read them: three digits and a unit."""

from typing import Final

NOTHING: Final = "-"
"""Shown where nothing is known."""

_SIZES: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_LONG: Final = (("d", 86_400), ("h", 3600), ("min", 60))


def quantity(value: float | None) -> str:
    """A number with as many digits as matter: `0.25`, `7.3`, `12`, `4,096`."""
    if value is None:
        return NOTHING
    if value >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """A time: `0.35 ms`, `12 ms`, `1.5 s`, `2 h 5 min`."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{quantity(seconds * 1000)} ms"
    if seconds < 60:
        return f"{quantity(seconds)} s"
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in _LONG:
        if rest >= length or parts:
            parts.append(f"{rest // length} {unit}")
            rest %= length
    return " ".join(parts[:2])


def size(count: int) -> str:
    """A number of bytes: `512 bytes`, `1.5 MiB`."""
    value: float = count
    for unit in _SIZES:
        if value < 1024 or unit == _SIZES[-1]:
            break
        value /= 1024
    return f"{quantity(value)} {unit}"
