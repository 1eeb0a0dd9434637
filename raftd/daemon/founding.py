"""Data directories with which a cluster begins that is not empty: of a node that is left, or of a backup.

What it holds is the state as a snapshot, with the membership that the cluster begins with, and a log that goes on
behind it. Nodes that begin with equal states at equal indexes and terms agree on everything, as if they had been sent
it.
"""

from pathlib import Path
from typing import Final

from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.types import HardState, NodeId, Term
from raftd.daemon.opening import open_storage
from raftd.errors import DataDirectoryError, InvariantViolation
from raftd.kv.machine import StateMachine
from raftd.node.snapshots import stored_metadata
from raftd.settings.model import NodeSettings
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import FileSystem
from raftd.storage.format import Identity
from raftd.storage.log import open_log
from raftd.storage.snapshots import SnapshotStore

GAP: Final = 10**12
"""How far above those of the old cluster index and revision go on; at 200,000 writes a second, two months' worth."""
_PIECE_BYTES: Final = 1 << 20


def check_can_be_replaced(path: Path, filesystem: FileSystem) -> None:
    """See whether a directory that is made beside a node's data can take its place, before anything is made.

    Raises:
        DataDirectoryError: A file system is mounted there.
        OSError: It cannot be looked at.
    """
    if filesystem.is_mount_point(path):
        raise DataDirectoryError(
            f"{path}: is where a disk is mounted, and no other directory can take its place: mount the disk one level "
            f"higher, at {path.parent}, with what it holds in {path}"
        )


def found_data_directory(
    settings: NodeSettings,
    metadata: SnapshotMetadata,
    current_term: Term,
    machine: StateMachine,
    filesystem: FileSystem,
) -> None:
    """Make the data directory of a node, and read it as the node will when it starts.

    Args:
        settings: The node's; the directory that they name must not be there, and its parent must.
        metadata: Of the state, with the membership that the cluster begins with.
        current_term: In which the node begins.
        machine: The state, as of the metadata's index.
        filesystem: Where it is made.

    Raises:
        StorageError: It cannot be; what is there then is of no use.
    """
    identity = Identity(settings.cluster.id.bytes, NodeId(settings.node_id))
    directory = DataDirectory(filesystem, settings.data_directory, identity)
    try:
        writer = SnapshotStore(directory).begin(stored_metadata(metadata))
        reader = machine.begin_snapshot()
        while (piece := reader.read(_PIECE_BYTES)) is not None:
            writer.write(piece)
        writer.commit()
        log, _ = open_log(directory, segment_bytes=settings.limits.segment_bytes)
        # One that is alone has no others who could vouch for it, so it says that it began this itself
        # (`raftd.consensus.proof`). Several have each other: should one be made a second time, it must not count.
        voted_for = identity.node_id if metadata.membership.all_voters == {identity.node_id} else None
        log.reset(metadata.last_included_index, hard_state=HardState(current_term, voted_for))
        log.sync()
        log.close()
    finally:
        directory.close()
    _check(settings, machine, filesystem)


def _check(settings: NodeSettings, machine: StateMachine, filesystem: FileSystem) -> None:
    opened = open_storage(settings, filesystem)
    try:
        if (machine.last_applied, machine.state_hash) != (opened.machine.last_applied, opened.machine.state_hash):
            raise InvariantViolation(
                f"{settings.data_directory}: was written, and does not hold the state that was to be written"
            )
    finally:
        opened.log.close()
        opened.directory.close()
