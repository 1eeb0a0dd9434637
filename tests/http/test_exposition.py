from collections.abc import Iterable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from raftd.http.exposition import HistogramTexts, render_samples
from raftd.http.family import Family, Kind
from raftd.http.histogram import Histogram

GAUGE = Family("raftd_x", Kind.GAUGE, "X.", ("a", "b"))
COUNTER = Family("raftd_x_total", Kind.COUNTER, "X.")
HISTOGRAM = Family("raftd_x_duration_seconds", Kind.HISTOGRAM, "X.", ("kind",))
VALUES = ("plain", 'quote " back \\ slash', "two\nlines", "größe")


def text(lines: Iterable[str], *, is_open: bool) -> str:
    return "\n".join([*lines, *(["# EOF"] if is_open else []), ""])


@pytest.mark.parametrize("is_open", [False, True])
def test_label_values_survive(is_open: bool) -> None:
    """Whatever a label's value is, a parser of either format reads it as it was."""
    lines = render_samples(GAUGE, [((value, "b"), 1.5) for value in VALUES], is_open=is_open)
    parse = parse_open if is_open else parse_text
    (family,) = parse(text(lines, is_open=is_open))
    assert [(sample.labels["a"], sample.value) for sample in family.samples] == [(value, 1.5) for value in VALUES]


@pytest.mark.parametrize("is_open", [False, True])
def test_counters_are_named_as_each_format_has_it(is_open: bool) -> None:
    """The sample has the suffix in both, the family in the older format only."""
    lines = list(render_samples(COUNTER, [((), 7)], is_open=is_open))
    name = "raftd_x" if is_open else "raftd_x_total"
    assert lines == [f"# HELP {name} X.\n# TYPE {name} counter", "raftd_x_total 7.0"]


def test_exemplars_are_in_openmetrics_alone() -> None:
    """There each bucket has the entry that was seen in it last; the older format has no place for it."""
    histogram = Histogram((1.0, 2.0))
    for value, index in ((0.5, 7), (0.75, 8), (1.5, 0), (5.0, 9)):
        histogram.observe(value, index)
    open_text = text(HistogramTexts(is_open=True).render(HISTOGRAM, {("write",): histogram}), is_open=True)
    (family,) = parse_open(open_text)  # type: ignore[no-untyped-call]  # prometheus-client's own
    seen = {
        sample.labels["le"]: None if sample.exemplar is None else (sample.exemplar.labels, sample.exemplar.value)
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert seen == {"1.0": ({"log_index": "8"}, 0.75), "2.0": None, "+Inf": ({"log_index": "9"}, 5.0)}
    older = text(HistogramTexts(is_open=False).render(HISTOGRAM, {("write",): histogram}), is_open=False)
    assert "log_index" not in older
    (family,) = parse_text(older)
    values = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    assert values["raftd_x_duration_seconds_bucket", "2.0"] == 3
    assert values["raftd_x_duration_seconds_count", None] == 4
    assert values["raftd_x_duration_seconds_sum", None] == 7.75


@pytest.mark.parametrize("is_open", [False, True])
def test_a_histogram_is_written_anew_only_when_something_was_observed(is_open: bool) -> None:
    """What is kept is never old: after each observation the text is that of a fresh writer."""
    histograms: dict[tuple[str, ...], Histogram] = {(kind,): Histogram((1.0, 2.0)) for kind in ("read", "write")}
    texts = HistogramTexts(is_open=is_open)
    for value, index in ((0.5, 7), (0.5, 8), (3.0, 0), (0.0, 9)):
        before = list(texts.render(HISTOGRAM, histograms))
        histograms["write",].observe(value, index)
        after = list(texts.render(HISTOGRAM, histograms))
        assert after == list(HistogramTexts(is_open=is_open).render(HISTOGRAM, histograms))
        assert after[1] is before[1]
        assert after[2] != before[2]
