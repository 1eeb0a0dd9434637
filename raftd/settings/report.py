"""Collecting what is wrong with a file, and showing each mistake at its place."""

import re
from dataclasses import dataclass
from pathlib import Path

from yaml import Mark

from raftd.errors import SettingsError

PROBLEMS_SHOWN_MAX = 50
LINE_CHARACTERS_MAX = 120

# What YAML takes for the end of a line (YAML 1.1 §5.4); str.splitlines() takes more.
LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in a file something stands."""

    line: int
    """From 0; likewise `column`, in characters."""
    column: int
    width: int = 1
    """How many characters of the line it takes."""

    @classmethod
    def between(cls, start: Mark, end: Mark) -> "Place":
        """The place from one mark to another, as far as it is on one line."""
        return cls(start.line, start.column, max(1, end.column - start.column) if end.line == start.line else 1)


class Report:
    """The problems of one file, each once."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = LINE_END.split(text)
        self._problems: dict[tuple[Place, str], None] = {}
        self._warnings: dict[tuple[Place, str], None] = {}

    def problem(self, place: Place, message: str) -> None:
        """Note what makes the file unusable."""
        self._problems[place, message] = None

    def warning(self, place: Place, message: str) -> None:
        """Note what is allowed and yet probably not meant."""
        self._warnings[place, message] = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings as texts for the user, in the file's order."""
        return tuple(self._shown(place, f"warning: {message}") for place, message in sorted(self._warnings))

    def raise_problems(self) -> None:
        """End the reading of the file if there is anything wrong with it.

        Raises:
            SettingsError: with every problem, in the file's order.
        """
        if not self._problems:
            return
        problems = [self._shown(place, message) for place, message in sorted(self._problems)]
        more = len(problems) - PROBLEMS_SHOWN_MAX
        if more > 0:
            problems[PROBLEMS_SHOWN_MAX:] = [f"{self._path}: and {more} more"]
        raise SettingsError(*problems)

    def _shown(self, place: Place, message: str) -> str:
        line = self._lines[place.line] if place.line < len(self._lines) else ""
        where = f"{self._path}:{place.line + 1}:{place.column + 1}: {message}"
        if not line.strip():
            return where
        # A tab would move the caret away from its character, and other control characters could do worse.
        line = "".join(character if character.isprintable() else " " for character in line)
        first = max(0, place.column - LINE_CHARACTERS_MAX // 2) if len(line) > LINE_CHARACTERS_MAX else 0
        excerpt = line[first : first + LINE_CHARACTERS_MAX]
        width = max(1, min(place.width, len(excerpt) - (place.column - first)))
        return f"{where}\n    {excerpt.rstrip()}\n    {' ' * (place.column - first)}{'^' * width}"
