"""A histogram that is cheap to observe.

prometheus-client's own takes a lock and a label look-up, and before version 0.17 an environment variable to leave out
its `_created` series. This one adds to a list; the scrape turns it into Prometheus' cumulative buckets.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString


class Histogram:
    """Counts observations by size.

    Observed from one thread only: `+=` on a list's item is not atomic. A scrape from another thread may see a sum that
    is one observation ahead of or behind its buckets, which Prometheus' arithmetic does not mind.

    Args:
        bounds: Inclusive upper bounds of the buckets, ascending; a last, infinite one is added.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("the bounds of a histogram ascend")
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`, in the unit of the bounds."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """The buckets as Prometheus wants them, (bound, observations up to it), and the sum of all values."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum
