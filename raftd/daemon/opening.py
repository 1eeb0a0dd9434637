"""What a node finds on its disk when it starts: locked, checked and loaded, before anybody can connect."""

import logging
from contextlib import closing
from dataclasses import dataclass

from raftd import events
from raftd.consensus.membership import NO_MEMBERSHIP, Membership, SnapshotMetadata
from raftd.consensus.types import NO_INDEX, NodeId
from raftd.errors import DecodeError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.node.transfers import consensus_metadata, finish_loading
from raftd.settings.model import NodeSettings
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import FileSystem, RealFileSystem
from raftd.storage.format import Identity, damaged
from raftd.storage.log import RESERVE_BYTES, RESERVE_MARGIN_BYTES, Log, open_log
from raftd.storage.recovery import Recovered
from raftd.storage.snapshots import SnapshotStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A node's disk, recovered and locked."""

    directory: DataDirectory
    log: Log
    recovered: Recovered
    snapshots: SnapshotStore
    snapshot: SnapshotMetadata | None
    """The newest one; None if there is none."""
    machine: StateMachine
    """The state as of `snapshot`, or a new one."""


def open_storage(
    settings: NodeSettings, filesystem: FileSystem | None = None, *, reserve_bytes: int | None = None
) -> Opened:
    """Lock the data directory, load its newest snapshot, and read its log.

    Args:
        settings: The node's.
        filesystem: Where the directory is.
        reserve_bytes: What the log sets aside for a full disk; None: more than a segment, for that is what it needs.

    Raises:
        DataDirectoryError: it is another node's, or in use.
        CorruptionError: it is damaged.
        StorageError: it cannot be read or written.
    """
    identity = Identity(settings.cluster.id.bytes, NodeId(settings.node_id))
    directory = DataDirectory(filesystem or RealFileSystem(), settings.data_directory, identity)
    try:
        snapshots = SnapshotStore(directory)
        snapshot, machine = _load(snapshots, directory)
        log, recovered = open_log(
            directory,
            segment_bytes=settings.limits.segment_bytes,
            reserve_bytes=max(RESERVE_BYTES, settings.limits.segment_bytes + RESERVE_MARGIN_BYTES)
            if reserve_bytes is None
            else reserve_bytes,
            compacted_index=NO_INDEX if snapshot is None else snapshot.last_included_index,
        )
    except BaseException:
        directory.close()
        raise
    if recovered.torn_at is not None:
        file, offset = recovered.torn_at
        events.LOG_TAIL_CUT.log(logger, file=file, offset=offset)
    return Opened(directory, log, recovered, snapshots, snapshot, machine)


def _load(snapshots: SnapshotStore, directory: DataDirectory) -> tuple[SnapshotMetadata | None, StateMachine]:
    latest = snapshots.latest()
    if latest is None:
        return None, StateMachine()
    loader = SnapshotLoader()
    with closing(snapshots.open(latest)) as source:
        try:
            for piece in source.payload():
                loader.feed(piece)
            return consensus_metadata(latest), finish_loading(loader, latest)
        except DecodeError as error:
            raise damaged(directory.snapshots_path, 0, f"snapshot {latest.last_included_index}: {error}") from error


def bootstrap_membership(settings: NodeSettings) -> Membership:
    """Who votes in a cluster that begins now; nobody yet, for a node that is to join one that runs already."""
    voters = settings.bootstrap_voters
    if settings.node_id not in voters:
        return NO_MEMBERSHIP
    return Membership(voters, addresses={node_id: str(settings.members[node_id]) for node_id in voters})
