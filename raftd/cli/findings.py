"""What an examination finds, and how that is shown."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from raftd.cli.output import Style, Styled
from raftd.errors import ExitCode

COLUMNS: Final = ("check", "of", "result", "found", "advice")


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "not known"
    """It could not be found out from here."""
    WARNING = "warning"
    """It works, and will not always."""
    BAD = "bad"


_STYLES: Final = {
    Level.OK: Style.GOOD,
    Level.UNKNOWN: Style.DIM,
    Level.WARNING: Style.WARNING,
    Level.BAD: Style.BAD,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer to one question."""

    check: str
    """What was asked, in a word: findings of one kind share it."""
    of: str
    """Of whom: `node 2`, `cluster`, `this machine`."""
    level: Level
    found: str
    advice: str = ""
    """What to do about it; empty where nothing is to be done."""


def rows(findings: Iterable[Finding]) -> list[dict[str, object]]:
    """The findings as a table's rows; one without advice has none."""
    return [
        {
            "check": finding.check,
            "of": finding.of,
            "result": Styled(finding.level.value, _STYLES[finding.level]),
            "found": finding.found,
            "advice": finding.advice or None,
        }
        for finding in findings
    ]


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """UNHEALTHY if anything is bad; a warning is for people."""
    return ExitCode.UNHEALTHY if any(finding.level is Level.BAD for finding in findings) else ExitCode.OK
