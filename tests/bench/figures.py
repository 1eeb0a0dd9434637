"""Figures with their marks, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raftd.cli.output import OutputFormat, show_rows, warn
from tests.bench.processes import machine

_COLUMNS: Final = ("what", "measured", "unit", "mark", "met")


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, and what it is to be; without a mark it is there to be known."""

    what: str
    measured: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether it is as it should be; None: it has no mark."""
        if self.at_most is None and self.at_least is None:
            return None
        above = self.at_least is None or self.measured >= self.at_least
        return above and (self.at_most is None or self.measured <= self.at_most)

    @property
    def mark(self) -> str | None:
        """The mark in words."""
        if self.at_most is not None:
            return f"at most {_number(self.at_most)}"
        return None if self.at_least is None else f"at least {_number(self.at_least)}"

    def row(self) -> dict[str, object]:
        """As a row of a table."""
        met = self.is_met
        return {
            "what": self.what,
            "measured": _number(self.measured),
            "unit": self.unit,
            "mark": self.mark,
            "met": None if met is None else "yes" if met else "NO",
        }


def show_figures(figures: Sequence[Figure], output_format: OutputFormat) -> None:
    """Print figures on standard output, and on standard error which machine they are of."""
    show_rows([figure.row() for figure in figures], _COLUMNS, output_format)
    warn("bench", f"measured on {machine()}; a machine that does other things meanwhile measures less")


def _number(value: float) -> str:
    """Three digits that count, at least."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
