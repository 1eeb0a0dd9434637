"""Going on with one node when a majority is lost for ever: what `raftd recover` does, while the node is stopped.

**What it cannot know.** A node that is alone cannot tell which of its last entries were committed, nor which committed
ones it never got. So recovery takes everything that this node has for committed, and what only lost nodes had is lost:
writes that were acknowledged may be among it. The survivor with the highest (last term, last index) has the least to
lose, because a leader is elected by just that (paper §5.4.1).

**What it makes.** A data directory beside the old one, of a new cluster: the state as a snapshot, in which this node is
the only member, and an empty log behind it. With the old cluster's id nobody can talk to it, so that nodes that were
given up and come back cannot undo what it did since; they join with new ids and empty directories.

What only the lost nodes had did happen for clients: they know of sessions by their ids, which are indexes, and of locks
by their tokens, which are revisions. None of these may come to mean something else, so index and revision go on far
above (`GAP`), and the changes that were held go: a watch that goes on from a revision of then is told that it has
missed something.

**Crashes.** The two directories change places in one step (renameat2(2), RENAME_EXCHANGE). Before it a start finds the
old data, after it the new, and never none, or parts of both:

================================== ================================================================================
name beside ``N``                  what a crash may leave
================================== ================================================================================
``N.recovering-<time>``            the new data, in any state, while ``N`` is the old; or, just after they changed
                                   places, the old data, whole. Nobody removes it but a person
``N.before-recovery-<time>``       the old data, whole
================================== ================================================================================
"""

import ctypes
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from raftd.consensus import entries_behind
from raftd.consensus.membership import Membership, SnapshotMetadata
from raftd.consensus.membership_codec import decode_membership
from raftd.consensus.types import NO_INDEX, NO_TERM, EntryKind, LogIndex, NodeId, Term
from raftd.daemon.founding import GAP, check_can_be_replaced, found_data_directory
from raftd.daemon.opening import Opened, bootstrap_membership, open_storage
from raftd.errors import DataDirectoryError, DecodeError, StorageError
from raftd.settings.model import NodeSettings
from raftd.storage.filesystem import FileSystem, RealFileSystem
from raftd.storage.format import damaged

Switch: TypeAlias = Callable[[Path, Path], None]
"""Lets two directories change places, in one step, not durably. Raises: OSError: nothing has changed."""

_AT_WORKING_DIRECTORY: Final = -100
_RENAME_EXCHANGE: Final = 2


class NotSettledError(StorageError):
    """A new cluster has been made of a node's data, and its old data may not be where it should be."""


@dataclass(frozen=True, slots=True)
class Places:
    """The names beside a node's data directory that recovery needs."""

    new: Path
    """Where the new data is made; and the old one is, after they have changed places, until it is `kept`."""
    kept: Path
    """Where the old data is at the end."""

    @classmethod
    def beside(cls, path: Path, time: str) -> "Places":
        """Those of a recovery of the data directory `path` that begins at `time`."""
        return cls(
            path.with_name(f"{path.name}.recovering-{time}"), path.with_name(f"{path.name}.before-recovery-{time}")
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What one node that is left has."""

    node_id: NodeId
    current_term: Term
    last_term: Term
    last_index: LogIndex
    snapshot_index: LogIndex
    """What is certainly committed; 0 without a snapshot."""
    membership: Membership
    """The newest that the node has heard of."""
    keys: int
    """As of the last entry."""


class Survivor:
    """A stopped node's data, held for this process until `close`."""

    def __init__(
        self,
        settings: NodeSettings,
        filesystem: FileSystem | None = None,
        hand_over: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Lock and read it, as the node itself would when it starts, and apply every entry that it has.

        Args:
            settings: The node's.
            filesystem: Where its data is.
            hand_over: Makes a directory, and what is in it, the node's own: a log that is read may get a new file.

        Raises:
            DataDirectoryError: There is nothing to recover, or it is in use, or another node's or cluster's.
            CorruptionError: It is damaged.
            StorageError: It cannot be read.
        """
        self._filesystem = filesystem or RealFileSystem()
        self._settings = settings
        self._check_presence(settings.data_directory)
        self._hand_over = hand_over
        # Space is set aside by the node: on a full disk it may just be using it.
        self._opened: Opened = open_storage(settings, self._filesystem, reserve_bytes=0)
        try:
            hand_over(settings.data_directory)
            self.found = self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others use the data."""
        self._opened.log.close()
        self._opened.directory.close()

    def found_cluster(self, cluster_id: uuid.UUID, places: Places, switch: Switch | None = None) -> None:
        """Make this node the only member of a new cluster, which begins with all that the node has.

        Args:
            cluster_id: The new cluster's, which no other has.
            places: Beside the node's data directory.
            switch: How directories change places.

        Raises:
            DataDirectoryError: A disk is mounted where the data is; nothing was changed.
            NotSettledError: The node has its new data, and the disk failed after that.
            StorageError: It cannot be; then the node has its old data.
        """
        path, new = self._settings.data_directory, places.new
        try:
            check_can_be_replaced(path, self._filesystem)
            present = self._filesystem.list_directory(path.parent)
            if new.name in present or places.kept.name in present:
                raise StorageError(f"{new}: there is one of this time already")
            self._write(new, cluster_id)
            self._hand_over(new)
            (switch or exchange_directories)(new, path)
        except OSError as error:
            raise StorageError(f"{error.filename or new}: cannot take the place of {path}: {error.strerror}") from error
        self._settle(cluster_id, places)

    def _settle(self, cluster_id: uuid.UUID, places: Places) -> None:
        """Make it durable that the directories have changed places, and then give the old one its name."""
        filesystem, path = self._filesystem, self._settings.data_directory
        old = places.new
        try:
            filesystem.sync_directory(path.parent)
            filesystem.rename(places.new, places.kept)
            old = places.kept
            filesystem.sync_directory(path.parent)
        except OSError as error:
            raise NotSettledError(
                f"{path} holds the new cluster {cluster_id} now, and {old} what the node had; but a power cut may undo "
                f"that, and then it is the other way round: {error.filename or path.parent}: {error.strerror}; once "
                "that is mended, run sync, and see what is there before the node is started"
            ) from error

    def _check_presence(self, path: Path) -> None:
        """Opening would make what is missing."""
        try:
            is_there = path.name in self._filesystem.list_directory(path.parent)
            has_identity = is_there and "identity" in self._filesystem.list_directory(path)
        except OSError as error:
            raise StorageError(f"{error.filename or path}: cannot be read: {error.strerror}") from error
        if not has_identity:
            raise DataDirectoryError(f"{path}: holds no node's data; there is nothing to recover")

    def _read(self) -> Found:
        opened = self._opened
        machine, membership = opened.machine, bootstrap_membership(self._settings)
        last_index, last_term = NO_INDEX, NO_TERM
        snapshot = opened.snapshot
        if snapshot is not None:
            membership = snapshot.membership
            last_index, last_term = snapshot.last_included_index, snapshot.last_included_term
        snapshot_index = last_index
        # A leader's snapshot may be durable while the log that it voids is still there (`raftd.consensus.recovery`).
        for index, term, kind, data in entries_behind(snapshot, opened.recovered.entries) or ():
            last_index, last_term = index, term
            if kind is EntryKind.COMMAND:
                machine.apply(index, term, data)
                continue
            machine.skip(index)
            if kind is EntryKind.MEMBERSHIP:
                try:
                    membership = decode_membership(data)
                except DecodeError as error:
                    raise damaged(opened.log.path, 0, f"entry {index}: {error}") from error
        if last_index == NO_INDEX:
            raise DataDirectoryError(f"{self._settings.data_directory}: holds no entry; there is nothing to recover")
        return Found(
            NodeId(self._settings.node_id),
            max(opened.recovered.hard_state.current_term, last_term),
            last_term,
            last_index,
            snapshot_index,
            membership,
            machine.key_count,
        )

    def _write(self, path: Path, cluster_id: uuid.UUID) -> None:
        """Make the new data directory, and read it as the node will, before it takes the place of what the node has."""
        found, settings = self.found, self._settings
        # The settings of the node itself are right by the time it starts again; who else reads an address knows of it.
        membership = Membership(
            frozenset({found.node_id}), addresses={found.node_id: str(settings.members[found.node_id])}
        )
        machine = self._opened.machine
        machine.begin_anew(GAP)
        found_data_directory(
            replace(settings, cluster=replace(settings.cluster, id=cluster_id), data_directory=path),
            SnapshotMetadata(machine.last_applied, found.last_term, membership),
            found.current_term,
            machine,
            self._filesystem,
        )


def exchange_directories(new: Path, current: Path) -> None:
    """Be the `Switch` of the operating system."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(0, "this system cannot exchange directories", str(new))
    arguments = (os.fsencode(new), _AT_WORKING_DIRECTORY, os.fsencode(current))
    if renameat2(_AT_WORKING_DIRECTORY, *arguments, _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))
