"""Prometheus' text format 0.0.4, and OpenMetrics 1.0, written straight from the catalogue.

A scrape is written on the event loop, so what matters is how little it is: lines are put together of beginnings that
are kept, and a histogram in which nothing was observed since is not written anew. prometheus-client makes several
objects of each sample, which takes five times as long. What is here is what raftd's own metrics need of the two
formats, and no more.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from raftd.http.family import Family, Kind, Sample
from raftd.http.histogram import Histogram, HistogramState

_COUNTED: Final = "_total"
_KEPT_MAX: Final = 4096
"""Beginnings of lines: several times as many as a node of a large cluster has."""


def render_samples(family: Family, samples: Iterable[Sample], *, is_open: bool) -> Iterator[str]:
    """The lines of a counter or gauge; `is_open`: in OpenMetrics' format."""
    yield _head(family.name, family.kind, family.help, is_open=is_open)
    for values, value in samples:
        yield f"{_series(family.name, family.labels, values)}{float(value)!r}"


class HistogramTexts:
    """Histograms as text in one of the two formats, each kept for as long as nothing is observed in it.

    With exemplars in OpenMetrics' format, which the other one has not.
    """

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open
        self._kept: dict[tuple[str, tuple[str, ...]], tuple[HistogramState, str]] = {}

    def render(self, family: Family, labelled: Mapping[tuple[str, ...], Histogram]) -> Iterator[str]:
        """The lines of one family, whose histograms stay the same objects."""
        yield _head(family.name, family.kind, family.help, is_open=self._is_open)
        for values, histogram in labelled.items():
            name, state = (family.name, values), histogram.state
            kept = self._kept.get(name)
            if kept is None or kept[0] != state:
                kept = self._kept[name] = state, "\n".join(self._lines(family, values, histogram))
            yield kept[1]

    def _lines(self, family: Family, values: tuple[str, ...], histogram: Histogram) -> Iterator[str]:
        buckets, total = histogram.cumulative()
        starts = _bucket_series(family.name, family.labels, values, tuple(bound for bound, _ in buckets))
        for start, (_, count), seen in zip(starts, buckets, histogram.exemplars(), strict=True):
            example = f' # {{log_index="{seen[0]}"}} {seen[1]!r}' if self._is_open and seen is not None else ""
            yield f"{start}{count!r}{example}"
        yield f"{_series(f'{family.name}_count', family.labels, values)}{buckets[-1][1]!r}"
        yield f"{_series(f'{family.name}_sum', family.labels, values)}{total!r}"


@functools.lru_cache(_KEPT_MAX)
def _head(name: str, kind: Kind, text: str, *, is_open: bool) -> str:
    # In OpenMetrics a counter's family is named without the suffix of its samples.
    name = name.removesuffix(_COUNTED) if is_open and kind is Kind.COUNTER else name
    return f"# HELP {name} {text}\n# TYPE {name} {kind.value}"


@functools.lru_cache(_KEPT_MAX)
def _series(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """All of a line before its value."""
    return f"{name}{{{_pairs(labels, values)}}} " if labels else f"{name} "


@functools.lru_cache(_KEPT_MAX)
def _bucket_series(
    name: str, labels: tuple[str, ...], values: tuple[str, ...], bounds: tuple[str, ...]
) -> tuple[str, ...]:
    """The same of each bucket of a histogram."""
    pairs = f"{_pairs(labels, values)}," if labels else ""
    return tuple(f'{name}_bucket{{{pairs}le="{bound}"}} ' for bound in bounds)


def _pairs(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{label}="{_escape(value)}"' for label, value in zip(labels, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
