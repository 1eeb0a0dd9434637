"""Entries as bytes, encoded once: what goes to the log goes to the peers too, and what a peer sent to the log.

The log matching property (paper §5.3) makes (first index, last index, last term) name what is in a batch. So that is
the key under which batches are kept, for as long as they are likely to be asked for again.
"""

from typing import Final, TypeAlias

from raftd.consensus.types import Entry, LogIndex, Term
from raftd.wire.entries import encode_entries
from raftd.wire.limits import PEER_FRAME_BYTES_MAX

BATCHES_MAX: Final = 16
BATCH_BYTES_MAX: Final = PEER_FRAME_BYTES_MAX
"""A longer batch is never asked for again: what goes to a peer is cut shorter."""

_Key: TypeAlias = tuple[LogIndex, LogIndex, Term]


class EntryBatches:
    """The latest `BATCHES_MAX` batches; none of them is empty."""

    def __init__(self) -> None:
        self._batches: dict[_Key, bytes] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._batches)

    def encoded(self, entries: tuple[Entry, ...]) -> bytes:
        """These entries as bytes, encoded now if that is not kept."""
        key = (entries[0][0], entries[-1][0], entries[-1][1])
        batch = self._batches.get(key)
        return self.keep(entries, encode_entries(entries)) if batch is None else batch

    def keep(self, entries: tuple[Entry, ...], batch: bytes) -> bytes:
        """Keep what these entries are as bytes, unless it is too long, and return it; the oldest makes room."""
        if len(batch) > BATCH_BYTES_MAX:
            return batch
        if len(self._batches) >= BATCHES_MAX:
            del self._batches[next(iter(self._batches))]
        self._batches[entries[0][0], entries[-1][0], entries[-1][1]] = batch
        return batch
