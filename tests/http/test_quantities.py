import pytest

from raftd.http.quantities import NOTHING, duration, quantity, size


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, NOTHING), (0, "0"), (0.25, "0.25"), (7.31, "7.3"), (7, "7"), (12.4, "12"), (4096, "4,096")],
)
def test_quantities(value: float | None, shown: str) -> None:
    """No more digits than anybody reads."""
    assert quantity(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, NOTHING),
        (0, "0 ms"),
        (0.00035, "0.35 ms"),
        (0.0124, "12 ms"),
        (1.52, "1.5 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7500, "2 h 5 min"),
        (3600, "1 h 0 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    """In the unit that suits them; long ones in two."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (5 << 50, "5,120 TiB")],
)
def test_sizes(count: int, shown: str) -> None:
    """In binary units, as memory and disks of servers are counted."""
    assert size(count) == shown
