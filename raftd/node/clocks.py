"""How far the peers' wall clocks are from this node's, as heartbeats and their answers tell (peer protocol 2).

For people only: nothing in raftd decides by a wall clock, but an operator whose machines disagree about the time will
not understand their logs, and stamps of entries (`raftctl history`) jump when the leader changes.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from raftd.consensus.types import NodeId

_MESSAGES: Final = 16
"""So many of the latest count: a step of a clock shows within some seconds."""


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class PeerClocks:
    """What was heard of the peers' clocks under the present leader."""

    def __init__(self, now_ms: Callable[[], int] = _wall_clock_ms) -> None:
        """`now_ms` gives milliseconds since 1970."""
        self.now_ms = now_ms
        self._ahead_ms: dict[NodeId, deque[int]] = {}

    def heard(self, peer: NodeId, sent_ms: int | None) -> None:
        """A message of `peer` has come that was sent at `sent_ms` by its clock; None: it does not say."""
        if sent_ms is not None:
            self._ahead_ms.setdefault(peer, deque(maxlen=_MESSAGES)).append(self.now_ms() - sent_ms)

    def forget(self) -> None:
        """Leadership has changed: other peers are heard of from now on."""
        self._ahead_ms.clear()

    def difference_seconds(self, peer: NodeId) -> float | None:
        """How far this node's clock is ahead of the peer's, negative if it is behind; None: not heard of.

        Too great by what the quickest of the latest messages took to come: a delay adds to each, and never subtracts.
        """
        ahead_ms = self._ahead_ms.get(peer)
        return min(ahead_ms) / 1000 if ahead_ms else None
