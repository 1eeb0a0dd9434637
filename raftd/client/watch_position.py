"""How far a watch has come and where it goes on after an interruption, pure: `raftd.client.watching` obeys.

A cluster keeps its changes in one order, which every node has, and gives those that a watch asks for in that order: by
revision, and those of one revision always one after the other in the same way. So a watch is interrupted without a gap
and without a duplicate if it knows two numbers: up to which revision everything was delivered, and how many changes of
the one that follows were. It goes on at that following revision, and leaves out so many.
"""

from collections.abc import Sequence
from typing import NamedTuple

from raftd.client.results import Change, Progress
from raftd.errors import RemoteProtocolError


class Batch(NamedTuple):
    """What one response brought."""

    revision: int
    """All up to here was brought, with this and those before."""
    partial: bool
    """Except for further changes of `revision` itself."""
    changes: Sequence[Change]
    """In order; none: a progress mark."""


class WatchPosition:
    """How far one watch has come.

    The driver calls `started` when a node begins to send, `accept` with each batch that comes, and then `next` until it
    gives None. Only then may it take the next batch, or begin again at `start_revision`.

    Args:
        start_revision: the first revision of interest; None: from when it is first started.
        wants_progress: whether progress marks are to be delivered too.
    """

    __slots__ = ("_batch", "_index", "_partial_count", "_partial_revision", "_skip", "_wants_progress", "revision")

    def __init__(self, start_revision: int | None, *, wants_progress: bool) -> None:
        self.revision: int | None = None if start_revision is None else start_revision - 1
        """Everything up to here was delivered; None: it was never started."""
        self._wants_progress = wants_progress
        self._batch: Batch | None = None
        self._index = 0
        # How many changes of `_partial_revision` were delivered, as long as `revision` does not include it.
        self._partial_revision = 0
        self._partial_count = 0
        self._skip = 0

    @property
    def start_revision(self) -> int | None:
        """Where to begin, or to go on; None: from now."""
        return None if self.revision is None else self.revision + 1

    @property
    def waiting(self) -> bool:
        """Whether all that was accepted is delivered."""
        return self._batch is None

    def started(self, revision: int) -> None:
        """Note that a node sends what comes after this revision.

        Raises:
            RemoteProtocolError: that is not where this watch wanted to go on.
        """
        if self.revision is None:
            self.revision = revision
        elif self.revision != revision:
            raise RemoteProtocolError(f"a watch behind revision {self.revision} begins behind {revision}")
        self._skip = self._partial_count if self._partial_revision == revision + 1 else 0

    def accept(self, batch: Batch) -> None:
        """Take what came.

        Raises:
            RemoteProtocolError: it does not follow what came before; nothing was taken.
        """
        changes = batch.changes
        behind = self.revision or 0
        if batch.revision < behind or (changes and not behind < changes[0].revision <= batch.revision):
            raise RemoteProtocolError(f"changes up to revision {batch.revision} came behind {behind}")
        index = 0
        while self._skip and index < len(changes) and changes[index].revision == self._partial_revision:
            index += 1
            self._skip -= 1
        self._index = index
        # One assignment makes it visible, since `next` may be called in another thread.
        self._batch = batch

    def next(self) -> Change | Progress | None:
        """Deliver the next item; None: there is none, and another batch may be accepted."""
        batch = self._batch
        if batch is None:
            return None
        index = self._index
        if index < len(batch.changes):
            change = batch.changes[index]
            self._index = index + 1
            if change.revision != self._partial_revision:
                self._partial_revision = change.revision
                self._partial_count = 0
                self.revision = change.revision - 1
            self._partial_count += 1
            if self._index == len(batch.changes):
                self._finish(batch)
            return change
        self._finish(batch)
        return Progress(batch.revision) if self._wants_progress and not batch.changes else None

    def _finish(self, batch: Batch) -> None:
        if not batch.partial:
            self.revision = batch.revision
            self._partial_count = 0
        else:
            self.revision = batch.revision - 1
            if self._partial_revision != batch.revision:
                self._partial_count = 0
        self._batch = None
