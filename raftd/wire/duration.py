"""A span of time as people write it: a number and its unit, `250ms`, `1.5s`, `7d`. No unit is the default one."""

import re
from typing import Final

_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?\s?(ms|s|m|h|d)", re.ASCII)


class DurationError(ValueError):
    """A text is not a duration; the message goes on after "it" and says what is wrong."""


def parse_duration(text: str) -> int:
    """The whole milliseconds of a duration.

    Raises:
        DurationError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        units = ", ".join(_MILLISECONDS)
        raise DurationError(f"is not a duration: a number and one of the units {units}, such as 250ms")
    whole, fraction, unit = match.groups(default="")
    scale: int = 10 ** len(fraction)
    milliseconds, rest = divmod(int(whole + fraction) * _MILLISECONDS[unit], scale)
    if rest:
        raise DurationError("is finer than a millisecond")
    return milliseconds


def show_duration(seconds: float) -> str:
    """A duration in the largest unit that gives a whole number; rounded to milliseconds."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if milliseconds % _MILLISECONDS[unit] == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
