import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.http.histogram import Histogram


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
