"""How long the peers take to answer this leader's heartbeats.

One heartbeat for each peer is under observation at a time: its answer names its round, and only that one counts. Of
heartbeats that were lost, or answered together with later ones, nothing is learnt; the next one is.
"""

from collections.abc import Callable
from typing import TypeAlias

from raftd.consensus.types import NodeId

Observe: TypeAlias = Callable[[NodeId, float], None]
"""Takes the peer, and seconds."""


def _ignore(_: NodeId, __: float) -> None:
    """Nobody measures."""


class RoundTrips:
    """The round trips to all peers, while this node leads."""

    def __init__(self, observe: Observe = _ignore) -> None:
        self._observe = observe
        self._under_way: dict[NodeId, tuple[int, float]] = {}
        """Peer -> (round, when it was sent)."""
        self._latest: dict[NodeId, float] = {}

    def sent(self, peer: NodeId, heartbeat_round: int, now: float) -> None:
        """A heartbeat leaves; `now` is monotonic, in seconds."""
        if peer not in self._under_way:
            self._under_way[peer] = heartbeat_round, now

    def answered(self, peer: NodeId, heartbeat_round: int, now: float) -> None:
        """The answer to a heartbeat has come; to one of an earlier leadership too, which is of no use."""
        awaited = self._under_way.get(peer)
        if awaited is None or heartbeat_round < awaited[0]:
            return
        del self._under_way[peer]
        if heartbeat_round == awaited[0]:
            seconds = self._latest[peer] = now - awaited[1]
            self._observe(peer, seconds)

    def forget(self) -> None:
        """Leadership has changed: rounds are counted anew, if at all."""
        self._under_way.clear()
        self._latest.clear()

    def latest_seconds(self, peer: NodeId) -> float | None:
        """The latest round trip to a peer; None: none was seen, or this node does not lead."""
        return self._latest.get(peer)
