"""How long requests take on this node, from their arrival to their answer, by what they were and how they ended."""

from typing import Final, NamedTuple, Protocol

from raftd.http.durations import RequestKind, RequestOutcome
from raftd.http.metrics import Metrics
from raftd.wire.client import RefusalCode


class Observe(Protocol):
    """Takes a latency."""

    def __call__(self, seconds: float, index: int = 0, /) -> None:
        """`index` is of the entry that was written, or as of which a read was answered; 0: there is none."""
        ...


_FAILURES: Final = frozenset(
    {
        RefusalCode.NO_LEADER,
        RefusalCode.OVERLOADED,
        RefusalCode.STOPPING,
        RefusalCode.OUTCOME_UNKNOWN,
        RefusalCode.UNAVAILABLE,
    }
)
"""What the cluster did not allow, whatever was asked for."""


class Observers(NamedTuple):
    """Where the latency of one kind of request goes; looked up once, not with each request."""

    ok: Observe
    refused: Observe
    """The request itself did not allow more: a comparison failed, the session is over."""
    failed: Observe
    """The cluster did not allow more: no leader, no quorum in time."""

    def refused_at_once(self, code: RefusalCode) -> None:
        """A request was turned away as it came.

        One that belongs to a leader which is known is not counted: that node counts it.
        """
        if code is not RefusalCode.NOT_LEADER:
            (self.failed if code in _FAILURES else self.refused)(0.0)


class Latencies(NamedTuple):
    """The kinds of requests that are measured."""

    read: Observers
    write: Observers
    session: Observers


def _ignore(_: float, __: int = 0) -> None:
    """Nobody measures."""


NOT_MEASURED: Final = Latencies(*3 * (Observers(_ignore, _ignore, _ignore),))


def latencies_of(metrics: Metrics) -> Latencies:
    """The histograms that `/metrics` shows."""

    def observers(kind: RequestKind) -> Observers:
        histograms = metrics.request_seconds
        return Observers(
            histograms[kind, RequestOutcome.OK].observe,
            histograms[kind, RequestOutcome.REFUSED].observe,
            histograms[kind, RequestOutcome.FAILED].observe,
        )

    return Latencies(observers(RequestKind.READ), observers(RequestKind.WRITE), observers(RequestKind.SESSION))
