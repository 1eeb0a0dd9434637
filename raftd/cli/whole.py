"""Whole numbers on a command line."""

import re
from typing import Any, Final

import click

_DIGITS: Final = re.compile(r"[+-]?[0-9]+")


class Whole(click.IntRange):
    """A whole number within bounds, in the digits 0 to 9: not all that Python takes for one, such as 1_0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Be click's `convert`."""
        if isinstance(value, str) and _DIGITS.fullmatch(value) is None:
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        return super().convert(value, param, ctx)
