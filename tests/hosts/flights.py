"""What canaries have told while playbooks ran: shown after all tests, since of one that passes nothing is shown."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pytest

STALL_SECONDS_EXPECTED: Final = 1.5
"""One that is longer fails no test, since other tests use the machine too, but it is pointed out."""
PROPERTY: Final = "canary"
"""By this name a test's report has a line of each flight, also where another process has run the test."""


def line(playbook: str, report: Mapping[str, Any]) -> str:
    """One flight, from the report of `raftctl canary`."""
    tried, seconds, stall = report["tried"], report["seconds"], report["longest_stall_seconds"]
    mark = f", more than {STALL_SECONDS_EXPECTED} s" if stall > STALL_SECONDS_EXPECTED else ""
    return (
        f"{playbook}: {tried} writes in {seconds:.0f} s ({tried / max(seconds, 1.0):.0f} a second), "
        f"{report['failed']} failed, longest stall {stall:.2f} s{mark}"
    )


def lines(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Those of all tests; the report of a test's teardown repeats what that of the test itself has."""
    properties = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    return [str(value) for name, value in properties if name == PROPERTY]
