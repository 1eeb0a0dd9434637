"""Notes on the disk that this node has caught up with its cluster once (`raftd.consensus.proof`)."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from raftd.node.background import Background
from raftd.node.snapshots import Scheduler
from raftd.storage.reserve import is_no_space

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 60.0
"""After a disk that was full."""


class Provable(Protocol):
    """The part of the data directory that is used here."""

    def prove(self) -> None:
        """As `raftd.storage.data_directory.DataDirectory.prove`."""


class Proving:
    """Writes the mark, and for as long as a full disk has no room for it, tries again.

    The mark counts at the next start only, so a node that waits for room need not end for want of it; should it end
    without the mark, it proves itself once more.
    """

    def __init__(
        self, directory: Provable, background: Background, scheduler: Scheduler, failed: Callable[[Exception], None]
    ) -> None:
        """`failed` hears of anything but a full disk."""
        self._directory = directory
        self._background = background
        self._scheduler = scheduler
        self._failed = failed

    def note(self) -> None:
        """Write the mark, beside the event loop."""
        self._background.run(self._directory.prove, lambda _: None, self._on_failure)

    def _on_failure(self, error: Exception) -> None:
        if not is_no_space(error):
            self._failed(error)
            return
        logger.warning("%s; that this node has caught up is noted when there is room", error)
        self._scheduler.call_at(self._scheduler.time() + RETRY_SECONDS, self.note)
