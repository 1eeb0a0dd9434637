"""What /metrics says: histograms that the node observes, and a collector that asks the node at scrape time."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from raftd.consensus.types import NodeId
from raftd.http.catalogue import FAMILIES
from raftd.http.durations import (
    APPLY_SECONDS,
    GARBAGE_SECONDS,
    GENERATIONS,
    LOG_SYNC_SECONDS,
    LOG_WRITE_SECONDS,
    REQUEST_BUCKETS,
    REQUEST_SECONDS,
    ROUND_TRIP_SECONDS,
    STORE_BUCKETS,
    TICK_DELAY_SECONDS,
    RequestKind,
    RequestOutcome,
)
from raftd.http.family import Family, Kind
from raftd.http.histogram import Histogram
from raftd.http.view import NodeView

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Labelled: TypeAlias = Mapping[tuple[str, ...], Histogram]


class Metrics:
    """All metrics of one node, in a registry of their own.

    The node observes the histograms as things happen, each from one thread only; everything else is read from its
    `NodeView` when somebody scrapes.
    """

    def __init__(self) -> None:
        self.log_write_seconds: Final = Histogram(STORE_BUCKETS)
        self.log_sync_seconds: Final = Histogram(STORE_BUCKETS)
        self.apply_seconds: Final = Histogram(REQUEST_BUCKETS)
        # All of them from the start: a series that appears with its first event hides that event from `rate()`.
        self.request_seconds: Final = {
            (kind, outcome): Histogram(REQUEST_BUCKETS) for kind in RequestKind for outcome in RequestOutcome
        }
        self.tick_delay_seconds: Final = Histogram(STORE_BUCKETS)
        self.garbage_seconds: Final = {generation: Histogram(REQUEST_BUCKETS) for generation in GENERATIONS}
        self._round_trip_seconds: dict[tuple[str, ...], Histogram] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_HistogramCollector(self._histograms()))

    def attach(self, view: NodeView) -> None:
        """Let scrapes ask `view` from now on; once for each registry."""
        self._registry.register(_NodeCollector(view))

    def round_trip(self, peer: NodeId, seconds: float) -> None:
        """Observe a heartbeat's round trip to `peer`."""
        histogram = self._round_trip_seconds.get((str(peer),))
        if histogram is None:
            histogram = self._round_trip_seconds[str(peer),] = Histogram(REQUEST_BUCKETS)
        histogram.observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4 (`CONTENT_TYPE`); a few milliseconds' work."""
        return generate_latest(self._registry)

    def _histograms(self) -> dict[Family, _Labelled]:
        requests: _Labelled = {
            (kind.value, outcome.value): each for (kind, outcome), each in self.request_seconds.items()
        }
        return {
            LOG_WRITE_SECONDS: {(): self.log_write_seconds},
            LOG_SYNC_SECONDS: {(): self.log_sync_seconds},
            APPLY_SECONDS: {(): self.apply_seconds},
            REQUEST_SECONDS: requests,
            ROUND_TRIP_SECONDS: self._round_trip_seconds,
            TICK_DELAY_SECONDS: {(): self.tick_delay_seconds},
            GARBAGE_SECONDS: {(generation,): each for generation, each in self.garbage_seconds.items()},
        }


class _HistogramCollector(Collector):
    def __init__(self, histograms: Mapping[Family, _Labelled]) -> None:
        self._histograms = histograms

    def collect(self) -> Iterable[Metric]:
        for family, labelled in self._histograms.items():
            metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            for labels, histogram in labelled.items():
                buckets, total = histogram.cumulative()
                metric.add_metric(labels, buckets, total)
            yield metric


class _NodeCollector(Collector):
    """Turns the catalogue's readers into samples, from one look at the node, so that they agree with each other."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return []  # else registering would collect once, from a node that may not be complete yet

    def collect(self) -> Iterable[Metric]:
        status, counters = self._view.status(), self._view.counters()
        for family in FAMILIES:
            if family.read is None:
                continue
            make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
            metric = make(family.name, family.help, labels=family.labels)
            for labels, value in family.read(status, counters):
                metric.add_metric(labels, value)
            yield metric
