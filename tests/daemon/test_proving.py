"""The mark that a node has caught up is written when there is room for it, and its want ends no process."""

import errno
from pathlib import Path

import pytest

from raftd.consensus.types import NodeId
from raftd.daemon.proving import RETRY_SECONDS, Proving
from raftd.errors import StorageError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import Identity
from raftd.storage.simulated import Call, SimulatedFileSystem
from tests.node.parts import Scheduler
from tests.node.snapshot_parts import Background

PATH = Path("/data")


class Node:
    """A data directory on a disk that refuses what a test says, and what notes that it is proven."""

    def __init__(self) -> None:
        self.filesystem = SimulatedFileSystem()
        self.directory = DataDirectory(self.filesystem, PATH, Identity(bytes(16), NodeId(1)))
        self.directory.stamp()
        self.refused = ""
        self.error = errno.ENOSPC
        self.filesystem.before_call = self.before_call
        self.background = Background()
        self.scheduler = Scheduler()
        self.failures: list[Exception] = []
        self.proving = Proving(self.directory, self.background, self.scheduler, self.failures.append)

    def before_call(self, call: Call) -> None:
        if call.name == self.refused:
            raise OSError(self.error, "it does not go")

    def advance(self, seconds: float = 0.0) -> None:
        self.background.finish()
        self.scheduler.advance(seconds)
        self.background.finish()

    @property
    def survives(self) -> bool:
        """Whether the mark is there after a power cut."""
        survivor = self.filesystem.copy()
        survivor.lose_power(lambda _: False)
        return "proven" in survivor.list_directory(PATH)


def test_the_mark_is_written_beside_the_loop() -> None:
    """Not at once, and durably."""
    node = Node()
    node.proving.note()
    assert not node.survives
    node.advance()
    assert node.survives
    assert node.failures == []


@pytest.mark.parametrize("refused", ["create", "sync_directory"])
def test_a_full_disk_is_tried_again_until_it_has_room(refused: str, caplog: pytest.LogCaptureFixture) -> None:
    """The node goes on meanwhile, and says why it has no mark."""
    node = Node()
    node.refused = refused
    node.proving.note()
    for _ in range(3):
        node.advance(RETRY_SECONDS)
        assert (node.failures, node.survives) == ([], False)
    assert "/data/proven: cannot be written: it does not go" in caplog.text
    node.refused = ""
    node.advance(RETRY_SECONDS)
    assert node.survives
    assert node.failures == []


def test_another_failure_is_passed_on_and_not_tried_again() -> None:
    """A disk that fails has no word for how it goes on."""
    node = Node()
    node.refused, node.error = "create", errno.EIO
    node.proving.note()
    node.advance(RETRY_SECONDS)
    (failure,) = node.failures
    assert isinstance(failure, StorageError)
    node.refused = ""
    node.advance(2 * RETRY_SECONDS)
    assert not node.survives
