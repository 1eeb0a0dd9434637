"""Reading families, for the tests of each group of them."""

from collections.abc import Iterable

from raftd.http.family import Family
from raftd.http.view import NodeCounters, NodeStatus

Values = dict[tuple[str, ...], float]
"""(name, label values...) -> value."""


def values_of(families: Iterable[Family], status: NodeStatus, counters: NodeCounters | None = None) -> Values:
    """All samples of the families that are read."""
    return {
        (family.name, *labels): value
        for family in families
        if family.read is not None
        for labels, value in family.read(status, counters or NodeCounters())
    }
