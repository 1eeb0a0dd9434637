"""What /metrics says: histograms that the node observes, and all else that it is asked for at scrape time."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from raftd.consensus.types import NodeId
from raftd.http.catalogue import FAMILIES
from raftd.http.durations import (
    APPLY_SECONDS,
    COMMAND_BUCKETS,
    COMMAND_SECONDS,
    GARBAGE_SECONDS,
    GENERATIONS,
    LOG_SYNC_SECONDS,
    LOG_WRITE_SECONDS,
    REQUEST_BUCKETS,
    REQUEST_SECONDS,
    ROUND_TRIP_SECONDS,
    SCRAPE_SECONDS,
    STORE_BUCKETS,
    TICK_DELAY_SECONDS,
    CommandKind,
    RequestKind,
    RequestOutcome,
)
from raftd.http.exposition import HistogramTexts, render_samples
from raftd.http.family import Family
from raftd.http.histogram import Histogram
from raftd.http.process import Process
from raftd.http.view import NodeView

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OPEN_MEDIA_TYPE: Final = "application/openmetrics-text"
OPEN_CONTENT_TYPE: Final = f"{_OPEN_MEDIA_TYPE}; version=1.0.0; charset=utf-8"

_Labelled: TypeAlias = Mapping[tuple[str, ...], Histogram]


class Metrics:
    """All metrics of one node.

    The node observes the histograms as things happen, each from one thread only; everything else is read from its
    `NodeView` when somebody scrapes.
    """

    def __init__(self) -> None:
        self.log_write_seconds: Final = Histogram(STORE_BUCKETS)
        self.log_sync_seconds: Final = Histogram(STORE_BUCKETS)
        self.apply_seconds: Final = Histogram(REQUEST_BUCKETS)
        # All of them from the start: a series that appears with its first event hides that event from `rate()`.
        self.command_seconds: Final = {
            (kind, is_ok): Histogram(COMMAND_BUCKETS) for kind in CommandKind for is_ok in (True, False)
        }
        self.request_seconds: Final = {
            (kind, outcome): Histogram(REQUEST_BUCKETS) for kind in RequestKind for outcome in RequestOutcome
        }
        self.tick_delay_seconds: Final = Histogram(STORE_BUCKETS)
        self.garbage_seconds: Final = {generation: Histogram(REQUEST_BUCKETS) for generation in GENERATIONS}
        self.scrape_seconds: Final = Histogram(REQUEST_BUCKETS)
        self._round_trip_seconds: dict[tuple[str, ...], Histogram] = {}
        self._histograms = self._by_family()
        self._view: NodeView | None = None
        self._texts = {is_open: HistogramTexts(is_open=is_open) for is_open in (False, True)}
        self._process = Process()
        # Of Python, as prometheus-client has them.
        self._registry = CollectorRegistry()
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def attach(self, view: NodeView) -> None:
        """Let scrapes ask `view` from now on."""
        self._view = view

    def round_trip(self, peer: NodeId, seconds: float) -> None:
        """Observe a heartbeat's round trip to `peer`."""
        histogram = self._round_trip_seconds.get((str(peer),))
        if histogram is None:
            histogram = self._round_trip_seconds[str(peer),] = Histogram(REQUEST_BUCKETS)
        histogram.observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4 (`CONTENT_TYPE`); half a millisecond's work."""
        return self._own(is_open=False) + generate_latest(self._registry)

    def render_open(self) -> bytes:
        """All metrics in OpenMetrics' format (`OPEN_CONTENT_TYPE`), with the log's indexes as exemplars of requests."""
        rest: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # it is bytes
        return self._own(is_open=True) + rest

    def _own(self, *, is_open: bool) -> bytes:
        lines: list[str] = []
        for family, labelled in self._histograms.items():
            lines += self._texts[is_open].render(family, labelled)
        if self._view is not None:
            # One look at the node, so that what is told of it agrees: no lag is negative.
            status, counters = self._view.status(), self._view.counters()
            for family in FAMILIES:
                if family.read is not None:
                    lines += render_samples(family, family.read(status, counters), is_open=is_open)
        for family, samples in self._process.samples():
            lines += render_samples(family, samples, is_open=is_open)
        return "\n".join([*lines, ""]).encode()

    def _by_family(self) -> dict[Family, _Labelled]:
        requests: _Labelled = {
            (kind.value, outcome.value): each for (kind, outcome), each in self.request_seconds.items()
        }
        commands: _Labelled = {
            (kind.value, (RequestOutcome.OK if is_ok else RequestOutcome.REFUSED).value): each
            for (kind, is_ok), each in self.command_seconds.items()
        }
        return {
            LOG_WRITE_SECONDS: {(): self.log_write_seconds},
            LOG_SYNC_SECONDS: {(): self.log_sync_seconds},
            APPLY_SECONDS: {(): self.apply_seconds},
            COMMAND_SECONDS: commands,
            REQUEST_SECONDS: requests,
            ROUND_TRIP_SECONDS: self._round_trip_seconds,
            TICK_DELAY_SECONDS: {(): self.tick_delay_seconds},
            GARBAGE_SECONDS: {(generation,): each for generation, each in self.garbage_seconds.items()},
            SCRAPE_SECONDS: {(): self.scrape_seconds},
        }


def wants_open_metrics(accept: str) -> bool:
    """Whether whoever sent this Accept header understands OpenMetrics: Prometheus does, and then prefers it."""
    return any(each.partition(";")[0].strip().lower() == _OPEN_MEDIA_TYPE for each in accept.split(","))
