"""What is shown of canaries after all tests."""

from typing import Literal

import pytest

from tests.hosts import flights


@pytest.mark.parametrize(("stall", "mark"), [(1.5, ""), (1.51, ", more than 1.5 s")])
def test_a_flight_is_a_line(stall: float, mark: str) -> None:
    """With the rate that was reached; a stall that is longer than expected is pointed out."""
    report = {"seconds": 40.2, "tried": 7638, "failed": 0, "longest_stall_seconds": stall}
    said = flights.line("playbooks/restart.yml", report)
    assert said == (
        f"playbooks/restart.yml: 7638 writes in 40 s (190 a second), 0 failed, longest stall {stall:.2f} s{mark}"
    )


def test_each_flight_is_shown_once() -> None:
    """A test's properties are in the report of its teardown again, and there are others than flights."""
    properties = [(flights.PROPERTY, "first"), ("other", "no"), (flights.PROPERTY, "second")]
    whens: tuple[Literal["setup", "call", "teardown"], ...] = ("setup", "call", "teardown")
    reports = [
        pytest.TestReport("test", ("", 0, ""), {}, "passed", None, when, user_properties=properties) for when in whens
    ]
    assert flights.lines(reports) == ["first", "second"]
