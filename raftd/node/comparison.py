"""Do the nodes hold the same state? Each tells what it found, and compares what others found as of the same entries.

What is compared is `raftd.kv.audit`'s hash as of every 128th entry. A leader tells its peers what it has, once in a
tick if there is anything new, and they tell the leader: some hundred bytes, beside the heartbeats and not in them, for
heartbeats should stay short. What cannot be sent is lost, and what follows covers other keys. What is of entries that
this node has yet to apply waits here for them.

Two nodes cannot tell whose state is the wrong one, so both sides of a difference say so. Nobody but the leader is
compared with all others: of several peers the wrong one is that which differs from it, or it is the leader, if all do.
Nothing else is done about it, for what would be right depends on what happened: only an operator should throw a state
away.
"""

import logging
from collections.abc import Sequence
from typing import Final

from raftd import events
from raftd.consensus.types import LogIndex, NodeId
from raftd.kv.audit import AUDIT_ENTRIES, AUDIT_KEYS
from raftd.wire.state_hashes import HASHES_MAX

logger = logging.getLogger(__name__)

KEPT_MAX: Final = 1024
"""Of a node's own hashes, and of each peer's that wait: nodes may be 131,072 entries apart."""


class StateComparison:
    """One node's hashes, and what came of comparing them with the peers'."""

    def __init__(self) -> None:
        self._own: dict[LogIndex, int] = {}
        """Ascending."""
        self._untold = 0
        self._waiting: dict[NodeId, dict[LogIndex, int]] = {}
        """Of entries that are not applied here yet, ascending."""
        self._round = 1
        """Comparisons in which every key has been read once."""
        self._doubtful: dict[NodeId, int] = {}
        """Peers whose state was found to differ -> how many more comparisons must find no difference to clear them."""
        self.equal_total = 0
        self.different_total = 0

    @property
    def latest(self) -> tuple[LogIndex, int] | None:
        """This node's newest hash, and the entry as of which it is; None: there is none yet."""
        if not self._own:
            return None
        index = next(reversed(self._own))
        return index, self._own[index]

    def has_diverged(self, peer: NodeId) -> bool:
        """Whether a peer's state was found to differ, and not yet found equal in all keys since."""
        return peer in self._doubtful

    def audited(self, index: LogIndex, audit: int, key_count: int) -> None:
        """This node has applied entry `index`, with so many keys then, and found this hash."""
        self._own[index] = audit
        if len(self._own) > KEPT_MAX:
            del self._own[next(iter(self._own))]
        self._untold += 1
        self._round = key_count // AUDIT_KEYS + 1
        for peer, waiting in self._waiting.items():
            while waiting and (first := next(iter(waiting))) <= index:
                heard = waiting.pop(first)
                if first == index:
                    self._compare(peer, index, audit, heard)

    def take_untold(self) -> tuple[LogIndex, Sequence[int]] | None:
        """The newest hashes not told yet, of entries `AUDIT_ENTRIES` apart up to the index; None: there are none.

        A state that came by a snapshot leaves out what it passed over; what was before it is not told any more.
        """
        latest, count = self.latest, min(self._untold, HASHES_MAX)
        self._untold = 0
        if latest is None or not count:
            return None
        hashes: list[int] = []
        index = latest[0]
        while len(hashes) < count and index in self._own:
            hashes.append(self._own[index])
            index = LogIndex(index - AUDIT_ENTRIES)
        return latest[0], hashes[::-1]

    def heard(self, peer: NodeId, last_index: LogIndex, hashes: Sequence[int]) -> None:
        """A peer has found these hashes, of entries `AUDIT_ENTRIES` apart up to `last_index`."""
        latest = self.latest
        first_index = last_index - AUDIT_ENTRIES * (len(hashes) - 1)
        for index, audit in zip(map(LogIndex, range(first_index, last_index + 1, AUDIT_ENTRIES)), hashes, strict=True):
            own = self._own.get(index)
            if own is not None:
                self._compare(peer, index, own, audit)
            elif latest is None or index > latest[0]:
                self._wait(self._waiting.setdefault(peer, {}), index, audit)

    def _wait(self, waiting: dict[LogIndex, int], index: LogIndex, audit: int) -> None:
        if waiting and index <= next(reversed(waiting)):
            return  # It was told before; of two words of one peer the first counts.
        waiting[index] = audit
        if len(waiting) > KEPT_MAX:
            del waiting[next(iter(waiting))]

    def _compare(self, peer: NodeId, index: LogIndex, own: int, heard: int) -> None:
        if own != heard:
            self.different_total += 1
            if peer not in self._doubtful:
                events.STATE_DIVERGED.log(logger, peer=peer, index=index)
            self._doubtful[peer] = self._round
            return
        self.equal_total += 1
        if peer in self._doubtful:
            self._doubtful[peer] -= 1
            if not self._doubtful[peer]:
                del self._doubtful[peer]
