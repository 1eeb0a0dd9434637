"""Medians, ratios and whose turn it is."""

import json
from functools import partial

import pytest

from tests.bench.processes import ProgramError
from tests.bench.subjects import LOADS, Load, Measured, measure, measured_of, median, median_ratio, with_cpu_time


def run(per_second: float) -> Measured:
    return Measured(100, per_second, 1.0, 2.0)


def test_subjects_take_turns() -> None:
    """Each subject is under each load once in a round, one right after the other."""
    turns: list[tuple[str, Load]] = []

    def subject(name: str, load: Load) -> Measured:
        turns.append((name, load))
        return run(len(turns))

    results = measure({name: partial(subject, name) for name in "ab"}, 2)
    assert turns == [(name, load) for _ in range(2) for load in LOADS for name in "ab"]
    assert [each.per_second for each in results["b", LOADS[0]]] == [2, 10]


def test_a_run_that_comes_to_nothing_is_repeated() -> None:
    """Twice at most: what never works is an error, with what it said."""
    attempts: list[Load] = []

    def subject(fails: int, load: Load) -> Measured:
        attempts.append(load)
        if 0 < len(attempts) % 3 <= fails:
            raise ProgramError("no answer")
        return run(1)

    assert len(measure({"a": partial(subject, 2)}, 1)) == len(LOADS)
    assert attempts == [load for load in LOADS for _ in range(3)]

    def broken(_: Load) -> Measured:
        raise ProgramError("no answer")

    with pytest.raises(ProgramError, match="no answer"):
        measure({"a": broken}, 1)


def test_ratios_are_those_of_each_round() -> None:
    """A machine that is slow for a round changes neither the ratio of that round nor the median."""
    runs, base = [run(50), run(5), run(50)], [run(100), run(10), run(100)]
    assert median(runs).per_second == 50
    assert median_ratio(runs, base, lambda each: each.per_second) == 0.5


def test_reads_reports() -> None:
    """Seconds of a report become milliseconds."""
    report = {"answered": 7, "per_second": 3.5, "p50_seconds": 0.001, "p99_seconds": 0.002, "other": 1}
    assert measured_of(json.dumps(report)) == Measured(7, 3.5, 1.0, 2.0)


def test_cpu_time_is_that_of_one_request() -> None:
    """Without servers and programs no time is spent, whatever was answered."""
    timed = with_cpu_time(lambda _: run(5), [])(LOADS[0])
    assert (timed.per_second, timed.server_us, timed.client_us) == (5, 0.0, 0.0)
