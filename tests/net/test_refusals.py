import logging
from collections.abc import Callable

import pytest

from raftd import events
from raftd.net.refusals import LINES_MAX, PERIOD_SECONDS, Refusals


class Timers:
    """One timer, which the test runs out."""

    def __init__(self) -> None:
        self.due: Callable[[], None] | None = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Timers":
        assert delay == PERIOD_SECONDS
        assert self.due is None, "one period at a time"
        self.due = callback
        return self

    def cancel(self) -> None:
        self.due = None

    def run_out(self) -> None:
        assert self.due is not None
        self.due()


def told(caplog: pytest.LogCaptureFixture) -> tuple[int, list[str]]:
    """How many refusals were told one by one, and what else was said."""
    records = caplog.records
    single = [record for record in records if getattr(record, "event", None) is events.CONNECTION_REFUSED]
    others = [record.getMessage() for record in records if record not in single]
    caplog.clear()
    return len(single), others


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> tuple[Refusals, Timers]:
    caplog.set_level(logging.INFO)
    timers = Timers()
    return Refusals("clients", timers), timers


def test_a_scan_writes_a_bounded_number_of_lines(
    refusals: tuple[Refusals, Timers], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever comes within a period, so many lines are written, and one at its end that counts the others."""
    log, timers = refusals
    for round_number in range(3):
        for number in range(1000):
            log.tell(f"192.0.2.1:{number}", f"no TLS, in round {round_number}")
        assert told(caplog) == (LINES_MAX, [])
        timers.run_out()
        assert told(caplog) == (
            0,
            [f"refused {1000 - LINES_MAX} more connections to the port for clients within 60 s, not told one by one"],
        )
        assert timers.due is None


def test_a_few_refusals_are_all_told_and_nothing_else(
    refusals: tuple[Refusals, Timers], caplog: pytest.LogCaptureFixture
) -> None:
    """Below the bound no line is missing, and the end of a period says nothing."""
    log, timers = refusals
    for number in range(LINES_MAX):
        log.tell(f"192.0.2.1:{number}", "no TLS")
    timers.run_out()
    assert told(caplog) == (LINES_MAX, [])


def test_what_was_left_out_is_told_at_the_end(
    refusals: tuple[Refusals, Timers], caplog: pytest.LogCaptureFixture
) -> None:
    """A node that stops in the middle of a period keeps nothing to itself, and leaves no timer."""
    log, timers = refusals
    for _ in range(LINES_MAX + 1):
        log.tell("192.0.2.1:1", "no TLS")
    log.end()
    assert timers.due is None
    assert told(caplog)[1] == ["refused 1 more connections to the port for clients within 60 s, not told one by one"]
    log.end()
    assert told(caplog) == (0, [])
