import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.http.histogram import Histogram, quantile


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.5, 1.0, 4.0]) | st.floats(0, 10, allow_nan=False)))
def test_cumulative_buckets(values: list[float]) -> None:
    """Each bucket counts what is at most its bound, the last counts all, and the sum is the sum."""
    bounds = (0.5, 1.0, 4.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    buckets, total = histogram.cumulative()
    assert buckets == [
        *((str(bound), float(sum(value <= bound for value in values))) for bound in bounds),
        ("+Inf", float(len(values))),
    ]
    assert total == pytest.approx(sum(values))


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (1.0, 1.0)])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    """Bounds out of order would put observations where nobody looks for them."""
    with pytest.raises(ValueError, match="ascend"):
        Histogram(bounds)


def test_what_came_after_a_moment() -> None:
    """Two states of a histogram tell what was observed between them, and its mean."""
    histogram = Histogram((1.0, 2.0))
    histogram.observe(0.5)
    before = histogram.state
    assert histogram.state.since(before).mean is None
    for value in (1.5, 2.5, 1.0):
        histogram.observe(value)
    between = histogram.state.since(before)
    assert between.counts == (1, 1, 1)
    assert between.mean == pytest.approx(5 / 3)
    assert histogram.bounds == (1.0, 2.0)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ((0, 0, 0), 0.99, None),
        ((10, 0, 0), 0.5, 0.5),
        ((0, 10, 0), 1.0, 2.0),
        ((5, 5, 0), 0.75, 1.5),
        ((0, 0, 7), 0.5, 2.0),
        ((1, 0, 1), 0.5, 1.0),
    ],
)
def test_quantiles_are_estimated_within_a_bucket(counts: tuple[int, ...], q: float, expected: float | None) -> None:
    """Linear between the bounds of the bucket, as Prometheus' histogram_quantile; nothing is above the last bound."""
    assert quantile((1.0, 2.0), counts, q) == expected
