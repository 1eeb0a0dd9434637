import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from raftd.http.catalogue import FAMILIES
from raftd.http.family import Kind
from raftd.http.view import NodeCounters, NodeStatus

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"

# Prometheus' own linter, as far as it concerns names: https://prometheus.io/docs/practices/naming/
RESERVED = ("_count", "_sum", "_bucket", "_created", "_info_total")
UNITS_THAT_ARE_NOT_BASE = {
    *("milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "kilobytes", "megabytes", "percent"),
    *("ms", "us", "ns", "sec", "secs", "s", "kb", "mb", "kib", "mib", "b", "ticks"),
}


def test_names_follow_prometheus() -> None:
    """Names are lower snake case under one prefix, in base units, and `_total` says counter and nothing else."""
    for family in FAMILIES:
        words = family.name.split("_")
        assert re.fullmatch(r"raftd(_[a-z]+)+", family.name), family.name
        assert not UNITS_THAT_ARE_NOT_BASE & set(words), family.name
        assert not family.name.endswith(RESERVED), family.name
        assert not {kind.value for kind in Kind} & set(words), family.name
        assert (family.kind is Kind.COUNTER) == family.name.endswith("_total"), family.name
        assert (family.kind is Kind.HISTOGRAM) == (family.read is None), family.name
        assert not {"le", "quantile"} & set(family.labels), family.name
        assert family.help.endswith("."), family.name
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_every_counter_is_exported(leader_with: Callable[..., NodeStatus]) -> None:
    """What the node counts can be scraped: each counter's value appears in exactly one sample."""
    names = [each.name for each in dataclasses.fields(NodeCounters)]
    counters = NodeCounters(**{name: 1000 + place for place, name in enumerate(names)})
    seen = [
        value
        for family in FAMILIES
        if family.kind is Kind.COUNTER and family.read is not None and family.labels != ("peer",)
        for _, value in family.read(leader_with(), counters)
    ]
    assert sorted(seen) == [1000 + place for place in range(len(names))]


def test_labels_match_their_samples(leader_with: Callable[..., NodeStatus]) -> None:
    """Each sample has a value for each label, and no two samples of a family have the same."""
    for family in FAMILIES:
        samples = list(family.read(leader_with(), NodeCounters())) if family.read is not None else []
        assert all(len(labels) == len(family.labels) for labels, _ in samples), family.name
        assert len({labels for labels, _ in samples}) == len(samples), family.name


def test_the_document_is_the_catalogue() -> None:
    """docs/metrics.md lists what is exported, in this order, word for word, and has nothing else in its table."""
    rows = [
        f"| `{family.name}` | {family.kind.value} | {', '.join(f'`{label}`' for label in family.labels) or '-'} "
        f"| {family.help} |"
        for family in FAMILIES
    ]
    lines = DOCUMENT.read_text().splitlines()
    first = lines.index("|---|---|---|---|") + 1
    table = lines[first : lines.index("", first)]
    assert table == rows, "docs/metrics.md should have these rows:\n" + "\n".join(rows)
    stray = [
        line
        for line in lines[first + len(table) :]
        if not re.match(r"(#+ |- |    )?[\w`/]|$", line) or "assert" in line
    ]
    assert not stray, "lines that are no prose, or a test's output"
