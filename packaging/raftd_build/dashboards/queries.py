"""Shapes of PromQL that several panels share."""

from raftd_build.dashboards.dashboard import NODES
from raftd_build.dashboards.panel import Query


def rate(metric: str, selector: str = NODES) -> str:
    """A counter's growth per second."""
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def by_node(metric: str, legend: str = "{{instance}}") -> Query:
    """A gauge as it is, one curve for each node."""
    return Query(f"{metric}{{{NODES}}}", legend)


def rate_by_node(metric: str, legend: str = "{{instance}}") -> Query:
    """A counter's growth per second, one curve for each node."""
    return Query(rate(metric), legend)


def quantile(share: float, histogram: str, by: str = "instance", selector: str = NODES) -> Query:
    """The time within which `share` of a histogram's observations stay."""
    expression = f"histogram_quantile({share}, sum by ({by}, le) ({rate(f'{histogram}_bucket', selector)}))"
    names = " ".join(f"{{{{{name}}}}}" for name in by.split(", "))
    return Query(expression, f"{names} p{share * 100:g}")
