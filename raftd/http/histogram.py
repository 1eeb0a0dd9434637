"""A histogram that is cheap to observe.

prometheus-client's own takes a lock and a label look-up, and before version 0.17 an environment variable to leave out
its `_created` series. This one adds to a list; the scrape turns it into Prometheus' cumulative buckets.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.utils import floatToGoString


@dataclass(frozen=True, slots=True)
class HistogramState:
    """What a histogram has counted up to some moment."""

    counts: tuple[int, ...]
    """In each bucket, not cumulative; the last is the one without a bound."""
    sum: float

    def since(self, earlier: "HistogramState") -> "HistogramState":
        """What was counted after `earlier`, which is of the same histogram."""
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        return HistogramState(counts, self.sum - earlier.sum)

    @property
    def mean(self) -> float | None:
        """The mean of all values; None where there is none."""
        count = sum(self.counts)
        return self.sum / count if count else None


class Histogram:
    """Counts observations by size.

    Observed from one thread only: `+=` on a list's item is not atomic. A scrape from another thread may see a sum that
    is one observation ahead of or behind its buckets, which Prometheus' arithmetic does not mind.

    Each bucket remembers its latest observation that belongs to an entry of the log: an exemplar, by which whoever sees
    a slow one finds it in `raftctl log` and in the logs of all nodes.

    Args:
        bounds: Inclusive upper bounds of the buckets, ascending; a last, infinite one is added.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_names", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("the bounds of a histogram ascend")
        self._bounds = tuple(bounds)
        self._names = (*map(floatToGoString, bounds), "+Inf")
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: list[tuple[int, float] | None] = [None] * (len(bounds) + 1)
        self._sum = 0.0

    @property
    def bounds(self) -> tuple[float, ...]:
        """The inclusive upper bounds of all buckets but the last."""
        return self._bounds

    @property
    def state(self) -> HistogramState:
        """What has been counted so far."""
        return HistogramState(tuple(self._counts), self._sum)

    def observe(self, value: float, index: int = 0) -> None:
        """Count `value`, in the unit of the bounds; `index` is of the entry that it belongs to, 0 if there is none."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        if index:
            self._exemplars[bucket] = index, value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """The buckets as Prometheus wants them, (bound, observations up to it), and the sum of all values."""
        return list(zip(self._names, map(float, accumulate(self._counts)), strict=True)), self._sum

    def exemplars(self) -> list[tuple[int, float] | None]:
        """(index, value) of each bucket's latest observation that belongs to an entry; None where there is none."""
        return self._exemplars


def quantile(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """Estimate the value that `q` (0 to 1) of all values are not above, as Prometheus does: linear within a bucket.

    Values above the last bound count as that bound.

    Returns:
        None where nothing was counted.
    """
    rank = q * sum(counts)
    if rank <= 0:
        return None
    below = 0
    for low, high, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return bounds[-1]
