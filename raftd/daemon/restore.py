"""A node of a new cluster out of a backup: what `raftctl snapshot restore --data-dir` does, where no node runs.

Each node of the new cluster is made of the same backup and the same settings, so that all begin alike: with the keys,
leases and sessions of the backup, as voters by `raftd.yaml`, in the cluster whose id is there. That id must not be the
backup's: nodes of the old cluster that come back have another past, and must find nobody to talk to.

**Index and revision** go on far above the backup's (`GAP`). What the old cluster did after the backup is lost, but its
clients remember it: sessions by their ids, which are indexes, and locks by their tokens, which are revisions. None of
these may come to mean something else.

**Sessions** stay. To a command of before the backup that a client repeats in its session, it is given the answer that
it was given; one of after the backup is carried out, for here it never was; and in a session of after the backup it
is told that there is none. (raftd's own client does not even ask: it sticks to the cluster, by its id, that it has
begun with.) **Leases** stay too: a new leader gives each its full time, so an owner who is still there keeps it
alive, and the keys of all others go when it ends. **Held changes** go, and so a watch that goes on from a revision of
the old cluster is told that it has missed something.

**Crashes.** The directory is made beside its place, and gets its name when it is whole, was read through, and is the
owner's: ``N.restoring-<time>``, which nobody removes but a person, is what an interruption leaves.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.types import Term
from raftd.daemon.founding import GAP, check_can_be_replaced, found_data_directory
from raftd.daemon.opening import bootstrap_membership
from raftd.errors import DataDirectoryError, SettingsError, StorageError
from raftd.kv.machine import StateMachine
from raftd.settings.model import NodeSettings
from raftd.storage.backup_format import BackupHeader
from raftd.storage.filesystem import FileSystem, RealFileSystem


def check_place(header: BackupHeader, settings: NodeSettings, filesystem: FileSystem | None = None) -> None:
    """See whether a node can be made of a backup, before anything is changed.

    Raises:
        SettingsError: Its settings do not make it a beginner of a new cluster.
        DataDirectoryError: There is data already, or a disk is mounted there.
        StorageError: Where it is to be, cannot be looked at.
    """
    cluster, node_id, path = settings.cluster, settings.node_id, settings.data_directory
    if cluster.id.bytes == header.cluster_id:
        raise SettingsError(
            f"cluster.id {cluster.id} is that of the backup itself: a new cluster needs a new one, such as uuidgen "
            "gives, so that nodes of the old one cannot interfere"
        )
    if node_id not in settings.bootstrap_voters:
        raise SettingsError(
            f"node {node_id} joins by the settings: it is sent the state, and needs no backup; restore the others"
        )
    filesystem = filesystem or RealFileSystem()
    try:
        is_there = path.name in filesystem.list_directory(path.parent)
        if is_there:
            check_can_be_replaced(path, filesystem)
        found = filesystem.list_directory(path) if is_there else []
    except OSError as error:
        raise StorageError(f"{error.filename or path}: cannot be looked into: {error.strerror}") from error
    if found:
        raise DataDirectoryError(
            f"{path}: there is data already ({min(found)}); nothing is restored over it: set it aside first"
        )


def found_node(
    header: BackupHeader,
    machine: StateMachine,
    settings: NodeSettings,
    time: str,
    *,
    filesystem: FileSystem | None = None,
    hand_over: Callable[[Path], None] = lambda _: None,
) -> None:
    """Make the data directory of one node of the new cluster.

    Args:
        header: Of the backup.
        machine: Its state, which is changed; equal on all nodes, as they must be.
        settings: The node's, with the directory that is to be made.
        time: For the name of the directory in the making.
        filesystem: Where it is made.
        hand_over: Makes the directory, which is complete, its owner's.

    Raises:
        SettingsError, DataDirectoryError: As `check_place`.
        StorageError: It cannot be made; there is no such directory then.
    """
    filesystem = filesystem or RealFileSystem()
    check_place(header, settings, filesystem)
    path = settings.data_directory
    new = path.with_name(f"{path.name}.restoring-{time}")
    machine.begin_anew(GAP)
    term = Term(header.last_included_term)
    metadata = SnapshotMetadata(machine.last_applied, term, bootstrap_membership(settings))
    try:
        if new.name in filesystem.list_directory(path.parent):
            raise StorageError(f"{new}: there is one of this time already")
        found_data_directory(replace(settings, data_directory=new), metadata, term, machine, filesystem)
        hand_over(new)
        filesystem.rename(new, path)
        filesystem.sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{error.filename or new}: cannot become {path}: {error.strerror}") from error
