"""The table of a comparison with an older tree."""

from tests.bench.compare import rows_of
from tests.bench.subjects import Load, Measured

LOAD = Load(10, 1)


def test_holds_each_rate_against_the_older_one() -> None:
    """A loss of more than 15 per cent does not meet the mark; CPU time stands beside it."""
    results = {
        ("put", LOAD): [Measured(1, 84.0, 1.0, 1.0, server_us=30.0)],
        ("older put", LOAD): [Measured(1, 100.0, 1.0, 1.0, server_us=20.0)],
        ("get", LOAD): [Measured(1, 86.0, 1.0, 1.0, server_us=20.0)],
        ("older get", LOAD): [Measured(1, 100.0, 1.0, 1.0, server_us=20.0)],
    }
    put, get = rows_of(results)
    assert (put["what"], put["ratio"], put["met"], put["us_ratio"]) == ("put", 0.84, "NO", 1.5)
    assert (get["what"], get["ratio"], get["met"], get["us_ratio"]) == ("get", 0.86, "yes", 1.0)
