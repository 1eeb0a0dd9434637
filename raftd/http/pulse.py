"""How a node has been doing in the last minutes, second by second: what the plots of the status page are drawn from.

Prometheus keeps this better and longer. This is for the moment in which one looks at a single node, with no more than a
browser: a ring of fixed size, filled once a second from counters that exist anyway.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from raftd.http.histogram import Histogram, HistogramState, quantile
from raftd.http.view import NodeStatus

BEATS_MAX: Final = 180
"""Three minutes, at a beat a second."""
BEATS_TOLD: Final = 60
"""As many are in a status document, which is asked for once a second by those who watch."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One interval between two looks at the node; None where there was nothing to measure."""

    changes_per_second: float | None
    """Revisions that were applied here; None until the log is replayed."""
    write_seconds: float | None
    """Mean time from a write's arrival to its answer, of the writes that this node answered."""
    sync_seconds: float | None
    """Mean time of an fdatasync of the log."""


class Pulse:
    """Takes the pulse of one node.

    Args:
        status: Asks the node.
        writes: Seconds of the writes that were answered.
        syncs: Seconds of the log's fdatasyncs.
        now: Monotonic seconds.
    """

    def __init__(
        self, status: Callable[[], NodeStatus], *, writes: Histogram, syncs: Histogram, now: Callable[[], float]
    ) -> None:
        self._status = status
        self._histograms = (writes, syncs)
        self._now = now
        self._beats: deque[Beat] = deque(maxlen=BEATS_MAX)
        self._states: deque[tuple[HistogramState, HistogramState]] = deque(
            [(writes.state, syncs.state)], maxlen=BEATS_MAX + 1
        )
        self._at = now()
        self._revision: int | None = None

    def beat(self) -> None:
        """Look at the node; meant to be called once a second, and right whenever it is."""
        now, status = self._now(), self._status()
        seconds, self._at = now - self._at, now
        if seconds <= 0:
            return
        revision = status.revision if status.replayed else None
        changes = None
        if revision is not None and self._revision is not None:
            changes = max(0, revision - self._revision) / seconds
        self._revision = revision
        before, state = self._states[-1], (self._histograms[0].state, self._histograms[1].state)
        self._states.append(state)
        write_seconds, sync_seconds = (new.since(old).mean for old, new in zip(before, state, strict=True))
        self._beats.append(Beat(changes, write_seconds, sync_seconds))

    @property
    def beats(self) -> Sequence[Beat]:
        """What was seen, oldest first."""
        return tuple(self._beats)

    @property
    def write_p99_seconds(self) -> float | None:
        """The 99th percentile of the writes answered in the time that `beats` tell of; None: there was none."""
        return self._p99(0)

    @property
    def sync_p99_seconds(self) -> float | None:
        """The same of the log's fdatasyncs."""
        return self._p99(1)

    def document(self) -> dict[str, object]:
        """The latest beats and the percentiles as JSON has them, three digits each; oldest beat first."""
        beats = self.beats[-BEATS_TOLD:]
        return {
            "changes_per_second": [_rounded(beat.changes_per_second) for beat in beats],
            "write_seconds": [_rounded(beat.write_seconds) for beat in beats],
            "sync_seconds": [_rounded(beat.sync_seconds) for beat in beats],
            "write_p99_seconds": _rounded(self.write_p99_seconds),
            "sync_p99_seconds": _rounded(self.sync_p99_seconds),
        }

    def _p99(self, which: int) -> float | None:
        histogram = self._histograms[which]
        return quantile(histogram.bounds, histogram.state.since(self._states[0][which]).counts, 0.99)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
