"""What a metric is: its name, type, help and labels, and how a scrape reads it from the node.

Names follow Prometheus' rules: base units, `_total` on counters and on nothing else, label values from a fixed set or
from the cluster's members.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from raftd.http.view import NodeCounters, NodeStatus, PeerStatus

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""(label values, value)."""

Reader: TypeAlias = Callable[[NodeStatus, NodeCounters], Iterable[Sample]]


class Kind(enum.Enum):
    """Prometheus' types, as far as raftd uses them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    read: Reader | None = None
    """None for a histogram, which is observed as things happen."""


def gauge(name: str, text: str, read: Callable[[NodeStatus], float | None]) -> Family:
    """A gauge without labels; where `read` returns None there is nothing to say, and no sample."""

    def samples(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
        value = read(status)
        return [] if value is None else [((), value)]

    return Family(name, Kind.GAUGE, text, (), samples)


def labelled_gauge(
    name: str, text: str, labels: tuple[str, ...], read: Callable[[NodeStatus], Iterable[Sample]]
) -> Family:
    """A gauge with labels."""
    return Family(name, Kind.GAUGE, text, labels, lambda status, _: read(status))


def counter(name: str, text: str, read: Callable[[NodeCounters], float]) -> Family:
    """A counter without labels."""
    return Family(name, Kind.COUNTER, text, (), lambda _, counters: [((), read(counters))])


def counter_by(label: str, name: str, text: str, **values: Callable[[NodeCounters], float]) -> Family:
    """A counter with one label, whose values are the names of `values`."""
    return Family(
        name,
        Kind.COUNTER,
        text,
        (label,),
        lambda _, counters: [((value,), read(counters)) for value, read in values.items()],
    )


def peer_gauge(name: str, text: str, read: Callable[[PeerStatus], float | None]) -> Family:
    """A gauge for each other member; no sample for those of whom `read` returns None."""
    return Family(name, Kind.GAUGE, text, ("peer",), _by_peer(read))


def peer_counter(name: str, text: str, read: Callable[[PeerStatus], float]) -> Family:
    """A counter for each other member. It begins anew with a member that has left and come back."""
    return Family(name, Kind.COUNTER, text, ("peer",), _by_peer(read))


def _by_peer(read: Callable[[PeerStatus], float | None]) -> Reader:
    def samples(status: NodeStatus, _: NodeCounters) -> Iterable[Sample]:
        for peer in status.peers:
            value = read(peer)
            if value is not None:
                yield (str(peer.node_id),), value

    return samples
